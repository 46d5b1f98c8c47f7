"""Writes a ModelInferRequest with a plan's changes spliced in; what is not changed keeps its bytes.

What is added stands at the end of the message, in the form in which the request has its own tensors: raw
where those are raw, typed where they are typed. A field's place among others means nothing in protobuf, and
of repeated ones the order among themselves is kept.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from extproc.codecs import _kgrpc_schema as wire
from extproc.codecs._kgrpc_request import DECOY_MODEL, EMPTY_FINAL
from extproc.codecs._kgrpc_tensors import put_number, put_text, raw_numbers, typed_numbers
from extproc.codecs._kserve_plan import Added
from extproc.codecs._kserve_tensors import BOOL
from extproc.wire.protobuf_fields import (
    Edit,
    replaced,
    spliced,
    tagged_bytes,
    tagged_varint,
    varint,
)
from extproc.wire.splice import Splice

if TYPE_CHECKING:
    from collections.abc import Iterator

    from extproc.codecs._kgrpc_request import InferRequest
    from extproc.codecs._kserve_plan import Plan

_WISHED: Final = tagged_varint(wire.BOOL_PARAM, 1)


def write_infer(request: InferRequest, plan: Plan, *, sent_id: str | None) -> bytes:
    """The message with a plan's changes; the client's own bytes where there are none.

    With ``sent_id``, on a stream, it goes on under that id and asks for an empty final response.
    """
    edits = [put_text(request.tensors[at].pieces[of], text) for (at, of), text in plan.texts.items()]
    edits += [put_number(request.tensors[at], number) for at, number in plan.numbers.items()]
    edits += _parameters(request, plan)
    standing = request.parameters.get(EMPTY_FINAL)
    if sent_id is not None and standing is not None and not standing.value:
        edits.append(Edit((standing.entry,), replaced(standing.choice, _WISHED)))
    written_id = plan.request_id if sent_id is None else sent_id
    if written_id is not None and request.id_field is not None:
        edits.append(Edit((), replaced(request.id_field, written_id.encode())))
    added = b"".join(_added(request, plan, sent_id))
    if added:
        end = len(request.payload)
        edits.append(Edit((), Splice(end, end, added)))
    return spliced(request.payload, edits) if edits else request.payload


def decoy(sent_id: str, model: str) -> bytes:
    """A request that Triton answers with an error in band, and of which its model sees nothing.

    Triton 2.51 aborts where it reports an unknown model on a stream while a decoupled model answers on it.
    So it names a model that runs there already, with an input that no model has; ``DECOY_MODEL`` only where
    none runs.
    """
    tensor = Added(name=DECOY_MODEL, datatype=BOOL, shape=(1,), value=True)
    return b"".join(
        (
            tagged_bytes(wire.MODEL_NAME, model.encode()),
            tagged_bytes(wire.ID, sent_id.encode()),
            tagged_bytes(wire.INPUTS, _tensor(tensor, 1, raw=False)),
        )
    )


def parameter(tag: int, name: str, choice: bytes) -> bytes:
    """An entry of a map of parameters."""
    entry = tagged_bytes(wire.KEY, name.encode()) + tagged_bytes(wire.VALUE, choice)
    return tagged_bytes(tag, entry)


def _parameters(request: InferRequest, plan: Plan) -> Iterator[Edit]:
    """New values of parameters that stand."""
    for name, value in plan.parameters.items():
        one = request.parameters[name]
        # A number that was judged as text stays what it is called: the model gets the text.
        choice = (
            tagged_bytes(wire.STRING_PARAM, value.encode())
            if isinstance(value, str)
            else tagged_varint(wire.INT64_PARAM, value)
        )
        yield Edit((one.entry,), replaced(one.choice, choice))


def _added(request: InferRequest, plan: Plan, sent_id: str | None) -> Iterator[bytes]:
    for tensor in plan.added:
        count = math.prod(tensor.shape)
        yield tagged_bytes(wire.INPUTS, _tensor(tensor, count, raw=request.raw))
        if request.raw:
            raw = raw_numbers(tensor.datatype, tensor.value, count)
            yield tagged_bytes(wire.RAW_INPUTS, raw)
    for name in plan.outputs:
        yield tagged_bytes(wire.OUTPUTS, tagged_bytes(wire.NAME, name.encode()))
    for name, value in plan.added_parameters.items():
        yield parameter(wire.PARAMETERS, name, tagged_varint(wire.INT64_PARAM, value))
    if sent_id is None:
        return
    if request.id_field is None:
        yield tagged_bytes(wire.ID, sent_id.encode())
    if EMPTY_FINAL not in request.parameters:
        yield parameter(wire.PARAMETERS, EMPTY_FINAL, _WISHED)


def _tensor(one: Added, count: int, *, raw: bool) -> bytes:
    message = [
        tagged_bytes(wire.NAME, one.name.encode()),
        tagged_bytes(wire.DATATYPE, one.datatype.encode()),
        tagged_bytes(wire.SHAPE, b"".join(map(varint, one.shape))),
    ]
    if not raw:
        message.append(tagged_bytes(wire.CONTENTS, typed_numbers(one.datatype, one.value, count)))
    return b"".join(message)
