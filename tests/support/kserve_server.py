"""A server of KServe's gRPC in this process: what a Triton says, and the scores that a test wants.

Its messages are the service's own; tests/e2e asks a real Triton.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np
from google.protobuf.message import Message

from classifiers.pb import kserve_wire_pb2 as pb

_KINDS = {"INT64": "<i8", "INT32": "<i4", "FP32": "<f4", "FP16": "<f2"}


@dataclass
class Model:
    """One model. ``scores`` turns inputs by name into [rows, columns]; a test may change any of it."""

    inputs: Sequence[tuple[str, str, Sequence[int]]]
    scores: Callable[[Mapping[str, object]], np.ndarray]
    outputs: Sequence[tuple[str, str]] = (("scores", "FP32"),)
    max_batch_size: int = 0
    ready: bool = True
    fails: grpc.StatusCode | None = None
    answer: Callable[[pb.ModelInferResponse], None] = lambda _: None
    asked: list[Mapping[str, object]] = field(default_factory=list)
    go: threading.Event | None = None


def texts_in(request: pb.ModelInferRequest) -> Mapping[str, object]:
    """A request's inputs: texts as lists of strings, numbers as arrays of the shape that they have."""
    read: dict[str, object] = {}
    for tensor, raw in zip(request.inputs, request.raw_input_contents, strict=True):
        if tensor.datatype == "BYTES":
            read[tensor.name] = _strings(raw)
        else:
            read[tensor.name] = np.frombuffer(raw, _KINDS[tensor.datatype]).reshape(tuple(tensor.shape))
    return read


def _strings(raw: bytes) -> list[str]:
    found = []
    while raw:
        end = 4 + int.from_bytes(raw[:4], "little")
        found.append(raw[4:end].decode())
        raw = raw[end:]
    return found


def _bytes_of(message: Message) -> bytes:
    return message.SerializeToString()


class _Service(grpc.GenericRpcHandler):
    def __init__(self, models: Mapping[str, Model]) -> None:
        self._models = models

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> Any:
        name = handler_call_details.method.rpartition("/")[2]
        answers: dict[str, tuple[Any, Any]] = {
            "ModelReady": (pb.ModelQuestion, self._ready),
            "ModelMetadata": (pb.ModelQuestion, self._metadata),
            "ModelConfig": (pb.ModelQuestion, self._config),
            "ModelInfer": (pb.ModelInferRequest, self._infer),
        }
        message, answer = answers[name]
        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=message.FromString,
            response_serializer=_bytes_of,
        )

    def _of(self, name: str, call: grpc.ServicerContext) -> Model:
        if name not in self._models:
            call.abort(grpc.StatusCode.NOT_FOUND, f"unknown model: {name}")
        return self._models[name]

    def _ready(self, request: pb.ModelQuestion, call: grpc.ServicerContext) -> pb.ModelReadyResponse:
        return pb.ModelReadyResponse(ready=self._of(request.name, call).ready)

    def _metadata(self, request: pb.ModelQuestion, call: grpc.ServicerContext) -> pb.ModelMetadataResponse:
        model = self._of(request.name, call)
        return pb.ModelMetadataResponse(
            name=request.name,
            inputs=[pb.Tensor(name=one, datatype=kind, shape=shape) for one, kind, shape in model.inputs],
            outputs=[pb.Tensor(name=one, datatype=kind, shape=(-1, -1)) for one, kind in model.outputs],
        )

    def _config(self, request: pb.ModelQuestion, call: grpc.ServicerContext) -> pb.ModelConfigResponse:
        size = self._of(request.name, call).max_batch_size
        return pb.ModelConfigResponse(config=pb.ModelConfig(max_batch_size=size))

    def _infer(self, request: pb.ModelInferRequest, call: grpc.ServicerContext) -> pb.ModelInferResponse:
        model = self._of(request.model_name, call)
        read = texts_in(request)
        model.asked.append(read)
        if model.go is not None:
            model.go.wait(30)
        if model.fails is not None:
            # As a real server may, it repeats what it was asked.
            call.abort(model.fails, f"cannot judge {read}")
        scores = np.asarray(model.scores(read), dtype="<f4")
        output = pb.Tensor(name=request.outputs[0].name, datatype="FP32", shape=scores.shape)
        made = pb.ModelInferResponse(outputs=[output], raw_output_contents=[scores.tobytes()])
        model.answer(made)
        return made


@contextlib.contextmanager
def serving(
    models: Mapping[str, Model],
    *,
    port: int = 0,
    credentials: grpc.ServerCredentials | None = None,
) -> Iterator[int]:
    """The models' server; gives its port."""
    server = grpc.server(ThreadPoolExecutor(8), options=(("grpc.so_reuseport", 0),))
    server.add_generic_rpc_handlers((_Service(models),))
    place = f"127.0.0.1:{port}"
    bound = (
        server.add_insecure_port(place)
        if credentials is None
        else server.add_secure_port(place, credentials)
    )
    server.start()
    try:
        yield bound
    finally:
        server.stop(None).wait()
