"""The session, and the session in a stream: with a scanner that redacts and holds back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from doubles import SECRET, Playbook, bound, budget, granted, policy, watching
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs.openai_chat import CODEC, ChatCodec
from extproc.core import commands as cmd
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import Operation
from extproc.domain.verdict import Lane, Mode, Reason, Refusal, Stage
from extproc.guards._tokens import CHAT_TOKENS, SEGMENT_TOKENS

PATH = "/v1/chat/completions"
REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true}'
EVENTS = {"content-type": ("text/event-stream; charset=utf-8",)}
REFUSAL = Refusal(reason=Reason.SECRET_FOUND, status=403, message="withheld")
DONE = b"data: [DONE]\n\n"


def head(path: str = PATH, **parts) -> RequestHead:
    return RequestHead(**{"method": "POST", "path": path, **parts})


@pytest.mark.parametrize(
    "path",
    [
        "/v1/chat/completions/",
        "/v1//chat/completions",
        "/v1/chat/completions;x",
        "/v1/chat/Completions",
        "/v1/chat/completions\n",
        "/v1/completions",
        "/v1/responses",
        "/v1/messages",
        "/v1/embeddings",
        "/v1/chat",
        "/chat/completions",
        "/invocations",
        "",
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


def test_a_query_and_an_encoded_body_are_refused_by_the_head_alone():
    for parts in ({"query": "api-version=1"}, {"headers": {"content-encoding": ("gzip",)}}):
        with pytest.raises(PeerError):
            CODEC.open(head(**parts))


def test_the_request_is_one_chat_message_at_its_end():
    session = CODEC.open(head())
    assert session.read_request(BODY, eof=False) == ()
    (message,) = session.read_request(b"", eof=True)
    assert (message.key, message.operation, message.inspectable_bytes) == (0, Operation.CHAT, len(BODY))
    assert session.read_request(BODY, eof=True) == ()


def test_numbers_of_a_tools_schema_count_as_bare_bytes_and_those_of_a_plain_chat_are_few():
    turn = '"model":"m","messages":[{"role":"user","content":"hi"}]'
    tool = '{"type":"function","function":{"name":"f","parameters":{"enum":[%s]}}}'
    numbers = ",".join(["123456789"] * 100)
    (plain,) = CODEC.open(head()).read_request(b"{%s}" % turn.encode(), eof=True)
    body = f'{{{turn},"tools":[{tool % numbers}]}}'.encode()
    (schema,) = CODEC.open(head()).read_request(body, eof=True)
    assert plain.bare_bytes < SEGMENT_TOKENS + CHAT_TOKENS
    assert schema.bare_bytes > len(numbers)


def test_a_request_is_bounded_and_not_empty():
    with pytest.raises(PeerError, match="the request has no body"):
        CODEC.open(head()).read_request(b"", eof=True)
    session = ChatCodec(limits=replace(LIMITS, body_bytes_max=10)).open(head())
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
        assert json.loads(cut.removeprefix(b"data: ")) == {
            "error": {
                "message": f"withheld (request {REQUEST_ID})",
                "type": "permission_error",
                "param": None,
                "code": "secret_found",
            }
        }


def test_an_error_is_labelled_json():
    session = CODEC.open(head())
    session.read_request(BODY, eof=True)
    edits = session.read_response_head(ResponseHead(status=404, headers={"content-type": ("text/plain",)}))
    assert edits.set == (("content-type", "application/json"),)


def test_calls_out_of_order_are_bugs():
    with pytest.raises(AssertionError):
        CODEC.open(head()).write_request(0, RequestEdits())
    with pytest.raises(AssertionError):
        CODEC.open(head()).read_response(b"", eof=True)


# --- in a stream --------------------------------------------------------------------------------------


def event(delta: dict, *, finish: str | None = None, index: int = 0) -> bytes:
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    body = {"id": "cmpl-7560d116-e5a0-11f1-801e-02fc00000001", "created": 1, "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def arguments(piece: str, *, at: int = 0) -> dict:
    return {"tool_calls": [{"index": at, "function": {"arguments": piece}}]}


def answered(
    *chunks: bytes, body: bytes = BODY, mode: Mode = Mode.ENFORCE, block: bool = False
) -> Playbook:
    play = Playbook(policy(watching(block=block, mode=mode)), codecs=[CODEC])
    play.head(PATH)
    play.body(body, end=True)
    play.answer_head(content_type="text/event-stream")
    for chunk in chunks[:-1]:
        play.answer(chunk)
    play.answer(chunks[-1], end=True)
    return play


def documents(play: Playbook) -> list[dict]:
    events = play.sent(Lane.RESPONSE).split(b"\n\n")[:-1]
    assert events.pop() == b"data: [DONE]"
    return [json.loads(one.removeprefix(b"data: ")) for one in events]


def said(play: Playbook, name: str = "content", index: int = 0) -> str:
    """What a client puts together of one field."""
    choices = [choice for one in documents(play) for choice in one["choices"] if choice["index"] == index]
    if name == "arguments":
        calls = [call for one in choices for call in one["delta"].get("tool_calls", ())]
        return "".join(call["function"].get("arguments", "") for call in calls)
    return "".join(one["delta"].get(name) or "" for one in choices)


def test_held_text_goes_out_with_the_event_that_ends_its_choice():
    play = answered(event({"content": "say hun"}), event({"content": "te"}, finish="stop"), DONE)
    assert [one["choices"][0]["delta"] for one in documents(play)] == [
        {"content": "say "},
        {"content": "hunte"},
    ]


def test_held_text_goes_out_before_the_event_that_ends_its_choice():
    play = answered(event({"content": "say hun"}), event({}, finish="stop"), DONE)
    assert [
        (one["choices"][0]["delta"], one["choices"][0]["finish_reason"]) for one in documents(play)
    ] == [
        ({"content": "say "}, None),
        ({"content": "hun"}, None),
        ({}, "stop"),
    ]


@pytest.mark.parametrize("chunks", [(DONE,), (b"", DONE)])
def test_held_text_goes_out_before_the_end_without_a_finish_reason(chunks):
    assert said(answered(event({"content": "say hun"}), *chunks)) == "say hun"


def test_held_text_goes_out_where_the_answer_just_ends():
    sent = answered(event({"content": "say hun"}), b"").sent(Lane.RESPONSE)
    assert [json.loads(one[6:])["choices"][0]["delta"] for one in sent.split(b"\n\n")[:-1]] == [
        {"content": "say "},
        {"content": "hun"},
    ]


@pytest.mark.parametrize("name", ["content", "refusal", "reasoning", "reasoning_content", "thoughts"])
def test_a_secret_over_several_events_is_redacted_in_every_field(name):
    play = answered(*(event({name: piece}) for piece in ["a hun", "te", "r", "2 b"]), DONE)
    assert said(play, name) == "a [SECRET] b"


@pytest.mark.parametrize(
    "pieces",
    [
        ['{"a":"hun', 'ter2"}'],
        [r'{"a":"h\u0075nter2"}'],
        [r'{"a":"hun\u00', r'74er2"}'],
        ['{"a":"hun', "\\", "u0074", 'er2"}'],
    ],
)
def test_a_secret_in_arguments_is_redacted_however_it_is_spelled(pieces):
    play = answered(*(event(arguments(piece)) for piece in pieces), event({}, finish="tool_calls"), DONE)
    assert json.loads(said(play, "arguments")) == {"a": "[SECRET]"}


def test_calls_side_by_side_are_not_mixed_up():
    pieces = [
        event(arguments(piece, at=at)) for at, piece in [(0, "hun"), (1, "hun"), (0, "ter2"), (1, "t")]
    ]
    calls = [
        call
        for one in documents(answered(*pieces, DONE))
        for call in one["choices"][0]["delta"]["tool_calls"]
    ]
    texts = {
        at: "".join(one["function"]["arguments"] for one in calls if one["index"] == at) for at in (0, 1)
    }
    assert texts == {0: "[SECRET]", 1: "hunt"}


def test_choices_side_by_side_are_not_mixed_up():
    pieces = [("hun", 0), ("hun", 1), ("ter2", 0), ("ger", 1)]
    play = answered(*(event({"content": text}, index=index) for text, index in pieces), DONE)
    assert (said(play, index=0), said(play, index=1)) == ("[SECRET]", "hunger")


def test_a_block_in_the_answer_is_an_error_event_without_done():
    play = answered(event({"content": "well"}), event({"content": " hunter2"}), DONE, block=True)
    first, second = play.sent(Lane.RESPONSE).split(b"\n\n")[:-1]
    assert json.loads(first[6:])["choices"][0]["delta"] == {"content": "well"}
    error = json.loads(second[6:])["error"]
    assert (error["code"], error["type"]) == ("secret_found", "permission_error")
    assert play.stream.done


def test_counts_are_asked_for_with_a_reservation_and_settled():
    play = Playbook(policy(bound(budget(), name="budget", stage=Stage.BUDGET)), codecs=[CODEC])
    play.head(PATH)
    play.body(BODY, end=True)
    play.effect(0, granted())
    assert json.loads(play.sent(Lane.REQUEST)) == {
        **json.loads(BODY),
        "max_tokens": 50,
        "stream_options": {"include_usage": True},
    }
    play.answer_head(content_type="text/event-stream")
    counts = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
    play.answer(event({"content": "a"}) + counts + DONE, end=True)
    assert play.sent(Lane.RESPONSE) == event({"content": "a"}) + DONE
    assert play.effects()[-1].effect.tokens == 7


def test_what_comes_after_done_is_refused():
    play = answered(event({"content": "a"}) + DONE, event({"content": "b"}))
    assert b'"b"' not in play.sent(Lane.RESPONSE)
    assert b'"upstream_unreadable"' in play.sent(Lane.RESPONSE)


def test_a_whole_answer_is_judged_before_its_head_goes_out():
    play = Playbook(policy(watching()), codecs=[CODEC])
    play.head(PATH)
    play.body(BODY, end=True)
    play.answer_head(content_type="application/json")
    message = {"role": "assistant", "content": "a hunter2", **arguments(r'{"b":"h\u0075nter2"}')}
    document = json.dumps({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]})
    play.answer(document[:20].encode())
    assert not [one for one in play.of(cmd.ReplyHeaders) if one.lane is Lane.RESPONSE]
    play.answer(document[20:].encode(), end=True)
    (choice,) = json.loads(play.sent(Lane.RESPONSE))["choices"]
    assert choice["message"]["content"] == "a [SECRET]"
    assert choice["message"]["tool_calls"][0]["function"]["arguments"] == '{"b":"[SECRET]"}'


WORDS = ["hunter2", "hun", "ter2", " and ", "hunhunter2", "é", '"', "\\", "\n"]
FIELDS = ["content", "reasoning", "refusal", "arguments"]


@given(
    st.lists(st.tuples(st.sampled_from(FIELDS), st.integers(0, 1), st.sampled_from(WORDS)), max_size=9),
    st.lists(st.integers(0, 3000), max_size=6),
    st.booleans(),
)
def test_what_comes_out_is_the_redaction_of_what_went_in(pieces, places, finished):
    events = [
        event(arguments(json.dumps(text)[1:-1]) if name == "arguments" else {name: text}, index=index)
        for name, index, text in pieces
    ]
    ends = [event({}, finish="stop", index=index) for index in (0, 1)] if finished else []
    begun = [event(arguments('"'), index=index) for index in (0, 1)]
    stream = b"".join([*begun, *events, *ends, DONE])
    cuts = sorted({min(place, len(stream)) for place in places} | {len(stream)})
    play = answered(*(stream[start:end] for start, end in zip([0, *cuts], cuts, strict=False)))
    for name in FIELDS:
        for index in (0, 1):
            texts = [text for one, at, text in pieces if (one, at) == (name, index)]
            if name == "arguments":
                whole = "".join(json.dumps(text)[1:-1] for text in texts)
                assert json.loads(said(play, name, index) + '"') == json.loads(f'"{whole}"').replace(
                    SECRET, "[SECRET]"
                )
            else:
                assert said(play, name, index) == "".join(texts).replace(SECRET, "[SECRET]")


@given(st.lists(st.tuples(st.sampled_from(FIELDS), st.sampled_from(WORDS)), max_size=6))
def test_shadow_changes_no_byte(pieces):
    stream = b"".join(
        [*(event(arguments(text) if name == "arguments" else {name: text}) for name, text in pieces), DONE]
    )
    assert answered(stream, mode=Mode.SHADOW).sent(Lane.RESPONSE) == stream


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.SHADOW])
def test_log_probabilities_pass_only_where_no_guard_acts(mode):
    choice = {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [{"token": "a"}]}}
    stream = b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n" + DONE
    (seen,) = documents(answered(stream, mode=mode))
    kept = None if mode is Mode.ENFORCE else {"content": [{"token": "a"}]}
    assert seen["choices"][0]["logprobs"] == kept


def test_of_a_request_that_was_written_its_body_and_tree_are_forgotten():
    session = CODEC.open(head())
    session.read_request(BODY, eof=True)
    assert session.write_request(0, RequestEdits(ask_usage=False)) == BODY
    left = session.need_request()
    assert (left.body, left.root.members, left.segments, left.places) == (b"", {}, (), ())
    assert left.params.model == "m"
