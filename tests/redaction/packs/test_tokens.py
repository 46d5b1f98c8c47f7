"""Keys without a mark of their own: the name that tells whose they are stays, if nothing can be in it."""

from __future__ import annotations

import itertools
import re

import pytest
import redaction_oracle as oracle
from hypothesis import given
from hypothesis import strategies as st
from redaction_texts import split

from extproc.redaction import pattern
from extproc.redaction.automaton import compile_rules
from extproc.redaction.engine import Plan, RuleScanner, redact
from extproc.redaction.operators import Hash, replacement
from extproc.redaction.packs import ALL_RULES, default_automaton
from extproc.redaction.packs._tokens import ANY, HEX, KNOWN, assigned, key
from extproc.redaction.pseudonyms import token_of
from extproc.redaction.rules import Rule
from extproc.redaction.watches import default_mask

AUTOMATON = default_automaton()
DEFAULTS = default_mask(AUTOMATON)
PLAN = Plan(AUTOMATON, mask=DEFAULTS)
BY_NAME = {rule.name: rule for rule in ALL_RULES}
PAIRS = [
    (BY_NAME[name.removesuffix("-other-name")], BY_NAME[name]) for name in BY_NAME if "-other-" in name
]
EACH_PAIR = pytest.mark.parametrize(("known", "other"), PAIRS, ids=[known.name for known, _ in PAIRS])


def bits(*rules):
    return sum(1 << AUTOMATON.rules.index(rule) for rule in rules)


def parted(rule):
    """An example's name up to the sign, and its value."""
    name, value = rule.matches[0].split(" = ")
    return name, value


def issuer(rule):
    """The words that tell whose the value is."""
    return rule.entity_type.split("_")[0].replace("AZURE", "AccountKey")


def released(chunks, plan=PLAN):
    scanner = RuleScanner.of(plan)
    return "".join([*(scanner.feed(one).released for one in chunks), scanner.feed("", eof=True).released])


def places(text, mask):
    return [(found.start, found.end) for found in redact(text, AUTOMATON, mask=mask).findings]


def test_there_is_a_pair_for_every_issuer_whose_keys_have_no_mark():
    assert len(PAIRS) == 9


def test_a_name_that_stays_is_one_of_those_that_would_go():
    """Else its match could begin where none did before, and hide what another rule finds."""
    assert pattern.chars_max(pattern.parse(KNOWN, ignore_case=True)) <= 20
    assert pattern.chars_max(pattern.parse(ANY, ignore_case=True)) == 20
    assert set(re.findall(r"[A-Za-z]+", KNOWN)) == {one.lower() for one in re.findall(r"[A-Za-z]+", KNOWN)}


@pytest.mark.parametrize("spelled", [str.lower, str.upper, str.title])
@pytest.mark.parametrize("sign", ["", "_", "-", " "], ids=repr)
def test_in_the_words_that_stay_no_rule_finds_anything(spelled, sign):
    words = sorted(set(re.findall("[a-z]{2,}", KNOWN)))
    names = itertools.chain(itertools.product(words, repeat=2), itertools.product(words[::5], repeat=3))
    text = "\n".join(spelled(sign.join(name)) for name in names)
    assert redact(text, AUTOMATON, mask=(1 << len(AUTOMATON.rules)) - 1).findings == ()


@EACH_PAIR
@pytest.mark.parametrize(
    "rest", ["", "_API_KEY", " client secret", "-prod-token", "-test-key", "OAuthSecret"]
)
@pytest.mark.parametrize("sign", ["=", ": ", " := ", "=>", '": "', ", '"])
def test_the_value_is_what_is_found(known, other, rest, sign):
    value = parted(known)[1]
    text = f"my_{issuer(known)}{rest}{sign}{value}"
    assert places(text, bits(known, other)) == [(len(text) - len(value), len(text))]


@EACH_PAIR
def test_a_value_is_the_same_whatever_known_words_name_it(known, other):
    operator = Hash(key=b"k")
    name, value = parted(known)
    names = [f"{name} = ", f"{issuer(known).lower()}: '", f'"{issuer(known).upper()}_token": "']
    text = "; ".join(before + value for before in names)
    plan = Plan(AUTOMATON, mask=bits(known, other), operators={known.entity_type: operator})
    hashed = replacement(operator, known.entity_type, value)
    for chunks in ([text], list(text), split(text, [7, 19, 20, 31])):
        assert released(chunks, plan) == "; ".join(before + hashed for before in names)
    tokens = {token_of(b"k", known.entity_type, text[start:end]) for start, end in places(text, plan.mask)}
    assert tokens == {token_of(b"k", known.entity_type, value)} != {None}


@pytest.mark.parametrize(
    ("before", "value", "entity_type"),
    [
        ("aws_secret_access_key = ", key(tail=40), "AWS_SECRET_KEY"),
        ('"SecretAccessKey": "', key(tail=40), "AWS_SECRET_KEY"),
        ("AWS_KEY:=", key(tail=40), "AWS_SECRET_KEY"),
        ("https://acme.blob.core.windows.net/a?se=2030-01-01&sig=", key(tail=44), "AZURE_SAS_TOKEN"),
        ("a?x=1&amp;sig=", key(tail=44), "AZURE_SAS_TOKEN"),
        ("Authorization: SSWS ", key("00", tail=40), "OKTA_TOKEN"),
        ("_gitlab_session=", HEX[:32], "GITLAB_SESSION"),
    ],
)
def test_what_stands_before_other_keys_stays_too(before, value, entity_type):
    operator = Hash(key=b"k")
    plan = Plan(AUTOMATON, mask=AUTOMATON.mask([entity_type]), operators={entity_type: operator})
    expected = before + replacement(operator, entity_type, value)
    text = before + value
    for at in range(len(text)):
        assert released(split(text, [at, at + 2]), plan) == expected


# What fits into a name that is assigned to, and what does not.
OTHERS = {
    "card": "4111 1111 1111 1111",
    "ssn": "219-09-9999",
    "address": "203.0.113.77",
    "phone": "450 0840",
    "access key": key("AKIA", tail=16, alphabet="Q3EGZLKJ2MNBVCXW"),
    "payment key": key("sk", "_live_", tail=10),
    "chat token": key("xo", "xb-", tail=12),
    "passport": "AB1234567",
    "mail": "bob.smith@example.com",
    "web token": ".".join((key("ey", "J", tail=30), key("ey", "J", tail=40), key(tail=43))),
    "bot token": key("123456789:", "AA", tail=40),
    "password": "hunter" + "2x",
}
BEFORE = {"phone": " tel ", "passport": " passport ", "password": " password="}


@EACH_PAIR
@pytest.mark.parametrize("named", OTHERS)
def test_no_other_value_within_a_name_stays(known, other, named):
    value = parted(known)[1]
    for before, behind, sign in itertools.product(("", "_token", ".api-key"), ("", "_token"), ("=", ': "')):
        text = f"{issuer(known)}{before}{BEFORE.get(named, '_')}{OTHERS[named]}{behind}{sign}{value}"
        assert OTHERS[named] not in released([text])
        mask = DEFAULTS & ~bits(known)
        assert {end for _, end in places(text, DEFAULTS)} == {end for _, end in places(text, mask)}


@pytest.mark.parametrize("named", OTHERS)
def test_no_other_value_within_a_name_stays_however_it_is_cut(named):
    text = f"x CLOUDFLARE{BEFORE.get(named, '_')}{OTHERS[named]} = {key(tail=40)} y"
    for at in range(1, len(text)):
        assert OTHERS[named] not in released(split(text, [at]))
    assert OTHERS[named] not in released(list(text))


OWN = Rule(name="own", entity_type="OWN", pack="own", body="EMP-[A-Z]{4}", matches=(), rejects=())
ACME = compile_rules(
    [*assigned("acme", "ACME", "acme", "[a-f0-9]{32,}", says="ACME_KEY", example=HEX[:32]), OWN]
)


@pytest.mark.parametrize(
    ("before", "left"),
    [
        ("acme_key=", "acme_key=[ACME]"),
        ("acme key of EMP-ABCD=", "[ACME]"),
        ("acme EMP-KEYS: ", "[ACME]"),
        ("acme key EMP-ABCD and more than fits: ", "acme key [OWN] and more than fits: " + HEX[:33]),
        ("EMP-ABCD acme\u200b key = ", "[OWN] acme\u200b key = [ACME]"),
        ("acme \U000e0045\U000e004d key = ", "[ACME]"),
    ],
)
@pytest.mark.parametrize("compiled", [True, False], ids=["kernel", "python"])
def test_what_an_operators_rule_finds_does_not_stay_in_a_name(before, left, compiled):
    plan = Plan(ACME, mask=7, compiled=compiled)
    text = before + HEX[:33]
    for at in range(len(text)):
        assert released(split(text, [at, at + 5]), plan) == left


# Names that are known, that are not, and what makes one the other.
NAMES = st.lists(
    st.sampled_from(
        ["", "_", " ", "-", "api", "KEY", "token", "client", "production", "account", "7", "Ann"]
    ),
    max_size=6,
).map("".join)
SIGNS = st.sampled_from(["=", ":", ": ", ":=", " := ", "=>", "==", ", ", '": "', " '", "", ":= ="])
VALUES = st.text("abcdef0123456789-=/", min_size=28, max_size=50) | st.sampled_from(
    [key(tail=44), HEX[:40]]
)


@st.composite
def assignments(draw):
    """A pair of rules, and a text that may be of them, cut somewhere."""
    known, other = draw(st.sampled_from(PAIRS))
    value = draw(VALUES | st.just(parted(known)[1]))
    text = f"x_{issuer(known)}{draw(NAMES)}{draw(SIGNS)}{value}"
    return known, other, text, draw(st.lists(st.integers(0, 90)))


@given(assignments())
def test_names_that_stay_lose_nothing_of_what_is_found(assignment):
    """The same matches as with the rule that takes all names; of each the value at least."""
    known, other, text, cuts = assignment
    whole, found = places(text, bits(other)), places(text, bits(known, other))
    assert [end for _, end in found] == [end for _, end in whole]
    for (begun, _), (start, _end) in zip(whole, found, strict=True):
        named = rf"[a-z]+(?:_[a-z]+)*{KNOWN}[\"'`]?[ \t]*(?::=|=>|[:=,])[ \t]*[\"'`]?"
        assert start == begun or re.fullmatch(named, text[begun:start], re.IGNORECASE)
    plan = Plan(AUTOMATON, mask=bits(known, other))
    assert released(split(text, cuts), plan) == released([text], plan)


@pytest.mark.parametrize("text", ["acme_key=", "acme 7: ", "acme_test_token_id := ", "acme_production "])
def test_as_the_rules_say_without_an_engine(text):
    text += HEX[:34] + "."
    expected = [(found.start, found.end) for found in oracle.find(text, list(ACME.rules))]
    assert expected == [(found.start, found.end) for found in redact(text, ACME, mask=7).findings]
