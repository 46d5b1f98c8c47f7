"""Whether a model received what the filter had judged.

The rules are written down a second time on purpose: they share no table with the codecs.
"""

from __future__ import annotations

import json
import math
import struct
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from agreement_cases import Echo, Forwarded

from extproc.domain.segment import Backend, Unscanned

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


@dataclass(frozen=True)
class _Received:
    """One value of one field, in whichever place it stood."""

    name: str
    value: Scalar


def difference(one: Forwarded, echo: Echo) -> str | None:
    """What a model received that the codec had not judged; None where they agree."""
    document = _document(echo)
    received = [*_fields(one, echo, document)]
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
    document = json.loads(str(_element(held) if tensor else held))
    return document if isinstance(document, dict) else None


def _fields(one: Forwarded, echo: Echo, document: Mapping[str, object] | None) -> Iterator[_Received]:
    for name, elements in echo.inputs.items():
        if name != "sampling_parameters":
            yield from (_Received(name, _element(element)) for element in elements)
    for name, value in echo.parameters.items():
        # At the top of a flattened body the id is a parameter too.
        if name != "sampling_parameters" and not (name == "id" and one.case.flattened):
            yield from (_Received(name, leaf) for leaf in _leaves(value))
    for name, value in (document or {}).items():
        yield from (_Received(name, leaf) for leaf in _leaves(value))


def _element(element: object) -> Scalar:
    """A tensor's element; None of its bytes are lost where they are no text."""
    if isinstance(element, str):
        return element.encode("latin-1").decode(errors="surrogateescape")
    return element if isinstance(element, int | float) else str(element)


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
    fault = None if one.case.renamed else _id_difference(judged, echo, flattened=one.case.flattened)
    if fault is not None:
        return fault
    values = [entry.value for entry in received if entry.name not in _CONTENT]
    for text in (value for value in values if isinstance(value, str)):
        if _is_no_text(text) and Unscanned.TENSOR in one.message.unscanned:
            continue
        if not judged[text]:
            return "a text was not judged"
        judged[text] -= 1
    numbers = [value for value in values if not isinstance(value, str | bool)]
    return _number_difference([*judged.elements()], numbers)


def _is_no_text(text: str) -> bool:
    return any("\udc80" <= char <= "\udcff" for char in text)


def _id_difference(judged: Counter[str], echo: Echo, *, flattened: bool) -> str | None:
    """Takes the id out of what was judged."""
    # Within generate's parameters an id is only one of these.
    request_id = str(echo.parameters.get("id", echo.request_id)) if flattened else echo.request_id
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
        if segment.place == "id" and one.case.renamed:
            continue
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
    """Content is reported by its kind; numbers that no policy is shown, and several, could be text."""
    kinds = {_CONTENT[entry.name] for entry in received if entry.name in _CONTENT}
    if kinds - one.message.unscanned:
        return "content was not reported as unscanned"
    shown = frozenset() if one.case.flattened else frozenset(one.message.params.sampling)
    enough = 1 if one.case.flattened else 0
    several = [
        name
        for name, elements in echo.inputs.items()
        if name not in {*_CONTENT, *_LIMITS}
        and _short(name) not in shown
        and sum(type(element) in {int, float} for element in elements) > enough
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
        held = echo.parameters if document is None else document
        honoured = [held[name]] if name in held else []
    elif backend is Backend.TENSORRTLLM and "text_input" not in echo.inputs:
        # Ids of tokens go to its engine, which has a name of its own for it.
        honoured = [*echo.inputs.get("request_output_len", echo.inputs.get(name, ()))]
    else:
        honoured = [*echo.inputs.get(name, ())]
    if cap is None:
        return "a limit was not judged" if honoured else None
    if not honoured or any(type(limit) is not int or limit != cap for limit in honoured):
        return "the limit is not the cap"
    return None


def _field_difference(
    one: Forwarded, received: Sequence[_Received], echo: Echo, document: Mapping[str, object] | None
) -> str | None:
    """A policy is shown every field that it may have to judge, and none that is not there."""
    within = {*(document or {})} - {"max_tokens"}
    tensors = {_short(name) for name in {*echo.inputs} - _SILENT}
    silent = _SILENT if one.case.flattened else _SILENT - {"id", "text_input", "decoder_text_input"}
    must = {_short(name) for name in ({*echo.parameters} - silent) | within}
    shown = set(one.message.params.sampling)
    # Where tensors are no fields of a flattened body, those of any name are content and not settings.
    if not must <= shown <= must | tensors or (one.case.flattened and not tensors <= shown):
        return "the policy was shown other fields"
    count = max(len(echo.inputs.get("text_input", ())), 1)
    for name in {entry.name for entry in received if _short(entry.name) in _MULTIPLIERS}:
        # One for each prompt of a batch, all the same.
        count *= max(int(entry.value) for entry in received if entry.name == name)
    judged = one.message.params.choices_count
    # More than there are cost a caller room in its budget; fewer would cost everybody else's.
    return None if judged == count or (judged > count and not one.case.flattened) else "answers are more"


def _short(name: str) -> str:
    return name.removeprefix("sampling_param_")


def _usage_difference(one: Forwarded, echo: Echo) -> str | None:
    if not one.edits.ask_usage or one.case.backend not in {Backend.VLLM, Backend.TENSORRTLLM}:
        return None
    asked = all(echo.inputs.get(name) and all(echo.inputs[name]) for name in _USAGE)
    return None if asked else "counts were not asked for"
