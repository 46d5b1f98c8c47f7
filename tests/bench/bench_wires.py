"""What each wire costs the filter: CPU per request and per streamed frame, in process and without gRPC.

One prompt of 4 KB, and an answer of 128 KB, of the same prose on every wire: long enough that what an
answer costs however short it is counts for little. A unary answer is one frame that holds all of it.
``python tests/bench/bench_wires.py`` prints the table.
"""

from __future__ import annotations

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

if __name__ == "__main__":
    ROOT = Path(__file__).parents[2]
    sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "support")]

from bench_texts import MODEL, script
from bench_work import STREAM_ID, WorkBench
from tritonclient.grpc import service_pb2 as pb

_ID = "0123456789abcdef0123456789abcdef"
EVENTS_TYPE = "text/event-stream; charset=utf-8"
GRPC_TYPE = "application/grpc"
PROMPT_CHARS = 4_096
PIECE_BYTES = 16_384
ANSWER_BYTES = 131_072


@dataclass(frozen=True, kw_only=True)
class Wire:
    """A request and the frames of its answer."""

    path: str
    request: bytes
    frames: tuple[bytes, ...]
    request_type: str = "application/json"
    answer_type: str = EVENTS_TYPE
    trailers: Mapping[str, str] = field(default_factory=dict)


def wires(seed: int) -> Mapping[str, Wire]:
    """Every wire by the name of its row."""
    pieces = [piece for piece in script("openai", "prose", seed).pieces if piece]
    prompt = ("Tell me more about it. " * PROMPT_CHARS)[:PROMPT_CHARS]
    asked = {"model": MODEL, "max_tokens": 256, "stream": True}
    turn = [{"role": "user", "content": prompt}]
    base = f"/v2/models/{MODEL}"
    return {
        "OpenAI chat": Wire(
            path="/v1/chat/completions",
            request=_dumped(asked | {"messages": turn}),
            frames=_long(_chat_frames, pieces),
        ),
        "OpenAI completions": Wire(
            path="/v1/completions",
            request=_dumped(asked | {"prompt": prompt}),
            frames=_long(_completion_frames, pieces),
        ),
        "OpenAI responses": Wire(
            path="/v1/responses",
            request=_dumped({"model": MODEL, "max_output_tokens": 256, "stream": True, "input": prompt}),
            frames=_long(_response_frames, pieces),
        ),
        "OpenAI embeddings": Wire(
            path="/v1/embeddings",
            request=_dumped({"model": MODEL, "input": prompt}),
            frames=(_embeddings(),),
            answer_type="application/json",
        ),
        "Anthropic messages": Wire(
            path="/v1/messages",
            request=_dumped(asked | {"messages": turn}),
            frames=_long(_message_frames, pieces),
        ),
        "Triton generate_stream": Wire(
            path=f"{base}/generate_stream",
            request=_dumped({"text_input": prompt, "stream": True, "parameters": {"max_tokens": 256}}),
            frames=_long(_generate_frames, pieces),
        ),
        "KServe infer": Wire(
            path=f"{base}/infer",
            request=_dumped({"inputs": [_tensor("text_input", prompt)]}),
            frames=_long(_infer_answer, pieces),
            answer_type="application/json",
        ),
        "KServe ModelStreamInfer": Wire(
            path="/inference.GRPCInferenceService/ModelStreamInfer",
            request=_framed(_infer_request(prompt)),
            frames=_long(_infer_frames, pieces),
            request_type=GRPC_TYPE,
            answer_type=GRPC_TYPE,
            trailers={"grpc-status": "0"},
        ),
    }


def measure(seed: int, *, rounds: int = 30) -> dict[str, dict[str, float]]:
    """By wire: CPU microseconds per request and per frame, nanoseconds per byte of the answer.

    Frames come one by one, and as many together as fit a piece; medians over the rounds, in which the
    wires take turns.
    """
    bench = WorkBench()
    gc.freeze()
    spent: dict[str, list[tuple[float, ...]]] = {}
    chosen = wires(seed)
    for _ in range(rounds):
        for name, wire in chosen.items():
            joined = b"".join(wire.frames)
            merged = [joined[at : at + PIECE_BYTES] for at in range(0, len(joined), PIECE_BYTES)]
            request, singly, _ = once(bench, wire, wire.frames)
            _, together, _ = once(bench, wire, merged)
            alone = codec_alone(bench, wire)
            spent.setdefault(name, []).append((request, singly, together, alone))
    return {name: _medians(chosen[name], found) for name, found in spent.items()}


def _medians(wire: Wire, found: Sequence[tuple[float, ...]]) -> dict[str, float]:
    request, singly, together, alone = (statistics.median(one[at] for one in found) for at in range(4))
    length = sum(map(len, wire.frames))
    return {
        "request_us": round(request / 1_000, 1),
        "frames": len(wire.frames),
        "frame_us": round(singly / len(wire.frames) / 1_000, 1),
        "frame_merged_us": round(together / len(wire.frames) / 1_000, 1),
        "byte_ns": round(singly / length, 1),
        "byte_merged_ns": round(together / length, 1),
        "byte_codec_ns": round(alone / length, 1),
    }


def codec_alone(bench: WorkBench, wire: Wire) -> int:
    """Nanoseconds in which the codec reads the frames one by one and writes each with another text."""
    session = bench.session(
        wire.path, wire.request, content_type=wire.request_type, answer_type=wire.answer_type
    )
    before = time.process_time_ns()
    for number, piece in enumerate(wire.frames, 1):
        # What ends in trailers has no last piece of its body.
        eof = number == len(wire.frames) and not wire.trailers
        for frame in session.read_response(piece, eof=eof):
            session.write_response(frame, tuple([delta.text[1:] for delta in frame.deltas]))
    return time.process_time_ns() - before


def once(bench: WorkBench, wire: Wire, pieces: Sequence[bytes]) -> tuple[int, int, bytes]:
    """Nanoseconds of the request and of the answer, and what the client got."""
    stream = bench.stream()
    before = time.process_time_ns()
    bench.ask(stream, wire.path, wire.request, content_type=wire.request_type)
    asked = time.process_time_ns()
    answer = bench.answer_to(stream, pieces, content_type=wire.answer_type, trailers=wire.trailers)
    ended = time.process_time_ns()
    return asked - before, ended - asked, answer


# --- what the upstreams say ------------------------------------------------------------------


def _dumped(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _named(event: str, **members: object) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (event.encode(), _dumped({"type": event, **members}))


def _tensor(name: str, text: str) -> dict[str, object]:
    return {"name": name, "datatype": "BYTES", "shape": [1], "data": [text]}


def _long(
    frames_of: Callable[[Sequence[str]], tuple[bytes, ...]], pieces: Sequence[str]
) -> tuple[bytes, ...]:
    """The frames of as many pieces as make an answer of that length."""
    count = ANSWER_BYTES * len(pieces) // sum(map(len, frames_of(pieces)))
    return frames_of([pieces[number % len(pieces)] for number in range(count)])


def _chat_frames(pieces: Sequence[str]) -> tuple[bytes, ...]:
    def event(delta: Mapping[str, str], finish: str | None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        head = {"id": f"chatcmpl-{_ID}", "object": "chat.completion.chunk", "created": 1795261275}
        return b"data: " + _dumped({**head, "model": MODEL, "choices": [choice]}) + b"\n\n"

    said = (event({"content": piece}, None) for piece in pieces)
    return (
        event({"role": "assistant", "content": ""}, None),
        *said,
        event({}, "stop"),
        b"data: [DONE]\n\n",
    )


def _generate_frames(pieces: Sequence[str]) -> tuple[bytes, ...]:
    head = {"model_name": MODEL, "model_version": "1"}
    return tuple(b"data: " + _dumped({**head, "text_output": piece}) + b"\n\n" for piece in pieces)


def _infer_answer(pieces: Sequence[str]) -> tuple[bytes, ...]:
    outputs = [_tensor("text_output", "".join(pieces))]
    return (_dumped({"model_name": MODEL, "model_version": "1", "outputs": outputs}),)


def _completion_frames(pieces: Sequence[str]) -> tuple[bytes, ...]:
    def event(text: str, finish: str | None) -> bytes:
        choice = {"index": 0, "text": text, "logprobs": None, "finish_reason": finish}
        head = {"id": f"cmpl-{_ID}", "object": "text_completion", "created": 1795261275}
        return b"data: " + _dumped({**head, "model": MODEL, "choices": [choice]}) + b"\n\n"

    return (*(event(piece, None) for piece in pieces), event("", "stop"), b"data: [DONE]\n\n")


def _message_frames(pieces: Sequence[str]) -> tuple[bytes, ...]:
    message = {
        "id": "msg_0123456789abcdef",
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": MODEL,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 900, "output_tokens": 0},
    }
    return (
        _named("message_start", message=message),
        _named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        *(
            _named("content_block_delta", index=0, delta={"type": "text_delta", "text": piece})
            for piece in pieces
        ),
        _named("content_block_stop", index=0),
        _named(
            "message_delta",
            delta={"stop_reason": "end_turn", "stop_sequence": None},
            usage={"output_tokens": len(pieces)},
        ),
        _named("message_stop"),
    )


def _response_frames(pieces: Sequence[str]) -> tuple[bytes, ...]:
    text = "".join(pieces)
    whole = {"type": "output_text", "text": text, "annotations": [], "logprobs": None}
    item = {"id": "msg_1", "type": "message", "role": "assistant"}
    done = {**item, "status": "completed", "content": [whole]}
    begun = {**item, "status": "in_progress", "content": []}
    response = {"id": "resp_1", "object": "response", "created_at": 1795261275, "model": MODEL}
    usage = {"input_tokens": 900, "output_tokens": len(pieces), "total_tokens": 900 + len(pieces)}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    events: list[tuple[str, dict[str, object]]] = [
        ("created", {"response": {**response, "status": "in_progress", "output": [], "usage": None}}),
        ("output_item.added", {"output_index": 0, "item": begun}),
        ("content_part.added", {**at, "part": {**whole, "text": ""}}),
        *(("output_text.delta", {**at, "delta": piece, "logprobs": []}) for piece in pieces),
        ("output_text.done", {**at, "text": text, "logprobs": []}),
        ("content_part.done", {**at, "part": whole}),
        ("output_item.done", {"output_index": 0, "item": done}),
        ("completed", {"response": {**response, "status": "completed", "output": [done], "usage": usage}}),
    ]
    return tuple(
        _named(f"response.{name}", sequence_number=number, **members)
        for number, (name, members) in enumerate(events)
    )


def _embeddings() -> bytes:
    vector = [round(0.001 * number - 0.3, 4) for number in range(768)]
    data = [{"object": "embedding", "index": number, "embedding": vector} for number in range(28)]
    return _dumped(
        {
            "object": "list",
            "model": MODEL,
            "data": data,
            "usage": {"prompt_tokens": 900, "total_tokens": 900},
        }
    )


def _framed(message: bytes) -> bytes:
    return b"\0" + len(message).to_bytes(4, "big") + message


def _packed(text: str) -> bytes:
    return len(text.encode()).to_bytes(4, "little") + text.encode()


def _infer_request(prompt: str) -> bytes:
    request = pb.ModelInferRequest(model_name=MODEL, id="1", raw_input_contents=[_packed(prompt)])
    request.inputs.add(name="text_input", datatype="BYTES", shape=[1])
    request.parameters["max_tokens"].int64_param = 256
    serialised: bytes = request.SerializeToString()
    return serialised


def _infer_frames(pieces: Sequence[str]) -> tuple[bytes, ...]:
    frames = []
    for number, piece in enumerate(pieces, 1):
        answer = pb.ModelStreamInferResponse()
        response = answer.infer_response
        response.model_name, response.model_version, response.id = MODEL, "1", f"{STREAM_ID}-0"
        response.parameters["triton_final_response"].bool_param = number == len(pieces)
        response.outputs.add(name="text_output", datatype="BYTES", shape=[1])
        response.raw_output_contents.append(_packed(piece))
        frames.append(_framed(answer.SerializeToString()))
    return tuple(frames)


if __name__ == "__main__":
    from bench_report import wires_table

    print(wires_table({"wires": measure(1)}))  # noqa: T201 - its output.
