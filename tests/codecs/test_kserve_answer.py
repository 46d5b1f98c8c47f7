"""The answer: outputs in JSON and in the tail, counts that are hidden, errors."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kserve_bodies import Made, binary, body_of

from extproc.codecs._kserve_answer import InferAnswer
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel, Usage
from extproc.domain.verdict import Reason

HEAD = {"model_name": "m", "model_version": "1"}
COUNTS = frozenset({"num_input_tokens", "num_output_tokens"})
both = pytest.mark.parametrize("kind", [Made, binary], ids=["json", "binary"])


def reader(length: int | None = None, *, status: int = 200, **settings: object) -> InferAnswer:
    parts = {"model": "m", "sent_id": "r1", "hidden": frozenset(), "watched": True, "limits": LIMITS}
    return InferAnswer(**{**parts, "status": status, "header_bytes": length, **settings})


def answer_of(*made: Made, **members: object) -> tuple[bytes, int | None]:
    return body_of(*made, under="outputs", **{**HEAD, **members})


def read(body: bytes, length: int | None, **settings: object) -> tuple[InferAnswer, list[ResponseFrame]]:
    one = reader(length, **settings)
    return one, list(one.read(body, eof=True))


def texts(frames: list[ResponseFrame]) -> list[tuple[int, str, str]]:
    return [(*delta.channel, delta.text) for frame in frames for delta in frame.deltas]


def written(one: InferAnswer, frames: list[ResponseFrame], change=lambda text: text) -> bytes:
    return b"".join(
        one.write(frame, tuple(change(delta.text) for delta in frame.deltas)) for frame in frames
    )


def outputs(one: InferAnswer, body: bytes) -> dict[str, object]:
    """What a client reads of an answer that was written."""
    length = one.document_bytes
    document = json.loads(body if length is None else body[:length])
    tail, found = (b"", {}) if length is None else (body[length:], {})
    for output in document["outputs"]:
        if "data" in output:
            found[output["name"]] = output["data"]
            continue
        size = output["parameters"]["binary_data_size"]
        raw, tail = tail[:size], tail[size:]
        assert len(raw) == size
        found[output["name"]] = raw
    assert tail == b""
    return found


def refused(body: bytes, length: int | None, **settings: object) -> str:
    with pytest.raises(PeerError) as caught:
        read(body, length, **settings)
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)
    return caught.value.message


# --- good answers ----------------------------------------------------------------------------


@both
def test_every_string_has_a_channel_and_clean_ones_keep_their_bytes(kind):
    body, length = answer_of(
        kind("text_output", ["one €", "two"]),
        kind("cum_log_probs", [0.5], "FP32"),
        kind("finish_reason", ["stop", "some text"]),
        kind("label", ["three"]),
        id="r1",
    )
    one, frames = read(body, length)
    assert texts(frames) == [
        (0, "text_output", "one €"),
        (1, "text_output", "two"),
        (2, "output.*", "some text"),
        (3, "output.once", "label"),
        (4, "output.*", "three"),
    ]
    assert [(frame.key, frame.final, frame.error) for frame in frames] == [(0, True, False)]
    assert set(frames[0].ended) == {delta.channel for delta in frames[0].deltas}
    assert written(one, frames) == body
    assert one.document_bytes == length


@both
def test_what_is_redacted_keeps_every_length_right(kind):
    body, length = answer_of(
        kind("text_output", ["secret" * 20, "x"]), kind("n", [7], "INT32"), kind("label", ["secret"])
    )
    one, frames = read(body, length)
    seen = outputs(one, written(one, frames, lambda text: text.replace("secret", "[€]")))
    if kind is Made:
        assert seen == {"text_output": ["[€]" * 20, "x"], "n": [7], "label": ["[€]"]}
    else:
        assert seen == {
            one.name: one.tail
            for one in (
                binary("text_output", ["[€]" * 20, "x"]),
                binary("n", [7], "INT32"),
                binary("label", ["[€]"]),
            )
        }


def test_nothing_comes_before_the_answer_is_whole():
    body, length = answer_of(binary("text_output", ["one"]))
    one = reader(length)
    assert [one.read(body[at : at + 1], eof=False) for at in range(len(body))] == [()] * len(body)
    (frame,) = one.read(b"", eof=True)
    assert written(one, [frame]) == body
    assert one.read(b"more", eof=True) == ()


@given(st.lists(st.integers(0, 300), max_size=6))
def test_chunk_boundaries_mean_nothing(cuts):
    body, length = answer_of(binary("text_output", ["one", "€"]), Made("label", ["x"]))
    ends = [*sorted(min(cut, len(body)) for cut in cuts), len(body)]
    one = reader(length)
    frames = [
        frame
        for start, end in zip([0, *ends], ends, strict=False)
        for frame in one.read(body[start:end], eof=False)
    ]
    frames += one.read(b"", eof=True)
    assert (texts(frames), written(one, frames)) == (texts(read(body, length)[1]), body)


def test_an_answer_of_many_strings_comes_in_frames_that_end_their_channels():
    words = [f"w{at}" for at in range(2 * LIMITS.channels_max + 1)]
    body, length = answer_of(binary("text_output", words))
    one, frames = read(body, length)
    assert [len(frame.deltas) for frame in frames] == [LIMITS.channels_max, LIMITS.channels_max, 1]
    assert [frame.final for frame in frames] == [False, False, True]
    assert all(set(frame.ended) == {delta.channel for delta in frame.deltas} for frame in frames)
    assert [text for _, _, text in texts(frames)] == words
    changed = written(one, frames, str.upper)
    assert (
        outputs(one, changed)["text_output"] == binary("text_output", [one.upper() for one in words]).tail
    )


def test_members_that_are_not_known_are_read_whole():
    more = {"parameters": {"note": "evil", "ok": True}, "more": ["text", 41111111111], "id": "another"}
    body, length = answer_of(
        Made("text_output", ["x"]), **{**more, "model_name": "n", "model_version": "v"}
    )
    one, frames = read(body, length)
    found = [text for _, field, text in texts(frames) if field == "output.once"]
    assert found == [
        *("model_name", "n", "model_version", "v", "parameters", "note", "evil", "ok"),
        *("more", "text", "41111111111", "id", "another"),
    ]
    changed = json.loads(written(one, frames, lambda text: "[X]" if text == "evil" else text))
    assert changed["parameters"] == {"note": "[X]", "ok": True}


@both
@pytest.mark.parametrize("datatype", ["INT64", "UINT64"])
def test_numbers_longer_than_quantities_are_judged_like_text(kind, datatype):
    body, length = answer_of(kind("sequence_length", [4_111_111_111_111_111, 5], datatype))
    one, frames = read(body, length)
    assert texts(frames) == [(0, "output.once", "4111111111111111")]
    assert written(one, frames) == body
    zero = kind("sequence_length", [0, 0], datatype)
    left = outputs(one, written(one, frames, lambda _: "[CARD]"))
    assert left == {"sequence_length": zero.tail if zero.binary else [0, 0]}


@both
def test_outputs_that_spell_the_text_in_numbers_go_where_it_is_watched(kind):
    ids, logits = (
        kind("output_ids", [4_111_111_111_111_111], "INT64"),
        kind("context_logits", [0.5], "FP32"),
    )
    body, length = answer_of(
        kind("label", [1], "INT32"), ids, kind("generation_logits", [0.5], "FP32"), logits
    )
    one, frames = read(body, length)
    assert texts(frames) == [(0, "output.once", "label")]
    assert outputs(one, written(one, frames)).keys() == {"label"}
    one, frames = read(body, length, watched=False)
    assert written(one, frames) == body


def test_other_numbers_of_outputs_are_no_text():
    body, length = answer_of(
        Made("embedding", [0.12345678901234, 41111111111.0], "FP64"),
        binary("ids", [4_111_111_111], "INT64"),
    )
    one, frames = read(body, length)
    assert [text for _, _, text in texts(frames)] == ["embedding", "ids"]
    assert written(one, frames) == body


# --- counts ----------------------------------------------------------------------------------


@both
@pytest.mark.parametrize("datatype", ["UINT32", "INT32"])
def test_counts_are_learnt_and_hidden(datatype, kind):
    body, length = answer_of(
        kind("num_input_tokens", [3], datatype),
        kind("text_output", ["x"]),
        kind("num_output_tokens", [4, 5], datatype),
    )
    one, frames = read(body, length, hidden=COUNTS)
    assert frames[-1].usage == Usage(3, 9)
    left = kind("text_output", ["x"])
    assert outputs(one, written(one, frames)) == {"text_output": left.tail if left.binary else ["x"]}


def test_counts_beside_binary_outputs_are_hidden_from_both_parts():
    body, length = answer_of(binary("text_output", ["one"]), Made("num_output_tokens", [1], "UINT32"))
    one, frames = read(body, length, hidden=COUNTS)
    assert outputs(one, written(one, frames)) == {"text_output": binary("x", ["one"]).tail}


@both
@pytest.mark.parametrize(
    ("values", "datatype"),
    [([-1], "INT32"), ([2**31, 2**31], "UINT32"), ([1.0], "FP32"), (["1"], "BYTES"), ([2**63], "UINT64")],
)
def test_a_count_that_is_none_is_unreadable(values, datatype, kind):
    assert "token count" in refused(*answer_of(kind("num_output_tokens", values, datatype)))


# --- what may not go out ---------------------------------------------------------------------


@both
@pytest.mark.parametrize("name", ["logprobs", "prompt_logprobs", "top_logprobs"])
def test_the_answers_tokens_again_are_taken_out_of_a_watched_answer(name, kind):
    body, length = answer_of(kind("text_output", ["x"]), kind(name, ["secret"]))
    one, frames = read(body, length)
    assert list(outputs(one, written(one, frames))) == ["text_output"]
    one, frames = read(body, length, watched=False)
    assert written(one, frames) == body


def test_strings_that_are_no_text_make_a_watched_answer_unreadable():
    body, length = answer_of(binary("blob", [b"\xff", b"ok"]))
    assert "UTF-8" in refused(body, length)
    one, frames = read(body, length, watched=False)
    assert texts(frames) == [(0, "output.once", "blob"), (1, "output.*", "ok")]
    assert written(one, frames) == body


# --- errors ----------------------------------------------------------------------------------

WITHHELD = b'{"error":"the model server reported an error; its text was withheld"}'
STREAMS_ONLY = b'{"error":"HTTP end point doesn\'t support models with decoupled transaction policy"}'


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (404, b'{"error":"Request for unknown model: \'nope\' is not found"}', None),
        (400, b'{"error":"unexpected inference input \'x\' for model"}', None),
        (501, STREAMS_ONLY, None),
        (500, STREAMS_ONLY, WITHHELD),
        (501, b'{"error":"something else"}', WITHHELD),
        (500, b'{"error":"engine exploded"}', WITHHELD),
        (400, b'{"error":"failed in /opt/models/m/1/model.py"}', WITHHELD),
        (400, b'{"error":"Traceback (most recent call last)"}', WITHHELD),
        (400, b'{"error":"x","more":"y"}', WITHHELD),
        (400, b"no JSON at all", WITHHELD),
        (200, b'{"error":"generate expects model to produce exactly 1 response"}', None),
        (200, b'{"error":"in /opt/models/m/1/model.py"}', WITHHELD),
        (200, b'{"error":"x","outputs":[{"name":"evil"}]}', WITHHELD),
    ],
)
def test_an_error_keeps_its_text_unless_it_tells_of_the_inside(status, body, expected):
    one, frames = read(body, None, status=status)
    assert [(frame.final, frame.error) for frame in frames] == [(True, True)]
    assert written(one, frames) == (body if expected is None else expected)
    assert frames[0].deltas[0].channel == Channel(0, "error")
    assert one.document_bytes is None


def test_an_error_without_a_body_stays_one():
    one, frames = read(b"", None, status=503)
    assert (texts(frames), written(one, frames), frames[0].error) == ([], b"", True)


@pytest.mark.parametrize("length", [None, 5])
def test_an_error_is_one_document_whatever_its_header_says(length):
    one, frames = read(b'{"error":"a mail"}', length, status=400)
    assert written(one, frames, lambda _: "[X]") == b'{"error":"[X]"}'


# --- what cannot be read ---------------------------------------------------------------------

UNREADABLE = {
    "nothing": (b"", None),
    "no JSON": (b"x", None),
    "no object": (b"[]", None),
    "outputs that are none": (b'{"outputs":{}}', None),
    "bytes behind it": (b'{"outputs":[]}x', None),
    "bytes behind the last output": (b'{"outputs":[]}x', 14),
    "a length beyond the end": (b'{"outputs":[]}', 15),
    "a key twice": (b'{"outputs":[],"outputs":[]}', None),
    "an output without data": (b'{"outputs":[{"name":"a","datatype":"BYTES","shape":[1]}]}', None),
    "an unknown member": (
        b'{"outputs":[{"name":"a","datatype":"BYTES","shape":[1],"data":["x"],"text":"evil"}]}',
        None,
    ),
    "shared memory": (
        b'{"outputs":[{"name":"a","datatype":"BYTES","shape":[1],"parameters":{"shared_memory_region":"r"}}]}',
        None,
    ),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_read_is_refused(name):
    refused(*UNREADABLE[name])


def test_an_answer_is_bounded():
    body, length = answer_of(binary("text_output", ["x" * 200]))
    bounds = replace(LIMITS, answer_bytes_max=100)
    assert "exceeds 100 bytes" in refused(body, length, limits=bounds)


@given(st.binary(max_size=60), st.integers(0, 300), st.sampled_from([None, 1, 100, 150]))
def test_any_answer_raises_nothing_but_peer_error(noise, at, length):
    body, sound = answer_of(binary("text_output", ["one"]), Made("num_output_tokens", [1], "UINT32"))
    try:
        one, frames = read(body[:at] + noise + body[at:], length or sound, hidden=COUNTS)
        written(one, frames)
    except PeerError as error:
        assert (error.reason, error.status) == (Reason.UPSTREAM_UNREADABLE, 502)  # noqa: PT017 - it need not.


@given(st.lists(st.text(max_size=8), min_size=1, max_size=5), st.booleans(), st.text(max_size=20))
def test_whatever_replaces_the_texts_is_what_the_client_reads(words, is_binary, new):
    kind = binary if is_binary else Made
    body, length = answer_of(kind("text_output", words), kind("n", [1], "INT32"))
    one, frames = read(body, length)
    seen = outputs(one, written(one, frames, lambda text: new if text != "n" else text))
    expected = [word if word == "n" else new for word in words]
    assert seen["text_output"] == (binary("x", expected).tail if is_binary else expected)
