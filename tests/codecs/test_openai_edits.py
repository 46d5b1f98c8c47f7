from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs._openai_chat_request import read_chat
from extproc.codecs._openai_edits import write_request
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import SegmentEdit

USER = {"role": "user", "content": "hi"}


def written(body: dict | bytes, **edits) -> tuple[bytes, bool]:
    document = body if isinstance(body, bytes) else json.dumps(body).encode()
    wanted = RequestEdits(**{"ask_usage": False, **edits})
    return write_request(read_chat(document, limits=LIMITS), wanted, limits=LIMITS)


def chat(*messages: dict, **members) -> dict:
    return {"model": "m", "messages": list(messages) or [USER], **members}


def edit(segment: int, start: int, end: int, replacement: str = "[X]") -> SegmentEdit:
    return SegmentEdit(segment_index=segment, start=start, end=end, replacement=replacement)


@pytest.mark.parametrize(
    ("limits", "cap", "expected"),
    [
        ({}, 9, {"max_tokens": 9}),
        ({"max_tokens": 5}, 9, {"max_tokens": 5}),
        ({"max_tokens": 15}, 9, {"max_tokens": 9}),
        ({"max_completion_tokens": 15}, 9, {"max_completion_tokens": 9}),
        (
            {"max_tokens": 99, "max_completion_tokens": 15},
            9,
            {"max_tokens": 9, "max_completion_tokens": 9},
        ),
        (
            {"max_tokens": 3, "max_completion_tokens": 15},
            9,
            {"max_tokens": 3, "max_completion_tokens": 9},
        ),
        ({"max_tokens": None}, 9, {"max_tokens": 9}),
        ({"max_completion_tokens": None}, 9, {"max_completion_tokens": 9}),
        (
            {"max_tokens": None, "max_completion_tokens": None},
            9,
            {"max_tokens": None, "max_completion_tokens": 9},
        ),
        (
            {"max_tokens": None, "max_completion_tokens": 5},
            9,
            {"max_tokens": None, "max_completion_tokens": 5},
        ),
        ({"max_tokens": 15}, None, {"max_tokens": 15}),
    ],
)
def test_the_cap_holds_under_both_names(limits, cap, expected):
    body, hidden = written(chat(**limits), cap_output_tokens=cap)
    assert json.loads(body) == chat(**expected)
    assert hidden is False


@pytest.mark.parametrize(
    ("members", "options", "hidden"),
    [
        ({"stream": True}, {"include_usage": True}, True),
        ({"stream": True, "stream_options": None}, {"include_usage": True}, True),
        ({"stream": True, "stream_options": {}}, {"include_usage": True}, True),
        ({"stream": True, "stream_options": {"include_usage": False}}, {"include_usage": True}, True),
        (
            {"stream": True, "stream_options": {"continuous_usage_stats": True}},
            {"include_usage": True, "continuous_usage_stats": True},
            True,
        ),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"include_usage": True}, False),
        ({}, None, False),
        ({"stream": False}, None, False),
        ({"stream": False, "stream_options": {}}, {}, False),
    ],
)
def test_counts_are_asked_for_where_the_answer_streams(members, options, hidden):
    body, hide = written(chat(**members), ask_usage=True)
    assert (json.loads(body).get("stream_options"), hide) == (options, hidden)


def test_without_edits_the_body_is_the_clients_own():
    body = b'{ "messages" :[{"content":"a\\u0041 \xc3\xa9","role":"user"}] , "model":"m","stream":true }\n'
    assert written(body) == (body, False)


def test_an_edit_changes_its_string_alone():
    body = b'{ "model":"m", "messages":[{"role":"user","content":"mail a\\u0040b \\"now\\""}] }'
    assert written(body, segments=(edit(0, 5, 8),))[0] == (
        b'{ "model":"m", "messages":[{"role":"user","content":"mail [X] \\"now\\""}] }'
    )


def test_an_edit_within_arguments_keeps_them_json():
    arguments = '{"to":"a\\u0040b","say":"x\\ny \\"z\\""}'
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": arguments}}
    body = chat({"role": "assistant", "tool_calls": [call]})
    text = read_chat(json.dumps(body).encode(), limits=LIMITS).segments[0].text
    at = text.index("a@b")
    found = json.loads(written(body, segments=(edit(0, at, at + 3),))[0])
    changed = found["messages"][0]["tool_calls"][0]["function"]["arguments"]
    assert json.loads(changed) == {"to": "[X]", "say": 'x\ny "z"'}


def test_edits_of_joined_words_stay_with_their_words():
    body = chat({"role": "user", "name": "alice", "tool_call_id": "bob", "note": "carol"})
    text = read_chat(json.dumps(body).encode(), limits=LIMITS).segments[0].text
    assert text == "alice\nbob\nnote\ncarol"
    edits = (edit(0, 0, 5, "A"), edit(0, 7, 12, "B"), edit(0, 15, 17, "C"))
    (message,) = json.loads(written(body, segments=edits)[0])["messages"]
    assert message == {"role": "user", "name": "A", "tool_call_id": "bB", "te": "Crol"}


def test_a_key_may_be_edited_and_must_not_become_anothers_twin():
    body = chat({**USER, "k\\1": "a", "k2": "b"})
    text = read_chat(json.dumps(body).encode(), limits=LIMITS).segments[1].text
    assert text == "k\\1\na\nk2\nb"
    (message,) = json.loads(written(body, segments=(edit(1, 0, 3, "other"),))[0])["messages"]
    assert message == {**USER, "other": "a", "k2": "b"}
    with pytest.raises(PeerError, match="a key stands twice"):
        written(body, segments=(edit(1, 0, 3, "k2"),))


def test_edits_that_overlap_remove_all_that_any_of_them_covers():
    body = chat({"role": "user", "content": "0123456789"})
    edits = (edit(0, 2, 5, "A"), edit(0, 4, 7, "B"), edit(0, 2, 3, "C"))
    (message,) = json.loads(written(body, segments=edits)[0])["messages"]
    assert message["content"] == "01A789"


texts = st.text(alphabet=st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)


@given(
    st.lists(texts, min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 14), st.integers(1, 5)), max_size=5),
    st.integers(1, 99),
)
def test_edits_of_any_place_give_a_body_that_reads_as_edited(contents, places, cap):
    body = chat(*({"role": "user", "content": text, "name": "n"} for text in contents), stream=True)
    request = read_chat(json.dumps(body).encode(), limits=LIMITS)
    edits = []
    for segment, place, length in places:
        text = request.segments[segment % len(request.segments)].text
        start = min(place, len(text) - 1)
        end = min(start + length, len(text))
        edits.append(edit(segment % len(request.segments), start, end, "#"))
    once = {one.segment_index: one for one in edits}
    wanted = RequestEdits(segments=tuple(once.values()), cap_output_tokens=cap)
    again = read_chat(write_request(request, wanted, limits=LIMITS)[0], limits=LIMITS)
    for segment, after in zip(request.segments, again.segments, strict=True):
        one = once.get(segment.index)
        text = segment.text
        assert after.text == (text if one is None else text[: one.start] + "#" + text[one.end :])
    assert (again.params.max_output_tokens, again.usage_asked) == (cap, True)


def test_a_long_number_is_judged_as_text_and_taken_out_as_such():
    tool = {"type": "function", "function": {"name": "pay", "parameters": {"enum": [4111111111111111, 7]}}}
    body = chat(tools=[tool], metadata={"card": 4111111111111111}, seed=4111111111111111)
    request = read_chat(json.dumps(body).encode(), limits=LIMITS)
    held = [one for one in request.segments if "4111111111111111" in one.text]
    assert [one.place for one in held] == ["tools.*", "metadata", "parameters.*"]
    places = [(one.index, one.text.index("4111111111111111")) for one in held]
    document, _ = written(body, segments=tuple(edit(at, start, start + 16) for at, start in places))
    assert b"4111" not in document
    assert json.loads(document)["seed"] == "[X]"
