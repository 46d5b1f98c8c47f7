"""What is written of an Anthropic request: edits, the limit, and the budget for thoughts."""

from __future__ import annotations

import json

import pytest

from extproc.codecs._anthropic_edits import BUDGET_TOKENS_MIN, write_messages
from extproc.codecs._anthropic_request import read_messages
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import SegmentEdit
from extproc.domain.verdict import Reason

USER = {"role": "user", "content": "hi"}
CALL = {"type": "tool_use", "id": "toolu_1", "name": "send", "input": {"to": "a@b.c", "at once": [1, "y"]}}


def read(body: bytes):
    return read_messages(body, limits=LIMITS)


def ask(*messages: dict, **members):
    body = {"model": "m", "max_tokens": 8, "messages": list(messages) or [USER], **members}
    return read(json.dumps(body).encode())


def written(request, **edits) -> dict:
    return json.loads(write_messages(request, RequestEdits(**edits), limits=LIMITS))


def test_without_edits_the_bytes_are_the_clients():
    body = (
        b' { "max_tokens" : 8,"model":"m", "messages":[{"role":"user","content":"h\\u0069"}] ,"x":null}\n'
    )
    edits = RequestEdits(cap_output_tokens=8)
    assert write_messages(read(body), edits, limits=LIMITS) == body


def test_an_edit_stands_where_its_text_stood():
    content = [{"type": "text", "text": "hi jane"}, {**CALL, "input": {"to": "jane roe", "n": 1}}]
    request = ask({"role": "user", "content": content})
    edits = tuple(
        SegmentEdit(
            segment_index=one.index, start=one.text.index("jane"), end=len(one.text), replacement="[NAME]"
        )
        for one in request.segments
        if "jane" in one.text
    )
    assert written(request, segments=edits)["messages"][0]["content"] == [
        {"type": "text", "text": "hi [NAME]"},
        {**CALL, "input": {"to": "[NAME]", "n": 1}},
    ]


@pytest.mark.parametrize(("asked", "cap", "expected"), [(8, 5, 5), (8, 8, 8), (8, 9, 8)])
def test_the_limit_is_lowered_and_never_raised(asked, cap, expected):
    assert written(ask(max_tokens=asked), cap_output_tokens=cap)["max_tokens"] == expected


@pytest.mark.parametrize(
    ("budget", "cap", "expected"),
    [
        # Below the new limit it stays, as it does where the limit is not lowered.
        (2_000, 4_096, 2_000),
        (15_000, 16_000, 15_000),
        # Its share of the limit; never less than the API takes, never all of it.
        (8_000, 4_096, 2_048),
        (2_000, 1_500, BUDGET_TOKENS_MIN),
        (15_999, 1_025, 1_024),
    ],
)
def test_the_budget_for_thoughts_stays_below_the_limit(budget, cap, expected):
    request = ask(max_tokens=16_000, thinking={"type": "enabled", "budget_tokens": budget})
    after = written(request, cap_output_tokens=cap)
    assert (after["max_tokens"], after["thinking"]["budget_tokens"]) == (min(cap, 16_000), expected)


def test_thinking_is_refused_where_the_limit_leaves_no_room():
    request = ask(max_tokens=16_000, thinking={"type": "enabled", "budget_tokens": 8_000})
    with pytest.raises(PeerError, match="at most 1024 are allowed") as caught:
        written(request, cap_output_tokens=1_024)
    assert (caught.value.reason, caught.value.status) == (Reason.PARAMETER_NOT_ALLOWED, 400)
