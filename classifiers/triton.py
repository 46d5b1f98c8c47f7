"""Asks a model on a Triton, by KServe's gRPC: what it takes, and scores of texts or tokens.

A server's own words are not repeated in an error, since they may quote what it was asked. Proxies of the
environment are not used: prompts go where the operator said and nowhere else.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

import grpc
import numpy as np

from classifiers.errors import LogitsError, ModelError, ServerError
from classifiers.pb import kserve_wire_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from classifiers.triton_address import TritonAddress

_Answer = TypeVar("_Answer")

_SERVICE: Final = "/inference.GRPCInferenceService/"
# Scores of a batch take kilobytes, a model's configuration some more.
_ANSWER_BYTES_MAX: Final = 4 * 1024**2
# Back within seconds once a server is there again; the library's own bound is two minutes.
_RECONNECT_FIRST_MS: Final = 250
_RECONNECT_MAX_MS: Final = 2_000
# Windows of one call: what a GPU works on at once, and what a deadline cannot stop in between.
_BATCH_MAX: Final = 32
_LOGITS: Final = "logits"
_FLOATS: Final = {"FP32": "<f4", "FP16": "<f2"}
# Dimensions of a batch of texts or tokens.
_RANK_MAX: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Signature:
    """What a model takes and gives.

    ``inputs`` maps names to datatype and number of dimensions, the batch's included. ``batch_max`` is how
    many rows one call may have; 1 for a model that is not batched.
    """

    inputs: Mapping[str, tuple[str, int]]
    output: str
    batch_max: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rows:
    """One input: its rows as they go over the wire, and the shape that they have together."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    content: bytes


class ServedModel:
    """A model on a Triton. Safe to call from several threads at once.

    ``look`` must have found it before it is asked for scores. ``authorities`` (PEM) sign the server's
    certificate; None for those that the gRPC library knows.
    """

    def __init__(self, address: TritonAddress, *, authorities: bytes | None = None) -> None:
        self.address = address
        options = (
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_receive_message_length", _ANSWER_BYTES_MAX),
            ("grpc.initial_reconnect_backoff_ms", _RECONNECT_FIRST_MS),
            ("grpc.max_reconnect_backoff_ms", _RECONNECT_MAX_MS),
        )
        if address.tls:
            trusted = grpc.ssl_channel_credentials(root_certificates=authorities)
            self._channel = grpc.secure_channel(address.place, trusted, options=options)
        else:
            self._channel = grpc.insecure_channel(address.place, options=options)
        self._signature: Signature | None = None
        self._query = pb.ModelQuestion(name=address.model, version=address.version)
        self._infer = self._channel.unary_unary(
            f"{_SERVICE}ModelInfer",
            request_serializer=pb.ModelInferRequest.SerializeToString,
            response_deserializer=pb.ModelInferResponse.FromString,
        )

    @property
    def batch_max(self) -> int:
        """The most rows of one question."""
        return 1 if self._signature is None else self._signature.batch_max

    @property
    def signature(self) -> Signature:
        """What it takes and gives, as of the last look.

        Raises:
            ServerError: the last look did not find it.
        """
        signature = self._signature
        if signature is None:
            raise self._lost("was not there when it was last looked at")
        return signature

    def look(self) -> Signature:
        """Ask whether it is ready, and what it takes: a server may have loaded another version.

        Raises:
            ServerError: it is not there, or not ready.
            ModelError: it is none that gives scores.
        """
        try:
            self._signature = self._learn()
        except (ServerError, ModelError):
            self._signature = None
            raise
        return self._signature

    def _learn(self) -> Signature:
        if not self._ask("ModelReady", pb.ModelReadyResponse.FromString).ready:
            raise self._lost("is not ready")
        told = self._ask("ModelMetadata", pb.ModelMetadataResponse.FromString)
        config = self._ask("ModelConfig", pb.ModelConfigResponse.FromString).config
        return Signature(
            inputs={one.name: (one.datatype, len(one.shape)) for one in told.inputs},
            output=self._output_of(told.outputs),
            batch_max=min(max(config.max_batch_size, 1), _BATCH_MAX),
        )

    def infer(self, inputs: Sequence[Rows], rows: int) -> NDArray[np.float32]:
        """The scores or logits of so many rows: [rows, columns].

        Raises:
            ServerError: no answer came.
            LogitsError: one came that is none.
        """
        signature = self.signature
        request = pb.ModelInferRequest(
            model_name=self.address.model,
            model_version=self.address.version,
            inputs=[pb.Tensor(name=one.name, datatype=one.datatype, shape=one.shape) for one in inputs],
            outputs=[pb.RequestedOutput(name=signature.output)],
            raw_input_contents=[one.content for one in inputs],
        )
        answer = self._within(lambda timeout_s: self._infer(request, timeout=timeout_s))
        return _matrix(answer, signature.output, rows)

    def close(self) -> None:
        """End the connection; calls under way fail."""
        self._channel.close()

    def _ask(self, method: str, read: Callable[[bytes], _Answer]) -> _Answer:
        call = self._channel.unary_unary(
            f"{_SERVICE}{method}",
            request_serializer=pb.ModelQuestion.SerializeToString,
            response_deserializer=read,
        )
        return self._within(lambda timeout_s: call(self._query, timeout=timeout_s))

    def _within(self, call: Callable[[float], _Answer]) -> _Answer:
        try:
            return call(self.address.timeout_ms / 1000)
        except grpc.RpcError as error:
            code = error.code() if isinstance(error, grpc.Call) else None
            raise self._lost(f"gave {'no answer' if code is None else code.name}") from None
        except ValueError:
            # What the library says of a channel that is closed.
            raise self._lost("is not asked any more") from None

    def _lost(self, what: str) -> ServerError:
        return ServerError(f"{self.address.model} at {self.address.place} {what}")

    def _output_of(self, outputs: Iterable[pb.Tensor]) -> str:
        found = [one.name for one in outputs if one.datatype in _FLOATS]
        if _LOGITS in found:
            return _LOGITS
        if len(found) != 1:
            raise ModelError(
                f"{self.address.id}: it must give one tensor of {' or '.join(_FLOATS)}, or one that is "
                f"called {_LOGITS}"
            )
        return found[0]


def text_rows(signature: Signature, texts: Sequence[str]) -> Rows:
    """Texts as the one BYTES input of a model.

    Raises:
        ModelError: the model takes something else.
    """
    match [*signature.inputs.items()]:
        case [(name, ("BYTES", rank))] if 1 <= rank <= _RANK_MAX:
            pass
        case _:
            raise ModelError(
                f"it takes {_told(signature)}, where one tensor of BYTES was expected; one of token ids "
                "needs --judge-tokenizer"
            )
    encoded = [text.encode() for text in texts]
    return Rows(
        name=name,
        datatype="BYTES",
        shape=(len(texts), 1)[:rank],
        content=b"".join(len(one).to_bytes(4, "little") + one for one in encoded),
    )


def token_rows(
    signature: Signature, tensors: Mapping[str, NDArray[np.int64]], *, needed: Sequence[str]
) -> list[Rows]:
    """Token ids and what belongs to them, all [rows, tokens], as a model's inputs.

    Raises:
        ModelError: the model takes others, or not all that are ``needed``.
    """
    kinds = {"INT64": "<i8", "INT32": "<i4"}
    taken = signature.inputs
    known = all(
        name in tensors and datatype in kinds and 1 <= rank <= _RANK_MAX
        for name, (datatype, rank) in taken.items()
    )
    if not known or not set(needed) <= set(taken):
        raise ModelError(
            f"it takes {_told(signature)}, where integers {', '.join(needed)} were expected and at most "
            f"{', '.join(name for name in tensors if name not in needed)}"
        )
    return [
        Rows(
            name=name,
            datatype=datatype,
            shape=tensors[name].shape[_RANK_MAX - rank :],
            content=tensors[name].astype(kinds[datatype]).tobytes(),
        )
        for name, (datatype, rank) in taken.items()
    ]


def _told(signature: Signature) -> str:
    return ", ".join(f"{name} ({datatype})" for name, (datatype, _) in signature.inputs.items())


def _matrix(answer: pb.ModelInferResponse, output: str, rows: int) -> NDArray[np.float32]:
    if len(answer.outputs) != 1 or len(answer.raw_output_contents) != 1:
        raise LogitsError("the server did not give the one tensor that it was asked for")
    tensor, content = answer.outputs[0], answer.raw_output_contents[0]
    kind = _FLOATS.get(tensor.datatype)
    shape = tuple(tensor.shape)
    if rows == 1 and len(shape) == 1:
        shape = (1, *shape)
    fits = len(shape) == _RANK_MAX and shape[0] == rows and tensor.name == output
    if not fits or kind is None or len(content) != math.prod(shape) * np.dtype(kind).itemsize:
        raise LogitsError("the server's scores do not have one row per window")
    return np.frombuffer(content, dtype=kind).reshape(shape).astype(np.float32)
