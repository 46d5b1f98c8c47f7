"""Calls of KServe's ModelInfer with raw messages, on one connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import grpc
from agreement_cases import Echo, Forwarded, echo_of
from grpc_grammar import PATH
from tritonclient.grpc import service_pb2  # type: ignore[import-untyped] # it brings no types.

_TIMEOUT_S: Final = 60
_PREFIX_BYTES: Final = 5
_LENGTH_BYTES: Final = 4


class GrpcLink:
    """Sends what a codec forwards: one message, not compressed, in its frame."""

    def __init__(self, port: int) -> None:
        self._channel = grpc.insecure_channel(f"127.0.0.1:{port}")
        self._call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self._channel.unary_unary(PATH)

    def exchange(self, batch: Sequence[Forwarded]) -> Sequence[Echo | None]:
        """What the models received."""
        calls = [self._call.future(one.body[_PREFIX_BYTES:], timeout=_TIMEOUT_S) for one in batch]
        return [None if call.exception() is not None else _echo_in(call.result()) for call in calls]

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


def _echo_in(answer: bytes) -> Echo | None:
    message = service_pb2.ModelInferResponse.FromString(answer)
    if len(message.raw_output_contents) != 1:
        return None
    return echo_of(message.raw_output_contents[0][_LENGTH_BYTES:].decode())
