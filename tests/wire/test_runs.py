from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.wire.runs import (
    Run,
    RunReader,
    Template,
    read_one,
    read_run,
    template_of,
    write_one,
    write_run,
)
from extproc.wire.sse import SseFrame, SseReader
from extproc.wire.strict_json import Object, Text, parse

BYTES_MAX = LIMITS.frame_bytes_max


def event(text: str, **members: object) -> bytes:
    return spelled(json.dumps(text, ensure_ascii=False)[1:-1].encode(), **members)


def spelled(body: bytes, **members: object) -> bytes:
    before = "".join(json.dumps({key: value})[1:-1] + "," for key, value in members.items())
    return b"data: {" + before.encode() + b'"x":"' + body + b'","y":[1]}\n\n'


TEMPLATE = Template(b'data: {"x":"', b'","y":[1]}\n\n')


def read(chunk: bytes, at: int = 0, bytes_max: int = BYTES_MAX) -> Run | None:
    return read_run(chunk, at, TEMPLATE, event_bytes_max=bytes_max)


def test_the_template_is_what_stands_around_the_text():
    raw = event("abc")
    document = raw[6:-2]
    assert template_of(raw, document, 5, 10) == TEMPLATE
    assert read(raw) == Run(raw, TEMPLATE, [b"abc"], ("abc",), plain=True)


def test_events_with_names_have_runs_too():
    named = [b"event: a\n" + event(text) for text in ("x", "y", "z")]
    template = template_of(named[0], event("x")[6:-2], 5, 8, name=b"a")
    assert template == Template(b'event: a\ndata: {"x":"', TEMPLATE.tail)
    reader: RunReader[str] = RunReader(named=True)
    reader.learn(template, "its meaning")
    other = b"event: b\n" + event("x")
    first, (run, meaning), last, cut = reader.feed(b"".join([other, *named, other, event("x")]))
    assert (run.raw, run.texts, meaning) == (b"".join(named), ("x", "y", "z"), "its meaning")
    assert [one.raw for one in (first, last, cut)] == [other, other, event("x")]
    assert template_of(named[0], event("x")[6:-2], 5, 8) is None
    assert template_of(named[0], event("x")[6:-2], 5, 8, name=b"b") is None


@pytest.mark.parametrize(
    "raw", [b"data:%s\n\n", b"data: %s\r\n\r\n", b"data: %s\n\r\n", b": c\ndata: %s\n\n"]
)
def test_an_event_that_is_written_otherwise_has_no_template(raw):
    document = b'{"x":"abc","y":[1]}'
    assert template_of(raw % document, document, 5, 10) is None


def test_a_run_is_all_that_stands_there_whole():
    events = [event(text) for text in ("a", "", "né", 'say "so"', "\n")]
    chunk = b"?" + b"".join(events)
    run = read(chunk + event("cut")[:-1], 1)
    assert run is not None
    assert (run.raw, run.texts, run.plain) == (chunk[1:], ("a", "", "né", 'say "so"', "\n"), False)
    assert read(event("cut")[:-1]) is None
    assert read(b" " + event("a")) is None


@pytest.mark.parametrize(
    "body",
    [
        b'a","y":[1],"x":"b',
        b'"',
        b"\\",
        b"a\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"\\ud800",
        b"\\x",
        b"\x00",
        b"a\nb",
        b'","y":[2]}\n\ndata: {"x":"',
    ],
)
def test_a_run_ends_before_what_is_no_sound_text(body):
    assert read(spelled(body)) is None
    good = event("good") + event("é")
    run = read(good + spelled(body) + event("after"))
    assert run is not None
    assert (run.raw, run.texts) == (good, ("good", "é"))


def test_a_run_ends_before_an_event_that_is_too_long():
    events = event("123") + event("1234") + event("1")
    run = read(events, bytes_max=len(event("123")))
    assert run is not None
    assert run.texts == ("123",)
    assert read(event("1234"), bytes_max=len(event("123"))) is None


@pytest.mark.parametrize(
    ("bodies", "texts", "expected"),
    [
        ([b"a", b"b"], ("a", "b"), [b"a", b"b"]),
        ([b"a", b"b"], ("", "ab"), [b"", b"ab"]),
        ([b"a", b"b"], ('"', "\\\n"), [b'\\"', b"\\\\\\n"]),
        ([b"\\u0061", b"\\u0062"], ("a", "c"), [b"\\u0061", b"c"]),
        ([b"a", b"b", b"c"], ("x", "b"), [b"x", b"b"]),
        ([b"\\n", b"b", b"c"], ("\n", "b"), [b"\\n", b"b"]),
        ([b"a", b"b"], (), []),
        ([b"\xc3\xa9", b"b"], ("", "éb"), [b"", b"\xc3\xa9b"]),
    ],
)
def test_texts_are_written_where_they_differ(bodies, texts, expected):
    run = read(b"".join(map(spelled, bodies)))
    assert run is not None
    assert write_run(run, texts) == b"".join(map(spelled, expected))


# --- against the general reader ---------------------------------------------------------------

bodies = st.one_of(
    st.text(max_size=6).map(
        lambda text: json.dumps(text, ensure_ascii=False)[1:-1].encode("utf-8", "replace")
    ),
    st.text(max_size=6).map(lambda text: json.dumps(text)[1:-1].encode()),
    st.sampled_from(
        [b"\\", b'"', b"\xff", b"\\ud800", b"\\udc00\\ud800", b"\xed\xa0\x80", b"\\q", b"\x1f", b"\r"]
    ),
    st.sampled_from([b'","y":[1]}\n\ndata: {"x":"', b'","y":[1]}', b'\\","y":[1]}']),
)
events = st.one_of(
    bodies.map(spelled),
    st.builds(lambda body, z: spelled(body, z=z), bodies, st.integers(0, 2)),
    st.sampled_from(
        [
            b": ping\n\n",
            b"data: [DONE]\n\n",
            b"\n",
            b"data: {}\r\n\r\n",
            b"event: e\ndata: {}\n\n",
            b"data:",
        ]
    ),
)


def text_of(frame: SseFrame) -> tuple[str, Text] | None:
    """The text that varies, read strictly."""
    if frame.data is None or frame.fields or not frame.complete or frame.data_span is None:
        return None
    try:
        root = parse(frame.data)
    except PeerError:
        return None
    if not isinstance(root, Object) or "x" not in root.members:
        return None
    value = root.members["x"].value
    return (value.value, value) if isinstance(value, Text) else None


def told(chunks: list[bytes], limits=LIMITS) -> list[tuple[bytes, str | None]] | str:
    """Each event's bytes and text, as a reader that learns tells them."""
    reader: RunReader[str] = RunReader(limits=limits)
    found: list[tuple[bytes, str | None]] = []
    try:
        for number, chunk in enumerate(chunks):
            for item in reader.feed(chunk, eof=number + 1 == len(chunks)):
                if not isinstance(item, SseFrame):
                    run, meaning = item
                    assert meaning == "x"
                    assert write_run(run, run.texts) == run.raw
                    head, tail = run.template
                    found += [(head + b + tail, t) for b, t in zip(run.bodies, run.texts, strict=True)]
                    assert run.raw == b"".join(head + body + tail for body in run.bodies)
                    continue
                text = text_of(item)
                found.append((item.raw, text and text[0]))
                if text is not None:
                    reader.learn(template_of(item.raw, item.data or b"", text[1].start, text[1].end), "x")
    except PeerError as error:
        return error.message
    return found


def told_plainly(stream: bytes, limits=LIMITS) -> list[tuple[bytes, str | None]] | str:
    try:
        frames = SseReader(limits=limits).feed(stream, eof=True)
    except PeerError as error:
        return error.message
    return [(frame.raw, (text := text_of(frame)) and text[0]) for frame in frames]


@given(st.lists(events, max_size=12), st.lists(st.integers(0, 600), max_size=5))
def test_runs_say_what_the_general_reader_says_however_the_stream_is_cut(stream, places):
    whole = b"".join(stream)
    ends = sorted({min(place, len(whole)) for place in places} | {len(whole)})
    chunks = [whole[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    assert told(chunks) == told_plainly(whole)


@given(st.lists(events, max_size=12))
def test_runs_say_what_the_general_reader_says_of_events_that_come_one_by_one(stream):
    assert told(stream or [b""]) == told_plainly(b"".join(stream))


@given(st.one_of(events, st.builds(bytes.__add__, events, events)), st.integers(20, 60))
def test_one_event_alone_is_read_as_a_run_of_one(chunk, bytes_max):
    """What the fast way leaves to the general one, that one may still read."""
    alone = read_one(chunk, TEMPLATE, event_bytes_max=bytes_max)
    assert alone is None or alone == read(chunk, bytes_max=bytes_max)


@pytest.mark.parametrize(
    "chunk",
    [
        b'data: {"x":","y":[1]}\n\n',
        spelled(b'a","y":[1]}\n\ndata: {"x":"b'),
        spelled(b"a\nb"),
        spelled(b"\xff"),
        event("a")[:-1],
        event("a") + event("b"),
        event("a") + b"d",
        event("12345678"),
    ],
)
def test_what_is_not_one_plain_event_is_left_to_the_general_reader(chunk):
    bytes_max = len(event("1234567"))
    assert read_one(event("1234567"), TEMPLATE, event_bytes_max=bytes_max) == read(event("1234567"))
    assert read_one(chunk, TEMPLATE, event_bytes_max=bytes_max) is None


@given(bodies, st.text(max_size=5))
def test_one_event_is_written_as_a_run_of_one(body, text):
    run = read(spelled(body))
    if run is None or len(run.texts) > 1:
        return
    assert [write_one(run, one) for one in (text, *run.texts)] == [
        write_run(run, (one,)) for one in (text, *run.texts)
    ]


def test_an_event_behind_a_cut_one_is_not_read_alone():
    reader: RunReader[str] = RunReader()
    list(reader.feed(b"data: {}\n\n"))
    reader.learn(TEMPLATE, "")
    assert list(reader.feed(b"data: ")) == []
    assert reader.alone(event("a")) is None
    (whole,) = reader.feed(event("a"))
    assert isinstance(whole, SseFrame)
    assert whole.raw == b"data: " + event("a")


@given(st.lists(events, max_size=6), st.integers(30, 60))
def test_events_that_are_too_long_are_refused_all_the_same(stream, bytes_max):
    limits = replace(LIMITS, frame_bytes_max=bytes_max)
    whole = b"".join(stream)
    found, expected = told([whole], limits), told_plainly(whole, limits)
    assert isinstance(found, str) == isinstance(expected, str)
    assert isinstance(found, str) or found == expected


@given(st.lists(bodies, min_size=1, max_size=6), st.lists(st.text(max_size=5), max_size=6))
def test_what_is_written_reads_back(spelt, texts):
    run = read(b"".join(map(spelled, spelt)))
    if run is None:
        return
    texts = tuple(text for text in texts[: len(run.texts)] if text.isprintable())
    written = write_run(run, texts)
    again = [text_of(frame) for frame in SseReader().feed(written, eof=True)]
    assert [found and found[0] for found in again] == list(texts)


def test_templates_that_come_in_turn_are_all_known_and_the_oldest_is_forgotten():
    reader: RunReader[int] = RunReader()
    for number in range(5):
        reader.learn(Template(b'data: {"%d":"' % number, b'"}\n\n'), number)
    stream = b"".join(b'data: {"%d":"a"}\n\n' % number for number in (4, 4, 1, 0, 3))
    found = list(reader.feed(stream))
    assert [
        item.raw if isinstance(item, SseFrame) else (item[1], len(item[0].texts)) for item in found
    ] == [
        (4, 2),
        (1, 1),
        b'data: {"0":"a"}\n\n',
        (3, 1),
    ]
    reader.forget()
    assert [isinstance(item, SseFrame) for item in reader.feed(stream)] == [True] * 5
