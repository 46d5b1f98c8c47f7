"""What changes in a KServe v2 request, on whichever wire: redactions, the cap, the wish for counts.

The cap is written wherever a limit above it stands, and added where the model's backend looks for it:
``max_tokens`` in the document of ``sampling_parameters`` where there is one, else in the request's
parameters (vLLM), a tensor (TensorRT-LLM). A backend without a limit gets none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Final, assert_never

from extproc.codecs import _triton_fields as fields
from extproc.codecs._kserve_inputs import IdSite, NumberSite, ParameterSite, TensorSite
from extproc.codecs._kserve_tensors import BOOL
from extproc.codecs._sampling_document import write_sampling
from extproc.domain.errors import PeerError
from extproc.domain.segment import Backend
from extproc.domain.verdict import Reason
from extproc.wire.splice import Splice, encode_string

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from extproc.codecs._kserve_inputs import Inputs
    from extproc.domain.ports import RequestEdits
    from extproc.domain.segment import SegmentEdit

_INT32: Final = "INT32"


@dataclass(frozen=True, slots=True, kw_only=True)
class Added:
    """A tensor to add, with the same value for each prompt."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    value: int | bool


@dataclass(slots=True, kw_only=True)
class Plan:
    """What changes.

    ``texts`` are new strings by input and element, ``numbers`` new values of all elements of an input,
    ``parameters`` new values of those that stand and ``added_parameters`` of those that do not. ``outputs``
    must be asked for where the client lists outputs; ``hidden`` are outputs that it had not asked for.
    """

    texts: dict[tuple[int, int], str] = field(default_factory=dict)
    numbers: dict[int, int | bool] = field(default_factory=dict)
    parameters: dict[str, str | int] = field(default_factory=dict)
    added_parameters: dict[str, int] = field(default_factory=dict)
    added: list[Added] = field(default_factory=list)
    request_id: str | None = None
    outputs: tuple[str, ...] = ()
    hidden: frozenset[str] = frozenset()


def plan_edits(inputs: Inputs, edits: RequestEdits, *, outputs: Collection[str] | None) -> Plan:
    """What the edits make of a request.

    Args:
        inputs: The request.
        edits: What the guards want.
        outputs: The names of the outputs that the client lists; None where it lists none and gets all.

    Raises:
        PeerError: a number of a tensor would have to be redacted.
    """
    plan = Plan()
    inner = _texts(inputs, edits.segments, plan)
    _cap(inputs, edits, inner, plan)
    if edits.ask_usage:
        _ask_usage(inputs, edits.backend, outputs, plan)
    return plan


def edited(text: str, edits: Iterable[SegmentEdit]) -> str:
    """A text with its edits applied; of what any of them covers nothing stays."""
    pieces: list[str] = []
    position = 0
    for edit in sorted(edits, key=attrgetter("start")):
        pieces += (text[position : max(edit.start, position)], edit.replacement)
        position = max(position, edit.end)
    pieces.append(text[position:])
    return "".join(pieces)


def _texts(inputs: Inputs, edits: Iterable[SegmentEdit], plan: Plan) -> list[Splice]:
    """The edited segments; those of the document as splices of it."""
    inner: list[Splice] = []
    by_segment = attrgetter("segment_index")
    for index, of_segment in groupby(sorted(edits, key=by_segment), key=by_segment):
        before = inputs.segments[index].text
        after = edited(before, of_segment)
        if after == before:
            continue
        match inputs.sites[index]:
            case TensorSite(inner=None) as site:
                plan.texts[site.at, site.element] = after
            case TensorSite(inner=within) if within is not None:
                inner.append(Splice(within.start, within.end, encode_string(after)))
            case ParameterSite(name=name):
                plan.parameters[name] = after
            case IdSite():
                plan.request_id = after
            case NumberSite():
                raise PeerError(Reason.BODY_INVALID, "a tensor holds a number that may not be sent")
            case TensorSite():
                raise AssertionError("a site is within a document or not")
            case never:
                assert_never(never)
    return inner


def _cap(inputs: Inputs, edits: RequestEdits, inner: list[Splice], plan: Plan) -> None:
    cap, of_backend = edits.cap_output_tokens, fields.FIELDS_OF[edits.backend]
    if inputs.document is not None:
        at, document = inputs.document
        text = write_sampling(document, inner, cap=cap, inject=of_backend.sampling_document)
        if text is not None:
            plan.texts[at, 0] = text
    if cap is None:
        return
    if inputs.limit_tensor is not None and inputs.limit_tensor[1] > cap:
        plan.numbers[inputs.tensors[inputs.limit_tensor[0]]] = cap
    if inputs.limit_parameter is not None and inputs.limit_parameter[1] > cap:
        plan.parameters[inputs.limit_parameter[0]] = cap
    if of_backend.limit is None or (of_backend.sampling_document and inputs.document is not None):
        return
    if of_backend.limit_datatype is None:
        if inputs.limit_parameter is None or inputs.limit_parameter[0] != of_backend.limit:
            plan.added_parameters[of_backend.limit] = cap
        return
    name = inputs.limit_field if edits.backend is Backend.TENSORRTLLM else of_backend.limit
    if name not in inputs.tensors:
        plan.added.append(Added(name=name, datatype=_INT32, shape=inputs.shape_beside(), value=cap))


def _ask_usage(inputs: Inputs, backend: Backend, outputs: Collection[str] | None, plan: Plan) -> None:
    unlisted: list[str] = []
    hidden: set[str] = set()
    for flag in fields.FIELDS_OF[backend].usage_flags:
        output = flag.removeprefix("return_")
        asked = flag in inputs.flags
        at = inputs.tensors.get(flag)
        if at is None:
            shape = inputs.shape_beside()
            plan.added.append(Added(name=flag, datatype=BOOL, shape=shape, value=True))
        elif not asked:
            plan.numbers[at] = True
        listed = outputs is None or output in outputs
        if not listed:
            unlisted.append(output)
        if not (asked and listed):
            hidden.add(output)
    plan.outputs, plan.hidden = tuple(unlisted), frozenset(hidden)
