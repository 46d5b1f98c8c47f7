"""The request of KServe v2's infer over HTTP: read into tensors and their meaning, and written again.

The document may have ``id``, ``parameters``, ``inputs`` and ``outputs`` and nothing else: of members that
it does not know Triton says nothing. What inputs and parameters mean: ``_kserve_reading``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from extproc.codecs._kserve_inputs import Input, Inputs
from extproc.codecs._kserve_reading import InputsReading
from extproc.codecs._kserve_splices import TensorEdits
from extproc.codecs._kserve_tensors import (
    BOOL,
    PARAMETERS,
    SHARED_MEMORY,
    TENSOR_NAME,
    Body,
    Tensor,
    numbers_of,
    read_tensors,
)
from extproc.domain.errors import PeerError
from extproc.domain.verdict import Reason
from extproc.wire.splice import Splice, encode_string, insert_members
from extproc.wire.strict_json import Array, Constant, Number, Object, Text, parse

if TYPE_CHECKING:
    from collections.abc import Iterable

    from extproc.codecs._kserve_plan import Added, Plan
    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member, Value

# Whether outputs that are not listed come in the tail: of the answer's form only.
BINARY_OUTPUT: Final = "binary_data_output"
_MEMBERS: Final = frozenset({"id", PARAMETERS, "inputs", "outputs"})
_OUTPUT_MEMBERS: Final = frozenset({"name", PARAMETERS})
# ``classification`` asks for the best so many classes in place of their scores.
_OUTPUT_PARAMETERS: Final = frozenset({"binary_data", "classification"})


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """A request as it was read. ``outputs`` are the names of those that are listed; None means all."""

    body: Body
    root: Object
    tensors: tuple[Tensor, ...]
    inputs: Inputs
    outputs: frozenset[str] | None

    @property
    def client_id(self) -> str:
        """What the client calls its request; empty where it does not."""
        member = self.root.members.get("id")
        return member.value.value if member is not None and isinstance(member.value, Text) else ""


def read_infer(body: Body, *, model: str, limits: Limits) -> InferRequest:
    """Read a request's body.

    Raises:
        PeerError: it is no request of this protocol, is ambiguous, or holds what cannot be inspected.
    """
    root = parse(body.document, limits=limits)
    if not isinstance(root, Object):
        raise PeerError(Reason.BODY_INVALID, "the body must be a JSON object")
    if not _MEMBERS.issuperset(root.members):
        allowed = ", ".join(sorted(_MEMBERS))
        raise PeerError(Reason.BODY_INVALID, f"the body has a member that is none of {allowed}")
    tensors = read_tensors(body, _listed(root, "inputs").items, limits=limits)
    reading = InputsReading(limits)
    request_id = root.members.get("id")
    if request_id is not None:
        if not isinstance(request_id.value, Text):
            raise PeerError(Reason.BODY_INVALID, "id must be a string")
        reading.request_id(request_id.value.value)
    for tensor in tensors:
        reading.tensor(_input(body, tensor))
    for member in _parameters(root):
        _parameter(body, member, reading)
    return InferRequest(
        body=body,
        root=root,
        tensors=tensors,
        inputs=reading.result(model),
        outputs=(_outputs(_listed(root, "outputs")) or None) if "outputs" in root.members else None,
    )


def write_infer(request: InferRequest, plan: Plan) -> Body:
    """The body with a plan's changes; itself where there are none."""
    edits = TensorEdits(request.body, request.tensors)
    for (at, element), text in plan.texts.items():
        edits.put_text(at, element, text)
    for at, number in plan.numbers.items():
        edits.put_number(at, number)
    if plan.added:
        edits.document.append(_appended(_listed(request.root, "inputs"), map(_added, plan.added)))
    if plan.outputs:
        asked = [
            b'{"name":' + encode_string(name) + b',"parameters":{"binary_data":false}}'
            for name in plan.outputs
        ]
        edits.document.append(_appended(_listed(request.root, "outputs"), asked))
    if plan.request_id is not None:
        edits.document.append(_replaced(request.root.members["id"].value, plan.request_id))
    edits.document += _written_parameters(request.root, plan)
    return edits.written()


# --- reading -------------------------------------------------------------------------------------


def _listed(root: Object, name: str) -> Array:
    member = root.members.get(name)
    if member is None or not isinstance(member.value, Array):
        raise PeerError(Reason.BODY_INVALID, f"{name} must be an array")
    return member.value


def _input(body: Body, tensor: Tensor) -> Input:
    return Input(
        name=tensor.name.value,
        datatype=tensor.datatype,
        shape=tensor.shape,
        values_count=tensor.values_count,
        strings=tuple([piece.text for piece in tensor.pieces]),
        numbers=partial(numbers_of, body, tensor),
    )


def _parameters(root: Object) -> Iterable[Member]:
    member = root.members.get(PARAMETERS)
    if member is None:
        return ()
    if not isinstance(member.value, Object):
        raise PeerError(Reason.BODY_INVALID, "parameters must be an object")
    return member.value.members.values()


def _parameter(body: Body, member: Member, reading: InputsReading) -> None:
    value = member.value
    if isinstance(value, Array | Object) or value.value is None:
        raise PeerError(Reason.BODY_INVALID, "a parameter must be a string, a number or a boolean")
    if member.name == BINARY_OUTPUT:
        if not isinstance(value, Constant):
            raise PeerError(Reason.BODY_INVALID, f"{BINARY_OUTPUT} must be true or false")
        return
    written = value.value if isinstance(value, Text) else body.document[value.start : value.end].decode()
    reading.parameter(member.name, value.value, written)


def _outputs(listed: Array) -> frozenset[str]:
    """The names of the outputs that are asked for."""
    names: set[str] = set()
    for item in listed.items:
        name = item.members.get("name") if isinstance(item, Object) else None
        if not isinstance(item, Object) or not _OUTPUT_MEMBERS.issuperset(item.members):
            raise _output_fault("must be an object with a name and parameters, and nothing else")
        if name is None or not isinstance(name.value, Text) or not TENSOR_NAME.fullmatch(name.value.value):
            raise _output_fault("must have a name that a tensor can have")
        if name.value.value in names:
            raise _output_fault("has the name of another")
        names.add(name.value.value)
        if PARAMETERS in item.members:
            _check_output(item.members[PARAMETERS].value)
    return frozenset(names)


def _check_output(parameters: Value) -> None:
    if not isinstance(parameters, Object):
        raise _output_fault("has parameters that are no object")
    if any(name.startswith(SHARED_MEMORY) for name in parameters.members):
        raise _output_fault("stands in shared memory, which cannot be inspected")
    for name, member in parameters.members.items():
        value = member.value
        sound = isinstance(value, Constant) if name == "binary_data" else isinstance(value, Number)
        if name not in _OUTPUT_PARAMETERS or not sound:
            raise _output_fault("has a parameter that no output has")


def _output_fault(what: str) -> PeerError:
    return PeerError(Reason.BODY_INVALID, f"an output {what}")


# --- writing -------------------------------------------------------------------------------------


def _appended(listed: Array, items: Iterable[bytes]) -> Splice:
    """Add items behind the last one of an array."""
    place = listed.items[-1].end if listed.items else listed.start + 1
    written = b",".join(items)
    return Splice(place, place, b"," + written if listed.items else written)


def _added(one: Added) -> bytes:
    value = b"%d" % one.value if one.datatype != BOOL else (b"true" if one.value else b"false")
    values = b",".join([value] * math.prod(one.shape))
    shape = b",".join([b"%d" % size for size in one.shape])
    return b'{"name":%b,"datatype":%b,"shape":[%b],"data":[%b]}' % (
        encode_string(one.name),
        encode_string(one.datatype),
        shape,
        values,
    )


def _written_parameters(root: Object, plan: Plan) -> list[Splice]:
    member = root.members.get(PARAMETERS)
    standing = member.value if member is not None and isinstance(member.value, Object) else None
    splices: list[Splice] = []
    if standing is not None:
        splices += [
            _replaced(standing.members[name].value, value) for name, value in plan.parameters.items()
        ]
    if plan.added_parameters:
        new = [(name, b"%d" % value) for name, value in plan.added_parameters.items()]
        if standing is not None:
            splices.append(insert_members(standing, new))
        else:
            written = b",".join([encode_string(name) + b":" + value for name, value in new])
            splices.append(insert_members(root, [(PARAMETERS, b"{" + written + b"}")]))
    return splices


def _replaced(value: Value, new: str | int) -> Splice:
    return Splice(value.start, value.end, encode_string(new) if isinstance(new, str) else b"%d" % new)
