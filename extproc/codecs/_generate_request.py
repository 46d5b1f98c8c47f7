"""The request of Triton's generate extension: where its text and its limits stand, for every LLM backend.

Triton flattens a request: a member of ``parameters`` whose name is a tensor's becomes that tensor, and a
top-level member that is none becomes a parameter. So both layers are one name space here, and a name that
stands in both is refused. What the names mean: ``_triton_fields``; ``sampling_parameters`` is a JSON
document within a string: ``_sampling_document``. Which backend the model has is not known while a request
is read, so that it is read for all of them, and one that means different things to two is refused.

Whatever string the codec does not know is a segment, to be scanned; whatever it can neither scan nor bound
is refused. A number of more digits than quantities have counts as a string, and so does the request's
``id`` unless it is a UUID or a short number. Images, sound and token ids are reported as unscanned, and
must be what their names say; of an address only ``data:`` passes, as the server would fetch any other.
Source: Triton's generate extension.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, NamedTuple, assert_never

from extproc.codecs import _triton_fields as fields
from extproc.codecs._media import is_data_address, is_encoded_kind
from extproc.codecs._sampling_document import SamplingDocument, read_sampling, whole_number
from extproc.codecs._triton_fields import Kind
from extproc.domain.errors import PeerError
from extproc.domain.segment import Origin, ParamPlace, Params, Role, Segment, Unscanned
from extproc.domain.verdict import Reason
from extproc.wire.json_leaves import leaves_of
from extproc.wire.strict_json import Array, Constant, Number, Object, Text, Value, locate, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.codecs._triton_fields import Meaning
    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{0,128}")
# Ids that say nothing: most clients', and not worth a question to the classifier.
_MADE_ID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9]{0,9}")


class Place(NamedTuple):
    """Where a segment's text stands: in the body, or within ``sampling_parameters``."""

    text: Text
    inner: bool


class Inner(NamedTuple):
    """What was read within ``sampling_parameters``, and the string of the body that holds it."""

    holder: Text
    read: SamplingDocument


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
    unscanned: frozenset[Unscanned]

    @property
    def client_id(self) -> str:
        """What the client calls its request; empty where it does not."""
        member = self.fields.get(fields.REQUEST_ID)
        return member.value.value if member is not None and isinstance(member.value, Text) else ""


def read_generate(body: bytes, *, model: str, stream: bool, limits: Limits) -> GenerateRequest:
    """Read a request's body; ``stream`` says that the path lets the answer stream.

    Raises:
        PeerError: it is no JSON object of a known schema, is ambiguous, or holds what cannot pass.
    """
    root = parse(body, limits=limits)
    if not isinstance(root, Object):
        raise PeerError(Reason.BODY_INVALID, "the body must be a JSON object")
    reading = _Reading(body, limits)
    reading.read(root)
    return reading.result(root, model=model, stream=stream)


class _Reading:
    """The state of reading one request."""

    def __init__(self, body: bytes, limits: Limits) -> None:
        self._body = body
        self._limits = limits
        self._fields: dict[str, Member] = {}
        self._parameters: Object | None = None
        self._holder: Text | None = None
        self._inner: Inner | None = None
        self._segments: list[Segment] = []
        self._places: list[Place] = []
        self._unscanned: set[Unscanned] = set()
        self._sampling: dict[str, str | int | float | bool] = {}
        self._sampling_places: dict[str, ParamPlace] = {}
        self._limit: int | None = None
        self._limit_name = ""
        # How many answers are asked for: multipliers, and one for each prompt.
        self._choices_count = 1
        # Whether the model is told to stream: without that it writes all before its first event.
        self._streams = False

    def read(self, root: Object) -> None:
        """Read the members of the body, and those of ``parameters`` as if they stood beside them."""
        for member in root.members.values():
            if member.name != fields.PARAMETERS:
                self._take(member, ParamPlace.BODY)
                continue
            if not isinstance(member.value, Object):
                raise self._fault(member, "must be an object")
            self._parameters = member.value
            for nested in member.value.members.values():
                self._take(nested, ParamPlace.PARAMETERS)
        if fields.TEXT_INPUT not in self._fields and Unscanned.TOKEN_IDS not in self._unscanned:
            raise PeerError(Reason.BODY_INVALID, "text_input is missing")
        if self._holder is not None:
            self._read_inner(self._holder)

    def result(self, root: Object, *, model: str, stream: bool) -> GenerateRequest:
        """What was read."""
        params = Params(
            model=model,
            stream=stream and self._streams,
            max_output_tokens=self._limit,
            choices_count=self._choices_count,
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
            unscanned=frozenset(self._unscanned),
        )

    # --- the members of both layers --------------------------------------------------------------

    def _take(self, member: Member, place: ParamPlace) -> None:
        name = member.name
        meaning = fields.meaning_of(name)
        if meaning.kind is Kind.REFUSED:
            raise self._fault(member, "is not allowed", reason=Reason.PARAMETER_NOT_ALLOWED)
        if fields.FIELD_NAME.fullmatch(name) is None:
            raise self._fault(member, "has a name that no parameter has")
        if name in self._fields:
            raise self._fault(member, "stands both at the top level and in parameters")
        self._fields[name] = member
        if name == fields.REQUEST_ID:
            self._request_id(member)
        else:
            self._value(member, meaning, place)

    def _value(self, member: Member, meaning: Meaning, place: ParamPlace) -> None:
        match meaning.kind:
            case Kind.PROMPT:
                self._prompt(member)
            case Kind.SAMPLING:
                self._holder = self._holds_document(member)
            case Kind.LIMIT:
                self._output_limit(member)
            case Kind.FLAG | Kind.FLAG_OFF:
                self._flag(member, may_be_true=meaning.kind is Kind.FLAG)
            case Kind.UNSCANNED | Kind.ADDRESS:
                self._content(member, meaning)
            case Kind.MULTIPLIER | Kind.PARAMETER | Kind.REFUSED:
                self._parameter(member, meaning, place)
            case never:
                assert_never(never)

    def _request_id(self, member: Member) -> None:
        """What the client calls its request: the model is told, and Triton may repeat it."""
        value = member.value
        if not isinstance(value, Text) or _REQUEST_ID.fullmatch(value.value) is None:
            raise self._fault(member, "must be a string of at most 128 letters, digits or ._:-")
        if _MADE_ID.fullmatch(value.value) is None:
            self._add(value, fields.REQUEST_ID)

    def _prompt(self, member: Member) -> None:
        """A tensor of one element, which is what Triton makes of a plain string too, or of several."""
        prompts = [value for value in _elements(member.value) if isinstance(value, Text)]
        if not prompts or len(prompts) < len(_elements(member.value)):
            raise self._fault(member, "must be a string or an array of strings")
        for prompt in prompts:
            if member.name != fields.TEXT_INPUT:
                self._whole(member, prompt)
            self._add(prompt, member.name)
        if member.name == fields.TEXT_INPUT:
            self._choices_count *= len(prompts)

    def _output_limit(self, member: Member) -> None:
        if self._limit_name:
            raise self._fault(member, "stands beside another limit of output tokens")
        self._limit_name = member.name
        self._limit = self._count(member)

    def _flag(self, member: Member, *, may_be_true: bool) -> None:
        value = member.value
        if not isinstance(value, Constant) or value.value is None:
            raise self._fault(member, "must be true or false")
        if value.value and not may_be_true:
            raise self._fault(member, "is not allowed: token texts cannot be inspected")
        self._streams |= value.value is True and member.name in fields.FLAGS_OF_STREAM

    def _content(self, member: Member, meaning: Meaning) -> None:
        """What is no text: numbers, or in a string base64 of a file, or its address."""
        kind = meaning.unscanned
        elements = _elements(member.value)
        if kind is None or not elements:
            raise self._fault(member, "is empty")
        for element in elements:
            if meaning.kind is Kind.ADDRESS:
                if not isinstance(element, Text) or not is_data_address(element.value, kind):
                    raise self._fault(member, "must be a data: address of what its name says, in base64")
            elif isinstance(element, Text):
                if not is_encoded_kind(element.value, kind):
                    raise self._fault(member, "must be numbers, or base64 of what its name says")
            elif not isinstance(element, Number):
                raise self._fault(member, "must be numbers or strings")
        self._unscanned.add(kind)

    def _parameter(self, member: Member, meaning: Meaning, place: ParamPlace) -> None:
        """A field that this codec has no rule for: named for the schema guard, and scanned."""
        name, value = meaning.sampling_name, member.value
        if name in self._sampling:
            raise self._fault(member, "stands twice, under two names")
        if meaning.kind is Kind.MULTIPLIER:
            self._choices_count *= self._count(member)
        self._sampling[name] = self._plain(member)
        if place is not ParamPlace.BODY:
            self._sampling_places[name] = place
        if name in fields.NOT_BOOLEAN and any(isinstance(one, Constant) for one in _elements(value)):
            raise self._fault(member, "must not be a boolean")
        if isinstance(value, Array) and sum(isinstance(one, Number) for one in value.items) > 1:
            # Characters can be written as numbers too.
            self._unscanned.add(Unscanned.TENSOR)
        for text in leaves_of(self._body, value, limits=self._limits):
            self._whole(member, text)
            self._add(text, "parameters.*")

    def _plain(self, member: Member) -> str | int | float | bool:
        """A field's value as a policy judges it; of an array with several elements its JSON text."""
        elements = _elements(member.value)
        for element in elements:
            if isinstance(element, (Array, Object)) or element.value is None:
                raise self._fault(member, "must be a string, a number, a boolean or an array of these")
        if len(elements) == 1:
            value = elements[0]
            if not isinstance(value, (Array, Object)) and value.value is not None:
                return value.value
        return self._body[member.value.start : member.value.end].decode()

    # --- the document within sampling_parameters -------------------------------------------------

    def _holds_document(self, member: Member) -> Text:
        if not isinstance(member.value, Text):
            raise self._fault(member, "must be a string that holds a JSON object")
        return member.value

    def _read_inner(self, holder: Text) -> None:
        read = read_sampling(holder.value, beside=self._sampling, limits=self._limits)
        self._inner = Inner(holder, read)
        if read.limit is not None:
            if self._limit_name and (self._limit_name != fields.MAX_TOKENS or self._limit != read.limit):
                raise PeerError(
                    Reason.BODY_INVALID, "sampling_parameters: max_tokens stands beside another limit"
                )
            self._limit = read.limit
        self._choices_count *= read.choices_count
        self._sampling.update(read.sampling)
        self._sampling_places.update(dict.fromkeys(read.sampling, ParamPlace.SAMPLING_PARAMETERS))
        for text in read.texts:
            self._add(text, "sampling_parameters.*", inner=True)

    # --- common ----------------------------------------------------------------------------------

    def _count(self, member: Member) -> int:
        number = whole_number(member.value)
        if number is None:
            raise self._fault(member, f"must be an integer from 1 to {fields.COUNT_MAX}")
        return number

    def _whole(self, member: Member, text: Text) -> None:
        """Refuse a text that the model would get in part: Triton ends a parameter's string at a NUL."""
        if "\0" in text.value:
            raise self._fault(member, "must not hold a NUL character")

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
        """Names a field of a schema, and of any other only its place: its name is the caller's own."""
        subject = member.name if member.name in fields.KNOWN_NAMES else "a parameter"
        return PeerError(reason, f"{subject} {what}; at {locate(self._body, member.start)}")


def _elements(value: Value) -> tuple[Value, ...]:
    """A tensor's elements: those of an array, or a value by itself."""
    return value.items if isinstance(value, Array) else (value,)
