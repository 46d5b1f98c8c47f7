"""One ModelInferRequest: where its text, its limits and its flags stand.

What its tensors and parameters mean is read by ``_kserve_reading``, as for infer over HTTP. A request
parameter has exactly one value. Of the ``triton_`` parameters only the wish for an empty final response is
known, which this service itself makes on a stream. An output that is asked for may be a classification and
nothing else: shared memory is refused, as nobody could look into it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs import _kgrpc_schema as wire
from extproc.codecs._kgrpc_tensors import Tensor, numbers_of, read_tensors
from extproc.codecs._kserve_inputs import Input, Inputs, Scalar
from extproc.codecs._kserve_reading import InputsReading
from extproc.codecs._kserve_tensors import BYTES, TENSOR_NAME
from extproc.codecs._triton_fields import FLAGS_OF_STREAM, SAMPLING
from extproc.codecs._triton_http import RESERVED_MODELS
from extproc.domain.errors import PeerError
from extproc.domain.verdict import Reason
from extproc.wire.protobuf_fields import Field, FieldBudget, FieldReader, fixed64, signed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from extproc.domain.limits import Limits
    from extproc.domain.segment import Params
    from extproc.wire.protobuf_fields import Message

EMPTY_FINAL: Final = "triton_enable_empty_final_response"
DECOY_MODEL: Final = "headgate.refused"
"""A model and an input that no request may name: for what goes on in place of one that was refused."""

# As in a path of the HTTP endpoint: a model's name is a directory's.
MODEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}")
VERSION: Final = re.compile(r"[0-9]{0,10}")
_CLASSIFICATION: Final = "classification"
_CLIENT_ID_BYTES_MAX: Final = 256


class Parameter(NamedTuple):
    """A request parameter: its value, and the fields from its map entry down to the value's own."""

    value: Scalar
    entry: Field
    choice: Field
    found: Field


@dataclass(frozen=True, slots=True, kw_only=True)
class InferRequest:
    """A request as it was read. ``raw`` says how its tensors come, and how one that is added has to.

    ``outputs`` are the names of those that are asked for; none means all.
    """

    payload: bytes
    model: str
    client_id: str
    id_field: Field | None
    parameters: Mapping[str, Parameter]
    tensors: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    inputs: Inputs
    params: Params
    raw: bool

    @property
    def wants_empty_final(self) -> bool:
        """Whether the client itself asks for an empty final response."""
        asked = self.parameters.get(EMPTY_FINAL)
        return asked is not None and asked.value is True


def read_infer(
    payload: bytes, *, streamed: bool, limits: Limits, budget: FieldBudget | None = None
) -> InferRequest:
    """Read one message.

    On a stream the client's id goes no further than to its own answers, and is not looked into. Its
    messages share one ``budget``: a small compressed chunk holds many that are large.

    Raises:
        PeerError: it is no request of this schema, is ambiguous, or holds what cannot be inspected.
    """
    reader = FieldReader(payload, limits=limits, budget=budget)
    message = reader.read(wire.REQUEST)
    model = reader.text(message.one(wire.MODEL_NAME), "model_name")
    if MODEL.fullmatch(model) is None or model in RESERVED_MODELS or model == DECOY_MODEL:
        raise PeerError(Reason.BODY_INVALID, "model_name is no name of a model")
    version = reader.text(message.one(wire.MODEL_VERSION), "model_version")
    if VERSION.fullmatch(version) is None:
        raise PeerError(Reason.BODY_INVALID, "model_version is no number")
    reading = InputsReading(limits)
    client_id = _client_id(reader, message)
    if not streamed and client_id:
        reading.request_id(client_id)
    parameters = _parameters(reader, message.many(wire.PARAMETERS))
    for name, one in parameters.items():
        if name != EMPTY_FINAL:
            reading.parameter(name, one.value, _written(one.value))
        elif not isinstance(one.value, bool):
            raise PeerError(Reason.BODY_INVALID, f"{EMPTY_FINAL} must be true or false")
    raws = message.many(wire.RAW_INPUTS)
    tensors = read_tensors(reader, message.many(wire.INPUTS), raws, limits=limits)
    if not tensors:
        raise PeerError(Reason.BODY_INVALID, "the request has no inputs")
    for tensor in tensors:
        if tensor.name == SAMPLING:
            _count_document(reader, tensor)
        reading.tensor(_input_of(reader, tensor))
    inputs = reading.result(model)
    return InferRequest(
        payload=payload,
        model=model,
        client_id=client_id,
        id_field=message.one(wire.ID),
        parameters=parameters,
        tensors=tensors,
        outputs=_outputs(reader, message.many(wire.OUTPUTS), limits.outputs_max),
        inputs=inputs,
        params=replace(inputs.params, stream=any(name in inputs.flags for name in FLAGS_OF_STREAM)),
        raw=bool(raws),
    )


def client_id_of(payload: bytes, *, limits: Limits) -> str:
    """What a request that could not be read calls itself; empty where even that cannot be told."""
    reader = FieldReader(payload, budget=FieldBudget(limits.unread_fields_max))
    try:
        return _client_id(reader, reader.read(wire.REQUEST))
    except PeerError:
        return ""


def _client_id(reader: FieldReader, message: Message) -> str:
    found = message.one(wire.ID)
    if found is not None and found.end - found.start > _CLIENT_ID_BYTES_MAX:
        raise PeerError(Reason.BODY_INVALID, f"id is longer than {_CLIENT_ID_BYTES_MAX} bytes")
    return reader.text(found, "id")


def _input_of(reader: FieldReader, tensor: Tensor) -> Input:
    return Input(
        name=tensor.name,
        datatype=tensor.datatype,
        shape=tensor.shape,
        values_count=tensor.values_count,
        strings=tuple([piece.text for piece in tensor.pieces]) if tensor.datatype == BYTES else (),
        numbers=lambda: numbers_of(reader, tensor),
    )


def _count_document(reader: FieldReader, tensor: Tensor) -> None:
    """Count what a document within a string may have of values and keys, before it is read."""
    for piece in tensor.pieces:
        reader.count(sum(map((piece.text or "").count, ",:[{")), piece.start)


def _parameters(reader: FieldReader, entries: Sequence[Field]) -> dict[str, Parameter]:
    parameters: dict[str, Parameter] = {}
    for entry in entries:
        message = reader.within(wire.MAP_ENTRY, entry)
        name = reader.text(message.one(wire.KEY), "a parameter's name")
        choice = message.one(wire.VALUE)
        if name in parameters:
            raise reader.fault("a parameter", "stands twice", entry.at)
        if choice is None:
            raise reader.fault("a parameter", "has no value", entry.at)
        parameters[name] = parameter_of(reader, entry, choice)
    return parameters


def parameter_of(reader: FieldReader, entry: Field, choice: Field) -> Parameter:
    """The one value of an InferParameter."""
    members = reader.within(wire.PARAMETER, choice).singular
    if not members:
        raise reader.fault("a parameter", "has no value", entry.at)
    ((tag, found),) = members.items()
    value: Scalar
    if tag == wire.BOOL_PARAM:
        value = reader.boolean(found, "a parameter")
    elif tag == wire.STRING_PARAM:
        value = reader.text(found, "a parameter")
    elif tag == wire.DOUBLE_PARAM:
        value = fixed64(reader.document, found)
    else:
        value = found.number if tag == wire.UINT64_PARAM else signed(found.number)
    return Parameter(value, entry, choice, found)


def _written(value: Scalar) -> str:
    return value if isinstance(value, str) else repr(value)


def _outputs(reader: FieldReader, listed: Sequence[Field], count_max: int) -> tuple[str, ...]:
    if len(listed) > count_max:
        raise PeerError(Reason.BODY_TOO_COMPLEX, f"more than {count_max} outputs are asked for")
    names: dict[str, None] = {}
    for one in listed:
        message = reader.within(wire.REQUESTED_OUTPUT, one)
        name = reader.text(message.one(wire.NAME), "an output's name")
        if TENSOR_NAME.fullmatch(name) is None:
            raise reader.fault("a requested output", "has a name that no tensor has", one.at)
        if name in names:
            raise reader.fault("a requested output", "stands twice", one.at)
        for parameter, found in _parameters(reader, message.many(wire.OUTPUT_PARAMETERS)).items():
            if parameter != _CLASSIFICATION or isinstance(found.value, str | bool):
                raise reader.fault(
                    "a requested output", "has a parameter, as one in shared memory has", one.at
                )
        names[name] = None
    return tuple(names)
