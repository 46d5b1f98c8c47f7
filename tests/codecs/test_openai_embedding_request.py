from __future__ import annotations

import json

import pytest

from extproc.codecs._openai_edits import write_request
from extproc.codecs._openai_embedding_request import read_embedding
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits
from extproc.domain.segment import SegmentEdit, Unscanned
from extproc.domain.verdict import Reason


def read(**members):
    body = {"model": "m", "input": "hi", **members}
    return read_embedding(json.dumps(body).encode(), limits=LIMITS)


def fault(**members) -> PeerError:
    with pytest.raises(PeerError) as caught:
        read(**members)
    assert caught.value.status == 400
    return caught.value


@pytest.mark.parametrize(
    ("value", "texts", "unscanned"),
    [
        ("one", ["one"], set()),
        (["one", "two", "three"], ["one", "two", "three"], set()),
        ([1, 2], [], {Unscanned.TOKEN_IDS}),
        ([[1, 2], [3]], [], {Unscanned.TOKEN_IDS}),
    ],
)
def test_an_input_has_four_shapes(value, texts, unscanned):
    request, dimensions = read(input=value)
    assert [(one.place, one.text) for one in request.segments] == [("input", text) for text in texts]
    assert (request.unscanned, dimensions) == (unscanned, None)
    assert (request.params.choices_count, request.params.max_output_tokens) == (1, None)
    assert (request.params.stream, request.params.model) == (False, "m")


@pytest.mark.parametrize("value", [None, 1, {}, [], [None], [["x"]], ["x", 1], [{"text": "x"}]])
def test_an_input_of_another_shape_is_refused(value):
    assert fault(input=value).message.startswith("input must be a string, token ids, or an array")


def test_what_is_known_is_no_parameter():
    request, dimensions = read(dimensions=3, encoding_format="base64", user="me")
    assert (dict(request.params.sampling), dimensions) == ({}, 3)
    assert [one.place for one in request.segments] == ["input", "user"]


@pytest.mark.parametrize(
    "members",
    [
        {"encoding_format": "int8"},
        {"encoding_format": 1},
        {"dimensions": 0},
        {"dimensions": "3"},
        {"user": 1},
        {"model": None},
    ],
)
def test_what_is_not_of_the_schema_is_refused(members):
    assert fault(**members).reason is Reason.BODY_INVALID


@pytest.mark.parametrize("name", ["messages", "prompt", "stream", "max_tokens", "images", "prompt_embeds"])
def test_what_is_of_another_wire_is_refused_by_name(name):
    assert fault(**{name: True}).reason is Reason.PARAMETER_NOT_ALLOWED


def test_anything_else_is_a_parameter_and_text():
    request, _ = read(truncate_prompt_tokens=4, made_up="text of it")
    assert dict(request.params.sampling) == {"truncate_prompt_tokens": 4, "made_up": "text of it"}
    assert [one.text for one in request.segments] == ["hi", "text of it"]


def test_only_text_is_edited():
    request, _ = read(input=["ann", "bob"])
    edits = RequestEdits(segments=(SegmentEdit(segment_index=1, start=0, end=3, replacement="[X]"),))
    written, hidden = write_request(request, edits, limits=LIMITS)
    assert (json.loads(written), hidden) == ({"model": "m", "input": ["ann", "[X]"]}, False)
