"""Deltas that are read by what stands around them, in a row and alone, against the general reader."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import chain, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st
from responses_samples import MESSAGE_ID, response_of, stream_bytes

from extproc.codecs._responses_answer import AnswerReader
from extproc.codecs._responses_frame import Kind, Repeat, Site, Told
from extproc.codecs._responses_runs import Again, Event, Known, KnownEvent, Template
from extproc.codecs._responses_walk import Facts
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel
from extproc.wire.strict_json import Text

BYTES_MAX = LIMITS.frame_bytes_max
KIND = "response.output_text.delta"
CREATED = stream_bytes([{"type": "response.created", "response": response_of("in_progress")}])
# Text first and number first: what stands before, between and behind the two.
TEMPLATES = [
    Template(b'event: e\ndata: {"d":"', b'","n":', b"}\n\n", number_first=False),
    Template(b'event: e\ndata: {"n":', b',"d":"', b'"}\n\n', number_first=True),
]


def spelled(template: Template, body: bytes, digits: bytes) -> bytes:
    first, second = (digits, body) if template.number_first else (body, digits)
    return template.head + first + template.middle + second + template.tail


# --- one event ------------------------------------------------------------------------------------------

BODIES = st.one_of(
    st.text(max_size=5).map(
        lambda text: json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "replace")
    ),
    st.text(max_size=5).map(lambda text: json.dumps(text)[1:-1].encode()),
    st.sampled_from([b'"', b"\\", b"\xff", b"\xc3", b"\\ud800", b"\xed\xa0\x80", b"a\nb", b"\x1f"]),
    st.sampled_from(
        [b'","n":1', b'","n":1}\n\nevent: e\ndata: {"d":"', b'"}\n\nevent: e\ndata: {"n":1,"d":"']
    ),
)
DIGITS = st.one_of(
    st.integers(0, 2**40).map(lambda number: b"%d" % number),
    st.sampled_from([b"", b"01", b"-1", b"1.0", b"1e2", b" 1", b"\xd9\xa1", b"1,2"]),
)


@pytest.mark.parametrize("template", TEMPLATES)
@given(BODIES, DIGITS, st.sampled_from([b"", b"\n", b"e", b"event: e\n"]), st.integers(30, 60))
def test_one_event_alone_is_read_as_a_row_of_one(template, body, digits, behind, bytes_max):
    chunk = spelled(template, body, digits) + behind
    alone = template.read_one(chunk, event_bytes_max=bytes_max)
    row = template.read_row(chunk, 0, event_bytes_max=bytes_max)
    assert alone is None or row == [Event(chunk, *alone)]


@pytest.mark.parametrize("template", TEMPLATES)
@given(st.text(max_size=8).filter(lambda text: json.dumps(text, ensure_ascii=False)[1:-1] == text))
def test_a_text_without_escapes_is_always_read_alone(template, text):
    chunk = spelled(template, text.encode(), b"%d" % len(text))
    assert template.read_one(chunk, event_bytes_max=len(chunk)) == (text, len(text))
    assert template.read_one(chunk, event_bytes_max=len(chunk) - 1) is None


@pytest.mark.parametrize("template", TEMPLATES)
def test_what_is_not_one_plain_event_is_left_to_the_general_reader(template):
    def read(chunk: bytes) -> tuple[str, int] | None:
        return template.read_one(chunk, event_bytes_max=BYTES_MAX)

    good = spelled(template, b"a", b"1")
    assert read(good) == ("a", 1)
    assert [
        read(chunk) for chunk in (good[:-1], good[1:], good + b"e", b"\n" + good, good + good, b"")
    ] == [None] * 6
    assert read(template.head + template.tail) is None
    assert read(template.head + b"1" + template.tail) is None
    bodies = (b'"', b"\\n", b"a\nb", b"\xff", b"\xed\xa0\x80")
    assert [read(spelled(template, body, b"1")) for body in bodies] == [None] * 5
    digits = (b"", b"01", b"-1", b"1.0", b" 1", b"1234567890")
    assert [read(spelled(template, b"a", one)) for one in digits] == [None] * 6


# --- an answer ------------------------------------------------------------------------------------------


class Forgetful(AnswerReader):
    """Reads every event in the general way."""

    def _learn(self, *_: object) -> None:
        pass


def at(item: str, output: int) -> str:
    return f'"item_id":"{item}","output_index":{output},"content_index":0'


# A server's own id, and one that is scanned and stands again in every event.
PLACES = [at(MESSAGE_ID, 0), at("msg_1", 1)]
TEXTS = st.one_of(
    st.text(max_size=4).map(lambda text: json.dumps(text, ensure_ascii=False)[1:-1]),
    # Escapes of JSON within JSON, and their other halves.
    st.sampled_from(["\\\\", "\\\\u00", "61", "n"]),
    st.sampled_from(["", "a", "b", "\\n", "\\u0061", '\\"', "\\\\", "\\", '"', "\\ud83d", '","x":"']),
)
ORDERS = [
    '{{"type":"{kind}",{at},"delta":"{text}","logprobs":[],"sequence_number":{number}}}',
    '{{"type":"{kind}","sequence_number":{number},{at},"delta":"{text}"}}',
    '{{"sequence_number":{number},"delta":"{text}",{at},"type":"{kind}"}}',
    '{{"type":"{kind}",{at},"delta":"{text}"}}',
]
# The order of its members, its place, its text; how far its number is from the one before.
DELTAS = st.tuples(
    st.sampled_from([0, 0, 0, 1, 1, 2, 3]),
    st.sampled_from([0, 0, 0, 1]),
    TEXTS,
    st.sampled_from([1] * 6 + [0, 7]),
)
FAILED = 'event: error\ndata: {{"type":"error","message":"m","sequence_number":{number}}}\n\n'
OTHERS = st.sampled_from(
    [
        "event: response.output_text.done\ndata: "
        '{{"type":"response.output_text.done",'
        + PLACES[1]
        + ',"text":"aab","sequence_number":{number}}}\n\n',
        ": a comment\n\n",
        "\n",
        FAILED,
        "data: [DONE]\n\n",
        f"event: {KIND}\r\n",
    ]
)


def events_of(drawn: list[tuple[int, int, str, int] | str]) -> list[bytes]:
    number, events = 0, []
    for one in drawn:
        if isinstance(one, str):
            number += 1
            events.append(one.format(number=number).encode())
            continue
        order, place, text, step = one
        number += step
        said = ORDERS[order].format(kind=KIND, at=PLACES[place], text=text, number=number)
        events.append(f"event: {KIND}\ndata: {said}\n\n".encode("utf-8", "surrogatepass"))
    return events


def reader_of(
    kind: type[AnswerReader], *, watched: bool = True, inner: bool = False, limits: Limits = LIMITS
) -> AnswerReader:
    return kind(Facts("m", frozenset(), inner, watched), status=200, streamed=True, limits=limits)


def said(
    reader: AnswerReader, chunks: list[bytes], released: list[str | None], held: list[bool]
) -> tuple[list[object], bytes, str]:
    """What is read, what goes on of it with other texts, some of them held, and why it ends."""
    # None leaves a text as it is.
    news, tails = chain(released, repeat(None)), iter(held)
    deltas: list[object] = []
    written = b""
    try:
        for number, chunk in enumerate(chunks, 1):
            for frame in reader.read(chunk, eof=number == len(chunks)):
                deltas += [frame._replace(token=None, is_run=False, deltas=()), *frame.deltas]
                released_here = [(delta.text, next(news)) for delta in frame.deltas]
                texts = tuple([text if new is None else new for text, new in released_here])
                written += reader.write(frame, texts)
                if frame.deltas and frame.deltas[0].channel.field == "text" and next(tails, False):
                    written += reader.write_tail(frame.deltas[0].channel, "held")
    except PeerError as error:
        return deltas, written, error.message
    return deltas, written, ""


@given(
    st.lists(st.one_of(DELTAS, DELTAS, DELTAS, OTHERS), max_size=10),
    st.lists(st.one_of(st.none(), st.text(max_size=4)), max_size=12),
    st.lists(st.booleans(), max_size=8),
    st.booleans(),
    st.booleans(),
)
def test_events_that_come_one_by_one_say_what_the_general_reader_says(
    drawn, released, held, watched, inner
):
    chunks = [CREATED, *events_of(drawn), b""]
    fast, slow = (
        said(reader_of(kind, watched=watched, inner=inner), chunks, released, held)
        for kind in (AnswerReader, Forgetful)
    )
    assert fast == slow


@pytest.mark.parametrize(
    ("drawn", "message"),
    [
        ([(0, 0, "a", 1), (0, 0, "b", 1), (0, 0, "c", 1)], ""),
        ([(0, 0, "a", 1), (0, 0, "b", 1), (0, 0, "c", 0)], "its events are out of order"),
        ([(0, 0, "a", 1), (0, 0, "b", 1), FAILED, (0, 0, "c", 1)], "its events are out of order"),
        ([(0, 0, "a" * 1_500, 1)] * 3, "its texts are longer than an event may be"),
    ],
)
def test_what_a_delta_alone_may_not_be_is_refused(drawn, message):
    limits = replace(LIMITS, frame_bytes_max=4_000)
    chunks = [CREATED, *events_of(drawn), b""]
    fast, slow = (
        said(reader_of(kind, limits=limits), chunks, [], []) for kind in (AnswerReader, Forgetful)
    )
    assert fast == slow
    assert fast[2].removeprefix("the model server's answer: ") == message


@pytest.mark.parametrize("watched", [False, True])
@pytest.mark.parametrize("released", [[], [None, None, "x"]])
def test_an_escape_that_a_delta_alone_ends_is_spelled_as_it_was(watched, released):
    texts = ["a", "b", "\\\\u00", "61", "c"]
    chunks = [CREATED, *events_of([(0, 0, text, 1) for text in texts]), b""]
    fast, slow = (
        said(reader_of(kind, watched=watched, inner=True), chunks, released, [])
        for kind in (AnswerReader, Forgetful)
    )
    assert fast == slow
    assert (b"".join(chunks) == fast[1]) is (not watched and not released)


def test_a_template_is_settled_again_when_what_stands_in_it_is_written():
    told = Told("m")
    template = TEMPLATES[0]._replace(
        tail=b',"i":"m"}\n\n', again=(Again(2, 5, 8, Repeat(Text("m", 0, 0), told)),)
    )
    known = Known(template, Site(Channel(0, "text"), Kind("", "", "", ""), 0, told), watched=True)
    assert known.settled() is template
    for name in ("x", "y", "m"):
        told.written = name
        assert known.settled().tail == template.tail.replace(b'"m"', b'"%b"' % name.encode())
        assert known.settled() is known.settled()


def frames_of(reader: AnswerReader, chunk: bytes) -> tuple[ResponseFrame, ...]:
    return reader.read(chunk, eof=False)


def test_the_second_of_two_deltas_that_are_alike_is_read_alone():
    reader = reader_of(AnswerReader)
    first, second, third = events_of([(0, 0, "a", 1), (0, 0, "b", 1), (0, 0, "\\n", 1)])
    tokens = [
        frame.token for chunk in (CREATED + first, second, third) for frame in frames_of(reader, chunk)
    ]
    assert [isinstance(token, KnownEvent) for token in tokens[-3:]] == [False, True, True]


def test_a_delta_behind_a_cut_one_is_not_read_alone():
    reader = reader_of(AnswerReader)
    first, second, third = events_of([(0, 0, "a", 1), (0, 0, "b", 1), (0, 0, "c", 1)])
    frames_of(reader, CREATED + first)
    assert frames_of(reader, second[:-1]) == ()
    deltas = [delta.text for frame in frames_of(reader, b"\n" + third) for delta in frame.deltas]
    assert deltas == ["b", "c"]


def test_an_id_that_is_changed_stands_changed_in_every_delta_behind():
    reader = reader_of(AnswerReader)
    chunks = [CREATED, *events_of([(0, 1, text, 1) for text in "abcd"])]
    written = []
    for chunk in chunks:
        for frame in frames_of(reader, chunk):
            texts = tuple(["other" if one.text == "msg_1" else one.text for one in frame.deltas])
            written.append(reader.write(frame, texts))
    assert written == [chunks[0], *(chunk.replace(b"msg_1", b"other") for chunk in chunks[1:])]
