"""Every wire that carries an answer: what is asked, what an upstream says in pieces, what a client reads.

``read`` also holds a stream to its own protocol: what it gives is text of a stream that a client takes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from doubles import STREAM_ID
from grpc_calls import STREAM, UNARY, infer, is_final
from tritonclient.grpc import service_pb2 as pb  # type: ignore[import-untyped] # it brings no types.

from extproc.wire.grpc_frames import framed

Json = dict[str, Any]

EVENTS = "text/event-stream"
JSON = "application/json"
GRPC = "application/grpc"
USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
COUNTS = {"input_tokens": 1, "output_tokens": 1}


@dataclass(frozen=True)
class Wire:
    """One way to be answered.

    ``say`` gives the upstream's chunks for pieces of a text, and ``read`` the text that a client reads of
    what came, whole or, with ``whole=False``, so far.
    """

    name: str
    codec: str
    path: str
    request: bytes
    kind: str
    say: Callable[[Sequence[str]], list[bytes]]
    read: Callable[..., str]

    @property
    def streams(self) -> bool:
        """Whether the client reads text before its end."""
        return self.kind == EVENTS or self.path == STREAM

    @property
    def trailers(self) -> bool:
        """Whether the answer ends with trailers."""
        return self.kind == GRPC


def _body(**members: object) -> bytes:
    return json.dumps({"model": "m", "max_tokens": 99, **members}).encode()


MESSAGES = [{"role": "user", "content": "hi"}]


# --- OpenAI ----------------------------------------------------------------------------------


def _event(document: Json) -> bytes:
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def _events(body: bytes) -> list[bytes]:
    *events, rest = body.split(b"\n\n")
    assert rest == b""
    return events


def _chat_event(delta: Json, finish_reason: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish_reason}
    return _event(
        {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": [choice]}
    )


def _say_chat(pieces: Sequence[str]) -> list[bytes]:
    usage = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m", "choices": []}
    return [
        _chat_event({"role": "assistant", "content": ""}),
        *(_chat_event({"content": piece}) for piece in pieces),
        _chat_event({}, "stop"),
        _event({**usage, "usage": USAGE}),
        b"data: [DONE]\n\n",
    ]


def _read_chat(body: bytes, *, whole: bool = True) -> str:
    text, finished = "", False
    events = [one.removeprefix(b"data: ") for one in _events(body)]
    for at, event in enumerate(events):
        if event == b"[DONE]":
            assert at == len(events) - 1
            continue
        for choice in json.loads(event)["choices"]:
            assert not finished
            text += choice["delta"].get("content") or ""
            finished = choice["finish_reason"] is not None
    assert not whole or (finished and events[-1] == b"[DONE]")
    return text


def _chat_json(text: str) -> Json:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    return {"id": "c", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice]}


def _say_completions(pieces: Sequence[str]) -> list[bytes]:
    def event(text: str, finish_reason: str | None = None) -> bytes:
        choice = {"index": 0, "text": text, "finish_reason": finish_reason}
        return _event(
            {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}
        )

    return [*map(event, pieces), event("", "stop"), b"data: [DONE]\n\n"]


def _read_completions(body: bytes, *, whole: bool = True) -> str:
    events = [one.removeprefix(b"data: ") for one in _events(body)]
    choices = [json.loads(one)["choices"][0] for one in events if one != b"[DONE]"]
    reasons = [one["finish_reason"] for one in choices]
    assert not any(reasons[:-1])
    assert not whole or (reasons[-1] == "stop" and events[-1] == b"[DONE]")
    return "".join(one["text"] for one in choices)


# --- OpenAI's responses ----------------------------------------------------------------------


def _response(text: str, status: str) -> Json:
    part = {"type": "output_text", "text": text, "annotations": []}
    item = {"type": "message", "id": "msg_1", "role": "assistant", "status": status, "content": [part]}
    output = [item] if status == "completed" else []
    return {
        "id": "resp_1",
        "object": "response",
        "created_at": 1,
        "status": status,
        "model": "m",
        "output": output,
    }


def _say_responses(pieces: Sequence[str]) -> list[bytes]:
    text = "".join(pieces)
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = _response(text, "completed")["output"][0]
    begun = {**item, "status": "in_progress", "content": []}
    part = item["content"][0]
    documents: list[Json] = [
        {"type": "response.created", "response": _response("", "in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
        *({"type": "response.output_text.delta", **at, "delta": piece} for piece in pieces),
        {"type": "response.output_text.done", **at, "text": text},
        {"type": "response.content_part.done", **at, "part": part},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
        {"type": "response.completed", "response": _response(text, "completed")},
    ]
    return [_named({**one, "sequence_number": number}) for number, one in enumerate(documents)]


def _named(document: Json) -> bytes:
    return f"event: {document['type']}\n".encode() + _event(document)


def _documents(body: bytes) -> list[Json]:
    documents = []
    for one in _events(body):
        name, _, data = one.partition(b"\ndata: ")
        documents.append(json.loads(data))
        assert name.decode() == f"event: {documents[-1]['type']}"
    return documents


def _read_responses(body: bytes, *, whole: bool = True) -> str:
    documents = _documents(body)
    assert [one["sequence_number"] for one in documents] == list(range(len(documents)))
    kinds = [one["type"] for one in documents]
    deltas = [at for at, kind in enumerate(kinds) if kind == "response.output_text.delta"]
    text = "".join(documents[at]["delta"] for at in deltas)
    assert all(kind != "response.content_part.added" for kind in kinds[3:])
    if "response.output_text.done" in kinds:
        done = kinds.index("response.output_text.done")
        assert done > max(deltas, default=0)
        assert documents[done]["text"] == text
    assert not whole or kinds[-1] == "response.completed"
    if whole:
        assert documents[-1]["response"]["output"][0]["content"][0]["text"] == text
    return text


# --- Anthropic -------------------------------------------------------------------------------


def _message(text: str) -> Json:
    content = [{"type": "text", "text": text}]
    return {
        "id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": content,
        "stop_reason": "end_turn", "stop_sequence": None, "usage": COUNTS,
    }  # fmt: skip


def _say_messages(pieces: Sequence[str]) -> list[bytes]:
    begun = {**_message(""), "content": [], "stop_reason": None}
    deltas = [{"type": "text_delta", "text": piece} for piece in pieces]
    documents: list[Json] = [
        {"type": "message_start", "message": begun},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        *({"type": "content_block_delta", "index": 0, "delta": delta} for delta in deltas),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": COUNTS},
        {"type": "message_stop"},
    ]
    return [_named(one) for one in documents]


def _read_messages(body: bytes, *, whole: bool = True) -> str:
    documents = _documents(body)
    kinds = [one["type"] for one in documents]
    order = ["message_start", "content_block_start", "content_block_delta", "content_block_stop"]
    order += ["message_delta", "message_stop"]
    assert [order.index(kind) for kind in kinds] == sorted(order.index(kind) for kind in kinds)
    assert not whole or kinds[-1] == "message_stop"
    deltas = [one["delta"] for one in documents if one["type"] == "content_block_delta"]
    return "".join(delta["text"] for delta in deltas)


# --- Triton ----------------------------------------------------------------------------------


def _say_generate(pieces: Sequence[str]) -> list[bytes]:
    return [_event({"model_name": "m", "model_version": "1", "text_output": piece}) for piece in pieces]


def _read_generate(body: bytes, *, whole: bool = True) -> str:
    del whole
    return "".join(json.loads(one.removeprefix(b"data: "))["text_output"] for one in _events(body))


def _output(text: str) -> Json:
    return {"name": "text_output", "datatype": "BYTES", "shape": [1], "data": [text]}


def _infer_answer(text: str, *, final: bool | None = None, key: int = 0) -> pb.ModelInferResponse:
    made = pb.ModelInferResponse(model_name="m", model_version="1")
    if final is not None:
        made.id = f"{STREAM_ID}-{key}"
        made.parameters["triton_final_response"].bool_param = final
    made.outputs.add(name="text_output", datatype="BYTES", shape=[1])
    raw = text.encode()
    made.raw_output_contents.append(len(raw).to_bytes(4, "little") + raw)
    return made


def stream_infer_answer(text: str, *, key: int = 0, final: bool = False) -> bytes:
    """A message of Triton's to one of a stream's requests."""
    answer = _infer_answer(text, final=final, key=key)
    return framed(pb.ModelStreamInferResponse(infer_response=answer).SerializeToString())


def _say_stream_infer(pieces: Sequence[str]) -> list[bytes]:
    return [*map(stream_infer_answer, pieces), stream_infer_answer("", final=True)]


def grpc_messages(body: bytes) -> Iterable[bytes]:
    """The messages of a stream, each of them whole."""
    while body:
        end = 5 + int.from_bytes(body[1:5])
        assert len(body) >= end
        yield body[5:end]
        body = body[end:]


def _text_of(answer: pb.ModelInferResponse) -> str:
    (raw,) = answer.raw_output_contents
    assert answer.outputs[0].name == "text_output"
    return str(raw[4:], "utf-8")


def _read_stream_infer(body: bytes, *, whole: bool = True) -> str:
    answers = [pb.ModelStreamInferResponse.FromString(one) for one in grpc_messages(body)]
    assert not any(one.error_message for one in answers)
    finals = [is_final(one) for one in answers]
    assert not any(finals[:-1])
    assert not whole or finals[-1]
    return "".join(_text_of(one.infer_response) for one in answers)


def _read_infer_grpc(body: bytes, *, whole: bool = True) -> str:
    del whole
    (message,) = grpc_messages(body)
    return _text_of(pb.ModelInferResponse.FromString(message))


def _say_infer_grpc(pieces: Sequence[str]) -> list[bytes]:
    return [framed(_infer_answer("".join(pieces)).SerializeToString())]


_ASKED_GRPC: Final = framed(infer("m", "hi", limit=99).SerializeToString())
_INFER: Final = {
    "inputs": [
        {"name": "text_input", "datatype": "BYTES", "shape": [1], "data": ["hi"]},
        {"name": "max_tokens", "datatype": "INT32", "shape": [1], "data": [99]},
    ]
}


def _json_wire(  # noqa: PLR0917 - as they stand in a Wire.
    name: str,
    codec: str,
    path: str,
    request: bytes,
    say: Callable[[str], Json],
    read: Callable[[Any], str],
) -> Wire:
    def read_body(body: bytes, *, whole: bool = True) -> str:
        del whole
        return read(json.loads(body))

    def say_body(pieces: Sequence[str]) -> list[bytes]:
        # In two chunks, of which only the last ends a text.
        body = json.dumps(say("".join(pieces))).encode()
        return [body[: len(body) // 2], body[len(body) // 2 :]]

    return Wire(name, codec, path, request, JSON, say_body, read_body)


def _completion_json(text: str) -> Json:
    choice = {"index": 0, "text": text, "finish_reason": "stop"}
    return {"id": "c", "object": "text_completion", "created": 1, "model": "m", "choices": [choice]}


WIRES: Final = (
    Wire(
        "chat",
        "openai_chat",
        "/v1/chat/completions",
        _body(messages=MESSAGES, stream=True),
        EVENTS,
        _say_chat,
        _read_chat,
    ),
    Wire(
        "completions",
        "openai_completions",
        "/v1/completions",
        _body(prompt="hi", stream=True),
        EVENTS,
        _say_completions,
        _read_completions,
    ),
    Wire(
        "responses",
        "openai_responses",
        "/v1/responses",
        json.dumps({"model": "m", "input": "hi", "stream": True, "store": False}).encode(),
        EVENTS,
        _say_responses,
        _read_responses,
    ),
    Wire(
        "messages",
        "anthropic_messages",
        "/v1/messages",
        _body(messages=MESSAGES, stream=True),
        EVENTS,
        _say_messages,
        _read_messages,
    ),
    Wire(
        "generate_stream",
        "triton_generate",
        "/v2/models/m/generate_stream",
        json.dumps({"text_input": "hi", "max_tokens": 99, "stream": True}).encode(),
        EVENTS,
        _say_generate,
        _read_generate,
    ),
    Wire("stream_infer", "kserve_grpc", STREAM, _ASKED_GRPC, GRPC, _say_stream_infer, _read_stream_infer),
    _json_wire(
        "chat, whole",
        "openai_chat",
        "/v1/chat/completions",
        _body(messages=MESSAGES),
        _chat_json,
        lambda body: body["choices"][0]["message"]["content"],
    ),
    _json_wire(
        "completions, whole",
        "openai_completions",
        "/v1/completions",
        _body(prompt="hi"),
        _completion_json,
        lambda body: body["choices"][0]["text"],
    ),
    _json_wire(
        "responses, whole",
        "openai_responses",
        "/v1/responses",
        json.dumps({"model": "m", "input": "hi", "store": False}).encode(),
        lambda text: _response(text, "completed"),
        lambda body: body["output"][0]["content"][0]["text"],
    ),
    _json_wire(
        "messages, whole",
        "anthropic_messages",
        "/v1/messages",
        _body(messages=MESSAGES),
        _message,
        lambda body: body["content"][0]["text"],
    ),
    _json_wire(
        "generate",
        "triton_generate",
        "/v2/models/m/generate",
        json.dumps({"text_input": "hi", "max_tokens": 99}).encode(),
        lambda text: {"model_name": "m", "model_version": "1", "text_output": text},
        lambda body: body["text_output"],
    ),
    _json_wire(
        "infer",
        "kserve_infer",
        "/v2/models/m/infer",
        json.dumps(_INFER).encode(),
        lambda text: {"model_name": "m", "model_version": "1", "outputs": [_output(text)]},
        lambda body: body["outputs"][0]["data"][0],
    ),
    Wire("infer over gRPC", "kserve_grpc", UNARY, _ASKED_GRPC, GRPC, _say_infer_grpc, _read_infer_grpc),
)
"""All of them; embeddings carry no text back."""
