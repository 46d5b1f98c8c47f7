from __future__ import annotations

import ipaddress
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.redaction.automaton import compile_rules
from extproc.redaction.engine import redact
from extproc.redaction.packs import ALL_RULES, default_automaton
from extproc.redaction.validators import VALIDATORS, digits, generic, luhn, name_of

AUTOMATON = default_automaton()
IPV6 = [rule for rule in ALL_RULES if rule.name in {"ipv6", "ipv6-short"}]

# Published examples of the issuers, of their registers' documentation and of standards; none is a person's.
VALUES = [
    ("luhn", "79927398713", True),
    ("luhn", "79927398710", False),
    ("card", "4111-1111-1111-1111", True),
    ("card", "4111-1111 1111-1111", False),
    ("card", "9111111111111111", False),
    ("card", "0000000000000000", False),
    ("card_beside", "card number: 4111 1111 1111 1111", True),
    ("iban", "GB82WEST12345698765432", True),
    ("iban", "GB82WEST1234569876543", False),
    ("ssn", "219-09-9999", True),
    ("ssn", "219-09 9999", False),
    ("ssn", "078-05-1120", False),
    ("ssn", "666-12-3456", False),
    ("ssn_run", "ssn: 219099999", True),
    ("ssn_run", "ssn: 000099999", False),
    ("nhs", "943 476 5919", True),
    ("nhs", "943 476 5918", False),
    ("nhs", "000 000 0000", False),
    ("ipv4", "1.2.3.4/33", False),
    ("ipv4", "1.2.3.256", False),
    ("ipv6", "2001:db8::/129", False),
    ("ipv6", "fe80::1%eth0/64", True),
    ("ipv6", "dead::beef", False),
    ("ipv6_ended", "fe80::a:", True),
    ("ipv6_ended", "fe80::1", False),
    ("ipv6_ended", "fe80::1/64", True),
    ("ipv6_ended", "::ffff:192.168.1.1", True),
    ("ipv6_ended", "host:fe80::1234", True),
    ("ipv6_ended", "host:", False),
    ("ipv6_open", "fe80::1...", True),
    ("ipv6_open", "fe80::a.", False),
    ("ipv6_open", "addr:fe80::1:", True),
    ("ipv6_open", "facade:fe80::1", True),
    ("ipv6_open", "1.2.3.4:fe80::1", False),
    ("mac", "00:00:00:00:00:00", False),
    ("mac", "00:1A:2B-3C:4D:5E", False),
    ("phone", "+1 555", False),
    ("phone", "0000000", False),
    ("national_phone", "020 7946 0958", True),
    ("national_phone", "01.02.2003", False),
    ("bitcoin", "bc1p5d7rjq7g6rdk2yhzks9smlaqtedr4dekq08ge8ztwac72sfr9rusxg3297", True),
    ("bitcoin", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", True),
    ("bitcoin", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLz", False),
    ("bitcoin", "z" * 35, False),
    ("vin", "1M8GDM9AXKP042788", True),
    ("vin", "11111111111111111", False),
    ("imei", "490154203237518", True),
    ("aba", "121000358", True),
    ("aba", "500000005", False),
    ("npi", "1234567893", True),
    ("npi", "1111111112", False),
    ("dea", "BB1388568", True),
    ("sin", "130 692 544", True),
    ("sin", "812 345 678", False),
    ("cpf", "111.444.777-35", True),
    ("cpf", "111.111.111-11", False),
    ("cnpj", "11.222.333/0001-81", True),
    ("curp", "HEGG560427MVZRRL04", True),
    ("rfc", "GODE561231GR8", True),
    ("rut", "30.686.957-4", True),
    ("cuit", "20-05536168-2", True),
    ("abn", "51 824 753 556", True),
    ("abn", "00000000560", False),
    ("acn", "005 499 981", True),
    ("tfn", "876 543 210", True),
    ("medicare", "2123 45670 1", True),
    ("aadhaar", "399876543211", True),
    ("aadhaar", "399876543212", False),
    ("nric", "S2740116C", True),
    ("nric", "M4332674T", True),
    ("nric", "F2346401L", True),
    ("nric", "A1234567Z", False),
    ("uen", "53125226D", True),
    ("uen", "201434292D", True),
    ("uen", "S57TU0392K", True),
    ("rrn", "960231-1234567", False),
    ("brn", "104-86-56659", True),
    ("my_number", "123456789018", True),
    ("china_id", "11010519491231002X", True),
    ("thai_id", "1234567890121", True),
    ("ph_tin", "000-123-456-000", True),
    ("taiwan_id", "A123456789", True),
    ("hong_kong_id", "A123456(3)", True),
    ("mykad", "900101-00-5678", False),
    ("israel_id", "516179157", True),
    ("za_id", "8001015009087", True),
    ("za_id", "9902294321191", False),
    ("nif", "12345678Z", True),
    ("nif", "12345678A", False),
    ("nie", "X9613851N", True),
    ("it_vat", "01333550323", True),
    ("it_vat", "00000000000", False),
    ("pesel", "44051401458", True),
    ("pesel", "11110021111", False),
    ("nip", "8567346215", True),
    ("hetu", "131052-308T", True),
    ("hetu", "290200+311B", False),
    ("de_tax_id", "86095742719", True),
    ("de_tax_id", "11111111111", False),
    ("de_pension", "15070649C103", True),
    ("de_health", "A123456780", True),
    ("icao", "L01X00T44", True),
    ("icao", "T22000129", True),
    ("lanr", "123456601", True),
    ("nir", "255081416802538", True),
    ("nir", "1 85 05 2A 006 084 87", False),
    ("bsn", "111222333", True),
    ("be_national", "85.07.30-033.28", True),
    ("personnummer", "811228-9874", True),
    ("personnummer", "701063-2391", True),
    ("personnummer", "19001309-2393", False),
    ("organisationsnummer", "556703-7485", True),
    ("fodselsnummer", "01010750160", True),
    ("cpr", "211062-5629", True),
    ("pt_nif", "501964843", True),
    ("pps", "1234567FA", True),
    ("pps", "6433435F", True),
    ("ahv", "756.9217.0769.85", True),
    ("at_svnr", "1237010180", True),
    ("tckn", "10000000146", True),
    ("tckn", "02531814694", False),
    ("birth_number", "710319/2745", True),
    ("cnp", "1630615123457", True),
    ("oib", "33392005961", True),
    ("egn", "7523169263", True),
    ("afm", "094259216", True),
    ("random_value", "key = correct-horse-battery-staple", False),
    ("random_value", "key = 1234567890123456", False),
    ("random_value", "key = a8F3k2Lm9XpQ7rT5d7", True),
    ("basic_credentials", "basic necessities", False),
]


@pytest.mark.parametrize(("name", "value", "expected"), VALUES, ids=[f"{n}-{v}" for n, v, _ in VALUES])
def test_values(name, value, expected):
    assert expected == VALIDATORS[name](value)


# These look at a day, at groups or at entropy, or take only what their rule's body matches.
WITHOUT_CHECK_DIGIT = {"ssn", "ssn_run", "national_phone", "rfc", "cpr", "random_value"} | {
    "icao",
    "hong_kong_id",
    "bitcoin",
    "ipv6",
    "ipv6_ended",
    "ipv6_open",
}


@pytest.mark.parametrize(
    ("name", "value"), [(n, v) for n, v, holds in VALUES if holds and n not in WITHOUT_CHECK_DIGIT]
)
def test_a_check_sees_most_wrong_digits(name, value):
    """One digit in ten or so may pass by chance."""
    places = [at for at, char in enumerate(value) if char.isdigit()]
    changed = [
        value[:at] + str((int(value[at]) + change) % 10) + value[at + 1 :]
        for at in places
        for change in range(1, 10)
    ]
    passed = sum(VALIDATORS[name](text) for text in changed)
    assert passed <= len(changed) * 0.35


@given(st.text(alphabet="0123456789", min_size=12, max_size=18), st.integers(0, 17), st.integers(1, 9))
def test_luhn_sees_every_single_wrong_digit(number, place, change):
    check = next(d for d in "0123456789" if luhn(number + d))
    number += check
    at = place % len(number)
    wrong = number[:at] + str((int(number[at]) + change) % 10) + number[at + 1 :]
    assert not luhn(wrong)


@given(st.text(alphabet="0123456789", min_size=11, max_size=11), st.integers(0, 11), st.integers(1, 9))
def test_verhoeff_sees_every_single_wrong_digit_and_every_swap(number, at, change):
    number += next(d for d in "0123456789" if digits.verhoeff(number + d))
    assert not digits.verhoeff(number[:at] + str((int(number[at]) + change) % 10) + number[at + 1 :])
    swapped = number[:at] + number[at : at + 2][::-1] + number[at + 2 :]
    assert swapped == number or not digits.verhoeff(swapped)


@pytest.mark.parametrize("rule", [rule for rule in ALL_RULES if rule.validator], ids=lambda rule: rule.name)
def test_a_validator_takes_whatever_its_body_matches(rule):
    """Every example with its digits and letters exchanged: true or false, and nothing raised."""
    loose = compile_rules([replace(rule, name="loose", validator=None, needs="")])
    for text in (*rule.matches, *rule.rejects):
        for old, new in ("19", "90", "02", "58", "AB", "ZX", "Kk"):
            for finding in redact(text.replace(old, new), loose, mask=1).findings:
                value = text.replace(old, new)[finding.start : finding.end]
                assert rule.validator(value) in {True, False}


def test_registry_names_are_unique_and_found():
    assert [name_of(check) for check in VALIDATORS.values()] == list(VALIDATORS)
    assert name_of(str.isdigit) is None


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
    expected = (
        standard and any(char in "0123456789" for char in f"{groups}{suffix}") and int(prefix or 0) <= 128
    )
    assert expected == generic.ipv6(f"{groups}{suffix}")


@given(st.integers(0, 2**128 - 1), st.sampled_from(["compressed", "exploded"]))
def test_every_address_with_a_digit_is_found(number, form):
    text = getattr(ipaddress.IPv6Address(number), form)
    found = redact(f"see {text}, yes", AUTOMATON, mask=AUTOMATON.mask(["IP_ADDRESS"])).released
    known = generic.ipv6(text) or text == "::"
    assert found == ("see [IP_ADDRESS], yes" if known else f"see {text}, yes")


@given(
    st.integers(1, 2**128 - 1), st.sampled_from(["to {}.", "to {}...", "to {}: x", "addr:{} x", "[{}]:80"])
)
def test_an_address_is_found_whatever_may_stand_beside_it(number, sentence):
    address = ipaddress.IPv6Address(number).compressed
    found = redact(sentence.format(address), AUTOMATON, mask=AUTOMATON.mask(["IP_ADDRESS"])).released
    assert generic.ipv6(address) == ("[IP_ADDRESS]" in found)


BESIDE = ["", "x:", "add:", "node_:", "a1:", "12345:", "::"]
AFTER = ["", ".", "...", ":", "::", ".5", ":x", "%z/8:"]


@pytest.mark.parametrize("rule", IPV6, ids=lambda rule: rule.name)
@given(addresses, st.sampled_from(BESIDE), st.sampled_from(AFTER))
def test_what_is_found_is_the_longest_address_anywhere(rule, groups, before, after):
    """The body's shape must not lose what a looser one with the same validator finds."""
    text = before + groups + after
    body = r"(?:[A-Za-z_]{1,24}:)?[0-9A-Fa-f:](?:[0-9A-Fa-f:.]){1,48}(?:%z)?(?:/8)?:{0,3}"
    loose = replace(rule, name="loose", body=body, needs="")
    old, new = compile_rules([loose]), compile_rules([replace(rule, name="own")])
    spans = [
        [(f.start, f.end) for f in redact(text, automaton, mask=1).findings] for automaton in (old, new)
    ]
    assert spans[0] == spans[1]


@given(st.text("0123456789 -", max_size=24))
def test_luhn_is_the_sum_of_digits_with_every_second_doubled(value):
    digit_values = [int(char) for char in value if char.isdigit()][::-1]
    doubled = [sum(divmod(2 * digit, 10)) for digit in digit_values[1::2]]
    assert luhn(value) == ((sum(digit_values[::2]) + sum(doubled)) % 10 == 0)
