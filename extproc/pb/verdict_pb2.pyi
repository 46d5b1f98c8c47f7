from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class VerdictRecord(_message.Message):
    __slots__ = ("schema_version", "ts", "at_unix_ms", "request_id", "exchange", "policy_digest", "tenant", "key_id", "codec", "operation", "model", "route", "action", "reason", "guard", "status", "verdicts", "entities", "degraded", "bodies", "unscanned", "segments_judged", "chars_judged", "answer_chars_judged", "answer_frames", "held_chars_max", "answer_chars_unread", "tokens_reserved", "tokens_settled", "tokens_refunded", "usage_reported", "input_tokens", "output_tokens", "cost_usd", "upstream_host", "upstream_status", "judge_us", "upstream_first_us", "total_us", "withheld")
    SCHEMA_VERSION_FIELD_NUMBER: _ClassVar[int]
    TS_FIELD_NUMBER: _ClassVar[int]
    AT_UNIX_MS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EXCHANGE_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    TENANT_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    CODEC_FIELD_NUMBER: _ClassVar[int]
    OPERATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    ROUTE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    GUARD_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    VERDICTS_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    BODIES_FIELD_NUMBER: _ClassVar[int]
    UNSCANNED_FIELD_NUMBER: _ClassVar[int]
    SEGMENTS_JUDGED_FIELD_NUMBER: _ClassVar[int]
    CHARS_JUDGED_FIELD_NUMBER: _ClassVar[int]
    ANSWER_CHARS_JUDGED_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FRAMES_FIELD_NUMBER: _ClassVar[int]
    HELD_CHARS_MAX_FIELD_NUMBER: _ClassVar[int]
    ANSWER_CHARS_UNREAD_FIELD_NUMBER: _ClassVar[int]
    TOKENS_RESERVED_FIELD_NUMBER: _ClassVar[int]
    TOKENS_SETTLED_FIELD_NUMBER: _ClassVar[int]
    TOKENS_REFUNDED_FIELD_NUMBER: _ClassVar[int]
    USAGE_REPORTED_FIELD_NUMBER: _ClassVar[int]
    INPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    COST_USD_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_HOST_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_STATUS_FIELD_NUMBER: _ClassVar[int]
    JUDGE_US_FIELD_NUMBER: _ClassVar[int]
    UPSTREAM_FIRST_US_FIELD_NUMBER: _ClassVar[int]
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    WITHHELD_FIELD_NUMBER: _ClassVar[int]
    schema_version: int
    ts: str
    at_unix_ms: int
    request_id: str
    exchange: int
    policy_digest: str
    tenant: str
    key_id: str
    codec: str
    operation: str
    model: str
    route: str
    action: str
    reason: str
    guard: str
    status: int
    verdicts: _containers.RepeatedCompositeFieldContainer[GuardVerdict]
    entities: _containers.RepeatedCompositeFieldContainer[EntityCount]
    degraded: bool
    bodies: str
    unscanned: _containers.RepeatedScalarFieldContainer[str]
    segments_judged: int
    chars_judged: int
    answer_chars_judged: int
    answer_frames: int
    held_chars_max: int
    answer_chars_unread: int
    tokens_reserved: int
    tokens_settled: int
    tokens_refunded: int
    usage_reported: bool
    input_tokens: int
    output_tokens: int
    cost_usd: float
    upstream_host: str
    upstream_status: int
    judge_us: int
    upstream_first_us: int
    total_us: int
    withheld: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, schema_version: _Optional[int] = ..., ts: _Optional[str] = ..., at_unix_ms: _Optional[int] = ..., request_id: _Optional[str] = ..., exchange: _Optional[int] = ..., policy_digest: _Optional[str] = ..., tenant: _Optional[str] = ..., key_id: _Optional[str] = ..., codec: _Optional[str] = ..., operation: _Optional[str] = ..., model: _Optional[str] = ..., route: _Optional[str] = ..., action: _Optional[str] = ..., reason: _Optional[str] = ..., guard: _Optional[str] = ..., status: _Optional[int] = ..., verdicts: _Optional[_Iterable[_Union[GuardVerdict, _Mapping]]] = ..., entities: _Optional[_Iterable[_Union[EntityCount, _Mapping]]] = ..., degraded: _Optional[bool] = ..., bodies: _Optional[str] = ..., unscanned: _Optional[_Iterable[str]] = ..., segments_judged: _Optional[int] = ..., chars_judged: _Optional[int] = ..., answer_chars_judged: _Optional[int] = ..., answer_frames: _Optional[int] = ..., held_chars_max: _Optional[int] = ..., answer_chars_unread: _Optional[int] = ..., tokens_reserved: _Optional[int] = ..., tokens_settled: _Optional[int] = ..., tokens_refunded: _Optional[int] = ..., usage_reported: _Optional[bool] = ..., input_tokens: _Optional[int] = ..., output_tokens: _Optional[int] = ..., cost_usd: _Optional[float] = ..., upstream_host: _Optional[str] = ..., upstream_status: _Optional[int] = ..., judge_us: _Optional[int] = ..., upstream_first_us: _Optional[int] = ..., total_us: _Optional[int] = ..., withheld: _Optional[_Iterable[str]] = ...) -> None: ...

class GuardVerdict(_message.Message):
    __slots__ = ("guard", "owasp", "mode", "action", "reason", "score", "threshold", "detector", "windows", "degraded")
    GUARD_FIELD_NUMBER: _ClassVar[int]
    OWASP_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    WINDOWS_FIELD_NUMBER: _ClassVar[int]
    DEGRADED_FIELD_NUMBER: _ClassVar[int]
    guard: str
    owasp: str
    mode: str
    action: str
    reason: str
    score: float
    threshold: float
    detector: str
    windows: int
    degraded: bool
    def __init__(self, guard: _Optional[str] = ..., owasp: _Optional[str] = ..., mode: _Optional[str] = ..., action: _Optional[str] = ..., reason: _Optional[str] = ..., score: _Optional[float] = ..., threshold: _Optional[float] = ..., detector: _Optional[str] = ..., windows: _Optional[int] = ..., degraded: _Optional[bool] = ...) -> None: ...

class EntityCount(_message.Message):
    __slots__ = ("lane", "guard", "mode", "entity_type", "detector", "place", "count")
    LANE_FIELD_NUMBER: _ClassVar[int]
    GUARD_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    ENTITY_TYPE_FIELD_NUMBER: _ClassVar[int]
    DETECTOR_FIELD_NUMBER: _ClassVar[int]
    PLACE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    lane: str
    guard: str
    mode: str
    entity_type: str
    detector: str
    place: str
    count: int
    def __init__(self, lane: _Optional[str] = ..., guard: _Optional[str] = ..., mode: _Optional[str] = ..., entity_type: _Optional[str] = ..., detector: _Optional[str] = ..., place: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...
