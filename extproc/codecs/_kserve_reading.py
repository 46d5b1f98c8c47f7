"""What the inputs and parameters of a KServe v2 request mean, on whichever wire they come.

The names of Triton's LLM backends are looked up in ``_triton_fields``; what each wire calls a tensor it
gives to :class:`InputsReading` as an :class:`Input`. Of tensors with any other name every string is scanned
(``inputs.*``), and numbers are UNSCANNED.TENSOR: they may be an image, or text that somebody encoded. A
string that is no UTF-8 is refused where its name is known, else it is UNSCANNED.TENSOR too. Sampling
tensors, and request parameters of any name, are for the schema guard; strings of parameters are scanned.

Refused: what stands twice (a field as a tensor and as a parameter, limits of two schemas), sequences (what
an earlier request said would be missing here), priority and timeout, every ``triton_`` name, shared memory.
"""

from __future__ import annotations

import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.codecs import _triton_fields as fields
from extproc.codecs._kserve_inputs import (
    ANY_INPUT,
    ANY_PARAMETER,
    ANY_SAMPLING,
    INPUT_IDS,
    IdSite,
    Input,
    Inputs,
    NumberSite,
    ParameterSite,
    Scalar,
    Site,
    TensorSite,
)
from extproc.codecs._kserve_names import content_of, fault, is_sampling
from extproc.codecs._kserve_tensors import BOOL, BYTES, INTEGERS
from extproc.codecs._media import is_data_address, is_encoded_kind
from extproc.codecs._sampling_document import SamplingDocument, read_sampling
from extproc.codecs._triton_fields import Kind, Meaning
from extproc.domain.segment import Origin, ParamPlace, Params, Role, Segment, Unscanned
from extproc.domain.verdict import Reason

if TYPE_CHECKING:
    from extproc.domain.limits import Limits

_PARAMETER_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{0,128}")
# Ids that say nothing, and are not worth a question to the classifier.
_MADE_ID: Final = re.compile(r"[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9]{0,9}")
# Different values of one sampling tensor, one for each prompt.
_SAMPLING_VALUES_MAX: Final = 64


class InputsReading:
    """Reads the inputs and parameters of one request, in the order of the wire."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._segments: list[Segment] = []
        self._sites: list[Site] = []
        self._unscanned: set[Unscanned] = set()
        self._tensors: dict[str, int] = {}
        self._shapes: list[tuple[int, ...]] = []
        self._document_text: tuple[int, str] | None = None
        self._document: tuple[int, SamplingDocument] | None = None
        self._limit_tensor: tuple[str, int] | None = None
        self._limit_parameter: tuple[str, int] | None = None
        self._flags: set[str] = set()
        self._names: set[str] = set()
        self._sampling: dict[str, Scalar] = {}
        self._places: dict[str, ParamPlace] = {}
        self._limit: int | None = None
        self._choices = 1

    # --- input -----------------------------------------------------------------------------------

    def request_id(self, text: str) -> None:
        """What the client calls its request: the model is told, and Triton may repeat it."""
        if _REQUEST_ID.fullmatch(text) is None:
            raise fault("id", "must be a string of at most 128 letters, digits or ._:-")
        if _MADE_ID.fullmatch(text) is None:
            self._add(text, "id", IdSite())

    def parameter(self, name: str, value: Scalar, written: str) -> None:
        """A request parameter; ``written`` is its value as text."""
        meaning = fields.meaning_of(name)
        if _PARAMETER_NAME.fullmatch(name) is None:
            raise fault(name, "has a name that no parameter has")
        if meaning.kind in {Kind.REFUSED, Kind.UNSCANNED, Kind.ADDRESS, Kind.SAMPLING}:
            raise fault(name, "is not allowed as a parameter", reason=Reason.PARAMETER_NOT_ALLOWED)
        if "\0" in written:
            # Triton ends a parameter's string there: the model would get a part of what was judged.
            raise fault(name, "must not hold a NUL character")
        if isinstance(value, bool) and meaning.sampling_name in fields.NOT_BOOLEAN:
            raise fault(name, "must not be a boolean")
        self._once(name, meaning)
        match meaning.kind:
            case Kind.LIMIT:
                self._limit_parameter = (name, self._take_limit(name, (value,)))
            case Kind.MULTIPLIER:
                self._multiply(name, (value,), meaning, ParamPlace.PARAMETERS)
            case Kind.FLAG | Kind.FLAG_OFF:
                self._flag(name, (value,), meaning)
            case _:
                self._setting(meaning, value, ParamPlace.PARAMETERS)
        digits = sum(map(written.count, "0123456789"))
        if isinstance(value, str) or digits > self._limits.number_digits_max:
            self._add(written, ANY_PARAMETER, ParameterSite(name))

    def tensor(self, one: Input) -> None:
        """The next input."""
        at = len(self._shapes)
        self._shapes.append(one.shape)
        if one.name in self._tensors:
            raise fault(one.name, "stands twice")
        self._tensors[one.name] = at
        meaning = fields.meaning_of(one.name)
        match meaning.kind:
            case Kind.PROMPT:
                self._prompt(at, one)
            case Kind.SAMPLING:
                self._once(one.name, meaning)
                self._document_text = (at, self._single(one))
            case Kind.LIMIT | Kind.MULTIPLIER | Kind.FLAG | Kind.FLAG_OFF:
                self._once(one.name, meaning)
                self._control(one, meaning)
            case Kind.UNSCANNED | Kind.ADDRESS:
                self._content(at, one, meaning)
            case Kind.REFUSED:
                self._refused(one)
            case Kind.PARAMETER if is_sampling(one.name):
                self._once(one.name, meaning)
                self._sampling_tensor(at, one, meaning)
            case _:
                self._other(at, one)

    def result(self, model: str) -> Inputs:
        """What was read.

        Raises:
            PeerError: the document within ``sampling_parameters`` is not sound, or limits are ambiguous.
        """
        if self._document_text is not None:
            self._read_document(*self._document_text)
        params = Params(
            model=model,
            stream=False,
            max_output_tokens=self._limit,
            choices_count=self._choices,
            sampling=MappingProxyType(self._sampling),
            sampling_places=MappingProxyType(self._places),
        )
        return Inputs(
            segments=tuple(self._segments),
            sites=tuple(self._sites),
            unscanned=frozenset(self._unscanned),
            params=params,
            tensors=MappingProxyType(self._tensors),
            shapes=tuple(self._shapes),
            document=self._document,
            limit_tensor=self._limit_tensor,
            limit_parameter=self._limit_parameter,
            flags=frozenset(self._flags),
        )

    # --- kinds of tensors ------------------------------------------------------------------------

    def _prompt(self, at: int, one: Input) -> None:
        self._need(one, BYTES)
        if one.name == fields.TEXT_INPUT:
            # Each of several prompts has an answer of its own.
            self._choices *= max(one.values_count, 1)
        self._strings(at, one, one.name)

    def _strings(self, at: int, one: Input, place: str) -> None:
        for element, text in enumerate(one.strings):
            if text is None:
                raise fault(one.name, "has a string that is no UTF-8")
            self._add(text, place, TensorSite(at, element))

    def _single(self, one: Input) -> str:
        self._need(one, BYTES)
        text = one.strings[0] if len(one.strings) == 1 else None
        if text is None:
            raise fault(one.name, "must be one string in UTF-8")
        return text

    def _control(self, one: Input, meaning: Meaning) -> None:
        """A limit, a multiplier or a flag."""
        if meaning.kind in {Kind.FLAG, Kind.FLAG_OFF}:
            self._need(one, BOOL)
        elif one.datatype not in INTEGERS:
            raise fault(one.name, "must be a tensor of integers")
        values = self._few(one)
        match meaning.kind:
            case Kind.LIMIT:
                self._limit_tensor = (one.name, self._take_limit(one.name, values))
            case Kind.MULTIPLIER:
                self._multiply(one.name, values, meaning, ParamPlace.BODY)
                self._long_numbers(values)
            case _:
                self._flag(one.name, values, meaning)
                if values[0]:
                    self._flags.add(one.name)

    def _sampling_tensor(self, at: int, one: Input, meaning: Meaning) -> None:
        values: tuple[Scalar, ...]
        if one.datatype == BOOL and meaning.sampling_name in fields.NOT_BOOLEAN:
            raise fault(one.name, "must not be a boolean")
        if one.datatype == BYTES:
            self._strings(at, one, ANY_INPUT)
            values = tuple([text for text in one.strings if text is not None])
        else:
            values = self._few(one)
            self._long_numbers(values)
        same = len(set(values)) == 1
        self._setting(meaning, values[0] if same else json.dumps(values), ParamPlace.BODY)

    def _content(self, at: int, one: Input, meaning: Meaning) -> None:
        """Content that is no text: by its kind, if it is what its name says."""
        kind = meaning.unscanned
        if kind is None:
            raise AssertionError("content of no kind")
        self._unscanned.add(kind)
        if one.name == INPUT_IDS and len(one.shape) > 1:
            self._choices *= max(one.shape[0], 1)
        if one.datatype != BYTES:
            if meaning.kind is Kind.ADDRESS:
                raise fault(one.name, f"must be a {BYTES} tensor")
            return
        if kind in {Unscanned.TOKEN_IDS, Unscanned.TENSOR}:
            # Strings where numbers belong are read like any other.
            self._strings(at, one, ANY_INPUT)
            return
        for text in one.strings:
            if text is None or not _is_upload(text, meaning, kind):
                raise fault(
                    one.name, f"must hold base64 of {kind} files", reason=Reason.PARAMETER_NOT_ALLOWED
                )

    def _refused(self, one: Input) -> None:
        """A name that no backend may be given, unless it is content by its beginning and of numbers."""
        kind = content_of(one.name)
        if kind is None or one.datatype == BYTES:
            raise fault(one.name, "is not allowed", reason=Reason.PARAMETER_NOT_ALLOWED)
        self._unscanned.add(kind)

    def _other(self, at: int, one: Input) -> None:
        if one.datatype != BYTES:
            kind = content_of(one.name)
            self._unscanned.add(kind or Unscanned.TENSOR)
            return
        for element, text in enumerate(one.strings):
            if text is None:
                self._unscanned.add(Unscanned.TENSOR)
            else:
                self._add(text, ANY_INPUT, TensorSite(at, element))

    def _read_document(self, at: int, text: str) -> None:
        document = read_sampling(text, beside=self._names, limits=self._limits)
        if document.limit is not None:
            self._take_limit(fields.MAX_TOKENS, (document.limit,))
        elif self._limit_parameter is not None:
            # vllm_backend does not look there: the limit that stands is none.
            raise fault(fields.MAX_TOKENS, f"stands beside {fields.SAMPLING}")
        self._document = (at, document)
        self._choices *= document.choices_count
        self._sampling.update(document.sampling)
        self._places.update(dict.fromkeys(document.sampling, ParamPlace.SAMPLING_PARAMETERS))
        for inner in document.texts:
            self._add(inner.value, ANY_SAMPLING, TensorSite(at, 0, inner))

    # --- values ----------------------------------------------------------------------------------

    def _once(self, name: str, meaning: Meaning) -> None:
        """Refuse a field that stands as a tensor and as a parameter, or under two names."""
        if meaning.sampling_name in self._names:
            raise fault(name, "stands twice")
        self._names.add(meaning.sampling_name)

    def _few(self, one: Input) -> tuple[int | float | bool, ...]:
        if one.datatype == BYTES or not 1 <= one.values_count <= _SAMPLING_VALUES_MAX:
            raise fault(one.name, f"must have from 1 to {_SAMPLING_VALUES_MAX} numbers")
        return one.numbers()

    def _take_limit(self, name: str, values: tuple[Scalar, ...]) -> int:
        if self._limit is not None:
            raise fault(name, "stands beside another limit of output tokens")
        self._limit = _count(name, values)
        return self._limit

    def _multiply(self, name: str, values: tuple[Scalar, ...], meaning: Meaning, place: ParamPlace) -> None:
        count = _count(name, values)
        self._choices *= count
        self._setting(meaning, count, place)

    def _flag(self, name: str, values: tuple[Scalar, ...], meaning: Meaning) -> None:
        if len(set(values)) != 1 or not isinstance(values[0], bool):
            raise fault(name, "must be true or false")
        if values[0] and meaning.kind is Kind.FLAG_OFF:
            raise fault(name, "is not allowed: token texts cannot be inspected")

    def _setting(self, meaning: Meaning, value: Scalar, place: ParamPlace) -> None:
        self._sampling[meaning.sampling_name] = value
        self._places[meaning.sampling_name] = place

    def _long_numbers(self, values: tuple[Scalar, ...]) -> None:
        """A whole number of more digits than quantities have is judged like text: a card's would fit."""
        for value in values:
            if isinstance(value, int) and abs(value) >= 10**self._limits.number_digits_max:
                self._add(str(value), ANY_INPUT, NumberSite())

    def _need(self, one: Input, datatype: str) -> None:
        if one.datatype != datatype:
            raise fault(one.name, f"must be a {datatype} tensor")

    def _add(self, text: str, place: str, site: Site) -> None:
        self._sites.append(site)
        self._segments.append(
            Segment(index=len(self._segments), text=text, role=Role.USER, origin=Origin.DIRECT, place=place)
        )


def _is_upload(text: str, meaning: Meaning, kind: Unscanned) -> bool:
    return is_data_address(text, kind) if meaning.kind is Kind.ADDRESS else is_encoded_kind(text, kind)


def _count(name: str, values: tuple[Scalar, ...]) -> int:
    """A limit or a multiplier: the same integer for each prompt."""
    first = values[0]
    sound = isinstance(first, int) and not isinstance(first, bool) and 1 <= first <= fields.COUNT_MAX
    if not sound or len(set(values)) != 1:
        raise fault(name, f"must be one integer from 1 to {fields.COUNT_MAX}")
    return int(first)
