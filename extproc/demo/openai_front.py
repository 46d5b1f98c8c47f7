"""A small OpenAI front end before Triton, for the demo: its server and its table of routes.

It asks ``generate_stream`` and answers as Triton's own front end (server/python/openai) does: its chunks,
its rules for token counts, its errors, its broken stream when the model fails. Beyond it: ``n`` choices,
and tool calls and reasoning, which the stand-in says between marks, one token each: ``<think>``,
``</think>``, ``<tool_call:NAME>``, ``</tool_call>``. Any other wire is a file
with a route that ``ROUTES`` names.

A stand-in as the model is: no authentication, no bounds worth the name. It listens on loopback only, and
only the gateway reaches it.
"""

from __future__ import annotations

import argparse
import socket
import sys
from contextlib import ExitStack, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.demo.anthropic_front import messages
from extproc.demo.openai_call import Call, Events, Refused, Route, dump
from extproc.demo.openai_chat import chat_completions
from extproc.demo.openai_completions import completions
from extproc.demo.openai_embeddings import embeddings
from extproc.demo.openai_responses import responses
from extproc.demo.openai_tokens import ModelFailed, Triton
from extproc.demo.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from extproc.demo.openai_tokens import Json

_OWNER: Final = "Triton Inference Server"

ROUTES: Final[Mapping[str, Route]] = MappingProxyType(
    {
        "/v1/chat/completions": chat_completions,
        "/v1/completions": completions,
        "/v1/embeddings": embeddings,
        "/v1/messages": messages,
        "/v1/responses": responses,
    }
)
"""What is answered to a POST, by path."""


class FrontServer(ThreadingHTTPServer):
    """The front end of one Triton."""

    daemon_threads = True
    # Many streams may come at once.
    request_queue_size = 256

    def __init__(self, port: int, *, triton: Triton, models: Sequence[str]) -> None:
        super().__init__((LOOPBACK, port), Requests)
        self.triton = triton
        self.models = tuple(models)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that left is no news; anything else is."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]  # the stub knows sockets only.


class Requests(BaseHTTPRequestHandler):
    """The requests of one connection."""

    protocol_version = "HTTP/1.1"
    # A token must go out when it is there.
    wbufsize = 0
    disable_nagle_algorithm = True
    server: FrontServer

    def do_GET(self) -> None:
        """Health, and models."""
        if self.path == "/health/ready":
            ready = self.server.triton.is_ready()
            self._answer(HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE, b"")
        elif self.path == "/v1/models":
            self._json({"object": "list", "data": [_model(name) for name in self.server.models]})
        elif self.path.removeprefix("/v1/models/") in self.server.models:
            self._json(_model(self.path.removeprefix("/v1/models/")))
        else:
            unknown = self.path.startswith("/v1/models/")
            name = self.path.removeprefix("/v1/models/")
            self._detail(HTTPStatus.NOT_FOUND, f"Unknown model: {name}" if unknown else "Not Found")

    def do_POST(self) -> None:
        """Whatever has a route."""
        body = self._body()
        route = ROUTES.get(self.path)
        if route is None:
            self._detail(HTTPStatus.NOT_FOUND, "Not Found")
            return
        with ExitStack() as ends:
            try:
                reply = route(Call(body, self.server.triton, self.server.models, ends))
            except Refused as refused:
                self._json(refused.document, refused.status)
                return
            if isinstance(reply, Events):
                self._events(reply.frames)
            else:
                self._json(reply.document)

    def _body(self) -> bytes:
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        pieces = []
        while length := int(self.rfile.readline().split(b";")[0], 16):
            pieces.append(self.rfile.read(length))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass
        return b"".join(pieces)

    def _events(self, frames: Iterator[bytes]) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for frame in frames:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(frame), frame))
        except ModelFailed:
            # As Triton's: no event, no end, only a connection that breaks.
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.wfile.write(b"0\r\n\r\n")

    def _json(self, document: Json, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._answer(status, dump(document))

    def _detail(self, status: HTTPStatus, detail: object) -> None:
        self._json({"detail": detail}, status)

    def _answer(self, status: HTTPStatus, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name.
        """Nothing: the gateway keeps the log."""


def _model(name: str) -> Json:
    return {"id": name, "created": 0, "object": "model", "owned_by": _OWNER}


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until ended."""
    parser = argparse.ArgumentParser(description="A small OpenAI front end before Triton, for the demo.")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--triton-port", type=int, required=True)
    parser.add_argument("--model", action="append", required=True, dest="models")
    options = parser.parse_args(argv)
    with FrontServer(options.port, triton=Triton(options.triton_port), models=options.models) as server:
        server.serve_forever()


if __name__ == "__main__":
    main()
