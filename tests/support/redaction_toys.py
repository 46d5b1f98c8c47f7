"""Small random rules over small alphabets: what is rare among the shipped rules is common among these."""

from __future__ import annotations

import random

from extproc.redaction import validators
from extproc.redaction.rules import Boundary, Rule, RuleError
from extproc.redaction.shape import shape

ALPHABET = "aab-11_ é2"
CHECKED_ALPHABET = "00111888 --..a"
_NAMED_SHARE, _ENDLESS_SHARE = 0.4, 0.3
_ENDLESS = ["[ab]+", "a*", "[^-]+"]
_ATOMS = ["a", "b", "1", "-", "[ab]", r"\d", "[^a]", "[b1-]", "a", "1"]


def toy_body(chance: random.Random, depth: int = 0) -> str:
    """A regular body of a few characters, runs and choices."""
    atom = chance.choice(_ATOMS)
    if depth > 2 or chance.random() < 0.4:
        return atom
    inner = [toy_body(chance, depth + 1) for _ in range(chance.randint(2, 3))]
    match chance.randint(0, 3):
        case 0:
            return f"(?:{'|'.join(inner)})"
        case 1:
            return f"(?:{inner[0]}){chance.choice(['?', '+', '{1,3}', '{2}'])}{inner[1]}"
        case 2:
            return inner[0] + f"{atom}{{1,3}}" + inner[1]
        case _:
            return "".join(inner)


def checked_rules(chance: random.Random) -> tuple[Rule, ...]:
    """Digits with a check digit, of several lengths at one start, with a rival that asks nobody."""
    low, boundaries = chance.randint(2, 3), [Boundary.NONE, Boundary.NOT_DIGIT, Boundary.WORD]
    bodies = [rf"\d{{{low},{low + chance.randint(1, 4)}}}", r"\d{2}[ -]?\d{1,3}", r"\d\d", r"\d\d-\d"]
    bodies += [r"\d\da", r"\d\d-\d\.a"]
    return tuple(
        Rule(
            name=f"r{number}",
            entity_type=f"R{number}",
            pack="t",
            body=body,
            left=chance.choice(boundaries),
            right=chance.choice(boundaries),
            validator=chance.choice([validators.luhn, validators.luhn, None])
            if number
            else validators.luhn,
        )
        for number, body in enumerate(chance.sample(bodies, chance.randint(1, 4)))
    )


def _naming(chance: random.Random) -> str:
    """Now and then a naming part."""
    return toy_body(chance, 2) if chance.random() < _NAMED_SHARE else ""


def _toy_rule(chance: random.Random, number: int) -> Rule:
    is_endless = chance.random() < _ENDLESS_SHARE
    return Rule(
        name=f"r{number}",
        entity_type=f"R{number}",
        pack="t",
        body=toy_body(chance) + (chance.choice(_ENDLESS) if is_endless else ""),
        naming=_naming(chance),
        left=chance.choice(list(Boundary)),
        right=Boundary.NONE if is_endless else chance.choice(list(Boundary)),
        validator=None if is_endless else chance.choice([None, None, None, validators.luhn]),
    )


def toy_rules(chance: random.Random) -> tuple[Rule, ...]:
    """One to three rules; none where one of them cannot be compiled."""
    rules = tuple(_toy_rule(chance, number) for number in range(chance.randint(1, 3)))
    try:
        for rule in rules:
            shape(rule)
    except RuleError:
        return ()
    return rules
