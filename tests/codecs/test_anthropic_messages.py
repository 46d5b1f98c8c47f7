"""The session, and the session in a stream: with a scanner that redacts and holds back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from doubles import SECRET, Playbook, bound, budget, granted, policy, watching
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs.anthropic_messages import CODEC, MessagesCodec
from extproc.core import commands as cmd
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import Operation
from extproc.domain.verdict import Lane, Mode, Reason, Refusal, Stage
from extproc.guards._tokens import CHAT_TOKENS, SEGMENT_TOKENS

PATH = "/v1/messages"
REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
ASKED = {"model": "m", "max_tokens": 50, "messages": [{"role": "user", "content": "hi"}], "stream": True}
BODY = json.dumps(ASKED).encode()
REFUSAL = Refusal(reason=Reason.SECRET_FOUND, status=403, message="withheld")


def head(path: str = PATH, **parts) -> RequestHead:
    return RequestHead(**{"method": "POST", "path": path, **parts})


@pytest.mark.parametrize(
    "path",
    [
        *(
            "/v1/messages/",
            "/v1//messages",
            "/v1/messages;x",
            "/v1/Messages",
            "/v1/messages\n",
            "/messages",
        ),
        *("/v1/messages/count_tokens", "/v1/messages/batches", "/v1/complete", "/v1/chat/completions", ""),
    ],
)
def test_every_other_path_is_not_this_codecs(path):
    assert CODEC.accepts(head(path)) is False
    with pytest.raises(PeerError) as caught:
        CODEC.open(head(path))
    assert (caught.value.reason, caught.value.status) == (Reason.PATH_NOT_ALLOWED, 404)


@pytest.mark.parametrize("method", ["GET", "PUT", "post", "HEAD", "OPTIONS", ""])
def test_only_post_is_accepted(method):
    assert CODEC.accepts(head(method=method)) is False


@pytest.mark.parametrize(
    "parts",
    [
        {"query": "beta=true"},
        {"headers": {"content-encoding": ("gzip",)}},
        {"headers": {"content-type": ("text/plain",)}},
        {"headers": {"anthropic-version": ("2042-01-01",)}},
    ],
)
def test_a_head_may_rule_a_request_out(parts):
    with pytest.raises(PeerError):
        CODEC.open(head(**parts))


def test_the_request_is_one_chat_message_at_its_end():
    session = CODEC.open(head())
    assert session.read_request(BODY, eof=False) == ()
    (message,) = session.read_request(b"", eof=True)
    assert (message.key, message.operation, message.inspectable_bytes) == (0, Operation.CHAT, len(BODY))
    assert (message.params.max_output_tokens, message.unscanned) == (50, frozenset())
    assert session.read_request(BODY, eof=True) == ()


def test_numbers_of_a_tools_schema_count_as_bare_bytes_and_those_of_a_plain_chat_are_few():
    turn = '"model":"m","messages":[{"role":"user","content":"hi"}],"max_tokens":5'
    tool = '{"name":"f","input_schema":{"enum":[%s]}}'
    numbers = ",".join(["123456789"] * 100)
    (plain,) = CODEC.open(head()).read_request(b"{%s}" % turn.encode(), eof=True)
    body = f'{{{turn},"tools":[{tool % numbers}]}}'.encode()
    (schema,) = CODEC.open(head()).read_request(body, eof=True)
    assert plain.bare_bytes < SEGMENT_TOKENS + CHAT_TOKENS
    assert schema.bare_bytes > len(numbers)


def test_a_request_is_bounded_and_not_empty():
    with pytest.raises(PeerError, match="the request has no body"):
        CODEC.open(head()).read_request(b"", eof=True)
    session = MessagesCodec(limits=replace(LIMITS, body_bytes_max=10)).open(head())
    with pytest.raises(PeerError) as caught:
        session.read_request(b"a" * 11, eof=False)
    assert (caught.value.reason, caught.value.status) == (Reason.BODY_TOO_LARGE, 413)


@pytest.mark.parametrize(("kind", "streamed"), [("text/event-stream", True), ("application/json", False)])
def test_the_answers_kind_decides_how_it_can_still_be_refused(kind, streamed):
    session = CODEC.open(head(headers={"x-request-id": (REQUEST_ID,)}))
    session.read_request(BODY, eof=True)
    session.write_request(0, RequestEdits())
    assert session.refuse_in_answer(0, REFUSAL) is None
    session.read_response_head(ResponseHead(status=200, headers={"content-type": (kind,)}))
    cut = session.refuse_in_answer(0, REFUSAL)
    assert (cut is not None) == streamed
    if cut is not None:
        name, data, *rest = cut.split(b"\n")
        assert (name, rest) == (b"event: error", [b"", b""])
        assert json.loads(data.removeprefix(b"data: ")) == {
            "type": "error",
            "error": {"type": "permission_error", "message": f"withheld (request {REQUEST_ID})"},
            "request_id": REQUEST_ID,
        }


def test_calls_out_of_order_are_bugs():
    with pytest.raises(AssertionError):
        CODEC.open(head()).write_request(0, RequestEdits())
    with pytest.raises(AssertionError):
        CODEC.open(head()).read_response(b"", eof=True)
    with pytest.raises(AssertionError):
        CODEC.open(head()).read_response_head(ResponseHead(status=200))


# --- in a stream --------------------------------------------------------------------------------------


def event(document: dict) -> bytes:
    return f"event: {document['type']}\ndata: {json.dumps(document)}\n\n".encode()


START = event(
    {
        "type": "message_start",
        "message": {
            "id": "msg_0f8fad5bd9cb469fa16570867728950e",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": "m",
            "usage": {"input_tokens": 3, "output_tokens": 1},
        },
    }
)
LAST = event({"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}})
END = event({"type": "message_stop"})
BLOCKS = {
    "text": ({"type": "text", "text": ""}, "text_delta", "text"),
    "thinking": ({"type": "thinking", "thinking": ""}, "thinking_delta", "thinking"),
    "input": ({"type": "tool_use", "id": "", "name": "x", "input": {}}, "input_json_delta", "partial_json"),
}


def begin(kind: str = "text", at: int = 0) -> bytes:
    return event({"type": "content_block_start", "index": at, "content_block": BLOCKS[kind][0]})


def piece(text: str, kind: str = "text", at: int = 0) -> bytes:
    _, name, member = BLOCKS[kind]
    return event({"type": "content_block_delta", "index": at, "delta": {"type": name, member: text}})


def stop(at: int = 0) -> bytes:
    return event({"type": "content_block_stop", "index": at})


def answered(
    *chunks: bytes, mode: Mode = Mode.ENFORCE, block: bool = False, asked: dict = ASKED
) -> Playbook:
    play = Playbook(policy(watching(block=block, mode=mode)), codecs=[CODEC])
    play.head(PATH)
    play.body(json.dumps(asked).encode(), end=True)
    play.answer_head(content_type="text/event-stream")
    for chunk in chunks[:-1]:
        play.answer(chunk)
    play.answer(chunks[-1], end=True)
    return play


def documents(play: Playbook) -> list[dict]:
    """Every event's data; each event's name is its type."""
    found = []
    for one in play.sent(Lane.RESPONSE).split(b"\n\n")[:-1]:
        name, data = one.split(b"\n")
        found.append(json.loads(data.removeprefix(b"data: ")))
        assert name == b"event: " + found[-1]["type"].encode()
    return found


def said(play: Playbook, kind: str = "text", at: int = 0) -> str:
    """What a client puts together of one block."""
    _, name, member = BLOCKS[kind]
    deltas = [one for one in documents(play) if one["type"] == "content_block_delta" and one["index"] == at]
    assert {one["delta"]["type"] for one in deltas} <= {name}
    return "".join(one["delta"][member] for one in deltas)


def test_held_text_goes_out_before_the_end_of_its_block():
    play = answered(START + begin(), piece("say hun"), stop(), LAST + END)
    assert [(one["type"], one.get("delta", {}).get("text")) for one in documents(play)] == [
        ("message_start", None),
        ("content_block_start", None),
        ("content_block_delta", "say "),
        ("content_block_delta", "hun"),
        ("content_block_stop", None),
        ("message_delta", None),
        ("message_stop", None),
    ]


def test_held_text_of_a_block_goes_out_though_the_next_has_begun_in_the_same_chunk():
    play = answered(
        START + begin() + piece("hun") + stop() + begin("thinking", 1) + piece("t", "thinking", 1)
    )
    assert (said(play), said(play, "thinking", 1)) == ("hun", "t")


@pytest.mark.parametrize("chunks", [(LAST + END,), (END,), (b"",)])
def test_held_text_goes_out_where_its_block_does_not_end(chunks):
    play = answered(START + begin(), piece("say hun"), *chunks)
    assert said(play) == "say hun"


@pytest.mark.parametrize("kind", list(BLOCKS))
def test_a_secret_over_several_events_is_redacted_in_every_block(kind):
    pieces = [piece(text, kind) for text in ("a hun", "te", "r", "2 b")]
    assert said(answered(START, begin(kind), *pieces, stop(), LAST + END), kind) == "a [SECRET] b"


def test_a_secret_that_begins_with_its_block_is_redacted():
    first = event(
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": "hunt"}}
    )
    play = answered(START, first, piece("er2"), stop())
    (begun,) = [one["content_block"] for one in documents(play) if "content_block" in one]
    assert (begun["text"], said(play)) == ("", "[SECRET]")


@pytest.mark.parametrize(
    "pieces",
    [
        ['{"a":"hun', 'ter2"}'],
        [r'{"a":"h\u0075nter2"}'],
        [r'{"a":"hun\u00', r'74er2"}'],
        ['{"a":"hun', "\\", "u0074", 'er2"}'],
    ],
)
def test_a_secret_in_a_calls_input_is_redacted_however_it_is_spelled(pieces):
    play = answered(START, begin("input"), *(piece(one, "input") for one in pieces), stop(), LAST + END)
    assert json.loads(said(play, "input")) == {"a": "[SECRET]"}


def test_a_secret_as_a_stop_sequence_is_redacted():
    ended = {"stop_reason": "stop_sequence", "stop_sequence": SECRET}
    play = answered(
        START, event({"type": "message_delta", "delta": ended, "usage": {"output_tokens": 1}}), END
    )
    assert documents(play)[1]["delta"]["stop_sequence"] == "[SECRET]"


def test_blocks_side_by_side_are_not_mixed_up():
    pieces = [piece(text, at=at) for at, text in [(0, "hun"), (1, "hun"), (0, "ter2"), (1, "ger")]]
    play = answered(START + begin() + begin(at=1), *pieces, stop(0) + stop(1), LAST + END)
    assert (said(play, at=0), said(play, at=1)) == ("[SECRET]", "hunger")


def test_a_block_in_the_answer_is_an_error_event_without_an_end():
    play = answered(START + begin(), piece("well"), piece(" hunter2"), stop() + LAST + END, block=True)
    *_, text, error = documents(play)
    assert text["delta"]["text"] == "well"
    assert (error["type"], error["error"]["type"]) == ("error", "permission_error")
    assert play.stream.done


def test_an_answer_that_cannot_be_read_ends_in_an_error_event():
    play = answered(START + begin(), piece("well"), event({"type": "note", "text": "hunter2"}))
    assert documents(play)[-1]["error"]["type"] == "api_error"
    assert SECRET.encode() not in play.sent(Lane.RESPONSE)


def test_a_failure_of_the_server_drops_what_is_held():
    failed = event({"type": "error", "error": {"type": "overloaded_error", "message": "too busy"}})
    play = answered(START + begin(), piece("say hun"), failed)
    assert [one["type"] for one in documents(play)][-2:] == ["content_block_delta", "error"]
    assert said(play) == "say "


def test_the_counts_of_the_answer_settle_its_reservation():
    play = Playbook(policy(bound(budget(), name="budget", stage=Stage.BUDGET)), codecs=[CODEC])
    play.head(PATH)
    play.body(BODY, end=True)
    play.effect(0, granted())
    assert play.sent(Lane.REQUEST) == BODY
    play.answer_head(content_type="text/event-stream")
    stream = START + begin() + piece("a") + stop() + LAST + END
    play.answer(stream, end=True)
    assert play.sent(Lane.RESPONSE) == stream
    (settle,) = [one.effect for one in play.effects()[1:]]
    assert settle.tokens == 7


def test_an_answer_that_is_cut_is_charged_by_its_length_and_not_by_its_first_counts():
    play = Playbook(policy(bound(budget(), name="budget", stage=Stage.BUDGET)), codecs=[CODEC])
    play.head(PATH)
    play.body(BODY, end=True)
    play.effect(0, granted())
    play.answer_head(content_type="text/event-stream")
    play.answer(START + begin() + b"".join(piece("many words ") for _ in range(10)))
    play.close()
    (settle,) = [one.effect for one in play.effects()[1:]]
    assert settle.tokens > 30


def test_a_missing_limit_is_refused_in_anthropics_shape():
    play = Playbook(policy(), codecs=[CODEC])
    play.head(PATH)
    play.body(b'{"model":"m","messages":[{"role":"user","content":"hi"}]}', end=True)
    (refused,) = play.of(cmd.Refuse)
    document = json.loads(refused.refusal.body)
    assert (refused.refusal.status, document["error"]["type"]) == (400, "invalid_request_error")
    assert document["error"]["message"].startswith("max_tokens is missing")


# --- properties ---------------------------------------------------------------------------------------

PIECES = st.sampled_from([SECRET, "hun", "ter", "2", "hunter", '"', "\\", "\\u0068", "ü\n", " ", ""])


def stream_of(blocks: list[tuple[str, list[str]]]) -> bytes:
    chunks = [START]
    for at, (kind, pieces) in enumerate(blocks):
        chunks += [begin(kind, at), *(piece(one, kind, at) for one in pieces), stop(at)]
    return b"".join([*chunks, LAST, END])


@given(
    st.lists(st.tuples(st.sampled_from(list(BLOCKS)), st.lists(PIECES, max_size=5)), max_size=4),
    st.lists(st.integers(1, 2_500), max_size=6),
)
def test_chunks_mean_nothing_and_nothing_found_goes_out(blocks, places):
    stream = stream_of(blocks)
    ends = [*sorted({min(one, len(stream)) for one in places}), len(stream)]
    cut = [stream[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    whole = answered(stream)
    sent = whole.sent(Lane.RESPONSE)
    for play in (answered(*cut), answered(*(stream[at : at + 1] for at in range(len(stream))))):
        assert play.sent(Lane.RESPONSE) == sent
    # Blocks are not joined: what is split over two of them is two texts.
    assert all(SECRET not in said(whole, kind, at) for at, (kind, _) in enumerate(blocks))


@given(st.lists(st.tuples(st.sampled_from(list(BLOCKS)), st.lists(PIECES, max_size=5)), max_size=4))
def test_a_guard_in_shadow_changes_no_byte(blocks):
    stream = stream_of(blocks)
    assert answered(stream, mode=Mode.SHADOW).sent(Lane.RESPONSE) == stream


def test_a_call_with_many_values_is_redacted_in_all_of_them():
    values = [f"{SECRET} {at}" for at in range(3 * LIMITS.channels_max)]
    block = {"type": "tool_use", "id": "", "name": "x", "input": {"all": values}}
    play = Playbook(policy(watching()), codecs=[CODEC])
    play.head(PATH)
    play.body(BODY, end=True)
    play.answer_head(content_type="application/json")
    play.answer(json.dumps({"type": "message", "content": [block]}).encode(), end=True)
    (call,) = json.loads(play.sent(Lane.RESPONSE))["content"]
    assert call["input"] == {"all": [f"[SECRET] {at}" for at in range(3 * LIMITS.channels_max)]}


def test_a_whole_answer_that_is_blocked_late_is_refused_with_a_status():
    values = [*("fine" for _ in range(3 * LIMITS.channels_max)), SECRET]
    block = {"type": "tool_use", "id": "", "name": "x", "input": {"all": values}}
    play = Playbook(policy(watching(block=True)), codecs=[CODEC])
    play.head(PATH)
    play.body(BODY, end=True)
    play.answer_head(content_type="application/json")
    play.answer(json.dumps({"type": "message", "content": [block]}).encode(), end=True)
    assert play.sent(Lane.RESPONSE) == b""
    (refused,) = play.of(cmd.Refuse)
    assert (refused.refusal.status, json.loads(refused.refusal.body)["type"]) == (403, "error")
