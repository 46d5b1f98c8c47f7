from __future__ import annotations

import json
from dataclasses import replace

import pytest
from frames import spread
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs._openai_answer import AnswerReader
from extproc.codecs._openai_http import withheld_document
from extproc.domain.errors import PeerError
from extproc.domain.judging import ToolCall
from extproc.domain.limits import LIMITS
from extproc.domain.segment import Channel, Delta, Usage
from extproc.domain.verdict import Reason

ID = "cmpl-7560d116-e5a0-11f1-801e-02fc00000001"
CARD = "4111111111111111"
DONE = b"data: [DONE]\n\n"
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=8)


def reader(*, streamed: bool = True, status: int = 200, hide: bool = False, limits=LIMITS, **facts):
    return AnswerReader(
        model="m",
        tools=facts.get("tools", frozenset({"get_weather"})),
        json_answer=facts.get("json_answer", False),
        status=status,
        streamed=streamed,
        hide_usage=hide,
        watched=facts.get("watched", True),
        limits=limits,
    )


def event(body: dict | bytes) -> bytes:
    return b"data: " + (body if isinstance(body, bytes) else json.dumps(body).encode()) + b"\n\n"


def chunk(delta: dict | None = None, *, finish: str | None = None, index: int = 0, **members) -> bytes:
    choice = {"index": index, "delta": delta or {}, "logprobs": None, "finish_reason": finish}
    return event(
        {
            "id": ID,
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "m",
            "system_fingerprint": None,
            "choices": [choice],
            "usage": None,
            **members,
        }
    )


def usage_chunk(prompt: int, completion: int, choices: list | None = None) -> bytes:
    counts = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return event({"id": ID, "choices": choices or [], "model": "m", "usage": counts})


def call(arguments: str | None = None, *, name: str | None = None, at: int = 0, **members) -> dict:
    function = {} if arguments is None else {"arguments": arguments}
    if name is not None:
        function["name"] = name
    return {"tool_calls": [{"index": at, **members, "function": function}]}


def frames_of(answer: AnswerReader, *chunks: bytes):
    return answer.read(b"".join(chunks), eof=True)


def one(answer: AnswerReader, stream: bytes):
    (frame,) = answer.read(stream, eof=False)
    return frame


def deltas(*frames) -> list[tuple[str, str]]:
    """Texts with their fields, but for the content that a choice never began."""
    told = [(delta.channel.field, delta.text) for frame in frames for delta in frame.deltas]
    return [one for one in told if one != ("content", "")]


def same(frame) -> tuple[str, ...]:
    return tuple(delta.text for delta in frame.deltas)


def written(answer: AnswerReader, frames, texts=None) -> bytes:
    return b"".join(
        answer.write(frame, same(frame) if texts is None else (texts,) * len(frame.deltas))
        for frame in frames
    )


def unreadable(answer: AnswerReader, stream: bytes) -> PeerError:
    with pytest.raises(PeerError) as caught:
        answer.read(stream, eof=True)
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)
    return caught.value


# --- where text stands -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("delta", "expected"),
    [
        ({"role": "assistant", "content": "a"}, [("content", "a")]),
        ({"refusal": "a"}, [("refusal", "a")]),
        ({"reasoning": "a", "reasoning_content": "b"}, [("reasoning", "a"), ("reasoning_content", "b")]),
        ({"audio": {"transcript": "a", "data": ""}}, [("audio.transcript", "a")]),
        ({"function_call": {"name": "x", "arguments": "{"}}, [
            ("function_call.name", "x"),
            ("function_call.arguments", "{"),
        ]),
        (call("{", name="get_weather", id="call_1", type="function"), [
            ("output.once", "call_1"),
            ("tool_calls.0.arguments", "{"),
        ]),
        (call("{", name="other", at=2), [("tool_calls.2.arguments", "{"), ("tool_calls.2.name", "other")]),
        ({"annotations": [{"type": "url_citation", "url_citation": {"url": "u", "title": "t"}}]}, [
            ("output.once", "url_citation"),
            ("output.once", "u"),
            ("output.once", "t"),
        ]),
        ({"role": "078-05-1120"}, [("output.once", "078-05-1120")]),
        ({"thinking": "a"}, [("output.once", "thinking"), ("output.*", "a")]),
        ({"content": [{"type": "text", "text": "a"}]}, [("output.*", "text"), ("output.*", "a")]),
        ({"content": None, "tool_calls": None, "function_call": None}, []),
    ],
)  # fmt: skip
def test_every_text_of_a_delta_has_its_channel(delta, expected):
    assert deltas(one(reader(), chunk(delta))) == expected


@pytest.mark.parametrize(
    "members",
    [
        {"id": "my id is 078-05-1120"},
        {"model": "another"},
        {"system_fingerprint": "not one"},
        {"object": "else"},
        {"service_tier": "else"},
        {"metadata": "else"},
        {"metadata": {"title": ["else"]}},
        {"id": "chatcmpl-a4111111111111111"},
        {"system_fingerprint": "fp_4111111111111111"},
        {"created": 4111111111111111},
        {"metadata": {"index": [0.4111111111111111]}},
    ],
)
def test_a_technical_member_with_any_other_value_is_scanned(members):
    assert len(one(reader(), chunk(**members)).deltas) == 1


@pytest.mark.parametrize("identity", [ID, "chatcmpl-" + "a1B2" * 6, "7560d116e5a011f1801e02fc00000001"])
def test_ids_that_servers_make_are_not_scanned(identity):
    assert one(reader(), chunk(id=identity, system_fingerprint="fp_44709d6fcb")).deltas == ()


def test_choices_have_channels_of_their_own():
    frames = frames_of(reader(), chunk({"content": "a"}), chunk({"content": "b"}, index=1), DONE)
    assert [frame.deltas for frame in frames] == [
        (Delta(Channel(0, "content"), "a"),),
        (Delta(Channel(1, "content"), "b"),),
        (),
    ]


def test_unknown_text_at_one_place_is_one_channel():
    frames = frames_of(reader(), chunk({"url": "a", "title": "b"}), chunk({"title": "c", "url": "d"}))
    channels = [[delta.channel for delta in frame.deltas] for frame in frames]
    assert channels[:2] == [
        [Channel(0, "output.*"), Channel(1, "output.*")],
        [Channel(1, "output.*"), Channel(0, "output.*")],
    ]


def test_a_whole_answer_is_one_final_frame():
    message = {
        "role": "assistant",
        "content": "a",
        "reasoning_content": "b",
        "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }
    body = {
        "id": ID,
        "object": "chat.completion",
        "model": "m",
        "choices": [
            {
                "finish_reason": "stop",
                "index": 0,
                "message": message,
                "stop_reason": "END",
                "logprobs": None,
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    document = json.dumps(body).encode()
    answer = reader(streamed=False)
    (frame,) = frames_of(answer, document)
    assert deltas(frame) == [
        ("content", "a"),
        ("reasoning_content", "b"),
        ("output.once", "c"),
        ("tool_calls.0.name", "f"),
        ("tool_calls.0.arguments", "{}"),
        ("output.once", "END"),
    ]
    assert (frame.final, frame.error, frame.usage) == (True, False, Usage(3, 2))
    assert answer.write(frame, same(frame)) == document
    changed = json.loads(answer.write(frame, ("1", "2", "3", "4", "5", "6")))["choices"][0]
    assert changed["message"]["content"] == "1"
    assert changed["message"]["tool_calls"][0]["function"] == {"name": "4", "arguments": "5"}
    assert changed["stop_reason"] == "6"


def test_unknown_keys_and_long_numbers_are_texts_that_are_whole():
    answer = reader()
    frame = one(answer, chunk({"hf_secret": {"deep": [4111111111111111, 7]}}))
    assert deltas(frame) == [("output.once", "hf_secret"), ("output.once", "deep"), ("output.once", CARD)]
    written = answer.write(frame, ("[A]", "[B]", "[C]"))
    delta = json.loads(written.removeprefix(b"data: "))["choices"][0]["delta"]
    assert delta == {"[A]": {"[B]": ["[C]", 7]}}


def test_a_tail_does_not_repeat_a_key_that_was_taken_out():
    answer = reader()
    frame = one(answer, chunk({"hf_secret": "a"}, created=4111111111111111))
    answer.write(frame, ("[C]", "[X]", ""))
    tail = answer.write_tail(frame.deltas[2].channel, "a")
    assert CARD.encode() not in tail
    assert json.loads(tail.removeprefix(b"data: "))["choices"][0]["delta"] == {"[X]": "a"}


def test_an_errors_keys_and_long_numbers_are_texts_too():
    body = {"error": {"message": "no", "code": 4111111111111111, "param": {"jane@example.com": 1}}}
    frame = one(reader(), event(body))
    assert [text for _, text in deltas(frame)] == ["no", CARD, "jane@example.com"]


# --- what must not come out -------------------------------------------------------------------------


def test_log_probabilities_and_token_ids_become_null():
    logprobs = {"content": [{"token": "se", "bytes": [115, 101], "logprob": -1, "top_logprobs": []}]}
    choice = {"index": 0, "delta": {"content": "a"}, "logprobs": logprobs, "token_ids": [1, 2]}
    answer = reader()
    frame = one(answer, chunk(choices=[choice], prompt_token_ids=[3], prompt_logprobs=[None]))
    assert deltas(frame) == [("content", "a")]
    document = json.loads(answer.write(frame, same(frame)).removeprefix(b"data: "))
    assert document["choices"] == [
        {"index": 0, "delta": {"content": "a"}, "logprobs": None, "token_ids": None}
    ]
    assert (document["prompt_token_ids"], document["prompt_logprobs"]) == (None, None)


def test_what_repeats_the_answer_passes_where_nobody_may_change_it():
    stream = chunk(choices=[{"index": 0, "delta": {"content": "a"}, "logprobs": {"content": []}}])
    answer = reader(watched=False)
    assert written(answer, frames_of(answer, stream)) == stream


@pytest.mark.parametrize(
    "stream",
    [
        chunk({"audio": {"data": "AAAA"}}),
        chunk({"078-05-1120": 1}),
        chunk({"jane@example.com": 1}),
        chunk({"metadata": [{"jane@example.com": 1}]}),
        chunk({"content": 4111}),
        chunk({"tool_calls": [{"index": 0, "function": {"name": "x", "arguments": 7}}]}),
        chunk({"audio": {"transcript": 7}}),
        chunk(**{"a key": {}}),
        chunk({"note": {"a key": 1}}),
        chunk({"tool_calls": {"index": 0}}),
        chunk({"tool_calls": ["x"]}),
        chunk({"tool_calls": [{"index": LIMITS.answer_texts_max}]}),
        chunk({"tool_calls": [{"index": -1}]}),
        chunk({"function_call": "x"}),
        chunk(choices="x"),
        chunk(choices=["x"]),
        chunk(choices=[{"index": "0"}]),
        chunk(choices=[{"index": 1 << 16}]),
        event(b"x"),
        event(b"[]"),
        event(b"[DONE] and more"),
        event(b'{"a":1,"a":2}'),
        b"event: error\ndata: {}\n\n",
        b"id: 1\n\n",
        b"data: {}",
        usage_chunk(-1, 0),
        event({"usage": {"prompt_tokens": "1"}}),
    ],
)
def test_what_cannot_be_vouched_for_makes_the_answer_unreadable(stream):
    unreadable(reader(), stream)


def test_text_after_a_choices_end_makes_the_answer_unreadable():
    end = chunk({"content": "a"}, finish="stop")
    assert deltas(*frames_of(reader(), end, chunk({"content": ""}))) == [("content", "a")]
    unreadable(reader(), end + chunk({"content": "b"}))
    unreadable(reader(), end + chunk(call("{")))


@pytest.mark.parametrize("one_by_one", [True, False])
def test_what_says_nothing_teaches_no_way_past_what_has_ended(one_by_one):
    after_end = [chunk({"content": "a"}), chunk(finish="stop"), *[chunk({"content": ""})] * 2]
    after_arguments = [chunk(call("{", name="get_weather")), *[chunk(call(name=""))] * 2]
    begun = [chunk(call("", name="get_weather")), *[chunk(call(""))] * 2, chunk(call("{"))]
    name = chunk(call(name="b"))
    for events, more in ((after_end, chunk({"content": "b"})), (after_arguments, name), (begun, name)):
        answer = reader()
        for said in events if one_by_one else [b"".join(events)]:
            answer.read(said, eof=False)
        unreadable(answer, more)


def test_a_name_in_pieces_is_that_of_its_call():
    names = [chunk(call(name=piece)) for piece in ("get_", "the_", "wea", "ther")]
    frames = frames_of(reader(), *names, chunk(finish="tool_calls"))
    told = [one for frame in frames for one in frame.calls]
    assert told == [ToolCall("get_the_weather", Channel(0, "tool_calls.0.arguments"), "")]


def test_the_number_of_texts_is_bounded():
    small = replace(LIMITS, answer_texts_max=2)
    unreadable(reader(limits=small), chunk({"content": "a", "refusal": "b", "reasoning": "c"}))


def test_texts_that_are_over_do_not_count_as_channels():
    calls = [
        {"index": at, "function": {"name": f"other{at}", "arguments": "{}"}}
        for at in range(LIMITS.channels_max)
    ]
    frame = one(reader(), chunk({"tool_calls": calls}))
    assert len(frame.deltas) == 2 * LIMITS.channels_max
    assert len(frame.ended) == LIMITS.channels_max


def test_a_name_that_goes_on_after_its_arguments_began_makes_the_answer_unreadable():
    begun = chunk(call("", name="other")) + chunk(call("{", name="s"))
    assert frames_of(reader(), begun)
    unreadable(reader(), begun + chunk(call("", name="and more")))
    unreadable(reader(), chunk(call("{")) + chunk(call("", name="other")))
    # What says no more: an empty name, and servers that repeat a name that was declared.
    assert frames_of(reader(), begun, chunk(call("}", name="")))


@pytest.mark.parametrize("name", ["prompt_tokens", "completion_tokens", "total_tokens"])
def test_a_count_beyond_all_that_a_server_can_have_makes_the_answer_unreadable(name):
    assert one(reader(), event({"usage": {name: 2**31 - 1}})).usage is not None
    for count in (2**31, 10**63):
        unreadable(reader(), event({"usage": {name: count}}))
        unreadable(reader(streamed=False), json.dumps({"usage": {name: count}}).encode())


# --- ends -----------------------------------------------------------------------------------------


def test_a_finish_reason_ends_the_channels_of_its_choice():
    frames = frames_of(
        reader(),
        chunk({"content": "a", "reasoning": "r"}),
        chunk({"content": "b"}, index=1),
        chunk({"content": "c"}, finish="stop"),
        chunk(finish="length", index=1),
        usage_chunk(1, 2),
        DONE,
    )
    assert [frame.ended for frame in frames] == [
        (),
        (),
        (Channel(0, "content"), Channel(0, "reasoning")),
        (Channel(1, "content"),),
        (),
        (),
    ]
    assert [frame.final for frame in frames] == [False] * 5 + [True]


def test_a_finish_reason_that_is_none_ends_all_the_same_and_is_scanned():
    frame = one(reader(), chunk({"content": "a"}, finish="078-05-1120"))
    assert deltas(frame) == [("content", "a"), ("output.once", "078-05-1120")]
    assert set(frame.ended) == {Channel(0, "content"), Channel(0, "output.once")}


def test_a_functions_name_that_nobody_declared_ends_where_its_arguments_begin():
    frames = frames_of(
        reader(),
        chunk(call(name="ge")),
        chunk(call(name="nius")),
        chunk(call("")),
        chunk(call("{")),
    )
    assert deltas(*frames)[:2] == [("tool_calls.0.name", "ge"), ("tool_calls.0.name", "nius")]
    assert [frame.ended for frame in frames[:4]] == [(), (), (), (Channel(0, "tool_calls.0.name"),)]


def test_a_declared_name_that_continues_another_is_scanned():
    frames = frames_of(reader(), chunk(call(name="x_")), chunk(call(name="get_weather")))
    assert deltas(*frames) == [("tool_calls.0.name", "x_"), ("tool_calls.0.name", "get_weather")]


# --- JSON within strings ---------------------------------------------------------------------------


def test_arguments_are_scanned_as_the_client_will_read_them():
    stream = [r'{"to":"a\u00', r"40b.c\/", r"d\"e", r'"}']
    frames = frames_of(reader(), *(chunk(call(piece)) for piece in stream), chunk(finish="tool_calls"))
    assert "".join(text for _, text in deltas(*frames)) == '{"to":"a@b.c/d\\"e"}'


def test_untouched_arguments_keep_their_spelling_and_split_escapes_move_on():
    stream = [chunk(call(piece)) for piece in [r'{"a":"\u00', r"e9\/", r"\ud83d", r'\ude00"}']]
    answer = reader()
    events = written(answer, frames_of(answer, *stream)).split(b"\n\n")[:-1]
    spelled = [
        json.loads(one.removeprefix(b"data: "))["choices"][0]["delta"]["tool_calls"][0]["function"]
        for one in events
    ]
    assert [one["arguments"] for one in spelled] == ['{"a":"', r"\u00e9\/", "", r'\ud83d\ude00"}']


def test_nothing_moves_where_nobody_may_change_it():
    stream = chunk(call(r'{"a":"\u00')) + chunk(call("e9")) + chunk(call("\\")) + DONE
    answer = reader(watched=False)
    frames = frames_of(answer, stream)
    assert [text for _, text in deltas(*frames)] == ['{"a":"', "é", "", "\\"]
    assert written(answer, frames) == stream


def test_changed_arguments_stay_json():
    answer = reader()
    frames = frames_of(answer, chunk(call('{"a":')), chunk(call(r'"x\ny\u0001","b":'), finish=None))
    assert deltas(*frames)[1] == ("tool_calls.0.arguments", '"x\ny\x01","b":')
    answer.write(frames[0], same(frames[0]))
    changed = json.loads(answer.write(frames[1], ('"[X]\ny\x01","b":',)).removeprefix(b"data: "))
    arguments = changed["choices"][0]["delta"]["tool_calls"][0]["function"]["arguments"]
    assert arguments == r'"[X]\ny\u0001","b":'


@pytest.mark.parametrize("end", [chunk(finish="length"), DONE, b""])
def test_an_escape_without_end_goes_out_when_its_text_ends(end):
    answer = reader()
    frames = frames_of(answer, chunk(call(r'{"a":"\u00')), end)
    assert deltas(*frames) == [("tool_calls.0.arguments", '{"a":"'), ("tool_calls.0.arguments", r"\u00")]
    assert rb"\\u00" in written(answer, frames)
    assert rb"\\u00" not in b"".join(answer.write(frame, ("",) * len(frame.deltas)) for frame in frames)


def test_content_is_read_likewise_where_json_was_asked_for():
    piece = chunk({"content": r'{"to":"a\u0040b.c"}'})
    assert deltas(one(reader(json_answer=True), piece)) == [("content", '{"to":"a@b.c"}')]
    assert deltas(one(reader(), piece)) == [("content", r'{"to":"a\u0040b.c"}')]


# --- token counts -----------------------------------------------------------------------------------


def test_counts_that_the_client_asked_for_pass():
    answer = reader()
    frame = one(answer, usage_chunk(5, 7))
    assert (frame.usage, answer.write(frame, ())) == (Usage(5, 7), usage_chunk(5, 7))


def test_counts_that_it_had_not_asked_for_are_hidden_with_their_event():
    answer = reader(hide=True)
    stream = [chunk({"content": "a"}), chunk(finish="stop"), usage_chunk(5, 7), DONE]
    frames = frames_of(answer, *stream)
    assert [frame.usage for frame in frames] == [None, None, Usage(5, 7), None]
    assert written(answer, frames) == stream[0] + stream[1] + DONE


def test_counts_in_every_event_add_up_and_are_hidden_there():
    choices = [{"index": 0, "delta": {"content": "a"}}]
    answer = reader(hide=True)
    frames = frames_of(
        answer, usage_chunk(5, 1, choices), usage_chunk(5, 2, choices), usage_chunk(5, 2), DONE
    )
    assert [frame.usage for frame in frames] == [Usage(5, 1), Usage(0, 1), Usage(0, 0), None]
    events = written(answer, frames).split(b"\n\n")[:-2]
    assert [json.loads(one.removeprefix(b"data: "))["usage"] for one in events] == [None, None]


# --- errors -----------------------------------------------------------------------------------------


def test_an_error_event_passes_and_its_text_is_scanned():
    failure = event({"error": {"message": "too long", "type": "BadRequestError", "code": 400}})
    answer = reader()
    frame = one(answer, failure)
    assert (frame.error, frame.final) == (True, False)
    assert frame.deltas == (
        Delta(Channel(0, "error"), "too long"),
        Delta(Channel(1, "error"), "BadRequestError"),
    )
    assert answer.write(frame, same(frame)) == failure


@pytest.mark.parametrize(
    "error",
    [
        {"error": {"message": "Traceback (most recent call last)"}},
        {"error": {"message": "x", "cause": "y"}},
        {"error": "x", "choices": []},
    ],
)
def test_an_error_that_tells_too_much_is_replaced(error):
    answer = reader()
    frame = one(answer, event(error))
    assert answer.write(frame, same(frame)) == event(withheld_document())


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        (400, b'{"detail":"Unknown model: nope"}', b'{"detail":"Unknown model: nope"}'),
        (500, b'{"detail":"engine exploded"}', withheld_document()),
        (502, b"<html>", withheld_document()),
        (404, b"", b""),
        (200, b'{"error":{"message":"no"}}', b'{"error":{"message":"no"}}'),
    ],
)
def test_errors_without_events_are_judged(status, body, expected):
    answer = reader(streamed=False, status=status)
    (frame,) = frames_of(answer, body)
    assert (frame.error, frame.final, answer.write(frame, same(frame))) == (True, True, expected)


# --- bytes ------------------------------------------------------------------------------------------


def test_comments_go_and_odd_events_are_written_plainly():
    answer = reader()
    data = json.dumps({"choices": [{"index": 0, "delta": {"content": "a"}}]}, indent=1)
    lines = "".join(f"data:{line}\r\n" for line in data.split("\n"))
    frames = frames_of(answer, b": ping\n\n", b": a\n" + lines.encode() + b"\r\n", DONE)
    out = written(answer, frames, "b")
    assert b"ping" not in out
    assert b": a" not in out
    events = [one.replace(b"data: ", b"") for one in out.split(b"\n\n")[:-1]]
    assert json.loads(events[0])["choices"][0]["delta"]["content"] == "b"


def test_a_tail_is_an_event_that_clients_read_as_more_of_the_same():
    answer = reader()
    frames_of(
        answer, chunk({"content": "a"}, index=1), chunk(call(r'{"a":"', at=1)), chunk({"x": {"y": ["z"]}})
    )
    tails = [
        json.loads(answer.write_tail(channel, text).removeprefix(b"data: "))
        for channel, text in [
            (Channel(1, "content"), "b"),
            (Channel(0, "tool_calls.1.arguments"), "{\n"),
            (Channel(2, "output.*"), "c"),
        ]
    ]
    assert tails[0] == {
        "id": ID,
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "m",
        "system_fingerprint": None,
        "choices": [{"index": 1, "delta": {"content": "b"}, "finish_reason": None}],
    }
    assert tails[1]["choices"][0]["delta"] == {
        "tool_calls": [{"index": 1, "function": {"arguments": "{\n"}}]
    }
    assert tails[2]["choices"][0]["delta"] == {"x": {"y": ["c"]}}


def test_a_tail_repeats_no_name_that_was_scanned():
    answer = reader()
    frames_of(answer, chunk({"content": "a"}, id="my secret id"))
    assert b"secret" not in answer.write_tail(Channel(0, "content"), "b")


def test_tails_of_other_places_stand_there_too():
    answer = reader()
    frames_of(answer, chunk(note="a", choices=[{"index": 0, "delta": {}, "remark": "b"}]))
    root, choice = (
        json.loads(answer.write_tail(Channel(at, "output.*"), "c").removeprefix(b"data: ")) for at in (1, 0)
    )
    assert (root["note"], root["choices"]) == ("c", [])
    assert choice["choices"] == [{"index": 0, "delta": {}, "remark": "c", "finish_reason": None}]


def test_a_whole_answer_has_no_tail():
    with pytest.raises(AssertionError):
        reader(streamed=False).write_tail(Channel(0, "content"), "x")


@pytest.mark.parametrize("content", ["plain", "é😀", 'a "quote"', "line\n", "\u2028", ""])
def test_the_fast_way_reads_what_the_slow_one_reads(content):
    stream = [chunk({"content": text}) for text in ("first", "second", content, "last")]
    answer = reader()
    _, _, quick = frames_of(answer, *stream)
    assert quick.is_run
    assert [delta.text for delta in quick.deltas] == [content, "last"]
    assert {delta.channel for delta in quick.deltas} == {Channel(0, "content")}
    assert answer.write(quick, same(quick)) == b"".join(stream[2:])
    assert answer.write(quick, ("new", "last")) == chunk({"content": "new"}) + stream[3]
    assert answer.write(quick, (content,)) == stream[2]


@pytest.mark.parametrize(
    "inside",
    [
        b'a","refusal":"b',
        b"a\xff",
        b"\\ud800",
        b"a\x01",
        b"\\x",
        b'"',
        b"\\",
        b'a"}}],"choices":[{"delta":{"x":"b',
    ],
)
def test_the_fast_way_takes_nothing_but_one_string(inside):
    known = chunk({"content": "MARK"})
    answer = reader()
    answer.read(known + known, eof=False)
    try:
        quick = deltas(*answer.read(known.replace(b"MARK", inside), eof=False))
    except PeerError:
        quick = None
    try:
        slow = deltas(*reader().read(known.replace(b"MARK", inside), eof=False))
    except PeerError:
        slow = None
    assert quick == slow


pieces = st.one_of(
    TEXTS.map(lambda text: chunk({"content": text})),
    TEXTS.map(lambda text: chunk({"content": text}, index=1)),
    TEXTS.map(lambda text: chunk({"reasoning": text})),
    TEXTS.map(lambda text: chunk(call(json.dumps(text)))),
    st.sampled_from(["\\", "\\u", "0040", "\\u00", "x", '"']).map(lambda text: chunk(call(text))),
    TEXTS.map(lambda text: chunk({"note": text})),
    st.just(chunk(finish="stop")),
    st.just(usage_chunk(1, 1)),
    st.just(b": ping\n\n"),
)


@given(st.lists(pieces, max_size=10), st.booleans(), st.lists(st.integers(0, 4000), max_size=6))
def test_chunks_mean_nothing_and_untouched_text_is_the_same_text(events, hide, places):
    stream = b"".join(events) + DONE
    try:
        whole = frames_of(reader(hide=hide), stream)
    except PeerError:
        return
    ends = sorted({min(place, len(stream)) for place in places} | {len(stream)})
    cut = reader(hide=hide)
    frames = [
        frame
        for start, end in zip([0, *ends], ends, strict=False)
        for frame in cut.read(stream[start:end], eof=end == len(stream))
    ]
    assert spread(frames) == spread(whole)
    again = frames_of(reader(), written(cut, frames))
    joined: dict[Channel, str] = {}
    for frame in again:
        for delta in frame.deltas:
            joined[delta.channel] = joined.get(delta.channel, "") + delta.text
    expected: dict[Channel, str] = {}
    for frame in whole:
        for delta in frame.deltas:
            expected[delta.channel] = expected.get(delta.channel, "") + delta.text
    assert {key: text for key, text in joined.items() if text} == {
        key: text for key, text in expected.items() if text
    }
