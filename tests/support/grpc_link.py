"""Calls of KServe's gRPC service with raw messages, on one connection."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

import grpc
from agreement_cases import Echo, Forwarded, echo_of
from grpc_grammar import STREAM, UNARY
from tritonclient.grpc import service_pb2  # type: ignore[import-untyped] # it brings no types.

_TIMEOUT_S: Final = 60
_PREFIX_BYTES: Final = 5
_LENGTH_BYTES: Final = 4


class _Link:
    def __init__(self, port: int) -> None:
        self.channel = grpc.insecure_channel(f"127.0.0.1:{port}")

    def close(self) -> None:
        """Close the connection."""
        self.channel.close()


class UnaryLink(_Link):
    """Sends what a codec forwards: one message, not compressed, in its frame."""

    def exchange(self, batch: Sequence[Forwarded]) -> Sequence[Echo | None]:
        """What the models received."""
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(UNARY)
        answers = [call.future(one.body[_PREFIX_BYTES:], timeout=_TIMEOUT_S) for one in batch]
        return [
            None
            if answer.exception() is not None
            else _echo_in(service_pb2.ModelInferResponse.FromString(answer.result()))
            for answer in answers
        ]


class StreamLink(_Link):
    """The same, each on a stream of its own."""

    def exchange(self, batch: Sequence[Forwarded]) -> Sequence[Echo | None]:
        """What the models received."""
        call: grpc.StreamStreamMultiCallable[bytes, bytes] = self.channel.stream_stream(STREAM)
        answers = [call(iter((one.body[_PREFIX_BYTES:],)), timeout=_TIMEOUT_S) for one in batch]
        return [self._first(answer) for answer in answers]

    def _first(self, answers: Iterable[bytes]) -> Echo | None:
        try:
            (answer,) = [*answers]
        except (grpc.RpcError, ValueError):
            return None
        message = service_pb2.ModelStreamInferResponse.FromString(answer)
        return None if message.error_message else _echo_in(message.infer_response)


def _echo_in(response: service_pb2.ModelInferResponse) -> Echo | None:
    if len(response.raw_output_contents) != 1:
        return None
    return echo_of(response.raw_output_contents[0][_LENGTH_BYTES:].decode())
