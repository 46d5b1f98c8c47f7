"""Which answers are read and which are refused: order, names, ids, failures."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from responses_samples import (
    CALL_ID,
    LOGPROBS,
    MESSAGE_ID,
    PATH,
    RESPONSE,
    TEXT,
    documents_of,
    event_bytes,
    numbered,
    response_of,
    stream_bytes,
    whole_stream,
)

from extproc.codecs._responses_answer import AnswerReader
from extproc.codecs._responses_walk import Facts
from extproc.codecs.openai_responses import CODEC
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import CodecSession, RequestEdits, ResponseFrame
from extproc.domain.segment import Channel, Usage
from extproc.domain.verdict import Reason

WITHHELD = "the model server reported an error; its text was withheld"
CREATED = {"type": "response.created", "response": response_of("in_progress")}
COMPLETED = {"type": "response.completed", "response": RESPONSE}
AT = {"item_id": MESSAGE_ID, "output_index": 0, "content_index": 0}
DELTA = {"type": "response.output_text.delta", **AT, "delta": "a", "logprobs": []}
DONE = {"type": "response.output_text.done", **AT, "text": "a", "logprobs": []}


def session_of(
    *, status: int = 200, streamed: bool = True, watched: bool = True, **members
) -> CodecSession:
    session = CODEC.open(RequestHead(method="POST", path=PATH))
    session.read_request(json.dumps({"model": "m", "input": "x", **members}).encode(), eof=True)
    session.write_request(0, RequestEdits(answer_watched=watched))
    kind = "text/event-stream" if streamed else "application/json"
    session.read_response_head(ResponseHead(status=status, headers={"content-type": (kind,)}))
    return session


def frames_of(session: CodecSession, body: bytes) -> list[ResponseFrame]:
    return [*session.read_response(body, eof=False), *session.read_response(b"", eof=True)]


def passed(body: bytes, **parts) -> bytes:
    """What goes on of an answer in which nothing is found."""
    session = session_of(**parts)
    frames = frames_of(session, body)
    return b"".join(
        session.write_response(frame, tuple(delta.text for delta in frame.deltas)) for frame in frames
    )


def fault(body: bytes, **parts) -> str:
    with pytest.raises(PeerError) as caught:
        frames_of(session_of(**parts), body)
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)
    return caught.value.message.removeprefix("the model server's answer: ")


def stream(*documents: dict[str, Any]) -> bytes:
    return stream_bytes(numbered(documents))


# --- what is read -----------------------------------------------------------------------------------------


def test_every_event_is_read_and_only_what_nobody_can_read_is_gone():
    body = stream_bytes(whole_stream())
    logprobs = json.dumps(LOGPROBS, separators=(",", ":")).encode()
    expected = body.replace(logprobs, b"[]").replace(b'"gAAAAA"', b"null")
    assert passed(body) == expected != body
    assert passed(body, watched=False) == body


def test_each_text_is_told_once_in_its_own_channel():
    frames = frames_of(session_of(), stream_bytes(whole_stream()))
    texts: dict[Channel, str] = {}
    for frame in frames:
        for channel, text in frame.deltas:
            if channel.field != "output.once":
                texts[channel] = texts.get(channel, "") + text
    assert texts == {
        Channel(0, "reasoning_summary"): "Weather it is",
        Channel(0, "reasoning"): "It rains now",
        Channel(1, "text"): TEXT,
        Channel(1, "1.refusal"): "I will not",
        Channel(2, "arguments"): '{"city":"Oslo"}',
        Channel(3, "input"): "do it now",
    }
    once = [text for frame in frames for channel, text in frame.deltas if channel.field == "output.once"]
    assert sorted(once) == sorted({*once})
    assert frames[-1].usage == Usage(7, 9)


def test_a_whole_answer_names_what_its_texts_are():
    frames = frames_of(session_of(streamed=False), json.dumps(RESPONSE).encode())
    named = {channel.field: text for frame in frames for channel, text in frame.deltas}
    del named["output.once"]
    assert named == {
        "instructions": "be kind",
        "reasoning_summary": "Weather it is",
        "reasoning": "It rains now",
        "text": TEXT,
        "refusal": "I will not",
        "arguments": '{"city":"Oslo"}',
        "input": "do it now",
    }


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("kind", ["input", "reasoning", "refusal"])
def test_what_a_whole_answer_says_twice_is_told_in_each_kind_of_place(kind, order):
    """A guard may read the one kind and not the other."""
    other = {
        "input": {"type": "custom_tool_call", "name": "f", "input": "so be it"},
        "reasoning": {"type": "reasoning", "content": [{"type": "reasoning_text", "text": "so be it"}]},
        "refusal": {"type": "message", "content": [{"type": "refusal", "refusal": "so be it"}]},
    }[kind]
    text = {"type": "message", "content": [{"type": "output_text", "text": "so be it"}]}
    document = {**RESPONSE, "output": [other, text][::order], "metadata": {"k": "so be it"}}
    body = json.dumps(document).encode()
    session = session_of(streamed=False, tools=[{"type": "custom", "name": "f"}])
    (frame,) = session.read_response(body, eof=True)
    told = [delta.channel.field for delta in frame.deltas if delta.text == "so be it"]
    assert told == [kind, "text"][::order]
    released = tuple(delta.text.replace("so be it", "[X]") for delta in frame.deltas)
    assert session.write_response(frame, released) == body.replace(b"so be it", b"[X]")


def test_a_text_that_only_its_end_says_is_told_though_a_call_said_it():
    item = {"type": "custom_tool_call", "id": CALL_ID, "name": "f", "call_id": "c", "input": ""}
    at = {"item_id": CALL_ID, "output_index": 0}
    called = [
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.custom_tool_call_input.delta", **at, "delta": "so be it"},
        {"type": "response.custom_tool_call_input.done", **at, "input": "so be it"},
        {"type": "response.output_item.done", "output_index": 0, "item": {**item, "input": "so be it"}},
    ]
    ended = [{**DONE, "output_index": 1, "text": "so be it"}] * 2
    frames = frames_of(session_of(), stream(CREATED, *called, *ended, COMPLETED))
    deltas = [delta.channel.field for frame in frames for delta in frame.deltas if delta.text == "so be it"]
    assert deltas == ["input", "output.once"]


def test_a_text_that_begins_with_its_part_or_its_item_is_one_with_its_deltas():
    call = {"id": CALL_ID, "type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a'}
    part = {"type": "output_text", "text": "He", "annotations": []}
    message = {"id": MESSAGE_ID, "type": "message", "role": "assistant", "content": []}
    body = stream(
        CREATED,
        {"type": "response.output_item.added", "output_index": 0, "item": message},
        {"type": "response.content_part.added", **AT, "part": part},
        {**DELTA, "delta": "llo"},
        {"type": "response.output_item.added", "output_index": 1, "item": call},
        {
            "type": "response.function_call_arguments.delta",
            "item_id": CALL_ID,
            "output_index": 1,
            "delta": '":1}',
        },
        {"type": "response.output_item.done", "output_index": 0, "item": {**message, "content": [part]}},
    )
    texts: dict[Channel, str] = {}
    for frame in frames_of(session_of(), body):
        for channel, text in frame.deltas:
            texts[channel] = texts.get(channel, "") + text
    assert texts[Channel(0, "text")] == "Hello"
    assert texts[Channel(1, "arguments")] == '{"a":1}'
    assert passed(body) == body


def test_comments_and_an_end_of_older_servers_are_left_out():
    body = stream(CREATED, DELTA, DONE, COMPLETED)
    first, rest = body.split(b"\n\n", 1)
    assert passed(b": ping\n\n" + first + b"\n: ping\n\n" + rest + b"data: [DONE]\n\n") == passed(body)


def test_events_without_numbers_stay_without():
    body = stream_bytes([CREATED, DELTA, DONE])
    assert passed(body) == body
    session = session_of()
    frames_of(session, stream_bytes([CREATED, DELTA]))
    (tail,) = documents_of(session.write_tail(0, Channel(0, "text"), "held"))
    assert tail == {**DELTA, "delta": "held"}


# --- what is refused --------------------------------------------------------------------------------------

MALFORMED: dict[str, tuple[dict[str, Any], ...]] = {
    "nothing before the response": (DELTA,),
    "created twice": (CREATED, CREATED),
    "after the end": (CREATED, COMPLETED, DELTA),
    "an unknown event": (CREATED, {"type": "response.note", "text": "x"}),
    "a hosted tool's": (
        CREATED,
        {"type": "response.code_interpreter_call_code.delta", "output_index": 0, "delta": "x"},
    ),
    "an image": (
        CREATED,
        {"type": "response.image_generation_call.partial_image", "partial_image_b64": "x"},
    ),
    "a text after its end": (CREATED, DELTA, DONE, DELTA),
    "a text after its item's end": (
        CREATED,
        DELTA,
        {"type": "response.output_item.done", "output_index": 0, "item": {}},
        DELTA,
    ),
    "one id of two items": (CREATED, DELTA, {**DELTA, "output_index": 1}),
    "output before it was said": (CREATED, {"type": "response.in_progress", "response": RESPONSE}),
    "a delta with more": (CREATED, {**DELTA, "more": "x"}),
    "a delta without text": (CREATED, {**AT, "type": DELTA["type"]}),
    "a delta that is a number": (CREATED, {**DELTA, "delta": 4929}),
    "a delta of nothing": (CREATED, {"type": DELTA["type"], "delta": "x"}),
    "an index out of bounds": (CREATED, {**DELTA, "output_index": -1}),
    "an index that is none": (CREATED, {**DELTA, "content_index": "0"}),
    "an unknown part": (
        CREATED,
        {"type": "response.content_part.added", **AT, "part": {"type": "x", "x": "y"}},
    ),
    "no response": (CREATED, {"type": "response.completed"}),
    "counts that are none": (
        CREATED,
        {"type": "response.completed", "response": {**RESPONSE, "usage": {"output_tokens": -1}}},
    ),
}


@pytest.mark.parametrize("documents", MALFORMED.values(), ids=MALFORMED)
def test_events_that_cannot_come_are_refused(documents):
    fault(stream(*documents))


@pytest.mark.parametrize("numbers", [(1, 1), (2, 1), (0, -1), (0, 2**31), (0, "1"), (0, 0.5)])
def test_numbers_go_upwards(numbers):
    first, second = numbers
    fault(stream_bytes([{**CREATED, "sequence_number": first}, {**DELTA, "sequence_number": second}]))


class Forgetful(AnswerReader):
    """Reads every event in the general way."""

    def _learn(self, *_: object) -> None:
        pass


def said(reader: AnswerReader, body: bytes, released: list[str]) -> tuple[object, bytes] | None:
    """The deltas of a stream and its bytes with other texts in their places; None where it is refused."""
    try:
        frames = reader.read(body, eof=False)
    except PeerError:
        return None
    texts = iter([*released, *("x" for frame in frames for _ in frame.deltas)])
    written = [reader.write(frame, tuple([next(texts) for _ in frame.deltas])) for frame in frames]
    return [delta for frame in frames for delta in frame.deltas], b"".join(written)


SPELLED = st.one_of(
    st.text(max_size=5).map(lambda text: json.dumps(text, ensure_ascii=False)[1:-1]),
    st.text(max_size=5).map(lambda text: json.dumps(text)[1:-1]),
    st.sampled_from(["", "\\", '"', "\\ud800", "\\q", "a\nb", "\x1f", '","x":"', '","logprobs":[]}\n\n']),
)
DIGITS = st.sampled_from([*["%d"] * 8, "0%d", "-%d", "%d.0", "%d234567", "%d2345678901"])
ORDERS = ['{%s,"delta":"%s","sequence_number":%s}', '{"sequence_number":%s,%s,"delta":"%s"}']


@pytest.mark.parametrize("order", [0, 1])
@given(
    st.lists(st.tuples(SPELLED, DIGITS), max_size=8),
    st.lists(st.text(max_size=5), max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_deltas_in_a_row_say_what_each_says_alone(order, deltas, released, watched, inner):
    """Read by what stands around them, and by a reader that learns none of that: to the same effect."""
    at = '"type":"response.output_text.delta",' + json.dumps(AT, separators=(",", ":"))[1:-1]
    body = stream(CREATED)
    for number, (text, digits) in enumerate(deltas, 1):
        parts = (at, text, digits % number) if not order else (digits % number, at, text)
        document = (ORDERS[order] % parts).encode("utf-8", "surrogatepass")
        body += b"event: response.output_text.delta\ndata: " + document + b"\n\n"
    facts = Facts("m", frozenset(), inner, watched)
    in_a_row, alone = (
        kind(facts, status=200, streamed=True, limits=LIMITS) for kind in (AnswerReader, Forgetful)
    )
    assert said(in_a_row, body, released) == said(alone, body, released)


def test_numbers_of_deltas_in_a_row_go_upwards():
    deltas = [{**DELTA, "sequence_number": number} for number in (1, 2, 2)]
    assert (
        fault(stream_bytes([{**CREATED, "sequence_number": 0}, *deltas])) == "its events are out of order"
    )


@pytest.mark.parametrize(
    "spelled",
    [
        b"data: %b\n\n",
        b"event: response.completed\ndata: %b\n\n",
        b"event: response.created\nevent: response.created\ndata: %b\n\n",
        b"event: response.created\nid: 1\ndata: %b\n\n",
        b"event: response.created\nretry: 1\ndata: %b\n\n",
        b"event: response.created\n\n",
        b"event: response.created\ndata: %b",
        b"event: response.created\ndata: [%b]\n\n",
        b"event: response.created\ndata: x%b\n\n",
        b"data: [DONE]\n\n",
    ],
)
def test_an_event_has_one_name_which_is_its_type(spelled: bytes):
    document = json.dumps(CREATED).encode()
    fault(spelled % document if b"%b" in spelled else spelled)


def test_many_texts_at_once_are_refused_and_one_after_another_read():
    def texts(*, ended: bool) -> bytes:
        documents = [CREATED]
        for index in range(65):
            at = {"item_id": f"msg_{index}", "output_index": index}
            documents += [{**DELTA, **at}, *([{**DONE, **at}] if ended else [])]
        return stream(*documents)

    assert fault(texts(ended=False)) == "it has more than 64 texts at once"
    assert passed(texts(ended=True)) == texts(ended=True)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"object":"chat.completion"}', b'{"a":1,"a":2}', b"x"]
)
def test_a_whole_answer_is_a_response(body: bytes):
    fault(body, streamed=False)


# --- failures ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ({"type": "error", "code": "invalid_prompt", "message": "too odd", "param": None}, "too odd"),
        ({"type": "error", "code": "server_error", "message": "too odd"}, WITHHELD),
        ({"type": "error", "code": "odd", "message": "at /opt/vllm/engine.py"}, WITHHELD),
        ({"type": "error", "code": "/opt/vllm/engine.py", "message": "odd"}, WITHHELD),
        ({"type": "error", "message": ["x"]}, WITHHELD),
        ({"error": {"message": "too odd", "type": "x", "param": None, "code": "odd"}}, "too odd"),
        ({"error": "CUDA error"}, WITHHELD),
        ({"detail": "Not Found"}, WITHHELD),
    ],
    ids=str,
)
@pytest.mark.parametrize("named", [False, True])
def test_a_failure_within_events_becomes_one_at_which_the_package_raises(document, message, *, named):
    document = {**document, "sequence_number": 1}
    data = b"data: " + json.dumps(document).encode() + b"\n\n"
    begun = stream(CREATED)
    written = passed(begun + (b"event: error\n" if named else b"") + data).removeprefix(begun)
    (told,) = documents_of(written)
    assert (told["type"], told["sequence_number"], told["error"]["message"]) == ("error", 1, message)
    assert frames_of(session_of(), begun + data)[-1].error


@pytest.mark.parametrize(
    ("error", "message"),
    [
        ({"code": "invalid_prompt", "message": "too odd"}, "too odd"),
        ({"code": "server_error", "message": "too odd"}, WITHHELD),
        ({"code": "invalid_prompt", "message": "see /opt/vllm/engine.py"}, WITHHELD),
        ({"message": ["see"]}, WITHHELD),
    ],
    ids=str,
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_response_that_failed_says_why_unless_it_is_of_the_inside(error, message, *, streamed):
    failed = response_of("failed", error=error)
    body = stream(CREATED, {"type": "response.failed", "response": failed})
    body = body if streamed else json.dumps(failed).encode()
    written = passed(body, streamed=streamed)
    told = documents_of(written)[-1]["response"] if streamed else json.loads(written)
    assert told["error"]["message"] == message
    last = frames_of(session_of(streamed=streamed), body)[-1]
    assert (last.error, last.final) == (True, True)


@pytest.mark.parametrize(("status", "message"), [(400, "too odd"), (500, WITHHELD)])
def test_an_error_with_a_status_is_judged_as_every_one_of_openais(status, message):
    body = json.dumps({"error": {"message": "too odd", "type": "x", "param": None, "code": None}}).encode()
    assert json.loads(passed(body, status=status, streamed=False))["error"]["message"] == message


# --- any input --------------------------------------------------------------------------------------------

EVENTS = whole_stream()
ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda one: st.lists(one, max_size=3) | st.dictionaries(st.text(max_size=5), one, max_size=3),
    max_leaves=6,
)


@settings(max_examples=200)
@given(st.data())
def test_any_value_in_any_place_is_read_or_refused(data):
    at = data.draw(st.integers(0, len(EVENTS) - 1))
    event = json.loads(json.dumps(EVENTS[at]))
    holder, steps = event, data.draw(st.lists(st.integers(0, 20), min_size=1, max_size=6))
    for step in steps:
        keys = [*holder] if isinstance(holder, dict) else [*range(len(holder))]
        if not keys:
            break
        key = keys[step % len(keys)]
        if not isinstance(holder[key], (dict, list)) or step == steps[-1]:
            holder[key] = data.draw(ANY)
            break
        holder = holder[key]
    body = stream_bytes(EVENTS[:at]) + event_bytes({"type": "", **event}) + stream_bytes(EVENTS[at + 1 :])
    try:
        written = passed(body)
    except PeerError as error:
        assert error.reason is Reason.UPSTREAM_UNREADABLE  # noqa: PT017 - it need not raise.
        return
    documents_of(written)


@pytest.mark.parametrize("first", [True, False])
def test_a_text_that_is_repeated_before_its_own_place_is_told_there(first):
    texts = [{"type": "output_text", "text": f"T{at}", "annotations": []} for at in range(80)]
    error = {"error": {"message": "T79", "code": "invalid_prompt"}}
    whole = {"object": "response", "model": "m", "status": "failed"}
    output = {"output": [{"type": "message", "content": texts}]}
    body = json.dumps({**error, **whole, **output} if first else {**whole, **output, **error}).encode()
    session = session_of(streamed=False)
    frames = session.read_response(body, eof=True)
    kept = [session.write_response(frame, tuple(one.text for one in frame.deltas)) for frame in frames]
    assert b"".join(kept) == body
    session = session_of(streamed=False)
    frames = session.read_response(body, eof=True)
    assert [one.text for frame in frames for one in frame.deltas].count("T79") == 1
    changed = [
        session.write_response(frame, tuple(one.text.replace("T79", "[X]") for one in frame.deltas))
        for frame in frames
    ]
    assert b"".join(changed) == body.replace(b"T79", b"[X]")
