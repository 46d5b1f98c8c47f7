"""KServe's gRPC without a client library of its own: messages go in one by one, answers come as bytes."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, cast

import grpc
from tritonclient.grpc import service_pb2 as pb  # type: ignore[import-untyped] # it brings no types.

SERVICE = "/inference.GRPCInferenceService/"
UNARY, STREAM = f"{SERVICE}ModelInfer", f"{SERVICE}ModelStreamInfer"
TIMEOUT_S = 60
End = tuple[grpc.StatusCode, str, tuple[tuple[str, str | bytes], ...]]
Value = bytes | bool | int
_PACKED: dict[type, Callable[[Any], bytes]] = {
    bytes: lambda value: len(value).to_bytes(4, "little") + value,
    bool: lambda value: bytes([value]),
    int: lambda value: value.to_bytes(4, "little"),
}


def infer(
    model: str,
    text: str,
    *,
    request_id: str = "",
    raw: bool = True,
    parameters: Mapping[str, bool | int | str] | None = None,
    flags: Sequence[str] = (),
    document: str | None = None,
    limit: int | None = None,
    outputs: Sequence[str] = (),
) -> pb.ModelInferRequest:
    """A request with raw or typed tensors."""
    request = pb.ModelInferRequest(model_name=model, id=request_id)
    for key, wanted in (parameters or {}).items():
        kind = {bool: "bool_param", int: "int64_param", str: "string_param"}[type(wanted)]
        setattr(request.parameters[key], kind, wanted)
    tensors: list[tuple[str, str, Value]] = [("text_input", "BYTES", text.encode())]
    if document is not None:
        tensors.append(("sampling_parameters", "BYTES", document.encode()))
    if limit is not None:
        tensors.append(("max_tokens", "INT32", limit))
    tensors += [(flag, "BOOL", True) for flag in flags]
    for name, datatype, value in tensors:
        add_tensor(request, name, datatype, value, raw=raw)
    for name in outputs:
        request.outputs.add(name=name)
    return request


def add_tensor(request: pb.ModelInferRequest, name: str, datatype: str, value: Value, *, raw: bool) -> None:
    """A tensor of one value."""
    added = request.inputs.add(name=name, datatype=datatype, shape=[1])
    if raw:
        request.raw_input_contents.append(_PACKED[type(value)](value))
        return
    field = {"BYTES": "bytes_contents", "BOOL": "bool_contents", "INT32": "int_contents"}[datatype]
    getattr(added.contents, field).append(value)


class Call:
    """One ModelStreamInfer: requests go in when they are asked, the client's side ends when it is told.

    Answers come as bytes.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        metadata: Mapping[str, str],
        *,
        compression: grpc.Compression | None = None,
    ) -> None:
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        open_call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(STREAM)
        self.answers: Iterator[bytes] = open_call(
            iter(self._requests.get, None),
            metadata=tuple(metadata.items()),
            timeout=TIMEOUT_S,
            compression=compression,
        )

    def ask(self, *requests: pb.ModelInferRequest) -> None:
        for one in requests:
            self._requests.put(one.SerializeToString(deterministic=True))

    def next(self) -> pb.ModelStreamInferResponse:
        return pb.ModelStreamInferResponse.FromString(next(self.answers))

    def until_last(self) -> list[pb.ModelStreamInferResponse]:
        """Read until a request has all of its answer."""
        came = [self.next()]
        while not is_final(came[-1]) and not came[-1].error_message:
            came.append(self.next())
        return came

    def end(self) -> None:
        self._requests.put(None)

    def rest(self) -> list[pb.ModelStreamInferResponse]:
        """End the client's side, then read to the end."""
        return [pb.ModelStreamInferResponse.FromString(one) for one in self.rest_bytes()]

    def rest_bytes(self) -> list[bytes]:
        self.end()
        return list(self.answers)


def ended(call: grpc.Call) -> End:
    """How a call ended: status, message, and its own trailers."""
    own = tuple(
        (key, value) for key, value in call.trailing_metadata() or () if not key.startswith("x-envoy")
    )
    return call.code(), call.details(), own


def unary(
    channel: grpc.Channel, path: str, payload: bytes, metadata: Mapping[str, str]
) -> tuple[bytes, End]:
    """One unary call: its answer, empty where it failed, and how it ended."""
    method: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    try:
        answer, call = method.with_call(payload, metadata=tuple(metadata.items()), timeout=TIMEOUT_S)
    except grpc.RpcError as error:
        # What grpc raises of a call is the call.
        return b"", ended(cast("grpc.Call", error))
    return answer, ended(call)


def texts_by_id(answers: Sequence[pb.ModelStreamInferResponse]) -> dict[str, str]:
    """What each request was answered, by the client's id; an error stands in brackets."""
    found: dict[str, str] = {}
    for one in answers:
        response = one.infer_response
        names = [output.name for output in response.outputs]
        text = f"[{one.error_message}]" if one.error_message else ""
        if "text_output" in names:
            text = response.raw_output_contents[names.index("text_output")][4:].decode()
        found[response.id] = found.get(response.id, "") + text
    return found


def is_final(answer: pb.ModelStreamInferResponse) -> bool:
    return bool(answer.infer_response.parameters["triton_final_response"].bool_param)
