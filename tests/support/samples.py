"""Samples of exchanges: one of each kind, made up."""

from __future__ import annotations

from dataclasses import replace

from extproc.domain.bodies import Keep, KeptAnswer, KeptSegment, Sample
from extproc.domain.segment import Origin, Role
from extproc.edge.sealing import new_keys

KEYS = new_keys()
SEALED = Sample(
    keep=Keep.SEALED,
    reviewer_key=KEYS[1],
    lifetime_days=7,
    request_id="0b2f6a50-8f7c-4d2e-9f10-0a1b2c3d4e5f",
    exchange=0,
    policy_digest="9f" * 32,
    at_unix_ms=1_767_323_045_678,
    request=(
        KeptSegment(
            role=Role.USER, origin=Origin.DIRECT, place="text_input", text="mail [EMAIL_ADDRESS]\u2028"
        ),
    ),
    answer=(KeptAnswer(choice=0, field_name="text_output", text="an answer"),),
    size_bytes=32,
)
REDACTED = replace(SEALED, keep=Keep.REDACTED, reviewer_key="", redact=lambda text: text)
