from __future__ import annotations

import json
import struct
from base64 import b64encode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs._openai_vectors import VectorReader, floats_count
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.segment import Usage
from extproc.domain.verdict import Reason

CARD = 4111111111111111


def packed(*numbers: float) -> str:
    return b64encode(struct.pack(f"<{len(numbers)}f", *numbers)).decode()


def answer_of(*vectors: object, **members) -> bytes:
    items = [{"object": "embedding", "embedding": one, "index": at} for at, one in enumerate(vectors)]
    usage = {"prompt_tokens": 3, "total_tokens": 3}
    return json.dumps({"object": "list", "data": items, "model": "m", "usage": usage, **members}).encode()


def reader(*, dimensions: int | None = None, status: int = 200) -> VectorReader:
    return VectorReader(model="m", dimensions_count=dimensions, status=status, limits=LIMITS)


def read(body: bytes, **facts):
    (frame,) = reader(**facts).read(body, eof=True)
    return frame


def texts(frame) -> tuple[str, ...]:
    return tuple(delta.text for delta in frame.deltas)


def unreadable(body: bytes, **facts) -> PeerError:
    with pytest.raises(PeerError) as caught:
        read(body, **facts)
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)
    return caught.value


@pytest.mark.parametrize(
    "vector",
    [[0.25, -1], [1e-05, 2.5e-300], [0.12345678901234567], [999999.5], packed(0.5, -2), packed(0.0)],
)
def test_numbers_pass_as_they_are(vector):
    body = answer_of(vector, vector)
    answer = reader()
    (frame,) = answer.read(body, eof=True)
    assert (frame.deltas, frame.usage, frame.final, frame.error) == ((), Usage(3, 0), True, False)
    assert answer.write(frame, ()) == body
    assert answer.read(body, eof=True) == ()


@pytest.mark.parametrize(
    "vector",
    [
        "hunter2",
        "",
        packed(0.5)[:-1],
        packed(0.5) + "\n",
        packed(float("nan")),
        packed(1.0, float("inf")),
        packed(1e6),
        packed(-1e30, 0.5),
        b64encode(b"my card is 4111").decode(),
        b64encode(b"abc").decode(),
    ],
)
def test_other_text_in_the_place_of_a_vector_is_refused(vector):
    assert "a vector" in unreadable(answer_of(vector)).message


@pytest.mark.parametrize("vector", [[CARD], [0.5, CARD], [float(CARD)], [[1, CARD]]])
def test_numbers_that_no_vector_has_are_text(vector):
    assert len(texts(read(answer_of(vector)))) == 1


@pytest.mark.parametrize("vector", [[1, 2], packed(1, 2)])
def test_a_vector_has_the_dimensions_that_were_asked_for(vector):
    assert read(answer_of(vector), dimensions=2).deltas == ()
    unreadable(answer_of(vector), dimensions=3)


def test_whatever_else_is_said_is_scanned_and_replaced_in_its_place():
    said = {"id": "mine", "remark": {"of": ["it"]}, "object": "else", "model": "n", "time": CARD}
    body = answer_of([1, 2], [3, 4], **said)
    answer = reader()
    (frame,) = answer.read(body, eof=True)
    assert sorted(texts(frame)) == ["4111111111111111", "else", "it", "mine", "n", "of", "remark", "time"]
    assert answer.write(frame, texts(frame)) == body
    written = json.loads(answer.write(frame, tuple(f"<{text}>" for text in texts(frame))))
    assert [item["embedding"] for item in written["data"]] == [[1, 2], [3, 4]]
    assert written["<remark>"] == {"<of>": ["<it>"]}
    assert (written["object"], written["model"], written["<time>"]) == (
        "<else>",
        "<n>",
        "<4111111111111111>",
    )


@pytest.mark.parametrize(
    "text",
    [
        '"embedding":[4111111111111111]',
        'x"embedding" : [4]',
        '\\"embedding":[4]',
        "embedding",
        'embedding":[4]',
        '"embedding',
    ],
)
def test_what_looks_like_a_vector_within_a_text_is_text(text):
    frame = read(answer_of([1], note=text))
    assert texts(frame) == ("note", text) or set(texts(frame)) == {"note", text}
    assert text in texts(read(answer_of([1], **{text: [4]}))) or text == "embedding"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"data":[{"embedding":[1,]}]}',
        b'{"data":[{"embedding":[01]}]}',
        b'{"data":[{"embedding":[1.]}]}',
        b'{"data":[{"embedding":[NaN]}]}',
        b'{"data":[{"embedding":[1] [2]}]}',
        b'{"data":[{"embedding":[1],"embedding":[2]}]}',
        b'{"x""embedding":[1]}',
        b'{"usage":{"prompt_tokens":"3"}}',
        b'{"usage":{"prompt_tokens":-1}}',
        b'{"usage":{"prompt_tokens":1e9}}',
    ],
)
def test_what_is_no_such_document_is_refused(body):
    unreadable(body)


@pytest.mark.parametrize(
    ("body", "status", "shown"),
    [
        (b'{"detail":"only one input"}', 400, ("only one input",)),
        (b'{"error":{"message":"no such model","type":"x"}}', 200, ("no such model", "x")),
        (b"", 503, ()),
    ],
)
def test_errors_are_scanned(body, status, shown):
    frame = read(body, status=status)
    assert (texts(frame), frame.error, frame.final) == (shown, True, True)


def test_an_error_that_tells_of_the_servers_inside_is_withheld():
    frame = read(b'{"detail":"engine exploded"}', status=500)
    assert "exploded" not in str(texts(frame))


def test_a_long_answer_is_read_without_a_value_for_each_number():
    body = answer_of(*[[at / 7 for at in range(1536)] for _ in range(64)])
    assert read(body, dimensions=1536).deltas == ()


documents = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(["embedding", '"embedding":[1]', "list", "m", "x", "\\", packed(1)]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["embedding", "data", "model", "x", 'a"embedding']), inner, max_size=3
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["data", "usage", "embedding", "note"]), documents, max_size=3))
def test_whatever_is_emptied_leaves_only_numbers(document):
    body = json.dumps(document).encode()
    answer = reader()
    try:
        (frame,) = answer.read(body, eof=True)
    except PeerError:
        return
    assert frame.error or answer.write(frame, texts(frame)) == body
    written = answer.write(frame, ("[X]",) * len(frame.deltas))
    assert b":[1]" not in written
    assert b'a\\"embedding' not in written


@given(st.binary(max_size=40), st.integers(0, 40), st.sampled_from([200, 400]))
def test_arbitrary_bytes_raise_nothing_else(body, cut, status):
    answer = reader(status=status)
    assert answer.read(body[:cut], eof=False) == ()
    try:
        (frame,) = answer.read(body[cut:], eof=True)
        reason = Reason.UPSTREAM_UNREADABLE if frame.error else None
    except PeerError as error:
        reason = error.reason
    assert reason in {None, Reason.UPSTREAM_UNREADABLE}


@given(st.lists(st.floats(-1e5, 1e5, width=32), min_size=1, max_size=5))
def test_floats_are_counted(numbers):
    assert floats_count(packed(*numbers)) == len(numbers)
