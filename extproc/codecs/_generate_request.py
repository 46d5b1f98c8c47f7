"""The request of Triton's generate extension in vllm_backend's schema: where its text and its limits stand.

Triton flattens a request: a member of ``parameters`` whose name is a tensor's becomes that tensor, and a
top-level member that is none becomes a parameter. So both layers are one name space here, and a name that
stands in both is refused. ``sampling_parameters`` is a JSON document within a string; where it is present
vllm_backend ignores ``parameters``. Whatever string the codec does not know is a segment, to be scanned;
whatever it can neither scan nor bound is refused. A number of more digits than quantities have counts as a
string, and so does the request's ``id`` unless it is a UUID or a short number. Sources: Triton's generate
extension, vllm_backend.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, assert_never

from extproc.domain.errors import PeerError
from extproc.domain.segment import Origin, ParamPlace, Params, Role, Segment
from extproc.domain.verdict import Reason
from extproc.wire.json_leaves import leaves_of
from extproc.wire.strict_json import (
    Array,
    Constant,
    Member,
    Number,
    Object,
    Text,
    Value,
    keys_of,
    locate,
    parse,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.domain.limits import Limits

REQUEST_ID = "id"
TEXT_INPUT = "text_input"
PARAMETERS = "parameters"
SAMPLING = "sampling_parameters"
MAX_TOKENS = "max_tokens"
USAGE_FLAGS = ("return_num_input_tokens", "return_num_output_tokens")

_FLAGS = frozenset(
    {"stream", "exclude_input_in_output", "return_finish_reason", "return_cumulative_logprob", *USAGE_FLAGS}
)
# Log probabilities repeat the answer token by token, where no scanner could follow an entity.
_FLAGS_OFF = frozenset({"return_logprobs"})
_MULTIPLIERS = frozenset({"n", "best_of", "beam_width", "num_return_sequences"})
# What cannot be inspected (images, tensors elsewhere), reads the server's files, or steers the scheduler.
_REFUSED = frozenset(
    {
        "binary_data",
        "binary_data_output",
        "binary_data_size",
        "embedding_request",
        "lora_path",
        "lora_weights",
        "priority",
        "prompt_embeds",
        "timeout",
    }
)
_REFUSED_PREFIXES = ("audio", "image", "multi_modal", "sequence_", "shared_memory_", "triton_", "video")

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
# Keys within sampling parameters: names of fields, numbers of tokens, names in a JSON schema.
_INNER_KEY = re.compile(r"[A-Za-z0-9_$.-]{0,64}")
_REQUEST_ID = re.compile(r"[A-Za-z0-9_.:-]{0,128}")
# Ids that say nothing: most clients', and not worth a question to the classifier.
_MADE_ID = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9]{0,9}")
_COUNT_MAX = 2**31 - 1
_KNOWN_NAMES = frozenset(
    {
        *(REQUEST_ID, TEXT_INPUT, PARAMETERS, SAMPLING, MAX_TOKENS),
        *(*_FLAGS, *_FLAGS_OFF, *_MULTIPLIERS, *_REFUSED),
    }
)


class Place(NamedTuple):
    """Where a segment's text stands: in the body, or within ``sampling_parameters``."""

    text: Text
    inner: bool


class Inner(NamedTuple):
    """The document within ``sampling_parameters``: the string that holds it, its bytes, its root."""

    holder: Text
    document: bytes
    root: Object


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerateRequest:
    """A request as it was read. ``fields`` are the members of both layers by name."""

    body: bytes
    root: Object
    parameters: Object | None
    fields: Mapping[str, Member]
    inner: Inner | None
    segments: tuple[Segment, ...]
    places: tuple[Place, ...]
    params: Params

    @property
    def client_id(self) -> str:
        """What the client calls its request; empty where it does not."""
        member = self.fields.get(REQUEST_ID)
        return member.value.value if member is not None and isinstance(member.value, Text) else ""


def read_generate(body: bytes, *, model: str, stream: bool, limits: Limits) -> GenerateRequest:
    """Read a request's body.

    Raises:
        PeerError: it is no JSON object of this schema, is ambiguous, or holds what cannot be inspected.
    """
    root = parse(body, limits=limits)
    if not isinstance(root, Object):
        raise PeerError(Reason.BODY_INVALID, "the body must be a JSON object")
    reading = _Reading(body, limits)
    reading.outer(root)
    return reading.result(root, model=model, stream=stream)


class _Reading:
    """The state of reading one request."""

    def __init__(self, body: bytes, limits: Limits) -> None:
        self._body = body
        # Where faults are located: the body, then the document within it.
        self._located_in = body
        self._prefix = ""
        self._limits = limits
        self._fields: dict[str, Member] = {}
        self._parameters: Object | None = None
        self._inner: Inner | None = None
        self._segments: list[Segment] = []
        self._places: list[Place] = []
        self._sampling: dict[str, str | int | float | bool] = {}
        self._sampling_places: dict[str, ParamPlace] = {}
        self._outer_max: int | None = None
        self._inner_max: int | None = None

    def outer(self, root: Object) -> None:
        """Read the members of the body, and those of ``parameters`` as if they stood beside them."""
        for member in root.members.values():
            if member.name != PARAMETERS:
                self._take(member)
                continue
            if not isinstance(member.value, Object):
                raise self._fault(member, "must be an object")
            self._parameters = member.value
            for nested in member.value.members.values():
                self._take(nested)
            self._stand_in(ParamPlace.PARAMETERS, member.value)
        if TEXT_INPUT not in self._fields:
            raise PeerError(Reason.BODY_INVALID, "text_input is missing")
        if self._inner is not None:
            self._read_inner(self._inner)

    def result(self, root: Object, *, model: str, stream: bool) -> GenerateRequest:
        """What was read."""
        choices_count = 1
        for name in _MULTIPLIERS & self._sampling.keys():
            choices_count *= int(self._sampling[name])
        # vllm_backend looks at one place only: the string where there is one, else the parameters.
        max_tokens = self._outer_max if self._inner is None else self._inner_max
        params = Params(
            model=model,
            stream=stream,
            max_output_tokens=max_tokens,
            choices_count=choices_count,
            sampling=MappingProxyType(self._sampling),
            sampling_places=MappingProxyType(self._sampling_places),
        )
        return GenerateRequest(
            body=self._body,
            root=root,
            parameters=self._parameters,
            fields=MappingProxyType(self._fields),
            inner=self._inner,
            segments=tuple(self._segments),
            places=tuple(self._places),
            params=params,
        )

    # --- the body --------------------------------------------------------------------------------

    def _take(self, member: Member) -> None:
        name = self._name_of(member)
        if name in self._fields:
            raise self._fault(member, "stands both at the top level and in parameters")
        self._fields[name] = member
        value = member.value
        if name == TEXT_INPUT:
            self._add(self._prompt(member), TEXT_INPUT)
        elif name == SAMPLING:
            self._inner = self._open_inner(member)
        elif name == MAX_TOKENS:
            self._outer_max = self._count(member)
        elif name == REQUEST_ID:
            self._request_id(member)
        elif name in _FLAGS or name in _FLAGS_OFF:
            if not isinstance(value, Constant) or value.value is None:
                raise self._fault(member, "must be true or false")
            if value.value and name in _FLAGS_OFF:
                raise self._fault(member, "is not allowed: token texts cannot be inspected")
        else:
            self._scalar(member)

    def _request_id(self, member: Member) -> None:
        """What the client calls its request: the model is told, and Triton may repeat it."""
        value = member.value
        if not isinstance(value, Text) or _REQUEST_ID.fullmatch(value.value) is None:
            raise self._fault(member, "must be a string of at most 128 letters, digits or ._:-")
        if _MADE_ID.fullmatch(value.value) is None:
            self._add(value, REQUEST_ID)

    def _prompt(self, member: Member) -> Text:
        value = member.value
        if isinstance(value, Array) and len(value.items) == 1:
            # A tensor of one element, which is what Triton makes of the plain string too.
            value = value.items[0]
        if not isinstance(value, Text):
            raise self._fault(member, "must be a string or an array of exactly one string")
        return value

    def _scalar(self, member: Member) -> None:
        """A request parameter that this codec has no rule for: named for the schema guard, and scanned."""
        name, value = member.name, member.value
        if isinstance(value, (Array, Object)) or value.value is None:
            raise self._fault(member, "must be a string, a number or a boolean")
        if name in _MULTIPLIERS:
            self._count(member)
        self._sampling[name] = value.value
        for text in leaves_of(self._body, value, limits=self._limits):
            self._add(text, "parameters.*")

    # --- the document within sampling_parameters -------------------------------------------------

    def _open_inner(self, member: Member) -> Inner:
        if not isinstance(member.value, Text):
            raise self._fault(member, "must be a string that holds a JSON object")
        document = member.value.value.encode()
        try:
            root = parse(document, limits=self._limits)
        except PeerError as error:
            raise PeerError(error.reason, f"in {SAMPLING}: {error.message}") from None
        if not isinstance(root, Object):
            raise self._fault(member, "must hold a JSON object")
        return Inner(member.value, document, root)

    def _read_inner(self, inner: Inner) -> None:
        self._located_in, self._prefix = inner.document, f"{SAMPLING}: "
        self._stand_in(ParamPlace.SAMPLING_PARAMETERS, inner.root)
        for name, member in inner.root.members.items():
            self._name_of(member)
            if name == MAX_TOKENS:
                self._inner_max = self._count(member)
                continue
            if name in self._fields:
                raise self._fault(member, "stands beside sampling_parameters too")
            if name in _MULTIPLIERS:
                self._count(member)
            for key in keys_of(member.value):
                if _INNER_KEY.fullmatch(key) is None:
                    raise self._fault(member, "has a key that is not a name")
            self._sampling[name] = self._plain(member)
            for text in leaves_of(inner.document, member.value, limits=self._limits):
                self._add(text, "sampling_parameters.*", inner=True)

    def _plain(self, member: Member) -> str | int | float | bool:
        """A sampling parameter's value; arrays and objects as their own JSON text."""
        match member.value:
            case Text(value=value):
                return value
            case Number(value=number):
                return number
            case Constant(value=flag):
                if flag is None:
                    raise self._fault(member, "must not be null")
                return flag
            case Array(start=start, end=end) | Object(start=start, end=end):
                return self._located_in[start:end].decode()
            case never:
                assert_never(never)

    def _stand_in(self, place: ParamPlace, holder: Object) -> None:
        """No name stands twice, so that each has one place."""
        self._sampling_places.update(dict.fromkeys(holder.members, place))

    # --- common ----------------------------------------------------------------------------------

    def _name_of(self, member: Member) -> str:
        name = member.name
        if name in _REFUSED or name.startswith(_REFUSED_PREFIXES):
            raise self._fault(member, "is not allowed", reason=Reason.PARAMETER_NOT_ALLOWED)
        if _NAME.fullmatch(name) is None:
            raise self._fault(member, "has a name that no parameter has")
        return name

    def _count(self, member: Member) -> int:
        value: Value = member.value
        number = value.value if isinstance(value, Number) else None
        if not isinstance(number, int) or not 1 <= number <= _COUNT_MAX:
            raise self._fault(member, f"must be an integer from 1 to {_COUNT_MAX}")
        return number

    def _add(self, text: Text, place: str, *, inner: bool = False) -> None:
        self._places.append(Place(text, inner))
        self._segments.append(
            Segment(
                index=len(self._segments),
                text=text.value,
                role=Role.USER,
                origin=Origin.DIRECT,
                place=place,
            )
        )

    def _fault(self, member: Member, what: str, *, reason: Reason = Reason.BODY_INVALID) -> PeerError:
        """Names a field of the schema, and of any other only its place: its name is the caller's own."""
        name = member.name
        subject = name if name in _KNOWN_NAMES else "a parameter"
        where = locate(self._located_in, member.start)
        return PeerError(reason, f"{self._prefix}{subject} {what}; at {where}")
