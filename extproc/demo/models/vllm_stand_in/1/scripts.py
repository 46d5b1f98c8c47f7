"""What the stand-in says: a prompt chooses a script, a script is a list of tokens.

Everything personal in here is made up. Values in the form of a real key are put together when they are
needed, so that no file holds one.
"""

# ruff: noqa: INP001 - a version folder of a model repository is no package.
from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

FAREWELL = "The quick brown fox jumps over the lazy dog and keeps on running through the green valley."
EMOJI = "Grüße aus Zürich 🏔️ — naïve café, 東京 🗼, 𐐷𐑊 and 👩‍👩‍👧‍👦 all arrive whole 😀."

_WORDS = ("once", "upon", "a", "time", "there", "was", "river", "that", "sang", "softly")
_STORY = re.compile(r"\bstory of (\d+) words?\b")
_PACE = re.compile(r"\bevery (\d+) ms\b")
_RECITE = re.compile(r"\brecite ([a-z0-9_-]+)\b")
# Words as a language model cuts them: pieces of up to five characters, a space in front of its word.
_TOKEN = re.compile(r"\s*\S{1,5}|\s+")


@dataclass(frozen=True, slots=True)
class Script:
    """What to say, and how.

    ``fails_after`` is how many tokens come before the model breaks; ``pace_ms`` is None where the prompt
    does not ask for one; ``silent`` says nothing at all until the request is cancelled.
    """

    tokens: tuple[str, ...]
    fails_after: int | None = None
    pace_ms: int | None = None
    silent: bool = False


def choose(prompt: str, recitals: Path | None = None) -> Script:
    """The script for a prompt.

    - ``echo: TEXT`` says TEXT.
    - ``story of N words`` says N words, one token each.
    - ``contact card`` says a made-up person's particulars and credentials.
    - ``emoji`` says text from all planes of Unicode.
    - ``recite NAME`` says the list of tokens in NAME.json of the folder ``recitals``.
    - ``boom`` breaks after two tokens; ``silence`` never says anything.
    - ``every N ms``, beside any of these, sets the pause before each token.

    Anything else gets one quiet sentence.
    """
    pace = _PACE.search(prompt)
    pace_ms = int(pace[1]) if pace else None
    if "boom" in prompt:
        return Script(tokens_of(FAREWELL), fails_after=2, pace_ms=pace_ms)
    if "silence" in prompt:
        return Script((), silent=True)
    return Script(_tokens_for(prompt, recitals), pace_ms=pace_ms)


def _tokens_for(prompt: str, recitals: Path | None) -> tuple[str, ...]:
    _, echo, echoed = prompt.partition("echo: ")
    if echo:
        return tokens_of(echoed)
    if story := _STORY.search(prompt):
        return story_tokens(int(story[1]))
    if (recital := _RECITE.search(prompt)) and recitals is not None:
        return tuple(json.loads((recitals / f"{recital[1]}.json").read_text(encoding="utf-8")))
    if "contact card" in prompt:
        return tokens_of(contact_card())
    return tuple(EMOJI) if "emoji" in prompt else tokens_of(FAREWELL)


def tokens_of(text: str) -> tuple[str, ...]:
    """A text in pieces that join to it again."""
    return tuple(_TOKEN.findall(text))


def story_tokens(count: int) -> tuple[str, ...]:
    """So many words, one per token."""
    return tuple(("" if index == 0 else " ") + _WORDS[index % len(_WORDS)] for index in range(count))


def contact_card() -> str:
    """Personal data and credentials of nobody: valid in form, wrong in fact."""
    person = made_up_person()
    return (
        f"Here is the contact card. Name: Jane Roe. Mail: {person['mail']}. Phone: {person['phone']}. "
        f"Card: {person['card']}. IBAN: {person['iban']}. SSN: {person['ssn']}. "
        f"Her deploy key is {person['key']} and her token is {person['token']}. Anything else?"
    )


def made_up_person() -> dict[str, str]:
    """The values that must never get through, by name."""
    return {
        "mail": "jane.roe@example.com",
        "phone": "+1 212 555 0142",
        # The test number that every card network's sandbox knows.
        "card": "4111 1111 1111 1111",
        # The example IBAN of the standard's own registry.
        "iban": "DE89 3704 0044 0532 0130 00",
        "ssn": "219-09-9999",
        "key": "AKIA" + "Q3EGRXKVTSBNZ2PL",
        "token": "ghp_" + "T3IoU5eAp1GhM6fRv0KdX4cNb7YtZ2qLs8Jw",
    }
