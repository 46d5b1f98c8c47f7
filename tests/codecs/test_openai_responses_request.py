"""What is read of a request for responses, what is refused, and what is written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai_samples import PDF, PNG, WAV
from responses_samples import REQUEST

from extproc.codecs._responses_request import read_responses, write_responses
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import Origin, Role, SegmentEdit, Unscanned
from extproc.domain.verdict import Reason


def body_of(**members: object) -> bytes:
    return json.dumps({"model": "m", "input": "hi", **members}, ensure_ascii=False).encode()


def read(**members: object):
    return read_responses(body_of(**members), limits=LIMITS)


def refusal(**members: object) -> PeerError:
    with pytest.raises(PeerError) as caught:
        read(**members)
    assert caught.value.status == 400
    return caught.value


def segments(request) -> list[tuple[str, str, str, str]]:
    return [(one.place, one.role, one.origin, one.text) for one in request.segments]


def test_where_each_text_stands():
    items = [
        {"role": "user", "content": "a question"},
        {"role": "assistant", "content": [{"type": "output_text", "text": "an answer", "annotations": []}]},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": '{"a":"\\u0062"}'},
        {"type": "function_call_output", "call_id": "c", "output": "a result"},
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "short"}],
            "content": [{"type": "reasoning_text", "text": "long"}],
        },
    ]
    tool = {"type": "function", "name": "f", "description": "tells it", "parameters": {}}
    request = read(instructions="be kind", input=items, tools=[tool])
    assert segments(request) == [
        ("input.content", Role.USER, Origin.DIRECT, "a question"),
        ("input.content", Role.ASSISTANT, Origin.DIRECT, "an answer"),
        ("input.arguments", Role.ASSISTANT, Origin.DIRECT, '{"a":"b"}'),
        ("input.*", Role.ASSISTANT, Origin.DIRECT, "c\nf"),
        ("input.output", Role.TOOL, Origin.TOOL_RESULT, "a result"),
        ("input.*", Role.TOOL, Origin.TOOL_RESULT, "c"),
        ("input.summary", Role.ASSISTANT, Origin.DIRECT, "short"),
        ("input.summary", Role.ASSISTANT, Origin.DIRECT, "long"),
        ("instructions", Role.SYSTEM, Origin.DIRECT, "be kind"),
        ("tools.*", Role.TOOL, Origin.TOOL_DESCRIPTION, "tells it"),
        ("tools.*", Role.TOOL, Origin.TOOL_DESCRIPTION, "f"),
    ]
    assert request.tools == {"f"}


def test_parts_of_one_message_are_one_text_and_edits_reach_over_them():
    parts = [{"type": "input_text", "text": "mail jane."}, {"type": "input_text", "text": "roe@x.test now"}]
    request = read(input=[{"role": "user", "content": parts}])
    (segment,) = request.segments
    assert segment.text == "mail jane.roe@x.test now"
    edit = SegmentEdit(segment_index=0, start=5, end=20, replacement="[X]")
    written = json.loads(write_responses(request, RequestEdits(segments=(edit,)), limits=LIMITS))
    assert [part["text"] for part in written["input"][0]["content"]] == ["mail [X]", " now"]


@pytest.mark.parametrize(
    ("part", "kind"),
    [
        ({"type": "input_image", "image_url": PNG, "detail": "auto"}, Unscanned.IMAGE),
        ({"type": "input_file", "file_data": PDF, "filename": "an evil name.pdf"}, Unscanned.FILE),
        ({"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}, Unscanned.AUDIO),
    ],
)
@pytest.mark.parametrize("holder", ["message", "result"])
def test_what_is_no_text_is_reported(part, kind, holder):
    items = {
        "message": {"role": "user", "content": [part]},
        "result": {"type": "function_call_output", "call_id": "c", "output": [part]},
    }
    request = read(input=[items[holder]])
    assert request.unscanned == {kind}
    texts = [one.text for one in request.segments]
    assert ("an evil name.pdf" in texts) == ("filename" in part)


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_image", "image_url": "https://x.test/a.png"},
        {"type": "input_image", "image_url": PNG.replace("image/png", "image/jpeg")},
        {"type": "input_image", "image_url": PNG, "file_id": "file_1"},
        {"type": "input_image", "file_id": "file_1"},
        {"type": "input_file", "file_url": "https://x.test/a.pdf"},
        {"type": "input_file", "file_data": PDF, "file_url": "https://x.test/a.pdf"},
        {"type": "input_file", "file_data": "JVBERi0="},
        {"type": "input_audio", "input_audio": {"data": WAV, "format": "mp3"}},
        {"type": "input_video", "video": "x"},
        {"type": "text", "text": "of another wire"},
        {"type": "input_text", "text": "x", "image_url": PNG},
        {"type": "input_text"},
        {"text": "x"},
    ],
    ids=str,
)
def test_a_part_that_is_not_here_or_not_known_is_refused(part: dict[str, Any]):
    assert refusal(input=[{"role": "user", "content": [part]}]).reason in {
        Reason.PARAMETER_NOT_ALLOWED,
        Reason.BODY_INVALID,
    }


@pytest.mark.parametrize(
    "item",
    [
        *({"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}, {"type": None, "id": "x"}),
        *({"type": "web_search_call", "id": "x"}, {"type": "file_search_call", "queries": ["x"]}),
        *({"type": "computer_call"}, {"type": "computer_call_output"}, {"type": "image_generation_call"}),
        *({"type": "code_interpreter_call", "code": "x"}, {"type": "mcp_call"}, {"type": "mcp_list_tools"}),
        *({"type": "local_shell_call"}, {"type": "compaction", "encrypted_content": "x"}, {"type": "x"}),
        {"type": "reasoning", "summary": [], "encrypted_content": "gAAAA"},
        {"type": "reasoning", "id": "rs_1"},
        *({"type": "message", "role": "root", "content": "x"}, {"role": "tool", "content": "x"}),
        *({"type": "message", "content": "x"}, {"type": "function_call", "name": "f"}),
        {"type": "function_call", "name": "f", "arguments": {"a": 1}},
        {"type": "function_call_output", "call_id": "c", "output": {"a": 1}},
        {"role": "user", "content": "x", "status": "anything else"},
        {"role": "user", "content": "x", "phase": "anything else"},
    ],
    ids=str,
)
def test_an_item_that_is_not_known_or_stands_elsewhere_is_refused(item: dict[str, Any]):
    refusal(input=[item])


@pytest.mark.parametrize(
    "members",
    [
        *({"previous_response_id": "resp_1"}, {"conversation": "c"}, {"conversation": {"id": "c"}}),
        *({"prompt": {"id": "pmpt_1"}}, {"background": True}, {"previous_input_messages": [{"role": "x"}]}),
        *({"messages": []}, {"max_tokens": 5}, {"max_completion_tokens": 5}, {"n": 2}, {"functions": []}),
        *({"response_format": {"type": "text"}}, {"chat_template": "x"}, {"chat_template_kwargs": {}}),
        *({"context_management": [{"type": "compaction"}]}, {"cache_salt": "x"}, {"priority": 1}),
        *({"tools": [{"type": kind}]} for kind in ("web_search", "file_search", "code_interpreter", "mcp")),
        *({"tools": [{"type": kind}]} for kind in ("computer_use_preview", "image_generation", "shell")),
        *({"tools": [{"name": "f"}]}, {"tools": [{"type": ["function"]}]}),
        *({"tool_choice": {"type": "web_search"}}, {"tool_choice": {"type": "mcp", "server_label": "x"}}),
        *({"include": ["reasoning.encrypted_content"]}, {"include": ["file_search_call.results"]}),
        *({"reasoning": {"effort": "low", "more": 1}}, {"text": {"format": {"type": "text"}, "more": 1}}),
    ],
    ids=str,
)
def test_what_would_act_or_stand_elsewhere_is_refused(members: dict[str, Any]):
    assert refusal(**members).reason is Reason.PARAMETER_NOT_ALLOWED


@pytest.mark.parametrize(
    "members",
    [
        *(
            {"model": 1},
            {"model": ""},
            {"stream": "yes"},
            {"max_output_tokens": 0},
            {"max_output_tokens": "5"},
        ),
        *({"instructions": ["x"]}, {"tools": {}}, {"tool_choice": "other"}, {"tool_choice": {"name": "f"}}),
        *({"reasoning": {"effort": "evil"}}, {"text": {"format": {"type": "x"}}}, {"truncation": "x"}),
        *({"text": {"verbosity": "x"}}, {"service_tier": "priority"}, {"prompt_cache_retention": "x"}),
        *({"max_tool_calls": "x"}, {"parallel_tool_calls": 1}, {"metadata": []}, {"user": 1}),
        {"stream_options": {"more": True}},
    ],
    ids=str,
)
def test_what_is_not_of_the_schema_is_refused(members: dict[str, Any]):
    refusal(**members)


def test_sampling_and_unknown_members_are_parameters_and_text():
    request = read(
        temperature=0.5,
        top_logprobs=3,
        store=True,
        include=["message.output_text.logprobs"],
        evil=["so it is"],
    )
    assert dict(request.params.sampling) == {
        "temperature": 0.5,
        "top_logprobs": 3,
        "store": True,
        "include": '["message.output_text.logprobs"]',
        "evil": '["so it is"]',
    }
    assert "so it is" in [one.text for one in request.segments]


def test_what_says_nothing_is_no_parameter():
    request = read(include=[], top_logprobs=0, store=False, background=False, previous_response_id=None)
    assert dict(request.params.sampling) == {}


@pytest.mark.parametrize("kind", ["json_object", "json_schema"])
def test_an_answer_in_json_is_noted_and_every_string_of_its_schema_read(kind):
    schema = {"name": "n", "schema": {"properties": {"a b": {"description": "what it is"}}}}
    request = read(text={"format": {"type": kind, **(schema if kind == "json_schema" else {})}})
    assert request.json_answer
    texts = [one.text for one in request.segments]
    assert ({"a b", "what it is"} <= {*texts}) == (kind == "json_schema")


# --- writing ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "expected"),
    [
        ({}, {"max_output_tokens": 7}),
        ({"max_output_tokens": None}, {"max_output_tokens": 7}),
        ({"max_output_tokens": 8}, {"max_output_tokens": 7}),
        ({"max_output_tokens": 7}, {"max_output_tokens": 7}),
        ({"max_output_tokens": 6}, {"max_output_tokens": 6}),
    ],
)
def test_the_limit_is_lowered_and_written_where_there_is_none(members, expected):
    written = write_responses(read(**members), RequestEdits(cap_output_tokens=7), limits=LIMITS)
    assert json.loads(written) == {"model": "m", "input": "hi", "store": False, **expected}
    assert read(**members).params.max_output_tokens == members.get("max_output_tokens")


@pytest.mark.parametrize(
    ("members", "expected"),
    [({}, False), ({"store": None}, False), ({"store": False}, False), ({"store": True}, True)],
)
def test_nothing_is_kept_unless_the_caller_says_so(members, expected):
    written = write_responses(read(**members), RequestEdits(), limits=LIMITS)
    assert json.loads(written)["store"] is expected


def test_without_edits_it_is_the_same_bytes():
    body = json.dumps(REQUEST, indent=1).encode()
    request = read_responses(body, limits=LIMITS)
    assert write_responses(request, RequestEdits(), limits=LIMITS) == body


ANY = st.recursive(
    st.none() | st.booleans() | st.text() | st.integers(),
    lambda one: st.lists(one) | st.dictionaries(st.text(), one),
    max_leaves=8,
)


@given(ANY, st.sampled_from(sorted(REQUEST)))
def test_any_value_is_read_or_refused(value, name):
    body = json.dumps({**REQUEST, name: value}).encode()
    try:
        request = read_responses(body, limits=LIMITS)
    except PeerError as error:
        assert error.status == 400  # noqa: PT017 - it need not raise.
        return
    json.loads(write_responses(request, RequestEdits(cap_output_tokens=1), limits=LIMITS))
