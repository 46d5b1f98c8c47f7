"""Exchanges as guards see them, and what guards are built with."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping

from extproc.domain.head import RequestHead
from extproc.domain.identity import Principal
from extproc.domain.ports import ExchangeView, GuardEnv, RequestMessage
from extproc.domain.scanning import RuleWatch
from extproc.domain.segment import Operation, Origin, ParamPlace, Params, Role, Segment
from extproc.domain.verdict import Finding

PRINCIPAL = Principal(tenant="acme", key_id="acme-1")
KEY = "hg_" + "0123456789abcdef" * 3


def fake_hash(key: str) -> str:
    return hashlib.sha256(b"pepper" + key.encode()).hexdigest()


def head(**headers: str | tuple[str, ...]) -> RequestHead:
    """A request's head; ``x_api_key`` is the header x-api-key, a tuple one that came several times."""
    return RequestHead(
        method="POST",
        path="/v2/models/m/generate",
        headers={
            name.replace("_", "-"): (value,) if isinstance(value, str) else value
            for name, value in headers.items()
        },
    )


def segment(
    text: str,
    index: int = 0,
    *,
    role: Role = Role.USER,
    origin: Origin = Origin.DIRECT,
    place: str = "text_input",
    seams: tuple[int, ...] = (),
) -> Segment:
    return Segment(index=index, text=text, role=role, origin=origin, place=place, seams=seams)


def exchange(
    *segments: str | Segment,
    operation: Operation = Operation.TEXT_COMPLETION,
    model: str = "m",
    max_output_tokens: int | None = None,
    choices_count: int = 1,
    sampling: Mapping[str, str | int | float | bool] | None = None,
    sampling_places: Mapping[str, ParamPlace] | None = None,
) -> ExchangeView:
    """An exchange that was identified and read."""
    return ExchangeView(
        exchange_id="e:0",
        head=head(),
        principal=PRINCIPAL,
        request=RequestMessage(
            key=0,
            operation=operation,
            params=Params(
                model=model,
                stream=True,
                max_output_tokens=max_output_tokens,
                choices_count=choices_count,
                sampling=sampling or {},
                sampling_places=sampling_places or {},
            ),
            segments=tuple(
                segment(one, index) if isinstance(one, str) else one for index, one in enumerate(segments)
            ),
            inspectable_bytes=0,
        ),
    )


def read_only(model: str = "") -> ExchangeView:
    return exchange(operation=Operation.READ_ONLY, model=model)


def find_digits(text: str, watch: RuleWatch) -> tuple[tuple[Finding, str], ...]:
    """A finder with one rule: a run of digits."""
    return tuple(
        (
            Finding(
                entity_type="DIGITS",
                start=found.start(),
                end=found.end(),
                score=1.0,
                detector=f"{watch.pack}/digits",
            ),
            "[DIGITS]",
        )
        for found in re.finditer("[0-9]+", text)
    )


def guard_env(tenant: str = "acme") -> GuardEnv:
    return GuardEnv(
        keyring={fake_hash(KEY): PRINCIPAL}, key_hash=fake_hash, find=find_digits, tenant=tenant
    )
