"""Verdict records: one that is full, and strategies for arbitrary ones."""

from __future__ import annotations

from hypothesis import strategies as st

from extproc.domain.segment import Operation, Unscanned
from extproc.domain.verdict import Action, EntityCount, GuardRecord, Kept, Lane, Mode, Reason, Record

VERDICT = GuardRecord(
    guard="injection",
    owasp="LLM01",
    mode=Mode.SHADOW,
    action=Action.BLOCK,
    reason=Reason.INJECTION_DETECTED,
    score=0.75,
    threshold=0.5,
    detector="stackone-defender/0.9.4",
    windows=2,
)
ENTITIES = EntityCount(
    lane=Lane.RESPONSE,
    guard="pii",
    mode=Mode.ENFORCE,
    entity_type="EMAIL_ADDRESS",
    detector="pii/email",
    place="text_output",
    count=3,
)
RECORD = Record(
    at_unix_ms=1_767_323_045_678,
    request_id="0b2f6a50-8f7c-4d2e-9f10-0a1b2c3d4e5f",
    exchange=0,
    policy_digest="9f" * 32,
    tenant="team-a",
    key_id="key-1",
    codec="triton_generate",
    operation="text_completion",
    model="scripted",
    action=Action.REDACT,
    reason=Reason.PII_FOUND,
    guard="pii",
    status=200,
    verdicts=(VERDICT,),
    entities=(ENTITIES,),
    segments_judged=1,
    chars_judged=42,
    answer_chars_judged=420,
    answer_frames=7,
    held_chars_max=19,
    answer_chars_unread=4,
    tokens_reserved=100,
    tokens_settled=60,
    usage_reported=True,
    input_tokens=10,
    output_tokens=50,
    upstream_host="127.0.0.1:8000",
    upstream_status=200,
    judge_us=1500,
    upstream_first_us=20_000,
    total_us=900_000,
    bodies=Kept.REDACTED,
    route="generate",
    unscanned=(Unscanned.AUDIO, Unscanned.IMAGE),
    cost_usd=0.000125,
)

_words = st.from_regex(r"[a-z][a-z0-9_.-]{0,20}", fullmatch=True)
_texts = st.one_of(_words, st.text(max_size=40))
_counts = st.integers(-5, 2**63)
_shares = st.none() | st.floats()

_verdicts = st.builds(
    GuardRecord,
    guard=_texts,
    owasp=_texts,
    mode=st.sampled_from(Mode),
    action=st.sampled_from(Action),
    reason=st.sampled_from(Reason),
    score=_shares,
    threshold=_shares,
    detector=st.none() | _texts,
    windows=st.none() | _counts,
    degraded=st.booleans(),
)
_entities = st.builds(
    EntityCount,
    lane=st.sampled_from(Lane),
    guard=_texts,
    mode=st.sampled_from(Mode),
    entity_type=_texts,
    detector=_texts,
    place=_texts,
    count=_counts,
)


def records() -> st.SearchStrategy[Record]:
    """Records whose strings may be anything and whose numbers may be out of range."""
    return st.builds(
        Record,
        at_unix_ms=_counts,
        request_id=_texts,
        exchange=_counts,
        policy_digest=_texts,
        tenant=_texts,
        key_id=_texts,
        codec=_texts,
        operation=st.one_of(st.sampled_from(Operation), _texts),
        model=_texts,
        action=st.sampled_from(Action),
        reason=st.sampled_from(Reason),
        guard=_texts,
        status=_counts,
        verdicts=st.lists(_verdicts, max_size=3).map(tuple),
        entities=st.lists(_entities, max_size=3).map(tuple),
        tokens_reserved=st.none() | _counts,
        tokens_settled=st.none() | _counts,
        tokens_refunded=st.none() | _counts,
        usage_reported=st.booleans(),
        upstream_host=_texts,
        upstream_status=_counts,
        total_us=_counts,
        degraded=st.booleans(),
        bodies=st.sampled_from(Kept),
        route=_texts,
        unscanned=st.lists(st.sampled_from(Unscanned), max_size=2).map(tuple),
        cost_usd=_shares,
    )
