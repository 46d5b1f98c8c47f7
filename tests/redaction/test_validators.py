from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.redaction import validators as v


@pytest.mark.parametrize(
    ("check", "value", "expected"),
    [
        (v.luhn, "79927398713", True),
        (v.luhn, "79927398710", False),
        (v.card, "4111-1111-1111-1111", True),
        (v.card, "4111-1111 1111-1111", False),
        (v.card, "9111111111111111", False),
        (v.card, "0000000000000000", False),
        (v.iban, "GB82WEST12345698765432", True),
        (v.iban, "GB82WEST1234569876543", False),
        (v.ssn, "219-09-9999", True),
        (v.ssn, "900-12-3456", False),
        (v.ssn, "219-09 9999", False),
        (v.nhs, "943 476 5919", True),
        (v.nhs, "943 476 5918", False),
        (v.nhs, "000 000 0000", False),
        (v.ipv4, "1.2.3.4/33", False),
        (v.ipv4, "1.2.3.256", False),
        (v.ipv6, "2001:db8::/129", False),
        (v.ipv6, "fe80::1%eth0/64", True),
        (v.ipv6, "dead::beef", False),
        (v.mac, "00:00:00:00:00:00", False),
        (v.mac, "00:1A:2B-3C:4D:5E", False),
        (v.phone, "+1 555", False),
        (v.phone, "0000000", False),
        (v.bitcoin, "bc1p5d7rjq7g6rdk2yhzks9smlaqtedr4dekq08ge8ztwac72sfr9rusxg3297", True),
        (v.bitcoin, "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", True),
        (v.bitcoin, "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLz", False),
        (v.bitcoin, "z" * 35, False),
    ],
)
def test_values(check, value, expected):
    assert expected == check(value)


@given(st.text(alphabet="0123456789", min_size=12, max_size=18), st.integers(0, 17), st.integers(1, 9))
def test_luhn_sees_every_single_wrong_digit(digits, place, change):
    check = next(d for d in "0123456789" if v.luhn(digits + d))
    number = digits + check
    at = place % len(number)
    wrong = number[:at] + str((int(number[at]) + change) % 10) + number[at + 1 :]
    assert not v.luhn(wrong)


def test_registry_names_are_unique_and_found():
    assert [v.name_of(check) for check in v.VALIDATORS.values()] == list(v.VALIDATORS)
    assert v.name_of(str.isdigit) is None
