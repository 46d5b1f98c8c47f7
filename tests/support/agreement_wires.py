"""The wires that the differential fuzz knows: a grammar of requests, and the link that sends them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, Protocol

from agreement_cases import Grammar, Link
from echo_triton import EchoTriton
from generate_grammar import GenerateGrammar
from grpc_grammar import STREAM, UNARY, GrpcGrammar
from grpc_link import StreamLink, UnaryLink
from http_links import HttpLink, echo_in_generate, echo_in_infer
from infer_grammar import InferGrammar


class OpenLink(Link, Protocol):
    """A link that is closed when its run is over."""

    def close(self) -> None:
        """Close its connections."""


WIRES: Final[Mapping[str, tuple[Grammar, Callable[[EchoTriton], OpenLink]]]] = {
    "generate": (GenerateGrammar(), lambda triton: HttpLink(triton.port, echo_in_generate)),
    "infer": (InferGrammar(), lambda triton: HttpLink(triton.port, echo_in_infer)),
    "grpc": (GrpcGrammar("grpc", UNARY), lambda triton: UnaryLink(triton.grpc_port)),
    "stream": (GrpcGrammar("stream", STREAM), lambda triton: StreamLink(triton.grpc_port)),
}
