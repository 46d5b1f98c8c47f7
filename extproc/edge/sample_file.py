"""A sample as a file: a line that says whose it is, and a line with the text, sealed or redacted.

The first line is bound to what is sealed: text cannot be passed off as another exchange's.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never

from extproc.domain.bodies import Keep
from extproc.domain.errors import HeadgateError
from extproc.edge.sealing import SealError, public_key, seal, unseal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from extproc.domain.bodies import KeptSegment, Sample

FORMAT: Final = 1
# Ids, numbers and a key: a few hundred bytes.
_FIRST_LINE_BYTES_MAX: Final = 4_096
_DAY_MS: Final = 86_400_000
_ABOUT: Final = b"headgate bodies\n"
_TEXTS: Final = frozenset({"request", "answer"})


class SampleFileError(HeadgateError):
    """A file that is no sample, or is sealed to another key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleFile:
    """A sample's file, read: ``facts`` is its first line; the second is still as it stands there."""

    facts: Mapping[str, object]
    first_line: bytes
    second_line: bytes


def content_of(sample: Sample) -> tuple[int, bytes]:
    """When the sample's lifetime ends, in Unix milliseconds, and its file's content, sealed or redacted.

    Raises:
        SealError: it cannot be sealed to its key.
    """
    expires_unix_ms = sample.at_unix_ms + sample.lifetime_days * _DAY_MS
    facts = {
        "format": FORMAT,
        "keep": sample.keep.value,
        "request_id": sample.request_id,
        "exchange": sample.exchange,
        "at_unix_ms": sample.at_unix_ms,
        "expires_unix_ms": expires_unix_ms,
        "policy_digest": sample.policy_digest,
        **({"reviewer_key": sample.reviewer_key} if sample.keep is Keep.SEALED else {}),
    }
    first = _json(facts)
    match sample.keep:
        case Keep.SEALED:
            plain = _texts(sample, lambda text: text)
            second = base64.b64encode(seal(plain, sample.reviewer_key, _ABOUT + first))
        case Keep.REDACTED:
            second = _texts(sample, sample.redact)
        case Keep.NEVER:
            raise AssertionError("a sample of what is never kept")
        case _:
            assert_never(sample.keep)
    return expires_unix_ms, first + b"\n" + second + b"\n"


def _texts(sample: Sample, redact: Callable[[str], str]) -> bytes:
    return _json(
        {
            "request": [
                {"role": one.role, "origin": one.origin, "place": one.place, "text": _redacted(one, redact)}
                for one in sample.request
            ],
            "answer": [
                {"choice": one.choice, "field": one.field_name, "text": redact(one.text)}
                for one in sample.answer
            ],
        }
    )


def _redacted(segment: KeptSegment, redact: Callable[[str], str]) -> str:
    """A segment without what stands in one of its parts, and without what is cut over several."""
    if not segment.seams:
        return redact(segment.text)
    ends = (*segment.seams, len(segment.text))
    parts = [redact(segment.text[start:end]) for start, end in zip((0, *segment.seams), ends, strict=True)]
    return redact("".join(parts))


def facts_of(first_line: bytes) -> Mapping[str, object]:
    """What a file's first line says. Raises SampleFileError."""
    try:
        facts = json.loads(first_line)
    except (ValueError, RecursionError):
        facts = None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        raise SampleFileError("this is no sample, or one of another version")
    return facts


def read_sample(content: bytes, private_key: str | None) -> dict[str, object]:
    """A sample as one object: its facts, its ``request`` and its ``answer``.

    Raises:
        SampleFileError: it is none, or it is sealed, and not to the public key of this one.
    """
    first, _, rest = content.partition(b"\n")
    facts = facts_of(first)
    second = rest.removesuffix(b"\n")
    if facts.get("keep") == Keep.SEALED:
        second = _opened(first, second, facts, private_key)
    try:
        texts = json.loads(second)
    except (ValueError, RecursionError):
        texts = None
    if not isinstance(texts, dict) or texts.keys() != _TEXTS:
        raise SampleFileError("the sample is torn")
    # Whose text it is says the first line alone, and what the text is the second.
    return {**facts, **texts}


def _opened(first: bytes, second: bytes, facts: Mapping[str, object], private_key: str | None) -> bytes:
    if private_key is None:
        raise SampleFileError("the sample is sealed: give the reviewer's key file with --key")
    try:
        if facts.get("reviewer_key") != public_key(private_key):
            raise SampleFileError("the sample is sealed to another key")
        return unseal(base64.b64decode(second, validate=True), private_key, _ABOUT + first)
    except (SealError, binascii.Error) as error:
        what = str(error) if isinstance(error, SealError) else "the sample is torn"
        raise SampleFileError(what) from None


def _json(value: Mapping[str, object]) -> bytes:
    return json.dumps(value, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode()


def find_samples(files: Iterable[Path], request_id: str, exchange: str = "") -> Iterator[bytes]:
    """The content of each file that is a sample of this request, or of this one exchange of it.

    Raises:
        OSError: a file cannot be read; one that is deleted meanwhile is passed over.
    """
    for file in files:
        with contextlib.suppress(FileNotFoundError, SampleFileError), file.open("rb") as opened:
            first = opened.readline(_FIRST_LINE_BYTES_MAX)
            facts = facts_of(first)
            if facts.get("request_id") == request_id and exchange in {"", str(facts.get("exchange"))}:
                yield first + opened.read()
