from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.redaction.operators import REDACT, Hash, Mask, Replace, needs_value, replacement


@pytest.mark.parametrize(
    ("operator", "value", "expected"),
    [
        (REDACT, "secret", "[T]"),
        (Replace(text="***"), "secret", "***"),
        (Mask(keep_last=4), "4111 1111-11112222", "**** ****-****2222"),
        (Mask(keep_last=4, mask="#"), "12345678", "########"),
        (Mask(keep_last=0), "ab-c", "**-*"),
        (Mask(keep_last=2), 'ab-c"de\\f', "**-***e*f"),
        (Mask(keep_last=2), "-" * 300 + "abcdef", "-" * 250 + "****ef"),
        (Mask(keep_last=4), "a" * 250 + "-" * 256, "-" * 256),
        (Mask(keep_last=4), "a" * 500, "*" * 252 + "aaaa"),
    ],
)
def test_replacements(operator, value, expected):
    assert expected == replacement(operator, "T", value)


def test_hash_is_keyed():
    digest = hmac.new(b"key", b"value", hashlib.sha256).hexdigest()
    assert replacement(Hash(key=b"key"), "T", "value") == f"[T:{digest[:16]}]"
    assert replacement(Hash(key=b"other"), "T", "value") != f"[T:{digest[:16]}]"


def test_a_key_is_not_shown():
    assert "hidden" not in repr(Hash(key=b"hidden"))


@given(st.text(alphabet=st.characters(exclude_categories=[])))
def test_no_value_raises(value):
    for operator in (REDACT, Replace(text=""), Mask(keep_last=2), Hash(key=b"k")):
        replacement(operator, "T", value)


@given(st.text())
def test_mask_shows_at_most_half(value):
    masked = replacement(Mask(keep_last=4, mask="*"), "T", value)
    assert sum(char.isalnum() for char in masked) <= sum(char.isalnum() for char in value) / 2


def test_which_need_the_value():
    assert [needs_value(o) for o in (REDACT, Replace(text=""), Mask(keep_last=1), Hash(key=b""))] == [
        False,
        False,
        True,
        True,
    ]
