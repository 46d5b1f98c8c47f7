"""The session, and the session in a stream: with a scanner that redacts and holds back."""

from __future__ import annotations

import json

import pytest
from doubles import SECRET, Playbook, bound, budget, granted, policy, watching
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs.openai_completions import CODEC
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead
from extproc.domain.segment import Operation, Unscanned
from extproc.domain.verdict import Lane, Mode, Reason, Stage

PATH = "/v1/completions"
BODY = b'{"model":"m","prompt":"hi","stream":true}'
DONE = b"data: [DONE]\n\n"


def head(path: str = PATH, method: str = "POST") -> RequestHead:
    return RequestHead(method=method, path=path)


@pytest.mark.parametrize("path", [f"{PATH}/", "/v1//completions", "/v1/chat/completions", f"{PATH};x", ""])
def test_every_other_path_is_not_this_codecs(path):
    assert CODEC.accepts(head(path)) is False
    with pytest.raises(PeerError) as caught:
        CODEC.open(head(path))
    assert (caught.value.reason, caught.value.status) == (Reason.PATH_NOT_ALLOWED, 404)


def test_only_post_is_accepted():
    assert [CODEC.accepts(head(method=method)) for method in ("POST", "GET", "post")] == [
        True,
        False,
        False,
    ]


def test_the_request_is_one_completion_at_its_end():
    session = CODEC.open(head())
    body = b'{"model":"m","prompt":[1,2]}'
    assert session.read_request(body, eof=False) == ()
    (message,) = session.read_request(b"", eof=True)
    assert (message.operation, message.inspectable_bytes) == (Operation.TEXT_COMPLETION, len(body))
    assert (message.segments, message.unscanned) == ((), {Unscanned.TOKEN_IDS})


# --- in a stream --------------------------------------------------------------------------------------


def event(text: str, *, finish: str | None = None, index: int = 0, logprobs: object = None) -> bytes:
    choice = {"finish_reason": finish, "index": index, "logprobs": logprobs, "text": text}
    body = {"id": "cmpl-7560d116-e5a0-11f1-801e-02fc00000001", "choices": [choice], "created": 1}
    return b"data: " + json.dumps({**body, "object": "text_completion"}).encode() + b"\n\n"


def answered(
    *chunks: bytes, kind: str = "text/event-stream", mode: Mode = Mode.ENFORCE, block: bool = False
) -> Playbook:
    play = Playbook(policy(watching(block=block, mode=mode)), codecs=[CODEC])
    play.head(PATH)
    play.body(BODY, end=True)
    play.answer_head(content_type=kind)
    for chunk in chunks[:-1]:
        play.answer(chunk)
    play.answer(chunks[-1], end=True)
    return play


def choices(play: Playbook) -> list[dict]:
    events = play.sent(Lane.RESPONSE).split(b"\n\n")[:-1]
    assert events.pop() == b"data: [DONE]"
    return [choice for one in events for choice in json.loads(one.removeprefix(b"data: "))["choices"]]


def said(play: Playbook, index: int = 0) -> str:
    return "".join(choice["text"] for choice in choices(play) if choice["index"] == index)


def test_held_text_goes_out_before_the_event_that_ends_its_choice():
    play = answered(event("say hun"), event("", finish="stop"), DONE)
    assert [(one["text"], one["finish_reason"]) for one in choices(play)] == [
        ("say ", None),
        ("hun", "stop"),
    ]


@pytest.mark.parametrize("end", [DONE, b""])
def test_held_text_goes_out_in_a_choice_that_is_a_completions(end):
    sent = answered(event("say hun"), end).sent(Lane.RESPONSE)
    tail = json.loads(sent.split(b"\n\n")[1].removeprefix(b"data: "))
    assert tail == {
        "id": "cmpl-7560d116-e5a0-11f1-801e-02fc00000001",
        "created": 1,
        "object": "text_completion",
        "choices": [{"index": 0, "text": "hun", "finish_reason": None}],
    }


def test_choices_side_by_side_are_not_mixed_up():
    pieces = [("hun", 0), ("hun", 1), ("ter2", 0), ("ger", 1)]
    play = answered(*(event(text, index=index) for text, index in pieces), DONE)
    assert (said(play, 0), said(play, 1)) == ("[SECRET]", "hunger")


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.SHADOW])
def test_log_probabilities_pass_only_where_no_guard_acts(mode):
    told = {"tokens": ["hun", "ter2"], "text_offset": [0, 3], "top_logprobs": [{"hun": -1}]}
    (choice,) = choices(answered(event("a", logprobs=told) + DONE, mode=mode))
    assert choice["logprobs"] == (None if mode is Mode.ENFORCE else told)


def test_a_whole_answer_is_redacted_in_every_choice():
    document = {
        "choices": [
            {"text": "a hunter2", "index": 0, "finish_reason": "stop", "logprobs": {"tokens": ["hunter2"]}},
            {"text": "hunter2 b", "index": 1, "finish_reason": "length", "stop_reason": "hunter2"},
        ],
        "usage": {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3},
    }
    play = answered(json.dumps(document).encode(), kind="application/json")
    assert json.loads(play.sent(Lane.RESPONSE)) == {
        "choices": [
            {"text": "a [SECRET]", "index": 0, "finish_reason": "stop", "logprobs": None},
            {"text": "[SECRET] b", "index": 1, "finish_reason": "length", "stop_reason": "[SECRET]"},
        ],
        "usage": document["usage"],
    }


def test_a_block_in_the_answer_is_an_error_event_without_done():
    play = answered(event("well"), event(" hunter2"), DONE, block=True)
    first, second = play.sent(Lane.RESPONSE).split(b"\n\n")[:-1]
    assert json.loads(first[6:])["choices"][0]["text"] == "well"
    assert json.loads(second[6:])["error"]["code"] == "secret_found"
    assert play.stream.done


def test_the_servers_own_limit_is_written_and_counts_are_hidden():
    play = Playbook(policy(bound(budget(), name="budget", stage=Stage.BUDGET)), codecs=[CODEC])
    play.head(PATH)
    play.body(BODY, end=True)
    play.effect(0, granted())
    asked = json.loads(play.sent(Lane.REQUEST))
    assert asked == {**json.loads(BODY), "max_tokens": 16, "stream_options": {"include_usage": True}}
    play.answer_head(content_type="text/event-stream")
    counts = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
    play.answer(event("a") + counts + DONE, end=True)
    assert play.sent(Lane.RESPONSE) == event("a") + DONE
    assert play.effects()[-1].effect.tokens == 7


WORDS = ["hunter2", "hun", "ter2", " and ", "hunhunter2", "é", '"', "\\", "\n", ""]
pieces_of = st.lists(st.tuples(st.integers(0, 2), st.sampled_from(WORDS)), max_size=9)


@given(pieces_of, st.lists(st.integers(0, 3000), max_size=6), st.booleans())
def test_what_comes_out_is_the_redaction_of_what_went_in(pieces, places, finished):
    events = [event(text, index=index) for index, text in pieces]
    ends = [event("", finish="stop", index=index) for index in range(3)] if finished else []
    stream = b"".join([*events, *ends, DONE])
    cuts = sorted({min(place, len(stream)) for place in places} | {len(stream)})
    play = answered(*(stream[start:end] for start, end in zip([0, *cuts], cuts, strict=False)))
    for index in range(3):
        whole = "".join(text for at, text in pieces if at == index)
        assert said(play, index) == whole.replace(SECRET, "[SECRET]")


@given(pieces_of)
def test_shadow_changes_no_byte(pieces):
    stream = b"".join([*(event(text, index=index) for index, text in pieces), DONE])
    assert answered(stream, mode=Mode.SHADOW).sent(Lane.RESPONSE) == stream


@given(st.lists(st.text(alphabet=st.sampled_from('abé😀"\\\n '), max_size=9), max_size=5))
def test_nothing_found_moves_no_text(texts):
    stream = b"".join([*(event(text) for text in texts), event("", finish="stop"), DONE])
    assert said(answered(stream)) == "".join(texts)


@given(st.binary(max_size=60), st.integers(0, 60))
def test_arbitrary_bytes_never_raise(raw, cut):
    for kind in ("text/event-stream", "application/json"):
        assert answered(raw[:cut], raw[cut:], kind=kind).stream.done
    play = Playbook(policy(watching()), codecs=[CODEC])
    play.head(PATH)
    play.body(raw, end=True)
    assert play.sent(Lane.REQUEST) == b""
