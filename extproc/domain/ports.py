"""The seams: what core asks of codecs, guards and the edge, so that none of them imports another.

A guard is three plain functions. A codec session is the state of one stream in one wire protocol.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol, TypeGuard, runtime_checkable

from extproc.domain.segment import Backend
from extproc.domain.verdict import Action, Mode, OnError, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from extproc.domain.bodies import BodyRule
    from extproc.domain.effects import Answer, Effect
    from extproc.domain.head import HeaderEdits, RequestHead, ResponseHead
    from extproc.domain.identity import Principal, Reservation
    from extproc.domain.judging import AnswerFormat, JudgeWatch, ToolCall, ToolSpec
    from extproc.domain.prices import Price
    from extproc.domain.pseudonym import Pseudonym
    from extproc.domain.scanning import RuleFinder, RuleWatch, ScannerFactory
    from extproc.domain.segment import (
        Channel,
        Delta,
        Operation,
        Params,
        Segment,
        SegmentEdit,
        Unscanned,
        Usage,
    )
    from extproc.domain.verdict import LocatedFinding, Refusal, Stage

# --- guards ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestMessage:
    """One exchange's request, as a codec found it. ``key`` counts exchanges of the stream from 0.

    ``inspectable_bytes`` is the message's length on the wire, after decoding. ``unscanned`` is what of it
    is in no segment because it is no text. With ``refused`` the codec itself cannot accept it, and no guard
    is asked: said of one message among several, where ``PeerError`` would end them all. ``tools`` are those
    that the model may call, ``answer_format`` is set where the answer is to be JSON. ``bare_bytes`` is what
    of a JSON body that goes into a chat template is neither string nor white space: numbers, constants and
    punctuation, of which a template writes what stands in tools and their schemas.
    """

    key: int
    operation: Operation
    params: Params
    segments: tuple[Segment, ...]
    inspectable_bytes: int
    unscanned: frozenset[Unscanned] = frozenset()
    refused: Refusal | None = None
    tools: tuple[ToolSpec, ...] = ()
    answer_format: AnswerFormat | None = None
    bare_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ExchangeView:
    """What a guard may know of an exchange.

    At stage IDENTITY there is neither a principal nor a request yet. ``exchange_id`` is unique over
    all streams. ``params`` stand in ``request`` with the caps of earlier stages applied.
    """

    exchange_id: str
    head: RequestHead
    principal: Principal | None = None
    request: RequestMessage | None = None

    @property
    def stream_id(self) -> str:
        """What the exchanges of one stream share, and no two streams do. No caller can guess it."""
        return self.exchange_id.partition(":")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What one guard decided.

    ``status``, ``message`` and ``headers`` make the refusal where ``action`` is BLOCK. ``principal``
    is the identity guard's result, ``cap_output_tokens`` the schema's or the budget's, ``reservation``
    the budget's (set only where it was granted), ``edits`` and ``findings`` the inspecting ones'.
    ``allowed_models`` are the only ones that a list of models may name; None says nothing about them.
    ``pseudonyms`` are the tokens among the edits that the answer shall turn back.
    """

    action: Action
    reason: Reason
    status: int = 403
    message: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    score: float | None = None
    threshold: float | None = None
    detector: str | None = None
    windows: int | None = None
    findings: tuple[LocatedFinding, ...] = ()
    edits: tuple[SegmentEdit, ...] = ()
    pseudonyms: tuple[Pseudonym, ...] = ()
    cap_output_tokens: int | None = None
    allowed_models: frozenset[str] | None = None
    principal: Principal | None = None
    reservation: Reservation | None = None


ALLOWED = Verdict(action=Action.ALLOW, reason=Reason.CLEAN)


class Guard(Protocol):
    """A policy over exchanges, with its settings bound. Pure: no clock, no I/O, no state."""

    def needs(self, exchange: ExchangeView) -> tuple[Effect, ...]:
        """The effects whose answers ``judge`` wants, in order."""

    def judge(self, exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        """Decide; ``answers`` correspond to ``needs``."""

    def scanner(self, exchange: ExchangeView) -> RuleWatch | JudgeWatch | None:
        """What to watch in the answer, or None. Asked more than once: what is dear belongs elsewhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoundGuard:
    """A guard as a policy switched it on."""

    name: str
    owasp: str
    stage: Stage
    mode: Mode
    on_error: OnError
    error_reason: Reason
    guard: Guard


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicySnapshot:
    """The policy that a stream begins and ends with.

    ``identity`` are the guards of stage IDENTITY. ``pipelines`` maps a tenant to the rest, ordered by
    stage, then name; a tenant that is not in it is refused. ``known_models`` may stand in a record.
    ``bodies`` maps a tenant to what is kept of its exchanges; of a tenant that is not in it, nothing.
    ``backends`` maps a model to the schema that it speaks, vLLM's where it is not in it; ``prices`` to what
    its tokens cost, see ``price_of``. ``route`` is Envoy's, where the policy names it.
    """

    digest: str
    identity: tuple[BoundGuard, ...]
    pipelines: Mapping[str, tuple[BoundGuard, ...]]
    known_models: frozenset[str]
    scanner: ScannerFactory
    bodies: Mapping[str, BodyRule] = field(default_factory=lambda: MappingProxyType({}))
    backends: Mapping[str, Backend] = field(default_factory=lambda: MappingProxyType({}))
    prices: Mapping[str, Price | None] = field(default_factory=lambda: MappingProxyType({}))
    route: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardEnv:
    """What a guard may be built with besides its settings.

    ``keyring`` finds a principal by the keyed hash of an API key; ``key_hash`` makes that hash.
    ``find`` applies rules to a whole text.
    """

    keyring: Mapping[str, Principal]
    key_hash: Callable[[str], str]
    find: RuleFinder
    tenant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardSpec:
    """What a guard's module exports as ``GUARD``.

    ``settings`` is a frozen dataclass that the policy file's section is validated into; ``build``
    binds an instance of it to a guard. ``error_reason`` is the block's reason when an effect failed.
    ``mode`` is the one where a policy says none: OFF only for what no policy can want unasked.
    """

    name: str
    stage: Stage
    owasp: str
    error_reason: Reason
    settings: type[object]
    build: Callable[[object, GuardEnv], Guard]
    mode: Mode = Mode.ENFORCE


# --- codecs ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestEdits:
    """What to change in one request. Spliced into the original bytes; all else stays untouched.

    ``cap_output_tokens`` is written wherever the backend honours a limit, and injected where none
    stands. With ``ask_usage`` the codec asks the upstream for token counts and hides them again from
    a client that had not asked. ``allowed_models`` are the only ones that a list of models in the answer
    may name; None where no guard restricts them. ``backend`` says where Triton's model looks for a limit
    and whether it gives counts. ``answer_watched`` is False where no guard may change the answer's text:
    then nothing has to be taken out of it that a scanner could not follow. ``replacements`` are the texts
    that the policy puts in values' places: in that of a JSON number each is quoted.
    """

    segments: tuple[SegmentEdit, ...] = ()
    cap_output_tokens: int | None = None
    ask_usage: bool = True
    allowed_models: frozenset[str] | None = None
    backend: Backend = Backend.VLLM
    answer_watched: bool = True
    replacements: frozenset[str] = frozenset()


class ResponseFrame(NamedTuple):
    """One frame of the answer that belongs to one exchange. A tuple, since one is made for every token.

    ``deltas`` are its texts in wire order. ``usage`` is what this frame adds. ``ended`` are channels that
    have no text after this frame: what is held of them goes out with their last delta here, or in a tail
    before the frame. ``final`` says that the exchange has no further frame, which ends every channel.
    ``error`` says that the upstream reports a failure in it. ``token`` is the codec's own: it comes back
    in ``write_response``. ``is_run``: it stands for several frames in a row, each with one delta, all of
    one channel, and nothing else to say; it may be written in part. ``calls`` are the tool calls that begin
    in it.
    """

    key: int
    deltas: tuple[Delta, ...]
    token: object
    usage: Usage | None = None
    ended: tuple[Channel, ...] = ()
    final: bool = False
    error: bool = False
    is_run: bool = False
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WireRefusal:
    """A refusal in the client's protocol, for the time before response headers went out."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    grpc_status: int | None = None


class CodecSession(Protocol):
    """One stream in one wire protocol. Every method raises PeerError for what it cannot vouch for."""

    def read_request(self, chunk: bytes, *, eof: bool) -> Iterable[RequestMessage]:
        """Take request bytes; give the messages that they complete, read when they are asked for.

        Who does not ask for all of them must not go on with the session.
        """

    def write_request(self, key: int, edits: RequestEdits) -> bytes:
        """The bytes to forward for a message, edits spliced in. Called once per key, in order."""

    def request_head_edits(self) -> HeaderEdits:
        """What changes on the request head; asked once, when the head is released."""

    def read_response_head(self, head: ResponseHead) -> HeaderEdits:
        """Take the answer's head; give what changes on it."""

    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        """Take answer bytes; give the frames that they complete. What it holds back is bounded."""

    def write_response(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """A frame's bytes with ``texts`` in place of its deltas; equal texts leave it untouched.

        Of a run ``texts`` may be fewer than its deltas: then only the frames of the first ones are given.
        """

    def write_tail(self, key: int, channel: Channel, text: str) -> bytes:
        """A frame of the codec's own for text that was still held when the answer ended."""

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """The refusal while a real status can still be sent."""

    def refuse_in_answer(self, key: int, refusal: Refusal) -> bytes | None:
        """The refusal inside an answer that has begun; None where only cutting is left."""

    def refuse_one(self, key: int, refusal: Refusal) -> bytes | None:
        """What to forward in place of one refused request among several; None: refuse the stream."""


@runtime_checkable
class LateHead(Protocol):
    """A session whose answer's head tells of its body: a length, which edits change.

    It gives no byte of an answer before the answer is whole.
    """

    def response_head_edits(self) -> HeaderEdits:
        """What changes on the answer's head; asked once, when the head is released."""


@runtime_checkable
class ManyExchanges(Protocol):
    """A session whose client may ask more as long as it likes, and ends its side after the answers."""

    @property
    def pending_bytes(self) -> int:
        """Bytes of a message that is not whole yet."""

    def end_one(self, key: int, refusal: Refusal) -> bytes:
        """The refusal of one exchange within its answer; its later frames are read and not written."""


@runtime_checkable
class EndsInTrailers(LateHead, Protocol):
    """A session whose answer says in trailers how it ended; an answer without a body, in its head."""

    def read_response_trailers(self, trailers: Mapping[str, tuple[str, ...]]) -> None:
        """Take the trailers, before the end of the answer is read."""

    def response_trailer_edits(self) -> HeaderEdits:
        """What changes on the trailers; asked after the end of the answer is written."""


# What sessions of a type can do: isinstance() of a protocol looks at each member, which takes tens of
# microseconds.
_KNOWN: Final[dict[tuple[type, type], bool]] = {}


def has_late_head(session: CodecSession | None) -> TypeGuard[LateHead]:
    """Whether it is a ``LateHead``."""
    return _is(session, LateHead)


def has_many_exchanges(session: CodecSession) -> TypeGuard[ManyExchanges]:
    """Whether it has ``ManyExchanges``."""
    return _is(session, ManyExchanges)


def ends_in_trailers(session: CodecSession | None) -> TypeGuard[EndsInTrailers]:
    """Whether it ``EndsInTrailers``."""
    return _is(session, EndsInTrailers)


def _is(session: CodecSession | None, protocol: type) -> bool:
    kind = (type(session), protocol)
    known = _KNOWN.get(kind)
    if known is None:
        known = _KNOWN[kind] = isinstance(session, protocol)
    return known


class Codec(Protocol):
    """What a codec's module exports as ``CODEC``."""

    @property
    def name(self) -> str:
        """Stable name for records."""

    def accepts(self, head: RequestHead) -> bool:
        """Whether the request is in this protocol: decided by method and normalised path alone."""

    def open(self, head: RequestHead) -> CodecSession:
        """A session for one stream. Raises PeerError where the head alone rules it out."""

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """The refusal of a request for which no session was opened."""
