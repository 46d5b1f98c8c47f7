from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.redaction import validators as v
from extproc.redaction.automaton import compile_rules
from extproc.redaction.engine import redact
from extproc.redaction.packs import ALL_RULES, default_automaton

AUTOMATON = default_automaton()
IPV6 = next(rule for rule in ALL_RULES if rule.name == "ipv6")


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


hextets = st.text("0123456789abcdefABCDEF", min_size=1, max_size=4)
addresses = st.lists(
    st.one_of(hextets, st.sampled_from(["", "", "1.2.3.4", "a", "1"])), min_size=1, max_size=10
).map(":".join)


@given(addresses, st.sampled_from(["", "%eth0", "/64", "/129", "%z/8"]))
def test_ipv6_is_what_the_standard_library_takes_with_a_digit_in_it(groups, suffix):
    address, _, prefix = f"{groups}{suffix}".partition("/")
    try:
        ipaddress.IPv6Address(address)
        standard = True
    except ValueError:
        standard = False
    expected = standard and any(char in "0123456789" for char in address) and int(prefix or 0) <= 128
    assert expected == v.ipv6(f"{groups}{suffix}")


@given(st.integers(0, 2**128 - 1), st.sampled_from(["compressed", "exploded"]))
def test_every_address_with_a_digit_is_found(number, form):
    text = getattr(ipaddress.IPv6Address(number), form)
    found = redact(f"see {text}, yes", AUTOMATON, mask=AUTOMATON.mask(["IP_ADDRESS"])).released
    assert found == ("see [IP_ADDRESS], yes" if v.ipv6(text) else f"see {text}, yes")


@given(addresses)
def test_what_is_found_is_the_longest_address_anywhere(text):
    """The body's shape must not lose what a looser one with the same validator finds."""
    loose = replace(IPV6, name="loose", body=r"[0-9A-Fa-f:](?:[0-9A-Fa-f:.]){1,44}", needs="")
    old, new = compile_rules([loose]), compile_rules([replace(IPV6, name="own")])
    spans = [
        [(f.start, f.end) for f in redact(text, automaton, mask=1).findings] for automaton in (old, new)
    ]
    assert spans[0] == spans[1]


@given(st.text("0123456789 -", max_size=24))
def test_luhn_is_the_sum_of_digits_with_every_second_doubled(value):
    digits = [int(char) for char in value if char.isdigit()][::-1]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]
    assert v.luhn(value) == ((sum(digits[::2]) + sum(doubled)) % 10 == 0)
