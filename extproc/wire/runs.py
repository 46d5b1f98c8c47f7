"""Events that differ only in one text: found, read and written together, with ``bytes``' own methods.

A model's answer is hundreds of events with the same bytes around one JSON string. A template is what stands
around that string in an event that was read strictly before. Where the string is sound, an event with the
same bytes around it is the same document but for that text, so that nothing else of it need be read.
Whatever does not fit is left to the general reader, which alone says what is wrong.
"""

from __future__ import annotations

import re
from json import loads
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from extproc.domain.limits import LIMITS
from extproc.wire.json_values import STRING_BODY
from extproc.wire.sse import SseReader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from extproc.domain.limits import Limits
    from extproc.wire.sse import SseFrame

_HEAD: Final = b"data: "
_EVENT: Final = b"event: "
_TAIL: Final = b"\n\n"
# Templates of one answer: choices times fields that come in turn.
_TEMPLATES_MAX: Final = 4
# What a string cannot hold without an escape, and the escapes' own mark.
_SPECIAL: Final = bytes(range(0x20)) + b'"\\'
_SPECIAL_IN: Final = re.compile(rb'[\x00-\x1f"\\]')
_SOUND: Final = re.compile(STRING_BODY)
# Of a run without any escape: its member by name would cost more, and runs of one are many.
_PLAIN: Final = True
_SURROGATE: Final = re.compile(rb"\\u[dD]")


_Meaning = TypeVar("_Meaning")


class Template(NamedTuple):
    """An event's bytes before its text, with the opening quote, and after it, with the closing one."""

    head: bytes
    tail: bytes


class Run(NamedTuple):
    """Events of one template, one after the other.

    ``bodies`` are the texts as they are spelled between their quotes; ``plain``: without any escape.
    """

    raw: bytes
    template: Template
    bodies: Sequence[bytes]
    texts: tuple[str, ...]
    plain: bool


class RunReader(Generic[_Meaning]):
    """Reads server-sent events: frames in the general way, and runs of those that are like one before.

    What a template means, a place for text mostly, is the caller's own and comes back with each run.
    ``named``: the events have names, which stand before their data.
    """

    __slots__ = ("_event_bytes_max", "_events", "_head", "_known")

    def __init__(self, *, limits: Limits = LIMITS, named: bool = False) -> None:
        self._events = SseReader(limits=limits)
        self._head = _EVENT if named else _HEAD
        self._event_bytes_max = limits.frame_bytes_max
        self._known: list[tuple[Template, _Meaning]] = []

    def learn(self, template: Template | None, meaning: _Meaning) -> None:
        """From now on an event of this template may come as a run. The newest are kept."""
        if template is not None:
            self._known = [(template, meaning), *self._known[: _TEMPLATES_MAX - 1]]

    def forget(self) -> None:
        """What the templates mean may have changed."""
        self._known = []

    def feed(self, chunk: bytes, *, eof: bool = False) -> Iterable[SseFrame | tuple[Run, _Meaning]]:
        """What a chunk completes, in order; what is learned on the way counts for what follows.

        Raises:
            PeerError: as ``SseReader.feed``.
        """
        alone = None if eof else self.alone(chunk)
        return self._feed(chunk, eof=eof) if alone is None else (alone,)

    def alone(self, chunk: bytes) -> tuple[Run, _Meaning] | None:
        """What ``feed`` gives of a chunk that is one event of a template and nothing else.

        None for any other, which is not taken, and must be fed.
        """
        if self._events.idle:
            for template, meaning in self._known:
                run = read_one(chunk, template, event_bytes_max=self._event_bytes_max)
                if run is not None:
                    return run, meaning
        return None

    def _feed(self, chunk: bytes, *, eof: bool) -> Iterator[SseFrame | tuple[Run, _Meaning]]:
        begun = self._events.take_back()
        if begun is None:
            yield from self._events.feed(chunk, eof=eof)
            return
        if begun:
            chunk = begun + chunk
        at = 0
        while at < len(chunk) and chunk.startswith(self._head, at):
            run = self._run(chunk, at)
            if run is not None:
                at += len(run[0].raw)
                yield run
                continue
            end = chunk.find(_TAIL, at) + len(_TAIL)
            if end < len(_TAIL):
                break
            yield from self._events.feed(chunk[at:end])
            at = end
            if not self._events.idle:
                break
        if at < len(chunk) or eof:
            yield from self._events.feed(chunk[at:], eof=eof)

    def _run(self, chunk: bytes, at: int) -> tuple[Run, _Meaning] | None:
        for template, meaning in self._known:
            run = read_run(chunk, at, template, event_bytes_max=self._event_bytes_max)
            if run is not None:
                return run, meaning
        return None


def template_of(raw: bytes, document: bytes, start: int, end: int, *, name: bytes = b"") -> Template | None:
    """The template of an event whose document has its text, quotes included, at ``[start, end)``.

    None for an event that is written in another way than nearly all servers do: its name where it has one,
    one ``data`` line, LF.
    """
    head = _EVENT + name + b"\n" + _HEAD if name else _HEAD
    if raw != head + document + _TAIL:
        return None
    return Template(head + document[: start + 1], document[end - 1 :] + _TAIL)


def read_one(chunk: bytes, template: Template, *, event_bytes_max: int) -> Run | None:
    """A chunk that is one event of a template and nothing else, as a run; None for any other.

    What ``read_run`` gives of it, and how nearly every chunk of an answer comes: a token at a time.
    """
    head, tail = template
    if not (chunk.startswith(head) and chunk.endswith(tail)) or len(chunk) > event_bytes_max:
        return None
    # No quote in it: so the tail, which begins with one, stands at the chunk's end alone.
    begin, end = len(head), len(chunk) - len(tail)
    body = chunk[begin:end]
    if end < begin or _SPECIAL_IN.search(body) is not None:
        return None
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    return Run(chunk, template, [body], (text,), _PLAIN)


def read_run(chunk: bytes, begin: int, template: Template, *, event_bytes_max: int) -> Run | None:
    """The events of a template that stand at ``begin``, as many as are whole and sound; None for none."""
    head, tail = template
    if not chunk.startswith(head, begin):
        return None
    first = begin + len(head)
    end = chunk.find(tail, first)
    if end < 0:
        return None
    bodies = [chunk[first:end]]
    if chunk.startswith(head, end + len(tail)):
        # Whatever else stands in one of these is no sound text; what follows the last event is cut off.
        bodies = chunk[first:].split(tail + head)
        last, found, _ = bodies[-1].partition(tail)
        if found:
            bodies[-1] = last
        else:
            bodies.pop()
    bodies_bytes_max = event_bytes_max - len(head) - len(tail)
    if len(max(bodies, key=len)) > bodies_bytes_max:
        bodies = _until(bodies, lambda body: len(body) <= bodies_bytes_max)
    joined = b"".join(bodies)
    plain = len(joined.translate(None, _SPECIAL)) == len(joined)
    try:
        texts = tuple([body.decode() for body in bodies] if plain else map(_read, bodies))
    except ValueError:
        bodies = _until(bodies, _is_sound)
        texts = tuple(map(_read, bodies))
    if not bodies:
        return None
    length = sum(map(len, bodies)) + len(bodies) * (len(head) + len(tail))
    return Run(chunk[begin : begin + length], template, bodies, texts, plain)


def write_one(run: Run, text: str) -> bytes:
    """A run of one event with a text: what ``write_run`` gives of it."""
    if text == run.texts[0]:
        return run.raw
    head, tail = run.template
    return head + encode_basestring(text)[1:-1].encode() + tail


def write_run(run: Run, texts: tuple[str, ...]) -> bytes:
    """The run's first events with ``texts``, one for each; an equal text keeps its spelling."""
    if texts == run.texts:
        return run.raw
    if not texts:
        return b""
    head, tail = run.template
    if len(texts) == 1:
        return head + _written(run.bodies[0], run.texts[0], texts[0]) + tail
    if run.plain:
        joined = "".join(texts)
        if len(encode_basestring(joined)) == len(joined) + 2:
            # Not one character needs an escape, and what had none keeps its bytes.
            written = (tail + head).decode().join(texts)
            return head + written.encode() + tail
    return head + (tail + head).join(map(_written, run.bodies, run.texts, texts)) + tail


def _written(body: bytes, before: str, text: str) -> bytes:
    return body if text == before else encode_basestring(text)[1:-1].encode()


def _until(bodies: Sequence[bytes], is_good: Callable[[bytes], bool]) -> list[bytes]:
    """The bodies before the first that is not good."""
    good = []
    for body in bodies:
        if not is_good(body):
            break
        good.append(body)
    return good


def _is_sound(body: bytes) -> bool:
    try:
        _read(body)
    except ValueError:
        return False
    return True


def _read(body: bytes) -> str:
    """The text that a body spells. Raises ValueError for what is no sound string, and quotes nothing."""
    if b"\\" not in body and b'"' not in body and len(body.translate(None, _SPECIAL)) == len(body):
        return body.decode()
    if _SOUND.fullmatch(body) is None:
        raise ValueError("no sound string")
    text = str(loads('"' + body.decode() + '"'))
    if _SURROGATE.search(body) is not None:
        # A lone surrogate cannot be encoded.
        text.encode()
    return text
