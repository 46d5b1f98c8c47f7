"""Answers as assistants give them: letters, lists of customers, code with settings, logs, JSON; in tokens.

Made from a seed; values are made at run time, and none stands in a file.
"""

from __future__ import annotations

import json
import random
import re
import string
from collections.abc import Callable

from bench_texts import planted_values

_OPENINGS = (
    "Of course. Here is what I found in the three documents that you sent me this morning.",
    "Thank you for your patience! I have looked at the order again, and most of it is as it should be.",
    "Short answer: yes, but only from version 2.4 on; before that the setting had another name.",
    "Let me think about this step by step, since two of the numbers do not add up at first sight.",
)
_SENTENCES = (
    "The delivery left our warehouse on the second day, about 40 minutes later than planned.",
    "Most of it (roughly 3 of 4 parts) was paid in advance; the rest follows at the end of the month.",
    "If it does not start, look at the log first: the reason is nearly always in its last ten lines.",
    "Nobody has to do anything by hand, because the nightly run picks it up at 02:30 and tells the team.",
    "That is 17.5 % more than last year - a fair result for a market that has hardly grown.",
    "Please don't forget that the meeting in room 12-204 was moved from Monday to Wednesday.",
    "Il s'agit d'une différence de 0,3 degré, ce qui n'est pas négligeable à cette échelle.",
    "Für den Übergang genügt die alte Fassung; danach gilt überall dieselbe Regel.",
    "The function returns a list of pairs, sorted by their second element, and never an empty one.",
    "As far as I can tell there are two ways: keep both copies in step, or give up one of them.",
)
_LEADS = ("You can reach them at", "It was paid with", "The value in the file is", "Please use", "I found")
_NAMES = ("Ann Miller", "Jörg Weiß", "Chloé Martin", "Ravi Patel", "Sofia Rossi", "Tom O'Neill")
_TOKEN = re.compile(r"\s?[^\W\d_]{1,7}|\s?\d{1,3}|\s+|[^\w\s]{1,2}|_|.", re.DOTALL)


def _some(chance: random.Random, count: int) -> list[str]:
    return chance.choices(_SENTENCES, k=count)


def _phone(chance: random.Random) -> str:
    return f"+49 30 {chance.randint(200_000, 999_999)}{chance.randint(10, 99)}"


def _letter(chance: random.Random) -> str:
    values = chance.sample(planted_values(chance), 2)
    leads = [f"{chance.choice(_LEADS)} {value}." for value in values]
    paragraphs = [
        _some(chance, 3),
        [*_some(chance, 1), leads[0], *_some(chance, 2)],
        [leads[1], *_some(chance, 2)],
    ]
    return "\n\n".join([chance.choice(_OPENINGS), *(" ".join(each) for each in paragraphs)])


def _customers(chance: random.Random) -> str:
    rows = ["| name | mail | phone | card |", "|---|---|---|---|"]
    for _ in range(6):
        values = planted_values(chance)
        rows.append(f"| {chance.choice(_NAMES)} | {values[0]} | {_phone(chance)} | {values[4]} |")
    return chance.choice(_OPENINGS) + "\n\n" + "\n".join(rows) + "\n"


def _code(chance: random.Random) -> str:
    values = planted_values(chance)
    lines = [
        "```python",
        "from pathlib import Path",
        "",
        f"ADMIN = {values[1]!r}",
        f"TOKEN = {chance.choice(values[8:])!r}",
        f"HOST = '10.{chance.randint(0, 255)}.{chance.randint(0, 255)}.{chance.randint(1, 254)}'",
        "",
        "def load(path: Path, limit: int = 1024) -> list[str]:",
        '    """The first lines of a file."""',
        "    return path.read_text().splitlines()[:limit]",
        "```",
    ]
    return "\n".join([chance.choice(_OPENINGS), *lines, *_some(chance, 2)])


def _logs(chance: random.Random) -> str:
    lines = []
    for at in range(12):
        who = chance.choice(planted_values(chance)[:4])
        host = ".".join(str(chance.randint(1, 254)) for _ in range(4))
        lines.append(
            f"2026-11-21T10:{at:02}:07.{chance.randint(0, 999):03}Z INFO login user={who} from {host} ok"
        )
    return "\n".join([chance.choice(_OPENINGS), *lines])


def _arguments(chance: random.Random) -> str:
    values = planted_values(chance)
    word = "".join(chance.choices(string.ascii_lowercase, k=8))
    document = {"to": values[2], "subject": word, "lines": _some(chance, 3), "card": values[5]}
    return json.dumps(document, indent=2, ensure_ascii=False)


def _settings(chance: random.Random) -> str:
    """With the values that are long: an identity provider's token and a private key."""
    word = string.ascii_letters + string.digits
    token = ".".join("eyJ" + "".join(chance.choices(word, k=count)) for count in (60, 540))
    lines = ["".join(chance.choices(word + "+/", k=64)) for _ in range(24)]
    kind = "RSA PRIV" + "ATE KEY"
    return "\n".join(
        [
            chance.choice(_OPENINGS),
            "```",
            f"issuer: https://login.example.org/{chance.randint(1, 99)}",
            f"cookie: session={token}." + "".join(chance.choices(word, k=86)),
            "key: |",
            f"-----BEGIN {kind}-----",
            *lines,
            f"-----END {kind}-----",
            "```",
            *_some(chance, 2),
        ]
    )


def _prose(chance: random.Random) -> str:
    return " ".join([chance.choice(_OPENINGS), *_some(chance, 8)])


KINDS: dict[str, Callable[[random.Random], str]] = {
    "prose without values": _prose,
    "a letter": _letter,
    "a table of customers": _customers,
    "code": _code,
    "a log": _logs,
    "tool arguments": _arguments,
    "settings": _settings,
}


def tokens(text: str) -> list[str]:
    """The text in pieces like a tokenizer's: part of a word with its blank, three digits, a sign."""
    return _TOKEN.findall(text)


def answers(seed: int, count: int) -> list[tuple[str, list[str]]]:
    """So many answers, each with its kind: its tokens."""
    chance = random.Random(f"{seed} answers")
    kinds = tuple(KINDS)
    return [(kinds[at % len(kinds)], tokens(KINDS[kinds[at % len(kinds)]](chance))) for at in range(count)]
