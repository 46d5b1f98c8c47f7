"""Responses of the demo's OpenAI front end: its events are those of vLLM's server of them.

Tool calls and thoughts are what the stand-in says between marks; see ``openai_front``. The model's failure
is an error event, and not a broken connection. Nothing is kept, whatever ``store`` says.
"""

from __future__ import annotations

import itertools
import json
import time
import uuid
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

from extproc.demo.openai_call import Call, Events, Refused, Whole, dump
from extproc.demo.openai_tokens import Choice, ModelFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from extproc.demo.openai_tokens import Json

_REQUIRED: Final = ("model", "input")
_SAMPLING: Final = ("temperature", "top_p")
_TOKENS_DEFAULT: Final = 1024
# What of a request the response says again, with what it says where the request does not.
_ECHOED: Final[Mapping[str, object]] = {
    "instructions": None,
    "metadata": None,
    "parallel_tool_calls": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "background": False,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "previous_response_id": None,
    "prompt": None,
    "reasoning": None,
    "service_tier": "auto",
    "text": None,
    "top_logprobs": None,
    "truncation": "disabled",
    "user": None,
}


def responses(call: Call) -> Whole | Events:
    """POST /v1/responses."""
    request = _read(call)
    model = str(request["model"])
    tokens_max = int(str(request.get("max_output_tokens") or _TOKENS_DEFAULT))
    sampling = {name: request[name] for name in _SAMPLING if isinstance(request.get(name), int | float)}
    parameters: Json = {"max_tokens": tokens_max, **sampling}
    tokens = call.triton.tokens(model, prompt_of(request), parameters, call.ends)
    answer = _Answer(request, Choice(0, tokens), tokens_max)
    try:
        if not request.get("stream"):
            return Whole(answer.whole())
        events = answer.events()
        # The response's two phases and the model's first words: one that fails at once gets a status.
        first = list(itertools.islice(events, 3))
    except ModelFailed as failed:
        raise _refused(HTTPStatus.INTERNAL_SERVER_ERROR, "server_error", str(failed)) from None
    return Events(map(_event, _numbered(itertools.chain(first, _with_failure(events)))))


def prompt_of(request: Mapping[str, object]) -> str:
    """A chat template, such as it is: a line for each text."""
    lines = [f"tools: {json.dumps(request['tools'], ensure_ascii=False)}"] if request.get("tools") else []
    if request.get("instructions"):
        lines.append(f"system: {request['instructions']}")
    given = request["input"]
    if not isinstance(given, list):
        return "\n".join([*lines, f"user: {given}"])
    return "\n".join([*lines, *map(_line_of, given)])


def _line_of(item: Json) -> str:
    """What of an item reaches the model: texts as they are, calls and results as JSON."""
    if "role" not in item:
        return json.dumps(item, ensure_ascii=False)
    content = item["content"]
    if isinstance(content, list):
        content = "".join(str(part.get("text", f"<{part['type']}>")) for part in content)
    return f"{item['role']}: {content}"


def _read(call: Call) -> Json:
    try:
        request: Json = json.loads(call.body)
    except ValueError:
        raise _refused(HTTPStatus.BAD_REQUEST, "BadRequestError", "JSON decode error") from None
    for name in _REQUIRED:
        if name not in request:
            raise _refused(HTTPStatus.BAD_REQUEST, "BadRequestError", f"{name}: Field required")
    if request["model"] not in call.models:
        what = f"The model `{request['model']}` does not exist."
        raise _refused(HTTPStatus.NOT_FOUND, "NotFoundError", what)
    return request


def _refused(status: HTTPStatus, kind: str, message: str) -> Refused:
    return Refused(
        status, {"error": {"message": message, "type": kind, "param": None, "code": status.value}}
    )


class _Answer:
    """The documents of one answer."""

    def __init__(self, request: Json, choice: Choice, tokens_max: int) -> None:
        self._request = request
        self._choice = choice
        self._tokens_max = tokens_max
        self._id = f"resp_{uuid.uuid4().hex}"
        self._created = int(time.time())
        self._items: list[Json] = []

    def whole(self) -> Json:
        """The one document of an answer that does not stream."""
        for _ in self._said():
            pass
        return self._ended()

    def events(self) -> Iterator[Json]:
        """The events of an answer that streams."""
        yield {"response": self._response("in_progress"), "type": "response.created"}
        yield {"response": self._response("in_progress"), "type": "response.in_progress"}
        yield from self._said()
        ended = self._ended()
        yield {"response": ended, "type": f"response.{ended['status']}"}

    def _said(self) -> Iterator[Json]:
        """The events of output items: one for each run of text or thoughts, and for each call."""
        standing: _Item | None = None
        while self._choice.finish is None:
            for delta in self._choice.deltas():
                item, piece = _piece_of(delta)
                if item is not None and (standing is None or item.joins_no(standing)):
                    if standing is not None:
                        yield from self._end(standing)
                    standing = item
                    yield from item.begin(len(self._items))
                if standing is not None and piece:
                    yield standing.go_on(piece)
        if standing is not None:
            yield from self._end(standing)

    def _end(self, item: _Item) -> Iterator[Json]:
        yield from item.end()
        self._items.append(item.whole("completed"))

    def _ended(self) -> Json:
        cut = self._choice.completion_tokens >= self._tokens_max
        document = self._response("incomplete" if cut else "completed")
        document["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
        document["usage"] = self._usage()
        return document

    def _response(self, status: str) -> Json:
        return {
            "id": self._id,
            "created_at": self._created,
            "error": None,
            "incomplete_details": None,
            "model": self._request["model"],
            "object": "response",
            "output": [*self._items] if status != "in_progress" else [],
            "status": status,
            "usage": None,
            **{name: self._request.get(name, value) for name, value in _ECHOED.items()},
        }

    def _usage(self) -> Json:
        prompt, said = self._choice.prompt_tokens, self._choice.completion_tokens
        return {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + said,
        }


class _Item:
    """One output item as it comes: a message, thoughts, or a call whose ``call_id`` and ``name`` it has."""

    def __init__(self, kind: str, *, call_id: str = "", name: str = "") -> None:
        self.kind = kind
        self._index = 0
        self._call_id = call_id
        self._name = name
        prefix = {"message": "msg", "reasoning": "rs", "function_call": "fc"}[kind]
        self._id = f"{prefix}_{uuid.uuid4().hex}"
        self._pieces: list[str] = []

    def joins_no(self, standing: _Item) -> bool:
        """Whether it is no part of the item that came before."""
        return self.kind != standing.kind or self.kind == "function_call"

    def begin(self, index: int) -> Iterator[Json]:
        """The events before its text; ``index`` is its place in the output."""
        self._index = index
        yield {
            "item": self.whole("in_progress"),
            "output_index": self._index,
            "type": "response.output_item.added",
        }
        if self.kind != "function_call":
            yield self._part_event("added")

    def go_on(self, piece: str) -> Json:
        """A piece of its text."""
        self._pieces.append(piece)
        event = self._at({"delta": piece, "type": f"response.{self._text_kind}.delta"})
        return {**event, "logprobs": []} if self.kind == "message" else event

    def end(self) -> Iterator[Json]:
        """The events after its text, which say all of it again."""
        member = "arguments" if self.kind == "function_call" else "text"
        done = self._at({member: self._text, "type": f"response.{self._text_kind}.done"})
        if self.kind == "message":
            done["logprobs"] = []
        if self.kind == "function_call":
            done["name"] = self._name
        yield done
        if self.kind != "function_call":
            yield self._part_event("done")
        yield {
            "item": self.whole("completed"),
            "output_index": self._index,
            "type": "response.output_item.done",
        }

    def whole(self, status: str) -> Json:
        """The item with what was said of it so far."""
        item: Json = {"id": self._id, "type": self.kind, "status": status}
        parts = [self._part()] if status == "completed" else []
        match self.kind:
            case "message":
                return {**item, "role": "assistant", "content": parts}
            case "reasoning":
                return {**item, "summary": [], "content": parts or None, "encrypted_content": None}
            case _:
                return {**item, "call_id": self._call_id, "name": self._name, "arguments": self._text}

    @property
    def _text(self) -> str:
        return "".join(self._pieces)

    @property
    def _text_kind(self) -> str:
        return {"message": "output_text", "reasoning": "reasoning_text"}.get(
            self.kind, "function_call_arguments"
        )

    def _part(self) -> Json:
        if self.kind == "reasoning":
            return {"text": self._text, "type": "reasoning_text"}
        return {"annotations": [], "text": self._text, "type": "output_text", "logprobs": None}

    def _part_event(self, how: str) -> Json:
        name = "content_part" if self.kind == "message" else "reasoning_part"
        return self._at({"part": self._part(), "type": f"response.{name}.{how}"})

    def _at(self, event: Json) -> Json:
        place: Json = {"item_id": self._id, "output_index": self._index}
        return event | (place if self.kind == "function_call" else {**place, "content_index": 0})


def _piece_of(delta: Json) -> tuple[_Item | None, str]:
    """A delta of OpenAI's chats as the item that it may begin, and its own piece."""
    match delta:
        case {"content": str(text)}:
            return _Item("message"), text
        case {"reasoning_content": str(text)}:
            return _Item("reasoning"), text
        case {"tool_calls": [{"id": str(call_id), "function": {"name": str(name)}}]}:
            return _Item("function_call", call_id=call_id, name=name), ""
        case {"tool_calls": [{"function": {"arguments": str(text)}}]}:
            return None, text
        case _:
            return None, ""


def _with_failure(events: Iterator[Json]) -> Iterator[Json]:
    try:
        yield from events
    except ModelFailed as failed:
        yield {"type": "error", "code": "server_error", "message": str(failed), "param": None}


def _numbered(events: Iterator[Json]) -> Iterator[Json]:
    for number, event in enumerate(events):
        # In the order of their names, as vLLM writes them.
        yield dict(sorted({**event, "sequence_number": number}.items()))


def _event(document: Json) -> bytes:
    return b"event: " + str(document["type"]).encode() + b"\ndata: " + dump(document) + b"\n\n"
