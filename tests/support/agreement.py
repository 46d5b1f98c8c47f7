"""The differential fuzz: what a codec judged is what a real Triton's model received, or it was refused.

A grammar makes requests of one wire, valid ones and ones that are not quite; its link sends what the codec
forwards to a Triton whose models tell what they received (``echo_triton``). Whatever they received that
the codec had not judged, any limit above the cap, and any field the policy was not shown is a difference.
The rules here are written down a second time on purpose: they share no table with the codecs.

Another wire plugs in as a ``Grammar`` with the ``Link`` that speaks it.
"""

from __future__ import annotations

import json
import math
import random
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Final, Protocol

from extproc.codecs import codec_for, discover
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead
from extproc.domain.ports import Codec, RequestEdits, RequestMessage
from extproc.domain.segment import Backend, SegmentEdit, Unscanned

Scalar = str | int | float | bool
# Content that is no text: by the name of its field.
_CONTENT: Final[Mapping[str, Unscanned]] = {
    "image": Unscanned.IMAGE,
    "image_url": Unscanned.IMAGE,
    "image_url_input": Unscanned.IMAGE,
    "image_bytes_input": Unscanned.IMAGE,
    "input_ids": Unscanned.TOKEN_IDS,
    "prompt_embeds": Unscanned.TENSOR,
}
_LIMIT: Final = {
    Backend.VLLM: "max_tokens",
    Backend.TENSORRTLLM: "max_tokens",
    Backend.LLMAPI: "sampling_param_max_tokens",
}
_LIMITS: Final = frozenset({"max_tokens", "sampling_param_max_tokens", "request_output_len"})
_MULTIPLIERS: Final = frozenset({"n", "best_of", "beam_width", "num_return_sequences"})
# What is neither text nor a field that a policy judges.
_SILENT: Final = frozenset(
    {
        *("text_input", "decoder_text_input", "sampling_parameters", "id"),
        *("stream", "streaming", "exclude_input_in_output", "sampling_param_exclude_input_from_output"),
        *("return_finish_reason", "return_stop_reason", "return_cumulative_logprob", "return_logprobs"),
        *("return_num_input_tokens", "return_num_output_tokens"),
        *_LIMITS,
        *_CONTENT,
    }
)
_USAGE: Final = ("return_num_input_tokens", "return_num_output_tokens")
_QUANTITY_DIGITS_MAX: Final = 10
_MADE_ID_CHARS: Final = 36
_BATCH: Final = 16


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request as a client would send it."""

    path: str
    body: bytes
    backend: Backend
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Forwarded:
    """What the codec lets through of a case, and what it had judged of it."""

    case: Case
    body: bytes
    headers: Mapping[str, str]
    message: RequestMessage
    edits: RequestEdits


@dataclass(frozen=True, kw_only=True)
class Echo:
    """What a model received."""

    request_id: str
    parameters: Mapping[str, object]
    inputs: Mapping[str, Sequence[object]]


class Link(Protocol):
    """Sends requests of one wire to Triton."""

    def exchange(self, batch: Sequence[Forwarded]) -> Sequence[Echo | None]:
        """What the models received, in order; None where Triton refused."""


class Grammar(Protocol):
    """Makes requests of one wire."""

    @property
    def name(self) -> str:
        """As on the command line."""

    def case(self, rng: random.Random) -> Case:
        """A request, valid or not quite."""


@dataclass
class Tally:
    """What became of the cases. ``differences`` say where, and quote nothing but made-up requests."""

    cases: int = 0
    refused: int = 0
    accepted: int = 0
    declined: int = 0
    differences: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.cases} requests: {self.refused} refused by the codec, {self.accepted} forwarded,"
            f" {self.declined} of these declined by Triton; {len(self.differences)} differences"
        )


def echo_of(document: str) -> Echo:
    """An echo from the document that a model answers with."""
    seen = json.loads(document)
    return Echo(request_id=seen["id"], parameters=seen["parameters"], inputs=seen["inputs"])


def run(
    grammar: Grammar,
    link: Link,
    *,
    seed: int,
    cases: int,
    told: Callable[[Tally], None] = lambda _tally: None,
    overlooks: Callable[[Forwarded], Forwarded] = lambda one: one,
) -> Tally:
    """Try so many cases of a grammar. The same seed makes the same cases.

    ``overlooks`` is for those who test this: what a codec with a fault would say that it judged.
    """
    tally = Tally()
    forwarded = _forwarded(grammar, seed, cases, tally)
    while batch := tuple(islice(forwarded, _BATCH)):
        for one, echo in zip(batch, link.exchange(batch), strict=True):
            if echo is None:
                tally.declined += 1
            elif found := difference(overlooks(one), echo):
                tally.differences.append(f"{found}: {one.case.path} {one.case.body!r} -> {one.body!r}")
        told(tally)
    return tally


def _forwarded(grammar: Grammar, seed: int, cases: int, tally: Tally) -> Iterator[Forwarded]:
    codecs = discover()
    for number in range(cases):
        # One generator for each case: any of them can be made again by itself.
        rng = random.Random(f"{grammar.name} {seed} {number}")
        one = judge(codecs, grammar.case(rng), rng)
        tally.cases += 1
        if one is None:
            tally.refused += 1
        else:
            tally.accepted += 1
            yield one


# --- what the filter judges ------------------------------------------------------------------


def judge(codecs: Sequence[Codec], case: Case, rng: random.Random) -> Forwarded | None:
    """Let the codec read and write a case, with edits now and then; None where it refuses."""
    head = RequestHead(
        method="POST", path=case.path, headers={name: (value,) for name, value in case.headers.items()}
    )
    codec = codec_for(codecs, head)
    if codec is None:
        return None
    try:
        session = codec.open(head)
        cut = rng.randrange(len(case.body) + 1)
        messages = [
            *session.read_request(case.body[:cut], eof=False),
            *session.read_request(case.body[cut:], eof=True),
        ]
        if len(messages) != 1:
            raise AssertionError("a grammar's body holds exactly one request")
        edits = _edits(messages[0], case.backend, rng)
        body = session.write_request(0, edits)
    except PeerError:
        return None
    changes = session.request_head_edits()
    kept = {name: value for name, value in case.headers.items() if name not in changes.remove}
    return Forwarded(
        case=case, body=body, headers={**kept, **dict(changes.set)}, message=messages[0], edits=edits
    )


def _edits(message: RequestMessage, backend: Backend, rng: random.Random) -> RequestEdits:
    asked = message.params.max_output_tokens
    cap = rng.choice((None, 1, 7, 300))
    # What core makes of it: the smaller of the two, or whichever there is.
    cap = asked if cap is None else cap if asked is None else min(cap, asked)
    edits = []
    if rng.random() < 0.3:
        for segment in message.segments:
            if segment.text and rng.random() < 0.5:
                start = rng.randrange(len(segment.text))
                end = rng.randint(start + 1, len(segment.text))
                replacement = rng.choice(("", "[X]", 'é"\\\n', "😀"))
                if segment.place == "id":
                    replacement = "X"
                edits.append(
                    SegmentEdit(segment_index=segment.index, start=start, end=end, replacement=replacement)
                )
    return RequestEdits(
        segments=tuple(edits), cap_output_tokens=cap, ask_usage=rng.random() < 0.5, backend=backend
    )


# --- what the model received -----------------------------------------------------------------


@dataclass(frozen=True)
class _Received:
    """One value of one field, in whichever place it stood."""

    name: str
    value: Scalar


def difference(one: Forwarded, echo: Echo) -> str | None:
    """What a model received that the codec had not judged; None where they agree."""
    document = _document(echo)
    received = [*_fields(echo, document)]
    return (
        _text_difference(one, received, echo)
        or _content_difference(one, received, echo)
        or _limit_difference(one, echo, document)
        or _field_difference(one, received, echo, document)
        or _usage_difference(one, echo)
    )


def _document(echo: Echo) -> Mapping[str, object] | None:
    """What vllm_backend reads in ``sampling_parameters``: as Python does."""
    tensor = echo.inputs.get("sampling_parameters")
    held = tensor[0] if tensor else echo.parameters.get("sampling_parameters")
    if held is None:
        return None
    text = _text(held) if tensor else str(held)
    document = json.loads(text)
    return document if isinstance(document, dict) else None


def _text(element: object) -> str:
    """A tensor's element: its bytes came as code points."""
    return str(element).encode("latin-1").decode()


def _fields(echo: Echo, document: Mapping[str, object] | None) -> Iterator[_Received]:
    for name, elements in echo.inputs.items():
        if name != "sampling_parameters":
            yield from (
                _Received(name, _text(one) if isinstance(one, str) else one)  # type: ignore[arg-type] # a tensor's element.
                for one in elements
            )
    for name, value in echo.parameters.items():
        if name not in {"sampling_parameters", "id"}:
            yield from (_Received(name, leaf) for leaf in _leaves(value))
    for name, value in (document or {}).items():
        yield from (_Received(name, leaf) for leaf in _leaves(value))


def _leaves(value: object) -> Iterator[Scalar]:
    if isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, list):
        for item in value:
            yield from _leaves(item)
    elif isinstance(value, str | int | float):
        yield value


def _text_difference(one: Forwarded, received: Sequence[_Received], echo: Echo) -> str | None:
    judged = Counter(_judged_texts(one))
    fault = _id_difference(judged, echo)
    if fault is not None:
        return fault
    values = [entry.value for entry in received if entry.name not in _CONTENT]
    for text in (value for value in values if isinstance(value, str)):
        if not judged[text]:
            return "a text was not judged"
        judged[text] -= 1
    numbers = [value for value in values if not isinstance(value, str | bool)]
    return _number_difference([*judged.elements()], numbers)


def _id_difference(judged: Counter[str], echo: Echo) -> str | None:
    """Takes the id out of what was judged."""
    # At the top of a body it is the request's own id as well, within its parameters only one of these.
    request_id = str(echo.parameters.get("id", echo.request_id))
    if echo.request_id not in {"", request_id}:
        return "an id is two"
    if not _says_nothing(request_id):
        if not judged[request_id]:
            return "an id was not judged"
        judged[request_id] -= 1
    return None


def _number_difference(left: list[str], numbers: list[int | float]) -> str | None:
    """What is left of the judged texts must be numbers, and every long number one of them."""
    for is_same in (_is_number, _is_cut_off):
        for number in (*numbers,):
            same = next((text for text in left if is_same(text, number)), None)
            if same is not None:
                left.remove(same)
                numbers.remove(number)
    if any(isinstance(one, int) and len(str(abs(one))) > _QUANTITY_DIGITS_MAX for one in numbers):
        return "a long number was not judged"
    return "a text was judged and not received" if left else None


def _judged_texts(one: Forwarded) -> Iterator[str]:
    for segment in one.message.segments:
        edit = next((edit for edit in one.edits.segments if edit.segment_index == segment.index), None)
        if edit is None:
            yield segment.text
        else:
            yield segment.text[: edit.start] + edit.replacement + segment.text[edit.end :]


def _says_nothing(request_id: str) -> bool:
    digits = request_id.replace("-", "")
    if len(request_id) == _MADE_ID_CHARS:
        return all(char in "0123456789abcdefABCDEF" for char in digits)
    return len(request_id) < _QUANTITY_DIGITS_MAX and (not request_id or digits.isdigit())


def _is_number(text: str, number: float) -> bool:
    """Whether a text spells a number; Triton reads long ones, and tensors hold them, less exactly."""
    try:
        if isinstance(number, int):
            return int(text) == number
        value = float(text)
    except ValueError:
        return False
    try:
        single = struct.unpack("f", struct.pack("f", value))[0]
    except OverflowError:
        single = value
    return any(math.isclose(one, number, rel_tol=1e-12) for one in (value, single))


def _is_cut_off(text: str, number: float) -> bool:
    """Whether a number is what an integer tensor holds of a larger one: its low bits."""
    try:
        return isinstance(number, int) and (int(text) - number) % 2**32 == 0
    except ValueError:
        return False


def _content_difference(one: Forwarded, received: Sequence[_Received], echo: Echo) -> str | None:
    kinds = {_CONTENT[entry.name] for entry in received if entry.name in _CONTENT}
    if kinds - one.message.unscanned:
        return "content was not reported as unscanned"
    several = [
        name
        for name, elements in echo.inputs.items()
        if name not in _CONTENT and sum(type(element) in {int, float} for element in elements) > 1
    ]
    if several and Unscanned.TENSOR not in one.message.unscanned:
        return "numbers that could be text were not reported"
    return None


def _limit_difference(one: Forwarded, echo: Echo, document: Mapping[str, object] | None) -> str | None:
    backend, cap = one.case.backend, one.edits.cap_output_tokens
    name = _LIMIT.get(backend)
    if name is None:
        return None
    if backend is Backend.VLLM:
        honoured = (echo.parameters if document is None else document).get(name)
    else:
        honoured = next(iter(echo.inputs.get(name, ())), None)
    if cap is None:
        return None if honoured is None else "a limit was not judged"
    if type(honoured) is not int or honoured != cap:
        return "the limit is not the cap"
    return None


def _field_difference(
    one: Forwarded, received: Sequence[_Received], echo: Echo, document: Mapping[str, object] | None
) -> str | None:
    names = ({*echo.inputs, *echo.parameters} - _SILENT) | ({*(document or {})} - {"max_tokens"})
    shown = set(one.message.params.sampling)
    if {_short(name) for name in names} != shown:
        return "the policy was shown other fields"
    count = max(len(echo.inputs.get("text_input", ())), 1)
    for entry in received:
        if _short(entry.name) in _MULTIPLIERS:
            count *= int(entry.value)
    return None if count == one.message.params.choices_count else "the number of answers differs"


def _short(name: str) -> str:
    return name.removeprefix("sampling_param_")


def _usage_difference(one: Forwarded, echo: Echo) -> str | None:
    if not one.edits.ask_usage or one.case.backend not in {Backend.VLLM, Backend.TENSORRTLLM}:
        return None
    asked = all(list(echo.inputs.get(name, ())) == [True] for name in _USAGE)
    return None if asked else "counts were not asked for"
