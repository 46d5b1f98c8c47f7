"""The session, and the session in a stream: with a scanner that redacts and holds back."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from doubles import SECRET, Playbook, bound, budget, granted, policy, watching
from hypothesis import given
from hypothesis import strategies as st
from responses_samples import PATH, RESPONSE, documents_of, event_bytes, response_of

from extproc.codecs import codec_for, discover
from extproc.codecs.openai_responses import CODEC, ResponsesCodec
from extproc.core import commands as cmd
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead, ResponseHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import Operation
from extproc.domain.verdict import Lane, Mode, Reason, Refusal, Stage

REQUEST_ID = "0f8fad5b-d9cb-469f-a165-70867728950e"
BODY = b'{"model":"m","input":"hi","stream":true,"store":false}'
REFUSAL = Refusal(reason=Reason.SECRET_FOUND, status=403, message="withheld")
ITEM_ID = "msg_" + "0123456789abcdef" * 2


def head(path: str = PATH, **parts) -> RequestHead:
    return RequestHead(**{"method": "POST", "path": path, **parts})


@pytest.mark.parametrize(
    ("method", "path"),
    [
        *(("GET", PATH), ("PUT", PATH), ("post", PATH)),
        *(
            ("POST", f"{PATH}/"),
            ("POST", "/v1//responses"),
            ("POST", "/v1/Responses"),
            ("POST", "/responses"),
        ),
        *(("GET", f"{PATH}/resp_1"), ("DELETE", f"{PATH}/resp_1"), ("POST", f"{PATH}/resp_1/cancel")),
        *(("GET", f"{PATH}/resp_1/input_items"), ("POST", f"{PATH}/compact"), ("POST", f"{PATH};x")),
    ],
)
def test_nothing_else_is_accepted_by_any_codec(method, path):
    assert codec_for(discover(), head(path, method=method)) is None


def test_another_path_opens_no_session():
    with pytest.raises(PeerError) as caught:
        CODEC.open(head(f"{PATH}/x"))
    assert (caught.value.reason, caught.value.status) == (Reason.PATH_NOT_ALLOWED, 404)


def test_the_request_is_one_chat_message_at_its_end():
    session = CODEC.open(head())
    assert session.read_request(BODY, eof=False) == ()
    (message,) = session.read_request(b"", eof=True)
    assert (message.key, message.operation, message.inspectable_bytes) == (0, Operation.CHAT, len(BODY))
    assert session.read_request(BODY, eof=True) == ()


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
        assert documents_of(cut) == [
            {
                "type": "error",
                "error": {
                    "message": f"withheld (request {REQUEST_ID})",
                    "type": "permission_error",
                    "param": None,
                    "code": "secret_found",
                },
            }
        ]


def test_calls_out_of_order_are_bugs():
    with pytest.raises(AssertionError):
        CODEC.open(head()).write_request(0, RequestEdits())
    with pytest.raises(AssertionError):
        CODEC.open(head()).read_response(b"", eof=True)


# --- in a stream ------------------------------------------------------------------------------------------

AT = {"item_id": ITEM_ID, "output_index": 0, "content_index": 0}


class Script:
    """Makes the events of one answer, numbered."""

    def __init__(self) -> None:
        self.number = -1

    def event(self, kind: str, **members: object) -> bytes:
        self.number += 1
        return event_bytes({"type": f"response.{kind}", "sequence_number": self.number, **members})

    def begin(self) -> bytes:
        return self.event("created", response=response_of("in_progress"))

    def piece(self, text: str, **at: object) -> bytes:
        return self.event("output_text.delta", **AT, **at, delta=text, logprobs=[])

    def done(self, text: str) -> bytes:
        return self.event("output_text.done", **AT, text=text, logprobs=[])

    def end(self, text: str = "") -> bytes:
        content = [{"type": "output_text", "text": text, "annotations": []}]
        item = {"id": ITEM_ID, "type": "message", "role": "assistant", "content": content}
        return self.event("completed", response={**RESPONSE, "output": [item]})


def answered(*chunks: bytes, mode: Mode = Mode.ENFORCE, block: bool = False) -> Playbook:
    play = Playbook(policy(watching(block=block, mode=mode)), codecs=[CODEC])
    play.head(PATH)
    play.body(BODY, end=True)
    play.answer_head(content_type="text/event-stream")
    for chunk in chunks[:-1]:
        play.answer(chunk)
    play.answer(chunks[-1], end=True)
    return play


def documents(play: Playbook) -> list[dict]:
    return documents_of(play.sent(Lane.RESPONSE))


def shown(play: Playbook) -> list[tuple]:
    """Of each event its type, its number and its text."""
    return [
        (one["type"].removeprefix("response."), one["sequence_number"], one.get("delta", one.get("text")))
        for one in documents(play)
    ]


def said(play: Playbook) -> str:
    return "".join(one.get("delta", "") for one in documents(play))


def test_held_text_goes_out_before_its_end_and_moves_the_numbers_behind_it():
    script = Script()
    play = answered(script.begin(), script.piece("say hun"), script.done("say hun"), script.end("say hun"))
    assert shown(play) == [
        ("created", 0, None),
        ("output_text.delta", 1, "say "),
        ("output_text.delta", 2, "hun"),
        ("output_text.done", 3, "say hun"),
        ("completed", 4, None),
    ]
    assert documents(play)[2] == {**documents(play)[1], "sequence_number": 2, "delta": "hun"}


def test_a_text_is_replaced_wherever_it_is_repeated():
    script = Script()
    pieces = [script.begin(), *(script.piece(text) for text in ("a hun", "te", "r", "2 b"))]
    play = answered(*pieces, script.done("a hunter2 b"), script.end("a hunter2 b"))
    *_, done, completed = documents(play)
    assert said(play) == "a [SECRET] b"
    assert (done["text"], completed["response"]["output"][0]["content"][0]["text"]) == ("a [SECRET] b",) * 2
    # Found once: repeats are not scanned again.
    (record,) = play.records()
    assert [(one.place, one.count) for one in record.entities] == [("text", 1)]


def test_what_is_no_repeat_is_scanned_by_itself():
    script = Script()
    play = answered(
        script.begin(), script.piece("fine"), script.done("not hunter2"), script.end("nor hunter2")
    )
    *_, done, completed = documents(play)
    assert (said(play), done["text"]) == ("fine", "not [SECRET]")
    assert completed["response"]["output"][0]["content"][0]["text"] == "nor [SECRET]"


@pytest.mark.parametrize("chunks", [(Script().end(),), (b"",)])
def test_held_text_goes_out_where_its_end_does_not_come(chunks):
    script = Script()
    begun = script.begin() + script.piece("say hun")
    ended = tuple(chunk.replace(b'"sequence_number":0', b'"sequence_number":2') for chunk in chunks)
    assert said(answered(begun, *ended)) == "say hun"


def test_deltas_in_a_row_are_read_together_and_only_those_that_are_alike():
    script = Script()
    texts = ["a ", "b\n", '"c" ', "\\ ", "é 😀", ""]
    stream = script.begin() + b"".join(map(script.piece, texts))
    stream += script.piece("d").replace(b'"logprobs":[]', b'"logprobs": [ ]')
    stream += script.piece("e") + script.done("".join(texts) + "de") + script.end("x")
    session = CODEC.open(head())
    session.read_request(BODY, eof=True)
    session.write_request(0, RequestEdits())
    session.read_response_head(ResponseHead(status=200, headers={"content-type": ("text/event-stream",)}))
    frames = session.read_response(stream, eof=True)
    assert [len(frame.deltas) for frame in frames if frame.is_run] == [len(texts) - 1]
    assert said(answered(stream)) == "".join(texts) + "de"
    assert answered(stream, mode=Mode.SHADOW).sent(Lane.RESPONSE) == stream


@pytest.mark.parametrize("number_first", [False, True])
def test_numbers_move_within_deltas_in_a_row(number_first):
    script = Script()
    stream = script.begin() + script.piece("hun") + script.done("hun")
    for text in ("a ", "hun", "ter2", ' "b', " c"):
        other = {"item_id": f"{ITEM_ID}0", "output_index": 1, "content_index": 0, "delta": text}
        script.number += 1
        number = {"sequence_number": script.number}
        members = {**number, **other} if number_first else {**other, **number}
        stream += event_bytes({"type": "response.output_text.delta", **members})
    play = answered(stream)
    assert said(play) == 'huna [SECRET] "b c'
    assert [one["sequence_number"] for one in documents(play)] == list(range(9))


def test_a_block_in_the_answer_is_an_error_event_without_an_end():
    script = Script()
    play = answered(
        script.begin(), script.piece("well"), script.piece(" hunter2"), script.done("x"), block=True
    )
    *_, text, error = documents(play)
    assert (text["delta"], text["sequence_number"]) == ("well", 1)
    assert (error["type"], error["sequence_number"], error["error"]["type"]) == (
        "error",
        2,
        "permission_error",
    )
    assert play.stream.done


def test_an_answer_that_cannot_be_read_ends_in_an_error_event():
    script = Script()
    play = answered(script.begin(), script.piece("well"), script.event("note", text="hunter2"))
    assert documents(play)[-1]["error"]["code"] == "upstream_unreadable"
    assert SECRET.encode() not in play.sent(Lane.RESPONSE)


@pytest.mark.parametrize("how", ["error", "failed"])
def test_a_failure_of_the_server_drops_what_is_held(how):
    script = Script()
    begun = script.begin(), script.piece("say hun")
    if how == "error":
        failed = event_bytes(
            {"type": "error", "code": "invalid_prompt", "message": "too odd", "param": None}
        )
    else:
        error = {"code": "server_error", "message": "CUDA error at 0x7f00"}
        failed = script.event("failed", response=response_of("failed", error=error))
    play = answered(*begun, failed)
    last = documents(play)[-1]
    assert said(play) == "say "
    told = last["error"] if how == "error" else last["response"]["error"]
    expected = "too odd" if how == "error" else "the model server reported an error; its text was withheld"
    assert told["message"] == expected
    (record,) = play.records()
    assert record.reason is Reason.UPSTREAM_ERROR


def test_the_counts_of_the_answer_settle_its_reservation():
    play = Playbook(policy(bound(budget(), name="budget", stage=Stage.BUDGET)), codecs=[CODEC])
    play.head(PATH)
    play.body(BODY, end=True)
    play.effect(0, granted())
    assert json.loads(play.sent(Lane.REQUEST))["max_output_tokens"] == 50
    play.answer_head(content_type="text/event-stream")
    script = Script()
    stream = script.begin() + script.piece("a") + script.done("a") + script.end("a")
    play.answer(stream, end=True)
    assert play.sent(Lane.RESPONSE) == stream
    (settle,) = [one.effect for one in play.effects()[1:]]
    assert settle.tokens == 16


def test_a_refusal_of_a_request_has_openais_shape():
    play = Playbook(policy(), codecs=[CODEC])
    play.head(PATH)
    play.body(b'{"model":"m"}', end=True)
    (refused,) = play.of(cmd.Refuse)
    error = json.loads(refused.refusal.body)["error"]
    assert (refused.refusal.status, error["type"]) == (400, "invalid_request_error")
    assert error["message"].startswith("input is missing")


def test_an_event_with_many_values_is_redacted_in_all_of_them():
    values = [f"{SECRET} {at}" for at in range(3 * LIMITS.channels_max)]
    script = Script()
    many = script.event(
        "created", response=response_of("in_progress", tools=[{"type": "x", "all": values}])
    )
    play = answered(many, script.piece("hun"), script.end("hun"))
    first, _, held, _ = documents(play)
    assert first["response"]["tools"][0]["all"] == [f"[SECRET] {at}" for at in range(len(values))]
    assert (held["delta"], held["sequence_number"]) == ("hun", 2)


def test_texts_are_bounded():
    limits = replace(LIMITS, frame_bytes_max=4_000)
    session = ResponsesCodec(limits=limits).open(head())
    session.read_request(BODY, eof=True)
    session.write_request(0, RequestEdits())
    session.read_response_head(ResponseHead(status=200, headers={"content-type": ("text/event-stream",)}))
    script = Script()
    session.read_response(script.begin() + script.piece("x" * 2_000), eof=False)
    with pytest.raises(PeerError, match="its texts are longer than an event may be"):
        session.read_response(script.piece("x" * 1_000) + script.piece("x" * 1_001), eof=False)


# --- properties -------------------------------------------------------------------------------------------

PIECES = st.sampled_from([SECRET, "hun", "ter", "2", "hunter", '"', "\\", "\\u0068", "ü\n", " ", ""])


def stream_of(texts: list[list[str]]) -> bytes:
    script = Script()
    chunks = [script.begin()]
    for index, pieces in enumerate(texts):
        at = {"item_id": f"{ITEM_ID}{index}", "output_index": index, "content_index": 0}
        chunks += [script.event("output_text.delta", **at, delta=piece, logprobs=[]) for piece in pieces]
        chunks.append(script.event("output_text.done", **at, text="".join(pieces), logprobs=[]))
    return b"".join([*chunks, script.end()])


@given(st.lists(st.lists(PIECES, max_size=5), max_size=4), st.lists(st.integers(1, 4_000), max_size=6))
def test_chunks_mean_nothing_and_nothing_found_goes_out(texts, places):
    stream = stream_of(texts)
    ends = [*sorted({min(one, len(stream)) for one in places}), len(stream)]
    cut = [stream[a:b] for a, b in zip([0, *ends], ends, strict=False)]
    sent = answered(stream).sent(Lane.RESPONSE)
    assert answered(*cut).sent(Lane.RESPONSE) == sent
    assert SECRET.encode() not in sent
    told = documents_of(sent)
    assert [one["sequence_number"] for one in told] == list(range(len(told)))


@given(st.lists(st.lists(PIECES, max_size=5), max_size=4))
def test_a_guard_in_shadow_changes_no_byte(texts):
    stream = stream_of(texts)
    assert answered(stream, mode=Mode.SHADOW).sent(Lane.RESPONSE) == stream
