"""A small OpenAI front end before Triton, for the demo: chat completions and the list of models.

It asks ``generate_stream`` and answers as Triton's own front end (server/python/openai) does: its chunks,
its rules for token counts, its errors, its broken stream when the model fails. Beyond it: ``n`` choices,
and tool calls and reasoning, which the stand-in says between marks, one token each: ``<think>``,
``</think>``, ``<tool_call:NAME>``, ``</tool_call>``.

A stand-in as the model is: no authentication, no bounds worth the name. It listens on loopback only, and
only the gateway reaches it.
"""

from __future__ import annotations

import argparse
import itertools
import json
import socket
import sys
import time
import uuid
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Final

from extproc.demo.openai_tokens import Choice, ModelFailed, Triton
from extproc.demo.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from extproc.demo.openai_tokens import Json

_MAX_TOKENS_DEFAULT: Final = 16
_OWNER: Final = "Triton Inference Server"
_SAMPLING: Final = ("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty")


class Refused(Exception):  # noqa: N818 - an answer, not a fault of this program.
    """A request that is answered with a status and a detail."""

    def __init__(self, status: HTTPStatus, detail: object) -> None:
        super().__init__(status)
        self.status = status
        self.detail = detail


# --- a request -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Chat:
    """What a request asks for."""

    model: str
    prompt: str
    parameters: Json
    stream: bool
    include_usage: bool
    choices_count: int


def read_chat(body: bytes, models: Sequence[str]) -> Chat:
    """A request's body.

    Raises:
        Refused: as Triton's front end refuses it.
    """
    try:
        request = json.loads(body)
    except ValueError:
        finding = {"type": "json_invalid", "loc": ["body", 1], "msg": "JSON decode error", "input": {}}
        raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, [finding]) from None
    for name in ("messages", "model"):
        if name not in request:
            missing = {"type": "missing", "loc": ["body", name], "msg": "Field required", "input": request}
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, [missing])
    model = request["model"]
    if model not in models:
        raise Refused(HTTPStatus.BAD_REQUEST, f"Unknown model: {model}")
    stream = bool(request.get("stream"))
    options = request.get("stream_options")
    if options and not stream:
        raise Refused(HTTPStatus.BAD_REQUEST, "`stream_options` can only be used when `stream` is True")
    limit = request.get("max_completion_tokens") or request.get("max_tokens") or _MAX_TOKENS_DEFAULT
    sampling = {
        name: request[name] for name in _SAMPLING if isinstance(request.get(name), (int, float, str))
    }
    return Chat(
        model=model,
        prompt=_prompt_of(request),
        parameters={"max_tokens": limit, **sampling},
        stream=stream,
        include_usage=bool(options and options.get("include_usage")),
        choices_count=request.get("n") or 1,
    )


def _prompt_of(request: Mapping[str, object]) -> str:
    """A chat template, such as it is: a line for each text."""
    lines = [f"tools: {json.dumps(request['tools'])}"] if request.get("tools") else []
    messages = request["messages"]
    for message in messages if isinstance(messages, list) else []:
        content = message.get("content") or ""
        if isinstance(content, list):
            content = "".join(part.get("text", "") for part in content)
        lines.append(f"{message['role']}: {content}")
        lines += [f"called: {json.dumps(call)}" for call in message.get("tool_calls") or ()]
    return "\n".join(lines)


# --- answers -------------------------------------------------------------------------------------


class Answer:
    """The documents of one answer."""

    def __init__(self, chat: Chat, choices: list[Choice]) -> None:
        self._chat = chat
        self._choices = choices
        # As Triton's: chat completions too are called cmpl.
        self._id = f"cmpl-{uuid.uuid1()}"
        self._created = int(time.time())

    def whole(self) -> Json:
        """The one document of an answer that does not stream."""
        for choice in self._choices:
            while choice.finish is None:
                list(choice.deltas())
        choices: list[Json] = [
            {
                "finish_reason": choice.finish,
                "index": choice.index,
                "message": {
                    "content": choice.texts.pop("content", ""),
                    "tool_calls": choice.calls or None,
                    "role": "assistant",
                    "function_call": None,
                    **choice.texts,
                },
                "logprobs": None,
            }
            for choice in self._choices
        ]
        return self._document("chat.completion", choices, usage=self._usage())

    def chunks(self) -> Iterator[Json]:
        """The documents of an answer that streams: a token of each choice in turn."""
        for choice in self._choices:
            yield self._chunk(choice, {"content": "", "function_call": None, "role": "assistant"})
        speaking = list(self._choices)
        while speaking:
            for choice in speaking:
                for delta in choice.deltas():
                    yield self._chunk(
                        choice, {"content": None, "function_call": None, "role": None, **delta}
                    )
            speaking = [choice for choice in speaking if choice.finish is None]
        if self._chat.include_usage:
            yield self._document("chat.completion.chunk", [], usage=self._usage())

    def _chunk(self, choice: Choice, delta: Json) -> Json:
        told: Json = {
            "delta": delta,
            "logprobs": None,
            "finish_reason": choice.finish,
            "index": choice.index,
        }
        return self._document("chat.completion.chunk", [told], usage=None)

    def _document(self, kind: str, choices: Sequence[Json], *, usage: Json | None) -> Json:
        return {
            "id": self._id,
            "choices": choices,
            "created": self._created,
            "model": self._chat.model,
            "system_fingerprint": None,
            "object": kind,
            "usage": usage,
        }

    def _usage(self) -> Json:
        prompt = self._choices[0].prompt_tokens
        completion = sum(choice.completion_tokens for choice in self._choices)
        return {
            "prompt_tokens": prompt,
            "total_tokens": prompt + completion,
            "completion_tokens": completion,
        }


# --- the server ----------------------------------------------------------------------------------


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
        """Chat completions."""
        body = self._body()
        if self.path != "/v1/chat/completions":
            self._detail(HTTPStatus.NOT_FOUND, "Not Found")
            return
        with ExitStack() as ends:
            try:
                chat = read_chat(body, self.server.models)
                answer = self._ask(chat, ends)
                if not chat.stream:
                    self._json(answer.whole())
                    return
                chunks = answer.chunks()
                # Role and first token: a model that fails at once still gets a status.
                first = list(itertools.islice(chunks, chat.choices_count + 1))
            except Refused as refused:
                self._detail(refused.status, refused.detail)
            except ModelFailed as failed:
                self._detail(HTTPStatus.INTERNAL_SERVER_ERROR, str(failed))
            else:
                self._events(itertools.chain(first, chunks))

    def _ask(self, chat: Chat, ends: ExitStack) -> Answer:
        triton = self.server.triton
        tokens = [
            triton.tokens(chat.model, chat.prompt, chat.parameters, ends) for _ in range(chat.choices_count)
        ]
        return Answer(chat, [Choice(index, one) for index, one in enumerate(tokens)])

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

    def _events(self, chunks: Iterator[Json]) -> None:
        self.send_response(HTTPStatus.OK)
        self.send_header("content-type", "text/event-stream; charset=utf-8")
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        try:
            for chunk in chunks:
                self._event(_dump(chunk))
        except ModelFailed:
            # As Triton's: no event, no end, only a connection that breaks.
            self.close_connection = True
            with suppress(OSError):
                self.connection.shutdown(socket.SHUT_RDWR)
            return
        self._event(b"[DONE]")
        self.wfile.write(b"0\r\n\r\n")

    def _event(self, data: bytes) -> None:
        event = b"data: " + data + b"\n\n"
        self.wfile.write(b"%x\r\n%b\r\n" % (len(event), event))

    def _json(self, document: Json, status: HTTPStatus = HTTPStatus.OK) -> None:
        self._answer(status, _dump(document))

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


def _dump(document: Json) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


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
