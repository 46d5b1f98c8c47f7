"""Texts that are hard to scan, and ways to cut them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

from extproc.redaction.packs import pii, pii_phones, secrets

BESIDE = [
    "",
    " ",
    "\n",
    ".",
    "-",
    "_",
    "@",
    "1",
    "9",
    "a",
    "Z",
    ":",
    "/",
    "=",
    '"',
    "+",
    "é",
    "漢",
    "\U0001d7d8",
    "😀",
]
WORDS = ["the", "a.b", "to", "1", "22", "password", "Bearer", "sk-", "gh", "http://", "::", "--", "007"]
# Of the rules of no country and no issuer: they differ most in shape, and hundreds more of a kind would
# be drawn instead of them. Each pack's own examples are its tests'.
VARIED = (*pii.RULES, *pii_phones.RULES, *secrets.RULES)
EXAMPLES = [text for rule in VARIED for text in (*rule.matches, *rule.rejects) if text]


@st.composite
def values(draw: st.DrawFn) -> str:
    """An example of some rule: whole, cut, or with one character changed, dropped or doubled."""
    text = draw(st.sampled_from(EXAMPLES))
    at = draw(st.integers(0, len(text) - 1))
    match draw(st.sampled_from(["whole", "whole", "head", "tail", "swap", "drop", "double"])):
        case "head":
            return text[:at]
        case "tail":
            return text[at:]
        case "swap":
            return text[:at] + draw(st.sampled_from(BESIDE)) + text[at + 1 :]
        case "drop":
            return text[:at] + text[at + 1 :]
        case "double":
            return text[:at] + text[at] + text[at:]
        case _:
            return text


documents = st.lists(
    st.one_of(values(), values(), st.sampled_from(BESIDE), st.sampled_from(WORDS)), max_size=7
).map("".join)


def split(text: str, cuts: list[int]) -> list[str]:
    """The text cut at the given places, in order; places beyond its end are ignored."""
    places = [0, *sorted(cut for cut in cuts if cut <= len(text)), len(text)]
    return [text[low:high] for low, high in pairwise(places)]


@st.composite
def chunked(draw: st.DrawFn, texts: st.SearchStrategy[str] = documents) -> tuple[str, list[str]]:
    """A text with a way to cut it: anywhere, into single characters, or over a dozen places."""
    text = draw(texts)
    if draw(st.booleans()):
        return text, list(text)
    cuts = draw(st.lists(st.integers(0, len(text)), max_size=16))
    return text, split(text, cuts)
