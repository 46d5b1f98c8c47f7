from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs._sampling_document import (
    SamplingDocument,
    lowered,
    read_sampling,
    whole_number,
    write_sampling,
)
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Reason
from extproc.wire.splice import Splice
from extproc.wire.strict_json import parse


def read(text: str, beside: tuple[str, ...] = ()) -> SamplingDocument:
    return read_sampling(text, beside=beside, limits=LIMITS)


def test_limit_multipliers_fields_and_texts_are_read():
    found = read(
        '{"max_tokens":5,"n":2,"sampling_param_best_of":3,"stop":["a"],"temperature":0.5,'
        '"logit_bias":{"7":41111111111,"8":1},"ignore_eos":true}'
    )
    assert (found.limit, found.choices_count) == (5, 6)
    assert found.sampling == {
        "n": 2,
        "best_of": 3,
        "stop": '["a"]',
        "temperature": 0.5,
        "logit_bias": '{"7":41111111111,"8":1}',
        "ignore_eos": True,
    }
    assert [text.value for text in found.texts] == ["a", "41111111111"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"text_input":"x"}', Reason.PARAMETER_NOT_ALLOWED),
        ('{"image":"x"}', Reason.PARAMETER_NOT_ALLOWED),
        ('{"image_url":"x"}', Reason.PARAMETER_NOT_ALLOWED),
        ('{"input_ids":[1]}', Reason.PARAMETER_NOT_ALLOWED),
        ('{"sampling_parameters":"{}"}', Reason.PARAMETER_NOT_ALLOWED),
        ('{"sampling_param_max_tokens":5}', Reason.PARAMETER_NOT_ALLOWED),
        ('{"request_output_len":5}', Reason.PARAMETER_NOT_ALLOWED),
        ('{"max_tokens":[5]}', Reason.BODY_INVALID),
        ('{"n":[5]}', Reason.BODY_INVALID),
        ('{"n":1,"sampling_param_n":2}', Reason.BODY_INVALID),
        ('{"a b":1}', Reason.BODY_INVALID),
        ('{"a":{"b c":1}}', Reason.BODY_INVALID),
        ('{"a":null}', Reason.BODY_INVALID),
        ("[]", Reason.BODY_INVALID),
        ("", Reason.BODY_INVALID),
    ],
)
def test_what_is_no_sampling_field_is_refused(text: str, reason: Reason):
    with pytest.raises(PeerError) as caught:
        read(text)
    assert (caught.value.reason, caught.value.status) == (reason, 400)


def test_a_field_that_stands_outside_too_is_refused():
    with pytest.raises(PeerError, match="stands beside sampling_parameters too"):
        read('{"sampling_param_stop":"a"}', beside=("stop",))


@pytest.mark.parametrize(
    ("text", "cap", "inject", "expected"),
    [
        ("{}", None, True, None),
        ("{}", 5, False, None),
        ("{}", 5, True, '{"max_tokens":5}'),
        ('{ "seed":1 }', 5, True, '{"max_tokens":5, "seed":1 }'),
        ('{"max_tokens":9}', 5, False, '{"max_tokens":5}'),
        ('{"max_tokens":3}', 5, True, None),
        ('{"max\\u005ftokens" : 9}', 5, True, '{"max\\u005ftokens" : 5}'),
    ],
)
def test_the_cap_is_lowered_or_injected(text: str, cap: int | None, inject: bool, expected: str | None):  # noqa: FBT001 - a row of the table.
    assert write_sampling(read(text), (), cap=cap, inject=inject) == expected


@given(
    st.dictionaries(st.sampled_from(["max_tokens", "stop", "seed"]), st.integers(1, 99)), st.integers(1, 99)
)
def test_what_is_written_reads_back_capped(fields: dict[str, int], cap: int):
    found = read(json.dumps(fields))
    text = write_sampling(found, (), cap=cap, inject=True)
    again = found if text is None else read(text)
    assert again.limit == min(cap, fields.get("max_tokens", cap))
    assert again.sampling == found.sampling


@pytest.mark.parametrize(
    ("text", "number"),
    [
        *(("5", 5), ("[5]", 5), (str(2**31 - 1), 2**31 - 1)),
        *(
            (text, None)
            for text in ("0", "-1", "5.0", "5e0", str(2**31), "[]", "[5,6]", "[[5]]", '"5"', "true")
        ),
    ],
)
def test_a_whole_number_stands_by_itself_or_in_an_array(text: str, number: int | None):
    assert whole_number(parse(text.encode())) == number


@pytest.mark.parametrize(
    ("text", "edits"), [("9", [Splice(0, 1, b"5")]), ("[9]", [Splice(1, 2, b"5")]), ("5", []), ('"9"', [])]
)
def test_only_a_limit_above_the_cap_is_lowered(text: str, edits: list[Splice]):
    assert lowered(parse(text.encode()), 5) == edits
