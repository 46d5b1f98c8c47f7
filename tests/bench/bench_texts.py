"""What the benchmark's upstream says: prose in events, and values planted in it.

Everything follows from a seed, so that the upstream and the load client know the same without talking.
Values are made at run time: none stands in a file.
"""

from __future__ import annotations

import base64
import json
import random
import string
from dataclasses import dataclass, field
from functools import cache

EVENTS = 100
MODEL = "llm"
PLANTED_EACH = 4
# How values are planted, by the name of the script.
OPENAI_PLANTS = ("whole", "split", "tools", "reasoning")
TRITON_PLANTS = ("whole", "split")
_TEXT = (
    "the model streams its answer in small pieces and every piece should reach the reader soon after it "
    "was made because people read along while a long text grows on their screen and even half a second in "
    "the middle of a sentence is something that they notice"
)
_WORDS = _TEXT.split()
_ID = "chatcmpl-0123456789abcdef0123456789abcdef"
_PIECE_CHARS = (8, 16)
# A piece of a planted value that counts as a leak in part.
_PART_CHARS = 8


@dataclass(frozen=True)
class Script:
    """One answer: its SSE events, and their texts, empty for events without."""

    events: tuple[bytes, ...] = field(repr=False)
    pieces: tuple[str, ...] = field(repr=False)
    planted: tuple[str, ...] = field(repr=False)

    @property
    def text(self) -> str:
        return "".join(self.pieces)


# --- values ----------------------------------------------------------------------------------


def _letters(chance: random.Random, alphabet: str, count: int) -> str:
    return "".join(chance.choices(alphabet, k=count))


def _mail(chance: random.Random) -> str:
    name, host = (_letters(chance, string.ascii_lowercase, count) for count in (9, 8))
    return f"{name}@{host}.example.org"


def _card(chance: random.Random) -> str:
    digits = [4, *(chance.randint(0, 9) for _ in range(14))]
    doubled = [digit * 2 - 9 * (digit > 4) if at % 2 == 0 else digit for at, digit in enumerate(digits)]
    number = "".join(map(str, [*digits, -sum(doubled) % 10]))
    return " ".join(number[at : at + 4] for at in range(0, 16, 4))


def _token(chance: random.Random, kind: int) -> str:
    word = string.ascii_letters + string.digits
    match kind:
        case 0:
            return "AK" + "IA" + _letters(chance, string.ascii_uppercase + string.digits, 16)
        case 1:
            return "github" + "_pat_" + _letters(chance, word, 22) + "_" + _letters(chance, word, 59)
        case 2:
            return "gh" + "p_" + _letters(chance, word, 36)
        case _:
            return ".".join(
                _segment(part) for part in ({"alg": "HS256"}, {"sub": _letters(chance, word, 24)})
            ) + ("." + _letters(chance, word, 43))


def _segment(part: dict[str, str]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")


def planted_values(chance: random.Random) -> tuple[str, ...]:
    """Twelve: mail addresses, cards, access tokens."""
    kinds = range(PLANTED_EACH)
    return (
        *(_mail(chance) for _ in kinds),
        *(_card(chance) for _ in kinds),
        *(_token(chance, kind) for kind in kinds),
    )


def leaks(script: Script, seen: str) -> tuple[int, int]:
    """How many planted values are to be seen: whole, and in part only."""
    whole = sum(value in seen for value in script.planted)
    part = sum(value not in seen and _shows_part(seen, value) for value in script.planted)
    return whole, part


def _shows_part(seen: str, value: str) -> bool:
    return any(value[at : at + _PART_CHARS] in seen for at in range(len(value) - _PART_CHARS + 1))


# --- pieces ----------------------------------------------------------------------------------


def _prose(chance: random.Random, count: int) -> list[str]:
    """Pieces of about twelve characters, cut as tokens are: anywhere."""
    text = " ".join(chance.choice(_WORDS) for _ in range(count * 4))
    pieces, at = [], 0
    for _ in range(count):
        length = chance.randint(*_PIECE_CHARS)
        pieces.append(text[at : at + length])
        at += length
    return pieces


def _cut(value: str, chance: random.Random) -> list[str]:
    pieces = []
    while value:
        length = chance.randint(3, 9)
        pieces.append(value[:length])
        value = value[length:]
    return pieces


def _with_planted(chance: random.Random, values: tuple[str, ...], *, split: bool) -> list[str]:
    pieces = []
    for value in chance.sample(values, len(values)):
        pieces += [*_prose(chance, 3), " "]
        pieces += _cut(value, chance) if split else [f"it is {value}, so"]
        pieces += [" and "]
    return pieces


# --- events ----------------------------------------------------------------------------------


def _event(document: object) -> bytes:
    return b"data: " + json.dumps(document, separators=(",", ":")).encode() + b"\n\n"


def _chat(delta: dict[str, object], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return _event(
        {
            "id": _ID,
            "object": "chat.completion.chunk",
            "created": 1795261275,
            "model": MODEL,
            "choices": [choice],
        }
    )


def _chat_script(pieces: list[str], *, place: str, planted: tuple[str, ...]) -> Script:
    first: dict[str, object] = {"role": "assistant", "content": ""}
    if place == "tools":
        function = {"name": "take_note", "arguments": ""}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        first = {"role": "assistant", "tool_calls": [call]}
        deltas: list[dict[str, object]] = [
            {"tool_calls": [{"index": 0, "function": {"arguments": piece}}]} for piece in pieces
        ]
    else:
        name = "reasoning_content" if place == "reasoning" else "content"
        deltas = [{name: piece} for piece in pieces]
    finish = "tool_calls" if place == "tools" else "stop"
    events = (_chat(first), *(_chat(delta) for delta in deltas), _chat({}, finish), b"data: [DONE]\n\n")
    return Script(events, ("", *pieces, "", ""), planted)


def _triton_script(pieces: list[str], planted: tuple[str, ...]) -> Script:
    events = [_event({"model_name": MODEL, "model_version": "1", "text_output": piece}) for piece in pieces]
    return Script(tuple(events), tuple(pieces), planted)


@cache
def script(wire: str, name: str, seed: int) -> Script:
    """The answer of a wire (``openai`` or ``triton``): ``prose``, or one of the planted ones."""
    chance = random.Random(f"{seed} {name}")
    if name == "prose":
        pieces, planted = _prose(chance, EVENTS), ()
    else:
        planted = planted_values(chance)
        pieces = _with_planted(chance, planted, split=name != "whole")
    if name == "tools":
        # Arguments are JSON themselves, in a string.
        text = json.dumps({"note": "".join(pieces)})
        pieces = [
            piece for start in range(0, len(text), 60) for piece in _cut(text[start : start + 60], chance)
        ]
    if wire == "triton":
        return _triton_script(pieces, planted)
    return _chat_script(pieces, place=name, planted=planted)


# --- what a client asks, and reads -----------------------------------------------------------

_TOOL = {
    "type": "function",
    "function": {
        "name": "take_note",
        "parameters": {"type": "object", "properties": {"note": {"type": "string"}}},
    },
}


def question(wire: str, name: str, pace: str, number: int) -> tuple[str, bytes]:
    """Path and body of a request; the upstream reads script, pace and number out of the prompt."""
    prompt = f"Please tell me about garden number {number} with {name} and {pace} please."
    if wire == "triton":
        parameters = {"max_tokens": 256}
        body: dict[str, object] = {"text_input": prompt, "stream": True, "parameters": parameters}
        return f"/v2/models/{MODEL}/generate_stream", json.dumps(body).encode()
    body = {
        "model": MODEL,
        "messages": [{"role": "user", "content": prompt}],
        "max_tokens": 256,
        "stream": True,
    }
    if name == "tools":
        body["tools"] = [_TOOL]
    return "/v1/chat/completions", json.dumps(body).encode()


QUESTION = rb"garden number (\d+) with (\w+) and (\w+) please"


def text_of(event: bytes) -> str:
    """The text that an event adds, whatever its place: content, reasoning, arguments or text_output."""
    value = event.removeprefix(b"data: ").strip()
    if value == b"[DONE]":
        return ""
    document = json.loads(value)
    if "text_output" in document:
        return str(document["text_output"])
    texts = []
    for choice in document.get("choices", ()):
        delta = choice["delta"]
        texts += [delta.get("content"), delta.get("reasoning_content")]
        texts += [call.get("function", {}).get("arguments") for call in delta.get("tool_calls") or ()]
    return "".join(text for text in texts if text)
