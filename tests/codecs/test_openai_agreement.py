"""What the codec judged is what Python's json, which the servers read with, finds in what goes on.

Requests are mutated as bytes: whatever is still let through must hold no text and no limit that was not
judged. Seeded, so that a failure comes again; more cases with ``OPENAI_AGREEMENT_CASES``.
"""

from __future__ import annotations

import json
import os
import random
import re
from collections import Counter
from collections.abc import Iterator

import pytest
from openai_samples import PATHS, REQUESTS, WAV
from responses_samples import PATH, REQUEST

from extproc.codecs._openai_segments import _SCHEMA_WORDS
from extproc.codecs.openai_responses import CODEC as RESPONSES
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead
from extproc.domain.ports import Codec, RequestEdits, RequestMessage
from extproc.domain.segment import Operation

CASES = int(os.environ.get("OPENAI_AGREEMENT_CASES", "1500"))
CAP = 4
LIMITS = ("max_tokens", "max_completion_tokens")
STRUCTURE = [
    *(b'"', b"{", b"}", b"[", b"]", b",", b":", b"\\", b"null", b"1", b"\\u0041"),
    *(b"\xff", b" ", b"\x00", b'{"a new text":1}', b'["a new text"]', b'"a new text"'),
]
MEMBERS = [
    *(b'"max_tokens":900', b'"max_completion_tokens":900', b'"model":"m"', b'"messages":[]'),
    *(b'"max_output_tokens":900', b'"type":"message"'),
    *(b'"prompt":"a new text"', b'"input":"a new text"', b'"content":"a new text"', b'"role":"user"'),
    *(b'"text":"a new text"', b'"stop":["a new text"]', b'"n":3', b'"x":{"y":["a new text"]}'),
]
KEY = re.compile(r'"([A-Za-z_$]+)": ')
LETTER = re.compile(rb"[a-z]")
VALUE = re.compile(rb'"[^"\\]*"|\[\]|[0-9]+')
# Values of closed vocabularies, which say nothing.
CLOSED = frozenset(
    {
        *("system", "developer", "user", "assistant", "tool", "function", "text", "refusal", "content"),
        *("image_url", "input_audio", "file", "low", "wav", "auto", "default", "json_schema", "float"),
        *("message", "completed", "final_answer", "reasoning", "reasoning_text", "summary_text"),
        *("input_text", "output_text", "input_image", "input_file", "high", "custom", "24h"),
        *("function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output"),
        "allowed_tools",
    }
)


def limits_of(codec: Codec) -> tuple[str, ...]:
    return ("max_output_tokens",) if codec is RESPONSES else LIMITS


def inserted(body: bytes, at: int, chance: random.Random) -> bytes:
    return body[:at] + chance.choice(STRUCTURE) + body[at:]


def cut(body: bytes, at: int, chance: random.Random) -> bytes:
    return body[:at] + body[at + chance.randint(1, 30) :]


def doubled(body: bytes, at: int, chance: random.Random) -> bytes:
    end = at + chance.randint(1, 60)
    return body[:end] + body[at:end] + body[end:]


def with_member(body: bytes, at: int, chance: random.Random) -> bytes:
    opened = body.find(b"{", at) + 1
    return body[:opened] + chance.choice(MEMBERS) + b"," + body[opened:] if opened else body


def escaped(body: bytes, at: int, chance: random.Random) -> bytes:
    del chance
    found = LETTER.search(body, at)
    return body if found is None else body[: found.start()] + b"\\u%04x" % found[0][0] + body[found.end() :]


def replaced(body: bytes, at: int, chance: random.Random) -> bytes:
    found = VALUE.search(body, at)
    if found is None:
        return body
    return body[: found.start()] + chance.choice(STRUCTURE) + body[found.end() :]


def swapped(body: bytes, at: int, chance: random.Random) -> bytes:
    end = at + chance.randint(1, 12)
    return body[:at] + body[at:end].swapcase() + body[end:]


MUTATIONS = [inserted, cut, doubled, with_member, with_member, escaped, replaced, replaced, swapped]


def mutated(body: bytes, chance: random.Random) -> bytes:
    for _ in range(chance.randint(1, 3)):
        body = chance.choice(MUTATIONS)(body, chance.randrange(len(body) + 1), chance)
    return body


def strings(value: object) -> Iterator[tuple[bool, str]]:
    """Every string below a value, and whether it is a key."""
    if isinstance(value, str):
        yield False, value
    elif isinstance(value, list):
        for item in value:
            yield from strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield True, key
            yield from strings(item)


def judged(message: RequestMessage) -> set[str]:
    """What guards were shown: whole texts, and the single words and parts that a text joins."""
    named = {message.params.model, *message.params.sampling}
    return named.union(*({one.text, *one.apart.split("\n")} for one in message.segments))


def is_read_otherwise(text: str) -> bool:
    # Media are reported as unscanned; of JSON within a string the escapes were read.
    return text.startswith(("data:", WAV[:16])) or "\\" in text


def unlike(codec: Codec, body: bytes, keys: frozenset[str]) -> str | None:
    """How what goes on differs from what was judged; None where it does not. ``keys`` say nothing.

    Raises:
        PeerError: it was refused.
    """
    session = codec.open(RequestHead(method="POST", path=PATHS.get(codec.name, PATH)))
    (message,) = session.read_request(body, eof=True)
    written = session.write_request(0, RequestEdits(cap_output_tokens=CAP, ask_usage=False))
    document = json.loads(written)
    if message.operation is not Operation.EMBEDDINGS:
        limits = [document[name] for name in limits_of(codec) if document.get(name) is not None]
        if not limits or max(limits) > CAP:
            return "a limit above the cap"
    seen = judged(message) | _SCHEMA_WORDS
    unseen = [
        text
        for is_key, text in strings(document)
        if text and text not in seen | (keys if is_key else CLOSED) and not is_read_otherwise(text)
    ]
    return f"nobody judged {unseen}" if unseen else None


@pytest.mark.parametrize(("codec", "request_"), [*REQUESTS, (RESPONSES, REQUEST)])
def test_what_goes_on_is_what_was_judged(codec: Codec, request_: dict):
    sound = json.dumps(request_)
    keys = frozenset([*KEY.findall(sound), *limits_of(codec)])
    assert unlike(codec, sound.encode(), keys) is None
    chance = random.Random(f"{codec.name} {len(sound)}")
    outcomes: Counter[str | None] = Counter()
    for number in range(CASES):
        body = mutated(sound.encode(), chance)
        try:
            outcomes[found := unlike(codec, body, keys)] += 1
        except PeerError:
            outcomes["refused"] += 1
        else:
            assert found is None, f"case {number}: {body!r}"
    # It says something only where some were let through, and some were not.
    assert min(outcomes[None], outcomes["refused"]) > CASES // 50
