"""The answer of embeddings: vectors, which pass as numbers and nothing else, and the words around them.

A vector is an array of numbers as a model computes them, or the base64 of 32-bit floats that are finite and
no larger: anything else in its place is refused. All other strings, unknown keys and long numbers of the
answer are scanned, whole. The arrays are taken out before the document is parsed, since a value for each
of their numbers would cost more than all the rest. Sources: OpenAI's API reference; vLLM.
"""

from __future__ import annotations

import binascii
import re
import sys
from array import array
from bisect import bisect_right
from math import isfinite
from typing import TYPE_CHECKING, Final, NamedTuple

from extproc.codecs import _openai_http as oai
from extproc.codecs import _triton_http as http
from extproc.codecs._openai_frame import ONCE
from extproc.domain.errors import PeerError
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel, Delta, Usage
from extproc.domain.verdict import Reason
from extproc.wire.buffers import BoundedBody
from extproc.wire.json_leaves import key_text, leaves_of, number_text
from extproc.wire.splice import Splice, encode_string, splice
from extproc.wire.strict_json import Array, Number, Object, Text, parse

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Value

_EMBEDDING: Final = "embedding"
# Below a million, so that neither a text's bytes nor a long number reads as one by chance.
_MAGNITUDE_MAX: Final = 1e6
_NUMBER: Final = (
    rb"-?(?:0|[1-9][0-9]{0,5}+)(?:\.[0-9]{1,24}+)?+(?:[eE](?:-[0-9]{1,3}+|\+?0?0))?+(?![0-9.eE+-])"
)
_WS: Final = rb"[ \t\n\r]*+"
# The key's closing quote cannot stand within a string, nor can what follows it: see the test of it.
_VECTOR: Final = re.compile(
    rb'"embedding"' + _WS + rb":" + _WS + rb"(\[" + _WS + _NUMBER
    + rb"(?:" + _WS + rb"," + _WS + _NUMBER + rb")*+" + _WS + rb"\])"
)  # fmt: skip
_EMPTY: Final = b"[]"
_FLOAT_BYTES: Final = 4
_KEYS: Final = frozenset(
    {
        *("object", "data", "model", "usage", "id", "created", "index", _EMBEDDING),
        *("prompt_tokens", "total_tokens", "completion_tokens", "prompt_tokens_details"),
    }
)
_OBJECTS: Final = frozenset({"list", _EMBEDDING})
_ID: Final = re.compile(r"embd-(?:[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}|[0-9a-f]{16})")


class Whole(NamedTuple):
    """The frame's token: a document, and where in it the texts of its deltas stand."""

    document: bytes
    texts: tuple[Text, ...]


class VectorReader:
    """Reads one answer, which is one JSON document.

    ``dimensions_count`` is how many numbers each vector must have; None where the request did not say.
    """

    streamed = False

    def __init__(self, *, model: str, dimensions_count: int | None, status: int, limits: Limits) -> None:
        self._model = model
        self._dimensions_count = dimensions_count
        self._status = status
        self._limits = limits
        self._ended = False
        self._body = BoundedBody(
            bytes_max=limits.answer_bytes_max, reason=Reason.UPSTREAM_UNREADABLE, status=502
        )

    def read(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        """The one frame, when the answer is whole.

        Raises:
            PeerError: UPSTREAM_UNREADABLE, status 502, for whatever cannot be vouched for.
        """
        if self._ended:
            return ()
        self._ended = eof
        self._body.feed(chunk)
        return (self._whole(self._body.take()),) if eof else ()

    def write(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        """The answer's bytes with ``texts`` in place of its own."""
        whole = frame.token
        if not isinstance(whole, Whole) or len(texts) != len(whole.texts):
            raise AssertionError("a frame of another session")
        edits = [
            Splice(own.start, own.end, encode_string(text))
            for own, text in zip(whole.texts, texts, strict=True)
            if text != own.value
        ]
        return splice(whole.document, edits) if edits else whole.document

    def write_tail(self, channel: Channel, text: str) -> bytes:  # noqa: ARG002 - never legal.
        """Impossible: every channel ends in the frame in which it begins."""
        raise AssertionError("a JSON answer has no tails")

    def _whole(self, body: bytes) -> ResponseFrame:
        if self._status >= http.ERROR_STATUS_MIN:
            return self._failed(body)
        places = _Places(body)
        root = self._parse(places.skeleton)
        if oai.is_error(root):
            return self._failed(body)
        for count in places.counts:
            self._check_count(count)
        texts = [places.placed(text) for text in self._texts(places.skeleton, root)]
        return _frame(body, texts, ONCE, usage=self._usage(root))

    def _failed(self, body: bytes) -> ResponseFrame:
        """A failure that the server reports: each of its strings is scanned."""
        if not body:
            return _frame(body, (), oai.ERROR, error=True)
        body = oai.judged_error(body, self._status, limits=self._limits)
        leaves = leaves_of(body, self._parse(body), keys=True, limits=self._limits)
        texts = [leaf for leaf in leaves if leaf.value not in oai.ERROR_KEYS]
        return _frame(body, texts, oai.ERROR, error=True)

    def _parse(self, document: bytes) -> Object:
        try:
            root = parse(document, limits=self._limits)
        except PeerError as error:
            raise http.unreadable(error.message) from None
        if not isinstance(root, Object):
            raise http.unreadable("it is no JSON object")
        return root

    def _texts(self, document: bytes, root: Object) -> Iterator[Text]:
        """Every string, unknown key and long number; vectors in base64 are checked on the way."""
        pending: list[tuple[str, Value]] = [("", root)]
        while pending:
            name, value = pending.pop()
            match value:
                case Text():
                    if name == _EMBEDDING:
                        self._check_count(floats_count(value.value))
                    elif not self._is_technical(name, value.value):
                        yield value
                case Number():
                    written = number_text(document, value, limits=self._limits)
                    yield from () if written is None else (written,)
                case Array(items=items):
                    pending += [(name, item) for item in reversed(items)]
                case Object(members=members):
                    for member in reversed([*members.values()]):
                        pending.append((member.name, member.value))
                    yield from [
                        key_text(document, member)
                        for member in members.values()
                        if member.name not in _KEYS
                    ]
                case _:
                    pass

    def _is_technical(self, name: str, value: str) -> bool:
        match name:
            case "model":
                return value == self._model
            case "object":
                return value in _OBJECTS
            case "id":
                return _ID.fullmatch(value) is not None
            case _:
                return not value

    def _check_count(self, count: int) -> None:
        if self._dimensions_count is not None and count != self._dimensions_count:
            raise http.unreadable("a vector has other dimensions than were asked for")

    def _usage(self, root: Object) -> Usage | None:
        member = root.members.get("usage")
        if member is None or not isinstance(member.value, Object):
            return None
        counted = member.value.members.get("prompt_tokens")
        if counted is None:
            return None
        number = counted.value.value if isinstance(counted.value, Number) else None
        if not isinstance(number, int) or not 0 <= number <= self._limits.answer_tokens_max:
            raise http.unreadable("a token count is no whole number, or too large")
        return Usage(number, 0)


class _Places:
    """A document without the numbers of its vectors, and where what is left of it stood.

    ``counts`` are the lengths of the vectors.
    """

    def __init__(self, document: bytes) -> None:
        pieces: list[bytes] = []
        self.counts: list[int] = []
        self._starts: list[int] = [0]
        self._shifts: list[int] = [0]
        end = length = 0
        for found in _VECTOR.finditer(document):
            start, after = found.span(1)
            pieces += (document[end:start], _EMPTY)
            length += start - end + len(_EMPTY)
            end = after
            self.counts.append(document.count(b",", start, after) + 1)
            self._starts.append(length)
            self._shifts.append(end - length)
        pieces.append(document[end:])
        self.skeleton = b"".join(pieces) if self.counts else document

    def placed(self, text: Text) -> Text:
        """A text of the skeleton, as it stands in the document."""
        shift = self._shifts[bisect_right(self._starts, text.start) - 1]
        return Text(text.value, text.start + shift, text.end + shift)


def floats_count(text: str) -> int:
    """How many numbers the base64 of a vector has.

    Raises:
        PeerError: UPSTREAM_UNREADABLE: it is not the base64 of finite 32-bit floats.
    """
    try:
        raw = binascii.a2b_base64(text, strict_mode=True)
    except (ValueError, binascii.Error):
        raise http.unreadable("a vector is neither numbers nor base64") from None
    numbers = array("f")
    if not raw or len(raw) % numbers.itemsize or numbers.itemsize != _FLOAT_BYTES:
        raise http.unreadable("a vector is no row of 32-bit floats")
    numbers.frombytes(raw)
    if sys.byteorder == "big":
        numbers.byteswap()
    # Neither infinity nor NaN leaves a sum finite, and no sum of so many 32-bit floats overflows.
    if not isfinite(sum(numbers)) or max(numbers) >= _MAGNITUDE_MAX or min(numbers) <= -_MAGNITUDE_MAX:
        raise http.unreadable("a vector has a number that none has")
    return len(numbers)


def _frame(
    document: bytes,
    texts: Sequence[Text],
    field: str,
    *,
    usage: Usage | None = None,
    error: bool = False,
) -> ResponseFrame:
    channels = [Channel(at, field) for at in range(len(texts))]
    return ResponseFrame(
        key=0,
        deltas=tuple([Delta(channel, text.value) for channel, text in zip(channels, texts, strict=True)]),
        token=Whole(document, tuple(texts)),
        usage=usage,
        ended=tuple(channels),
        final=True,
        error=error,
    )
