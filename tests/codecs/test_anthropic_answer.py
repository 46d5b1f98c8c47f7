from __future__ import annotations

import json
from dataclasses import replace

import pytest
from frames import spread
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs._anthropic_answer import AnswerReader
from extproc.codecs._anthropic_message import Facts
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.segment import Channel, Usage
from extproc.domain.verdict import Reason

CACHED = {"cache_creation_input_tokens": 4, "cache_read_input_tokens": 5}
ID = "msg_0f8fad5bd9cb469fa16570867728950e"
CARD = "4111111111111111"
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)


def reader(*, streamed: bool = True, status: int = 200, limits=LIMITS, **facts) -> AnswerReader:
    known = {"model": "m", "tools": frozenset({"get_weather"}), "json_answer": False, "watched": True}
    return AnswerReader(Facts(**{**known, **facts}), status=status, streamed=streamed, limits=limits)


def event(document: dict, name: str | None = None) -> bytes:
    return f"event: {name or document['type']}\ndata: {json.dumps(document)}\n\n".encode()


def start(**members) -> bytes:
    message = {"id": ID, "type": "message", "role": "assistant", "content": [], "model": "m"}
    message |= {
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 3, "output_tokens": 1},
    }
    return event({"type": "message_start", "message": {**message, **members}})


def begin(index: int = 0, **block) -> bytes:
    block = {"type": "text", "text": "", **block}
    return event({"type": "content_block_start", "index": index, "content_block": block})


def call(index: int = 0, **members) -> bytes:
    block = {"type": "tool_use", "id": "", "name": "get_weather", "input": {}, **members}
    return event({"type": "content_block_start", "index": index, "content_block": block})


def delta(text: str, index: int = 0, *, kind: str = "text_delta", member: str = "text") -> bytes:
    return event({"type": "content_block_delta", "index": index, "delta": {"type": kind, member: text}})


def thought(text: str, index: int = 0) -> bytes:
    return delta(text, index, kind="thinking_delta", member="thinking")


def arguments(text: str, index: int = 0) -> bytes:
    return delta(text, index, kind="input_json_delta", member="partial_json")


def stop(index: int = 0) -> bytes:
    return event({"type": "content_block_stop", "index": index})


def last(tokens: int | None = 5, **members) -> bytes:
    ended = {"stop_reason": "end_turn", "stop_sequence": None, **members}
    usage = {} if tokens is None else {"usage": {"output_tokens": tokens}}
    return event({"type": "message_delta", "delta": ended, **usage})


END = event({"type": "message_stop"})


def message(*content: dict, **members) -> bytes:
    document = {"id": ID, "type": "message", "role": "assistant", "content": list(content), "model": "m"}
    document |= {"stop_reason": "end_turn", "usage": {"input_tokens": 3, "output_tokens": 5}, **members}
    return json.dumps(document).encode()


def frames_of(answer: AnswerReader, *chunks: bytes):
    return answer.read(b"".join(chunks), eof=True)


def deltas(frames) -> list[tuple[str, str]]:
    return [(one.channel.field, one.text) for frame in frames for one in frame.deltas]


def same(frame) -> tuple[str, ...]:
    return tuple(one.text for one in frame.deltas)


def written(answer: AnswerReader, frames, text: str | None = None) -> bytes:
    return b"".join(
        answer.write(frame, same(frame) if text is None else (text,) * len(frame.deltas))
        for frame in frames
    )


def unreadable(answer: AnswerReader, *chunks: bytes) -> PeerError:
    with pytest.raises(PeerError) as caught:
        frames_of(answer, *chunks)
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)
    return caught.value


# --- where text stands in a stream -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        ((begin(), delta("a"), delta("b")), [("text", "a"), ("text", "b")]),
        ((begin(text="a"), delta("b")), [("text", "a"), ("text", "b")]),
        (
            (begin(type="thinking", thinking="a", signature="s"), thought("b")),
            [("thinking", "a"), ("output.once", "s"), ("thinking", "b")],
        ),
        ((call(id="toolu_1"), arguments("{")), [("output.once", "toolu_1"), ("input", "{")]),
        ((call(name="other"),), [("output.once", "other")]),
        ((call(input={"a b": ["c", {"type": "text"}]}),), [
            ("output.once", "a b"),
            ("output.once", "c"),
            ("output.once", "type"),
            ("output.once", "text"),
        ]),
        ((call(caller={"type": "direct"}),), []),
        ((call(caller={"type": "else"}),), [("output.once", "else")]),
        (
            (begin(), delta("a", kind="citations_delta", member="citation")),
            [("output.once", "a")],
        ),
        ((begin(citations=[{"type": "char_location", "cited_text": "a"}]),), [("output.once", "a")]),
        ((begin(note={"by": "me"}),), [
            ("output.once", "note"),
            ("output.once", "by"),
            ("output.once", "me"),
        ]),
    ],
)  # fmt: skip
def test_every_text_of_a_block_has_its_channel(chunks, expected):
    assert deltas(frames_of(reader(), start(), *chunks)) == expected


def test_each_signature_is_whole_since_the_client_keeps_only_the_last():
    chunks = [delta(text, kind="signature_delta", member="signature") for text in ("ab", "cd")]
    _, _, *frames = frames_of(reader(), start(), begin(type="thinking", thinking=""), *chunks)
    assert [(frame.deltas[0].text, frame.ended) for frame in frames] == [
        ("ab", (Channel(0, "output.once"),)),
        ("cd", (Channel(0, "output.once"),)),
    ]


@pytest.mark.parametrize(
    ("members", "count"),
    [
        ({}, 0),
        ({"id": "chatcmpl-0f8fad5bd9cb469fa16570867728950e"}, 0),
        ({"id": "msg_01XFDUDYJgAACzvnptvVoYEL"}, 0),
        ({"id": "my number is 078-05-1120"}, 1),
        ({"id": f"msg_0{CARD}"}, 1),
        ({"model": "another"}, 1),
        ({"role": "else"}, 1),
        ({"type": "else"}, 1),
        ({"stop_reason": "else"}, 1),
        ({"stop_sequence": "else"}, 1),
        ({"usage": {"input_tokens": 1, "service_tier": "standard"}}, 0),
        ({"usage": {"input_tokens": 1, "service_tier": "else"}}, 1),
        ({"usage": {"input_tokens": 1, "made_up": int(CARD)}}, 2),
        ({"container": {"id": "else"}}, 1),
        ({"kv_transfer_params": {"note": "else"}}, 2),
        ({"made_up": 0}, 1),
    ],
)
def test_what_only_a_server_says_is_not_scanned_and_anything_else_is(members, count):
    (frame,) = frames_of(reader(), start(**members))
    assert len(frame.deltas) == count


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        (last(stop_sequence="a word"), [("output.once", "a word")]),
        (last(stop_reason="because"), [("output.once", "because")]),
        (last(note="x"), [("output.once", "note"), ("output.once", "x")]),
        (event({"type": "ping", "note": "x"}), [("output.once", "note"), ("output.once", "x")]),
    ],
)
def test_every_other_event_is_read_to_the_last_string(chunk, expected):
    assert deltas(frames_of(reader(), start(), chunk)) == expected


def test_a_block_ends_its_text():
    frames = frames_of(reader(), start(), begin(), delta("a"), stop(), begin(1), stop(1), last(), END)
    assert [frame.ended for frame in frames] == [(), (), (), (Channel(0, "text"),), (), (), (), ()]
    assert [frame.final for frame in frames] == [False] * 7 + [True]


def test_blocks_side_by_side_have_their_own_channels():
    chunks = (begin(), call(3), delta("a"), arguments("{", 3), stop(), arguments("}", 3))
    frames = frames_of(reader(), start(), *chunks)
    assert [one.channel for frame in frames for one in frame.deltas] == [
        Channel(0, "text"),
        Channel(3, "input"),
        Channel(3, "input"),
    ]


# --- what is no answer -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "chunks",
    [
        (start(), start()),
        (begin(),),
        (last(),),
        (END,),
        (start(content=[{"type": "text", "text": "a"}]),),
        (start(content="a"),),
        (event({"type": "message_start", "message": "a"}),),
        (start(), delta("a")),
        (start(), stop()),
        (start(), begin(), begin()),
        (start(), begin(2), begin(1)),
        (start(), begin(), stop(), delta("a")),
        (start(), begin(), thought("a")),
        (start(), begin(), arguments("a")),
        (start(), begin(), delta("a", kind="signature_delta", member="signature")),
        (start(), begin(), delta("a", kind="note_delta", member="note")),
        (start(), begin(), delta("a", kind="text_delta", member="note")),
        (start(), call(), delta("a")),
        (start(), begin(type="redacted_thinking", data="x")),
        (start(), begin(type="server_tool_use")),
        (start(), begin(type=None)),
        (start(), begin(-1)),
        (start(), begin(1 << 16)),
        (start(), event({"type": "content_block_start", "index": "0", "content_block": {"type": "text"}})),
        (start(), event({"type": "content_block_start", "index": 0, "content_block": []})),
        (start(), event({"type": "content_block_delta", "index": 0})),
        (start(), begin(), event({"type": "content_block_delta", "index": 0, "delta": {"text": "a"}})),
        (start(), event({"type": "note", "text": "a"})),
        (start(), event({"text": "a"}, "ping")),
        (start(), last(), END, last()),
        (start(), last(), END, begin()),
        (start(), last(-1)),
        (start(), last(2**31)),
        (start(), event({"type": "message_delta", "delta": {}, "usage": {"output_tokens": "5"}})),
        (start(), event({"type": "message_delta", "delta": {}, "usage": 5})),
    ],
)
def test_events_that_are_unknown_or_out_of_order_are_refused(chunks):
    unreadable(reader(), *chunks)


@pytest.mark.parametrize("text", [1, None, ["a"], {"a": "b"}])
def test_a_deltas_text_is_a_string(text):
    unreadable(reader(), start(), begin(), delta(text))


@pytest.mark.parametrize("extra", [{"note": "a"}, {"note": 1}, {"thinking": "a"}])
def test_a_delta_has_no_members_in_which_a_text_could_come_in_pieces(extra):
    told = {"type": "text_delta", "text": "a"}
    unreadable(
        reader(),
        start(),
        begin(),
        event({"type": "content_block_delta", "index": 0, "delta": {**told, **extra}}),
    )
    allowed = event({"type": "content_block_delta", "index": 0, "delta": {**told, "thinking": None}})
    assert deltas(frames_of(reader(), start(), begin(), allowed)) == [("text", "a")]


# Row H8: streams spelled otherwise.
@pytest.mark.parametrize(
    "chunk",
    [
        b'data: {"type":"ping"}\n\n',
        b"event: ping\n\n",
        b'event: ping\nevent: ping\ndata: {"type":"ping"}\n\n',
        b'event: ping\nid: a secret\ndata: {"type":"ping"}\n\n',
        b'event: ping\nretry: 1\ndata: {"type":"ping"}\n\n',
        b'event: ping\ndata: {"type":"message_stop"}\n\n',
        b'event: message_stop\ndata: {"type":"ping"}\n\n',
        b'event: ping \ndata: {"type":"ping"}\n\n',
        b'event: ping\ndata: {"type":"ping","type":"ping"}\n\n',
        b"event: ping\ndata: [1]\n\n",
        b"event: ping\ndata: nope\n\n",
        b"event: ping\ndata: [DONE]\n\n",
        b"data: [DONE]\n\n",
        b'event: ping\ndata: {"type":"ping"}',
        b'event: ping\ndata: {"type":"ping","x":"a\ndata: b"}\n\n',
        b'event: \xff\ndata: {"type":"\xff"}\n\n',
    ],
)
def test_an_event_has_one_name_which_is_its_type(chunk):
    unreadable(reader(), start(), chunk)


@pytest.mark.parametrize(
    "chunk",
    [
        b'data: {"type":"content_block_delta","index":0,\ndata:"delta":{"type":"text_delta","text":"a"}}',
        b':c\ndata: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"a"}}',
    ],
)
def test_an_event_in_several_lines_is_read_and_written_in_one(chunk):
    answer = reader()
    frames = frames_of(answer, start(), begin(), b"event:content_block_delta\n" + chunk + b"\n\n")
    assert deltas(frames) == [("text", "a")]
    out = answer.write(frames[-1], ("b",))
    name, data, *_ = out.split(b"\n")
    assert name == b"event: content_block_delta"
    assert json.loads(data.removeprefix(b"data: "))["delta"] == {"type": "text_delta", "text": "b"}
    assert b"c\n" not in out


@pytest.mark.parametrize("chunk", [b": keep-alive\n\n", b":\n\n"])
def test_comments_are_left_out(chunk):
    assert frames_of(reader(), chunk, start(), chunk)[0].deltas == ()
    assert len(frames_of(reader(), chunk, start(), chunk)) == 1


def test_the_end_of_older_servers_is_left_out():
    assert frames_of(reader(), start(), last(), END, b"data: [DONE]\n\n")[-1].final


def test_carriage_returns_are_line_ends():
    stream = (start() + begin() + delta("a") + stop()).replace(b"\n", b"\r\n")
    answer = reader()
    frames = frames_of(answer, stream)
    assert (deltas(frames), written(answer, frames)) == ([("text", "a")], stream)


def test_so_many_blocks_may_be_open_at_once():
    limits = replace(LIMITS, channels_max=2)
    unreadable(reader(limits=limits), start(), begin(0), begin(1), begin(2))
    chunks = [part for at in range(5) for part in (begin(at), delta("a", at), stop(at))]
    assert len(deltas(frames_of(reader(limits=limits), start(), *chunks))) == 5


# --- writing ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [None, 1, 7])
def test_the_same_texts_leave_every_byte(size):
    stream = b"".join(
        [
            event({"type": "ping"}) + start() + begin() + delta('Grüße "q"') + delta("\n\u2028") + stop(),
            begin(1, type="thinking", thinking="") + thought("hm", 1) + stop(1),
            call(2, id="toolu_1") + arguments('{"a": "\\u00e4', 2) + arguments('\\n"}', 2) + stop(2),
            last() + END,
        ]
    )  # fmt: skip
    answer, out = reader(), b""
    step = size or len(stream)
    for at in range(0, len(stream), step):
        out += written(answer, answer.read(stream[at : at + step], eof=False))
    assert out + written(answer, answer.read(b"", eof=True)) == stream


@pytest.mark.parametrize(
    ("first", "piece"),
    [(begin(), delta), (begin(type="thinking", thinking=""), thought), (call(), arguments)],
)
def test_deltas_of_one_block_are_read_together(first, piece):
    texts = ["a", "\\n", "", "\u2028", '"']
    answer = reader()
    *_, run, ended = frames_of(answer, start(), first, *(piece(text) for text in texts), stop())
    assert (run.is_run, len(run.deltas), ended.is_run) == (True, len(texts) - 1, False)
    assert written(answer, [run]) == b"".join(piece(text) for text in texts[1:])
    assert answer.write(run, ("x", "y")) == piece("x") + piece("y")


@pytest.mark.parametrize(
    "between",
    [event({"type": "ping"}), stop() + begin(1) + stop(1) + begin(2), stop() + begin(2, type="thinking")],
)
def test_what_a_delta_means_may_change_on_the_way(between):
    frames = frames_of(reader(), start(), begin(), delta("a"), delta("b"), delta("b"), between)
    assert [frame.is_run for frame in frames][:4] == [False, False, False, True]
    if b"content_block_stop" in between:
        unreadable(reader(), start(), begin(), delta("a"), delta("b"), between, delta("c"))


def test_changed_texts_stand_where_theirs_stood():
    answer = reader()
    frames = frames_of(answer, start(), begin(), delta("a\\"), delta("b"), last(stop_sequence="c"))
    assert written(answer, frames, 'x"') == b"".join(
        [start(), begin(), delta('x"'), delta('x"'), last(stop_sequence='x"')]
    )


@pytest.mark.parametrize(
    ("first", "channel", "expected"),
    [
        (begin(), "text", {"type": "text_delta", "text": 'a"'}),
        (begin(type="thinking", thinking=""), "thinking", {"type": "thinking_delta", "thinking": 'a"'}),
        (call(), "input", {"type": "input_json_delta", "partial_json": 'a"'}),
    ],
)
def test_a_tail_is_a_delta_of_its_block(first, channel, expected):
    answer = reader()
    frames_of(answer, start(), first.replace(b'"index": 0', b'"index": 4'), stop(4))
    name, data, *rest = answer.write_tail(Channel(4, channel), 'a"').split(b"\n")
    assert (name, rest) == (b"event: content_block_delta", [b"", b""])
    assert json.loads(data.removeprefix(b"data: ")) == {
        "type": "content_block_delta",
        "index": 4,
        "delta": expected,
    }


@pytest.mark.parametrize(
    ("pieces", "shown"),
    [
        (['{"a": "\\u00', '40b"}'], ['{"a": "', '@b"}']),
        (['{"a": "x\\', 'n\\/"}'], ['{"a": "x', '\n/"}']),
        (['{"a": "\\ud83d\\u', 'de00"}'], ['{"a": "', '\U0001f600"}']),
    ],
)
def test_escapes_of_a_calls_input_are_read_over_events(pieces, shown):
    answer = reader()
    frames = frames_of(answer, start(), call(), *(arguments(one) for one in pieces), stop())
    assert [text for _, text in deltas(frames)] == shown
    texts = [
        json.loads(one.split(b"data: ")[1])["delta"] for one in written(answer, frames).split(b"\n\n")[2:4]
    ]
    assert "".join(one["partial_json"] for one in texts) == "".join(pieces)


def test_an_escape_that_its_blocks_end_cuts_off_goes_out_before_it():
    answer = reader()
    *_, carried, ended = frames_of(answer, start(), call(), arguments('{"a": "b\\u00'), stop())
    assert (carried.deltas[0].text, ended.ended) == ("\\u00", (Channel(0, "input"),))
    assert written(answer, [carried, ended]) == answer.write_tail(Channel(0, "input"), "\\u00") + stop()


def test_text_that_is_json_is_read_with_its_escapes():
    answer = reader(json_answer=True)
    frames = frames_of(answer, start(), begin(), delta('{"a":"\\u0062'), stop())
    assert deltas(frames) == [("text", '{"a":"b')]


def test_an_answer_that_nobody_changes_keeps_its_escapes_where_they_are():
    stream = start() + call() + arguments('{"a": "\\u00') + arguments('40"}') + stop()
    answer = reader(watched=False)
    assert written(answer, frames_of(answer, stream)) == stream


def test_a_token_of_another_session_is_a_bug():
    (frame,) = frames_of(reader(), start())
    with pytest.raises(AssertionError):
        reader().write(frame._replace(token=None), ())
    with pytest.raises(AssertionError):
        reader().write(frame, ("a",))


# --- a whole message -------------------------------------------------------------------------------------


def test_every_text_of_a_message_has_its_channel():
    body = message(
        {"type": "thinking", "thinking": "a", "signature": "b"},
        {"type": "text", "text": "c", "citations": [{"cited_text": "d"}]},
        {"type": "tool_use", "id": "e", "name": "f", "input": {"g": ["h", int(CARD)]}},
        stop_sequence="i",
    )
    (frame,) = frames_of(reader(streamed=False), body)
    assert [(one.channel.field, one.text) for one in frame.deltas] == [
        ("thinking", "a"),
        ("output.once", "b"),
        ("text", "c"),
        ("output.once", "d"),
        ("output.once", "e"),
        ("output.once", "f"),
        ("output.once", "g"),
        ("output.once", "h"),
        ("output.once", CARD),
        ("output.once", "i"),
    ]
    assert set(frame.ended) == {one.channel for one in frame.deltas}
    assert (frame.usage, frame.final) == (Usage(3, 5), True)


def test_a_call_with_many_values_takes_no_more_channels_than_there_are():
    values = [f"value {at}" for at in range(200)]
    answer = reader(streamed=False)
    body = message({"type": "tool_use", "id": "", "name": "get_weather", "input": {"all of it": values}})
    frames = frames_of(answer, body)
    assert [text for _, text in deltas(frames)] == ["", "all of it", *values]
    assert max(len(frame.deltas) for frame in frames) <= LIMITS.channels_max
    assert [frame.final for frame in frames] == [False] * (len(frames) - 1) + [True]
    assert [frame.usage for frame in frames if frame.usage] == [Usage(3, 5)]
    assert written(answer, frames) == body
    (block,) = json.loads(written(answer, frames, "x"))["content"]
    assert block["input"] == {"x": ["x"] * 200}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nope",
        b"[]",
        b'{"content":[]}',
        b'{"type":"completion","content":[]}',
        b'{"type":"message"}',
        b'{"type":"message","content":"a"}',
        b'{"type":"message","content":["a"]}',
        b'{"type":"message","content":[{"text":"a"}]}',
        b'{"type":"message","content":[{"type":"redacted_thinking","data":"a"}]}',
        b'{"type":"message","content":[{"type":"web_search_tool_result"}]}',
        b'{"type":"message","content":[],"usage":{"input_tokens":-1}}',
    ],
)
def test_what_is_no_message_is_refused(body):
    unreadable(reader(streamed=False), body)


def test_a_whole_answer_has_no_tail():
    with pytest.raises(AssertionError):
        reader(streamed=False).write_tail(Channel(0, "text"), "a")


# --- token counts ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chunks", "expected"),
    [
        # Counts of a stream that was cut before its last ones are none: its answer was not counted.
        ((start(),), []),
        ((start(), begin(), delta("a")), []),
        ((start(), last(5)), [Usage(3, 5)]),
        ((start(), last(2), last(5)), [Usage(3, 2), Usage(0, 3)]),
        ((start(usage=None), last(5)), [Usage(0, 5)]),
        ((start(), last(None)), []),
        (
            (start(usage={"input_tokens": 3, **CACHED}), last(6)),
            [Usage(12, 6)],
        ),
        (
            (start(), event({"type": "message_delta", "usage": {"input_tokens": 7, "output_tokens": 2}})),
            [Usage(7, 2)],
        ),
        (
            (start(usage={"input_tokens": 3, "output_tokens": None}), last(1)),
            [Usage(3, 1)],
        ),
    ],
)  # fmt: skip
def test_counts_are_told_with_the_last_ones(chunks, expected):
    assert [frame.usage for frame in frames_of(reader(), *chunks) if frame.usage is not None] == expected


# --- failures --------------------------------------------------------------------------------------------


def test_an_error_event_ends_the_answer_and_its_strings_are_scanned():
    failure = event({"type": "error", "error": {"type": "overloaded_error", "message": "too busy"}})
    answer = reader()
    *_, frame = frames_of(answer, start(), begin(), delta("a"), failure, b"data: [DONE]\n\n")
    assert (frame.error, frame.final, same(frame)) == (True, True, ("overloaded_error", "too busy"))
    assert answer.write(frame, same(frame)) == failure
    unreadable(reader(), start(), failure, begin())
    unreadable(reader(), start(), failure, failure)


@pytest.mark.parametrize("told", ["File /srv/model.py, line 3", "Traceback (most recent call last)"])
@pytest.mark.parametrize("name", ["error", "message_delta"])
def test_an_error_event_does_not_tell_of_the_inside(told, name):
    answer = reader()
    *_, frame = frames_of(
        answer, start(), event({"type": "error", "error": {"type": "x", "message": told}}, name)
    )
    first, second, *_ = answer.write(frame, same(frame)).split(b"\n")
    assert first == b"event: error"
    assert json.loads(second.removeprefix(b"data: "))["error"] == {
        "type": "api_error",
        "message": "the model server reported an error; its text was withheld",
    }


@pytest.mark.parametrize("status", [400, 500])
def test_an_error_without_a_body_passes(status):
    answer = reader(streamed=False, status=status)
    (frame,) = frames_of(answer, b"")
    assert (frame.error, frame.final, answer.write(frame, ())) == (True, True, b"")


def test_an_error_within_a_success_is_an_error():
    body = json.dumps({"type": "error", "error": {"type": "x", "message": "no"}}).encode()
    answer = reader(streamed=False)
    (frame,) = frames_of(answer, body)
    assert (frame.error, same(frame), answer.write(frame, same(frame))) == (True, ("x", "no"), body)


def test_a_null_error_is_none():
    (frame,) = frames_of(reader(streamed=False), message({"type": "text", "text": "a"}, error=None))
    assert frame.error is False


# --- properties ------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.sampled_from("txi"), TEXTS), max_size=8),
    st.lists(st.integers(1, 900), max_size=5),
)
def test_chunks_mean_nothing_and_nothing_is_left_out(pieces, places):
    kinds = {"t": (begin, delta), "x": (lambda at: begin(at, type="thinking", thinking=""), thought)}
    kinds["i"] = (call, arguments)
    stream = start()
    for at, (kind, text) in enumerate(pieces):
        first, piece = kinds[kind]
        stream += first(at) + piece(text, at) + piece(text, at) + stop(at)
    stream += last() + END
    whole, cut = reader(), reader()
    expected = frames_of(whole, stream)
    ends = [*sorted({min(one, len(stream)) for one in places}), len(stream)]
    parts = [cut.read(stream[a:b], eof=False) for a, b in zip([0, *ends], ends, strict=False)]
    frames = [frame for part in parts for frame in part] + list(cut.read(b"", eof=True))
    assert spread(frames) == spread(expected)
    assert written(whole, expected) == written(cut, frames)


@given(st.binary(max_size=60), st.integers(0, 700), st.booleans())
def test_noise_raises_nothing_but_peer_error(noise, at, streamed):
    body = start() + begin() + delta("abc") + stop() + last() + END
    if not streamed:
        body = message({"type": "tool_use", "id": "x", "name": "y", "input": {"a": "b"}})
    answer = reader(streamed=streamed)
    try:
        written(answer, frames_of(answer, body[:at] + noise + body[at:]), "z")
    except PeerError as error:
        assert error.status == 502  # noqa: PT017 - it need not raise.
