"""What the stand-in says to the demo's OpenAI front end: Triton's events as tokens, tokens as deltas."""

from __future__ import annotations

import http.client
import json
import re
import uuid
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from extproc.demo.ports import LOOPBACK

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import ExitStack

_CALL: Final = re.compile(r"<tool_call:([^>]*)>")

Json = dict[str, object]


class ModelFailed(Exception):  # noqa: N818 - as above.
    """The model broke off; the text is Triton's own."""


@dataclass(frozen=True, slots=True)
class Token:
    """One event of Triton's. ``last`` says that the model has no more."""

    text: str
    last: bool
    prompt_tokens: int
    completion_tokens: int

    @property
    def finish(self) -> str | None:
        """How a completion names the end; Triton's front end calls every end a stop."""
        return "stop" if self.last else None


@dataclass(slots=True)
class Choice:
    """One answer as it comes, with what of it was said so far."""

    index: int
    tokens: Iterator[Token]
    mode: str = "content"
    calls: list[Json] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    prompt_tokens: int = 0
    completion_tokens: int = 0
    finish: str | None = None

    def deltas(self) -> Iterator[Json]:
        """The next token as a delta; none for a mark that only changes what follows."""
        token = next(self.tokens)
        self.prompt_tokens = token.prompt_tokens
        self.completion_tokens += token.completion_tokens
        delta = self._delta(token.text)
        if token.last:
            self.finish = "tool_calls" if self.calls else "stop"
        if delta is not None or token.last:
            yield delta or {}

    def _delta(self, text: str) -> Json | None:
        called = _CALL.fullmatch(text)
        if called is not None:
            self.mode = "call"
            call: Json = {
                "id": f"call_{uuid.uuid4().hex[:24]}",
                "type": "function",
                "function": {"name": called[1], "arguments": ""},
            }
            self.calls.append(call)
            return {"tool_calls": [{"index": len(self.calls) - 1, **call}]}
        match text:
            case "<think>":
                self.mode = "reasoning_content"
            case "</think>" | "</tool_call>":
                self.mode = "content"
            case _ if self.mode == "call":
                function = self.calls[-1]["function"]
                if isinstance(function, dict):
                    # A new one: the old one may stand in a delta that is not written yet.
                    arguments = str(function["arguments"]) + text
                    self.calls[-1] = {**self.calls[-1], "function": {**function, "arguments": arguments}}
                piece = {"index": len(self.calls) - 1, "function": {"arguments": text}}
                return {"tool_calls": [piece]}
            case _:
                self.texts[self.mode] = self.texts.get(self.mode, "") + text
                return {self.mode: text}
        return None


class Triton:
    """Triton's generate extension."""

    def __init__(self, port: int) -> None:
        self._port = port

    def is_ready(self) -> bool:
        """Whether Triton is."""
        connection = self._connect()
        try:
            connection.request("GET", "/v2/health/ready")
            return connection.getresponse().status == HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def tokens(self, model: str, prompt: str, parameters: Json, ends: ExitStack) -> Iterator[Token]:
        """What the model says to a prompt; ``ends`` closes the connection, which cancels the request.

        Raises:
            ModelFailed: as soon as Triton says so.
        """
        body = {
            "text_input": prompt,
            "stream": True,
            "parameters": parameters,
            "return_finish_reason": True,
            "return_num_input_tokens": True,
            "return_num_output_tokens": True,
        }
        connection = self._connect()
        ends.callback(connection.close)
        head = {"content-type": "application/json"}
        connection.request("POST", f"/v2/models/{model}/generate_stream", json.dumps(body), head)
        answer = connection.getresponse()
        for line in answer:
            if not line.startswith(b"data: "):
                continue
            event = json.loads(line.removeprefix(b"data: "))
            if "error" in event:
                raise ModelFailed(event["error"])
            yield Token(
                text=_first(event["text_output"]),
                last=_first(event["finish_reason"]) != "None",
                prompt_tokens=event["num_input_tokens"],
                completion_tokens=event["num_output_tokens"],
            )

    def _connect(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection(LOOPBACK, self._port, timeout=120)


def _first(value: object) -> str:
    return str(value[0] if isinstance(value, list) else value)
