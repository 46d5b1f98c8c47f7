from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs._generate_answer import AnswerReader
from extproc.codecs._triton_http import WITHHELD
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.segment import Channel, Delta, Usage
from extproc.domain.verdict import Reason
from extproc.wire.runs import Run

TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=12)
NAMES = {"model_name": "m", "model_version": "1"}
PATHS_OF_A_SERVER = [
    "AttributeError: 'NoneType' object has no 'as_numpy'\n\nAt:\n  repo/m/1/model.py(13): execute\n",
    "Traceback (most recent call last): x",
    "cannot open /opt/models/m/1/weights",
    "failed in engine.cc",
    "bad pointer 0x7fffdeadbeef",
    "no such file C:\\models",
]


def reader(
    *, streamed: bool = True, status: int = 200, hidden: frozenset[str] = frozenset(), limits=LIMITS
):
    return AnswerReader(
        model="m", sent_id="id-1", status=status, streamed=streamed, hidden=hidden, limits=limits
    )


def event(body: dict | bytes) -> bytes:
    return b"data: " + (body if isinstance(body, bytes) else json.dumps(body).encode()) + b"\n\n"


def texts_of(frame) -> tuple[str, ...]:
    return tuple(delta.text for delta in frame.deltas)


def pass_through(answer: AnswerReader, stream: bytes) -> bytes:
    return b"".join(answer.write(frame, texts_of(frame)) for frame in answer.read(stream, eof=True))


def one(answer: AnswerReader, stream: bytes):
    (frame,) = answer.read(stream, eof=True)
    return frame


def refusal_of(answer: AnswerReader, stream: bytes) -> PeerError:
    with pytest.raises(PeerError) as caught:
        answer.read(stream, eof=True)
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)
    return caught.value


def test_every_string_but_the_technical_ones_is_a_delta_of_its_own_channel():
    members = {
        **NAMES,
        "id": "id-1",
        "finish_reason": ["stop", "None"],
        "text_output": ["a", "b"],
        "stop_reason": "c",
        "cum_log_probs": [0.5, None, True],
        "sequence_id": ["d", ["e"]],
    }
    assert one(reader(), event(members)).deltas == (
        Delta(Channel(0, "text_output"), "a"),
        Delta(Channel(1, "text_output"), "b"),
        Delta(Channel(2, "output.*"), "c"),
        Delta(Channel(3, "output.*"), "d"),
        Delta(Channel(4, "output.*"), "e"),
    )


@pytest.mark.parametrize(
    "members",
    [
        {"model_name": "another"},
        {"model_version": "one"},
        {"finish_reason": "because of 078"},
        {"id": "another"},
        {"model_version": ["1", "2"]},
    ],
)
def test_a_technical_member_with_any_other_value_is_scanned(members):
    assert len(one(reader(), event(members)).deltas) == 1


def test_names_that_nobody_knows_and_long_numbers_are_texts_of_their_own():
    members = {"hf_secret": 4111111111111111, "scores": [0.4111111111111111, 7], "text_output": "a"}
    answer = reader()
    frame = one(answer, event({**members, "model_version": 4111111111111111}))
    assert frame.deltas == (
        Delta(Channel(0, "output.once"), "hf_secret"),
        Delta(Channel(1, "output.once"), "4111111111111111"),
        Delta(Channel(2, "output.once"), "scores"),
        Delta(Channel(3, "output.once"), "0.4111111111111111"),
        Delta(Channel(0, "text_output"), "a"),
        Delta(Channel(4, "output.once"), "4111111111111111"),
    )
    assert frame.ended == tuple(Channel(at, "output.once") for at in range(5))
    written = answer.write(frame, ("[N]", "[X]", "scores", "[Y]", "a", "[Z]"))
    assert json.loads(written.removeprefix(b"data: ")) == {
        "[N]": "[X]",
        "scores": ["[Y]", 7],
        "text_output": "a",
        "model_version": "[Z]",
    }


@pytest.mark.parametrize(
    "members",
    [
        {"jane@example.com": 1},
        {"219-09-9999": 1},
        {"a b": 1},
        {"": 1},
        {"a" * 65: 1},
        {"é": 1},
        {"text_output": 4111111111111111},
        {"text_output": 41},
        {"text_output": ["a", 41]},
        {"text_output": [[4.5]]},
    ],
)
def test_a_name_that_none_has_and_a_text_that_is_a_number_make_the_answer_unreadable(members):
    refusal_of(reader(), event({"text_output": "x", **members}))


def test_a_version_is_short_or_text():
    assert texts_of(one(reader(), event({"model_version": "1700000000"}))) == ()
    assert texts_of(one(reader(), event({"model_version": "4111111111111111"}))) == ("4111111111111111",)


def test_channels_stay_the_same_over_events():
    answer = reader()
    stream = event({"stop_reason": "a", "text_output": "b"})
    stream += event({"text_output": "c", "stop_reason": "d", "sequence_id": "e"})
    frames = answer.read(stream, eof=True)
    assert [[delta.channel for delta in frame.deltas] for frame in frames] == [
        [Channel(0, "output.*"), Channel(0, "text_output")],
        [Channel(0, "text_output"), Channel(0, "output.*"), Channel(2, "output.*")],
    ]


def test_counts_add_up():
    answer = reader()
    members = {"num_input_tokens": 5, "num_output_tokens": 2}
    stream = b"".join(map(event, [members, members, {**members, "num_output_tokens": [1, 3]}, {"a": 1}]))
    usages = [frame.usage for frame in answer.read(stream, eof=True)]
    assert usages == [Usage(5, 2), Usage(0, 2), Usage(0, 4), None]


@pytest.mark.parametrize("count", [-1, 1.5, "1", True, None, [1, "2"]])
def test_a_count_that_is_none_makes_the_answer_unreadable(count):
    refusal_of(reader(), event({"num_output_tokens": count}))


BILLIONS = 2**31 - 1


@pytest.mark.parametrize("count", [BILLIONS + 1, 10**63, [BILLIONS, 1]])
@pytest.mark.parametrize("name", ["num_input_tokens", "num_output_tokens"])
def test_a_count_beyond_all_that_a_server_can_have_makes_the_answer_unreadable(name, count):
    assert one(reader(), event({name: BILLIONS})).usage is not None
    refusal_of(reader(), event({name: count}))


def test_so_do_counts_that_only_add_up_to_it():
    assert len(reader().read(event({"num_output_tokens": BILLIONS}), eof=True)) == 1
    refusal_of(reader(), event({"num_output_tokens": BILLIONS}) + event({"num_output_tokens": 1}))


@pytest.mark.parametrize(
    ("hidden", "expected"),
    [
        (set(), {"num_input_tokens": 2, "num_output_tokens": 1, "text_output": "x"}),
        ({"num_input_tokens"}, {"num_output_tokens": 1, "text_output": "x"}),
        ({"num_input_tokens", "num_output_tokens"}, {"text_output": "x"}),
    ],
)
def test_what_the_client_had_not_asked_for_is_hidden_again(hidden, expected):
    members = {"num_input_tokens": 2, "num_output_tokens": 1, "text_output": "x"}
    answer = reader(hidden=frozenset(hidden))
    frame = one(answer, event(members))
    assert frame.usage == Usage(2, 1)
    assert json.loads(answer.write(frame, ("x",)).removeprefix(b"data: ")) == expected


def test_log_probabilities_are_dropped():
    members = {"logprobs": '[{"1": {"decoded_token": "se"}}]', "text_output": "x"}
    assert pass_through(reader(), event(members)) == b'data: {"text_output": "x"}\n\n'


@given(st.lists(TEXTS, max_size=3), TEXTS)
def test_new_texts_stand_where_the_old_ones_stood(outputs, replacement):
    answer = reader()
    frame = one(answer, event({**NAMES, "text_output": outputs, "sequence_end": True}))
    written = answer.write(frame, (replacement,) * len(outputs))
    expected = {**NAMES, "text_output": [replacement] * len(outputs), "sequence_end": True}
    assert written.endswith(b"\n\n")
    assert json.loads(written.removeprefix(b"data: ")) == expected


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b'data:{"text_output":"a"}\r\n\r\n', b'data:{"text_output":"b"}\r\n\r\n'),
        (b'data: {"text_output":\ndata: "a"}\n\n', b'data: {"text_output":\ndata: "b"}\n\n'),
        (b': note\ndata: {"text_output":"a"}\n\n', b'data: {"text_output":"b"}\n\n'),
        (b'data: {"text_output":"a"}\r\r', b'data: {"text_output":"b"}\r\r'),
    ],
)
def test_odd_events_are_written_in_their_own_form(raw, expected):
    answer = reader()
    assert answer.write(one(answer, raw), ("b",)) == expected


def test_a_comment_is_no_frame_and_never_passes():
    assert pass_through(reader(), b": secret\n\n" + event({"text_output": "a"})) == event(
        {"text_output": "a"}
    )
    assert (
        pass_through(reader(), b': secret\ndata: {"text_output":"a"}\n\n')
        == b'data: {"text_output":"a"}\n\n'
    )


# Row H8: what an event stream can hide text in.
@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (b'event: x\ndata: {"a":1}\n\n', "an event has fields other than data"),
        (b'id: x\ndata: {"a":1}\n\n', "an event has fields other than data"),
        (b"retry: 1\n\n", "an event has fields other than data"),
        (b"hidden text\n\n", "an event has fields other than data"),
        (b'data: {"a":1}', "it ends within an event"),
        (b'data: {"a":1}\n', "it ends within an event"),
        (b": comment", "it ends within an event"),
        (b"data: [DONE]\n\n", "expected a value at byte 1"),
        (b"data: []\n\n", "it is no JSON object"),
        (b"data\n\n", "unexpected end of the JSON document"),
        (b'data: {"a":"b","a":"c"}\n\n', "a key stands twice in one object"),
        (b'data: {"a":{"b":"c"}}\n\n', "an output is an object"),
        (b'data: {"a":[{"b":"c"}]}\n\n', "an output is an object"),
        (b'data: {"a":"\xff"}\n\n', "invalid UTF-8"),
    ],
    ids=range(14),
)
def test_what_cannot_be_vouched_for_is_refused(stream, message):
    assert message in refusal_of(reader(), stream).message


def test_output_texts_are_bounded():
    limits = replace(LIMITS, channels_max=3)
    assert len(one(reader(limits=limits), event({"text_output": ["a"] * 3})).deltas) == 3
    assert "more than 3" in refusal_of(reader(limits=limits), event({"text_output": ["a"] * 4})).message


# --- errors --------------------------------------------------------------------------------------


def test_an_error_event_is_an_error_and_its_text_is_scanned():
    answer = reader()
    stream = event({"text_output": "a"}) + event({"error": "engine exploded"})
    ordinary, failed = answer.read(stream, eof=True)
    assert (ordinary.error, failed.error) == (False, True)
    assert failed.deltas == (Delta(Channel(0, "error"), "engine exploded"),)
    assert answer.write(failed, ("[X]",)) == b'data: {"error": "[X]"}\n\n'


@pytest.mark.parametrize("text", PATHS_OF_A_SERVER)
@pytest.mark.parametrize("streamed", [True, False])
def test_an_error_that_tells_of_the_servers_inside_is_withheld(text, streamed):
    answer = reader(streamed=streamed, status=400)
    body = {"error": text}
    frame = one(answer, event(body) if streamed else json.dumps(body).encode())
    assert (frame.error, texts_of(frame)) == (True, (WITHHELD,))
    assert json.loads(answer.write(frame, (WITHHELD,)).removeprefix(b"data: ")) == {"error": WITHHELD}


@pytest.mark.parametrize(
    "body", [{"error": "a", "more": "b"}, {"error": 5}, {"error": {"a": "b"}}, {"error": None}]
)
def test_an_error_of_any_other_shape_is_withheld(body):
    assert texts_of(one(reader(), event(body))) == (WITHHELD,)
    assert texts_of(one(reader(streamed=False), json.dumps(body).encode())) == (WITHHELD,)


def test_success_is_not_inferred_from_200():
    frame = one(reader(streamed=False), b'{"error":"generate expects exactly 1 response"}')
    assert (frame.error, frame.final, texts_of(frame)) == (
        True,
        True,
        ("generate expects exactly 1 response",),
    )


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b'{"error":"unknown model"}', b'{"error":"unknown model"}'),
        (400, b"<html>", None),
        (400, b'{"detail":"x"}', None),
        (400, b"[]", None),
        (500, b'{"error":"unknown model"}', None),
        (503, b"upstream connect error", None),
        (404, b"", b""),
    ],
)
def test_an_error_body_keeps_its_text_only_where_it_is_known_to_be_harmless(status, body, expected):
    answer = reader(streamed=False, status=status)
    frame = one(answer, body)
    assert (frame.error, frame.final) == (True, True)
    written = answer.write(frame, texts_of(frame))
    assert written == (
        json.dumps({"error": WITHHELD}, separators=(",", ":")).encode() if expected is None else expected
    )


def test_an_error_status_makes_every_event_an_error():
    assert one(reader(status=400), event({"text_output": "x"})).error is True


# --- JSON bodies -------------------------------------------------------------------------------


@given(st.binary(max_size=30))
def test_a_json_answer_is_held_until_it_is_whole(noise):
    answer = reader(streamed=False)
    body = json.dumps({**NAMES, "text_output": noise.hex()}).encode()
    for at in range(len(body)):
        assert answer.read(body[at : at + 1], eof=False) == ()
    frame = one(answer, b"")
    assert (frame.final, answer.write(frame, texts_of(frame))) == (True, body)


@pytest.mark.parametrize("body", [b"", b"<html>", b'{"text_output":"a"', b'"a"', b'{"a":1}{"b":2}'])
def test_a_good_status_needs_a_good_body(body):
    refusal_of(reader(streamed=False), body)


def test_a_json_answer_is_bounded():
    limits = replace(LIMITS, answer_bytes_max=10)
    answer = reader(streamed=False, limits=limits)
    with pytest.raises(PeerError, match="the body exceeds 10 bytes") as caught:
        answer.read(b"a" * 11, eof=False)
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)


def test_what_comes_after_the_end_is_ignored():
    answer = reader()
    answer.read(event({"text_output": "a"}), eof=True)
    assert answer.read(event({"text_output": "b"}), eof=True) == ()


# --- tails ---------------------------------------------------------------------------------------


def test_a_tail_is_an_event_of_its_channel_with_the_models_name():
    answer = reader()
    answer.read(event({**NAMES, "text_output": ["a", "b"], "other": "c"}), eof=True)
    tails = [
        json.loads(answer.write_tail(channel, "t\n").removeprefix(b"data: "))
        for channel in (Channel(0, "text_output"), Channel(1, "text_output"), Channel(2, "output.*"))
    ]
    assert tails == [
        {**NAMES, "text_output": "t\n"},
        {**NAMES, "text_output": ["", "t\n"]},
        {**NAMES, "other": "t\n"},
    ]


def test_a_tail_does_not_repeat_a_name_that_was_taken_out():
    answer = reader()
    (frame,) = answer.read(event({"hf_secret": "a"}), eof=True)
    assert b"hf_secret" not in answer.write(frame, ("[X]", ""))
    channel = frame.deltas[1].channel
    assert json.loads(answer.write_tail(channel, "a").removeprefix(b"data: ")) == {
        "model_name": "m",
        "[X]": "a",
    }


def test_a_tail_of_an_error_is_an_error():
    answer = reader()
    answer.read(event({"error": "a"}), eof=True)
    assert answer.write_tail(Channel(0, "error"), "t") == b'data: {"error":"t"}\n\n'


def test_a_tail_reads_back_on_the_same_channel():
    answer = reader()
    answer.read(event({**NAMES, "text_output": ["a", "b"]}), eof=False)
    again = one(answer, answer.write_tail(Channel(1, "text_output"), "t"))
    assert again.deltas == (Delta(Channel(0, "text_output"), ""), Delta(Channel(1, "text_output"), "t"))


def test_a_json_answer_has_no_tail():
    with pytest.raises(AssertionError):
        reader(streamed=False).write_tail(Channel(0, "text_output"), "t")


@given(st.binary(max_size=60), st.booleans(), st.sampled_from([200, 400, 500]))
def test_no_answer_raises_anything_else_and_nothing_that_is_read_passes_unseen(noise, streamed, status):
    answer = reader(streamed=streamed, status=status)
    try:
        frames = answer.read(b'data: {"text_output":"' + noise if streamed else noise, eof=True)
    except PeerError as error:
        assert error.status == 502  # noqa: PT017 - it need not raise.
        return
    for frame in frames:
        assert b"[X]" in answer.write(frame, ("[X]",) * len(frame.deltas)) or not frame.deltas


# --- events alone and in a row, against the general reader ----------------------------------------------


class Forgetful(AnswerReader):
    """Reads every event in the general way."""

    def _learn(self, *_: object) -> None:
        pass


SPELLED = st.one_of(
    TEXTS.map(lambda text: json.dumps(text, ensure_ascii=False)[1:-1].encode()),
    st.sampled_from([b"", b"a", b"\\n", b"\\u0061", b'\\"', b"\\", b'"', b"\\ud800", b"a\nb", b"\xff"]),
    st.sampled_from([b'","error":"x', b'"}\n\ndata: {"model_name":"m","text_output":"', b'"}']),
)
FORMS = st.sampled_from(
    [
        *[b'data: {"model_name":"m","model_version":"1","text_output":"%b"}\n\n'] * 4,
        *[b'data: {"text_output":"%b"}\n\n'] * 2,
        b'data: {"text_output":["a","%b"]}\n\n',
        b'data: {"text_output":"a","thought":"%b"}\n\n',
        b'data: {"thought":"%b"}\n\n',
        b'data: {"text_output":"%b","num_output_tokens":1}\n\n',
        b'data: {"text_output":"%b","id":"id-1"}\n\n',
        b'data: {"error":"%b"}\n\n',
        b'data: {"text_output":"%b"}\r\n\r\n',
        b": %b\n\n",
        b'data: {"text_output":"%b"}\n',
    ]
)


def said(
    answer: AnswerReader, chunks: list[bytes], released: list[str | None]
) -> tuple[list[object], bytes, str]:
    """What is read, what goes on of it with other texts, and why it ends."""
    # None leaves a text as it is.
    news = chain(released, repeat(None))
    told: list[object] = []
    written = b""
    try:
        for number, chunk in enumerate(chunks, 1):
            for frame in answer.read(chunk, eof=number == len(chunks)):
                each = [(delta,) for delta in frame.deltas] if frame.is_run else [frame.deltas]
                told += [frame._replace(deltas=deltas, token=None, is_run=False) for deltas in each]
                pairs = [(delta.text, next(news)) for delta in frame.deltas]
                written += answer.write(frame, tuple([text if new is None else new for text, new in pairs]))
    except PeerError as error:
        return told, written, error.message
    return told, written, ""


@given(
    st.lists(st.builds(bytes.__mod__, FORMS, SPELLED), max_size=8),
    st.lists(st.one_of(st.none(), TEXTS), max_size=8),
    st.booleans(),
)
def test_events_alone_and_in_a_row_say_what_the_general_reader_says(events, released, together):
    chunks = [b"".join(events)] if together else [*events, b""]
    hidden = frozenset({"id"})
    parts = {
        "model": "m",
        "sent_id": "",
        "status": 200,
        "streamed": True,
        "hidden": hidden,
        "limits": LIMITS,
    }
    fast, slow = (said(kind(**parts), chunks, released) for kind in (AnswerReader, Forgetful))
    assert fast == slow


def test_the_second_of_two_events_that_are_alike_is_read_alone():
    answer = reader()
    chunks = [event({**NAMES, "text_output": text}) for text in ("a", "b", "c\n", "d")]
    frames = [frame for chunk in chunks for frame in answer.read(chunk, eof=False)]
    assert [isinstance(frame.token, Run) for frame in frames] == [False, True, True, True]
    assert [texts_of(frame) for frame in frames] == [("a",), ("b",), ("c\n",), ("d",)]
    assert answer.write(frames[1], ("x",)) == chunks[1].replace(b'"b"', b'"x"')
    assert answer.write(frames[3], ()) == b""


def test_of_a_run_so_much_is_written_as_was_released():
    answer = reader()
    chunks = [event({**NAMES, "text_output": text}) for text in ("a", "b", "c")]
    first, run = answer.read(b"".join(chunks), eof=False)
    assert (first.is_run, run.is_run) == (False, True)
    assert [answer.write(run, ("b", "c")[:count]) for count in range(3)] == [
        b"",
        chunks[1],
        chunks[1] + chunks[2],
    ]
