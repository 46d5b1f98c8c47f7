"""An incremental reader of server-sent events that keeps every frame's original bytes.

Source: WHATWG HTML, section 9.2 (event streams): lines end in CRLF, LF or CR, a blank line ends a frame, a
byte order mark at the beginning is no part of the stream. Unlike a browser this reader also surfaces a
frame that the stream's end left unfinished: some clients read it, so it must not pass unseen.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.verdict import Reason

_BOM = b"\xef\xbb\xbf"
_LINE_END = re.compile(rb"\r\n|\n|\r")
# A CR counts as a line end of its own only where no LF follows, else CRLF would be two.
_FRAME_END = re.compile(rb"(?:\r\n|\n|\r(?!\n))(?:\r\n|\n|\r)")
# The last byte that was searched may be the line end before a blank line that comes next.
_OVERLAP = 1
_NO_FIELDS: tuple[tuple[bytes, bytes], ...] = ()
_BLANK = re.compile(rb"[\r\n]*+")
_PLAIN_PREFIX = b"data: "
_PLAIN_NAME = b"event: "
# What is taken back is moved again with each chunk, however short: so it must be little.
_TAKE_BACK_BYTES_MAX = 4_096


class SseFrame(NamedTuple):
    r"""One frame.

    ``raw`` are its bytes on the wire with the blank line that ends it. ``data`` are its ``data`` lines
    joined by ``\n``, None where it has none. ``data_span`` is where the value of a single ``data`` line
    lies in ``raw``. ``fields`` are the other fields in order, comments under an empty name.
    ``complete`` is False for a frame that the stream's end cut off.
    """

    raw: bytes
    data: bytes | None
    data_span: tuple[int, int] | None
    fields: tuple[tuple[bytes, bytes], ...] = ()
    complete: bool = True


class SseReader:
    """Takes chunks, gives frames. Holds back at most ``frame_bytes_max`` bytes.

    Every byte is searched once and moved once, whatever the frames look like: what was read is only counted
    until the chunk is done, since taking it off the buffer's front for each frame would cost its square.
    """

    __slots__ = ("_begun", "_buffer", "_frame_bytes_max", "_read", "_searched")

    def __init__(self, *, limits: Limits = LIMITS) -> None:
        self._buffer = bytearray()
        # Positions in the buffer: of the first byte that is in no frame yet, and where the search goes on.
        self._read = 0
        self._searched = 0
        self._begun = False
        self._frame_bytes_max = limits.frame_bytes_max

    def feed(self, chunk: bytes, *, eof: bool = False) -> list[SseFrame]:
        """The frames that a chunk completes.

        Raises:
            PeerError: a frame exceeds its bound (UPSTREAM_UNREADABLE, status 502).
        """
        frames: list[SseFrame] = []
        if not self._buffer:
            # What does not begin as a byte order mark does has none.
            self._begun = self._begun or (chunk != b"" and not chunk.startswith(_BOM[:1]))
            if self._begun:
                chunk = self._plain(chunk, frames)
        self._buffer += chunk
        if not self._begun and not self._begin(eof=eof):
            return frames
        while (raw := self._next(eof=eof)) is not None:
            if len(raw) > self._frame_bytes_max:
                raise self._too_large()
            frames.append(_frame(raw))
            if len(frames) == 1:
                self._go_on_plain(frames)
        self._forget_read()
        if len(self._buffer) > self._frame_bytes_max:
            raise self._too_large()
        if eof and self._buffer:
            frames.append(_frame(bytes(self._buffer))._replace(complete=False))
            self._buffer.clear()
        return frames

    @property
    def idle(self) -> bool:
        """Whether all that was fed is in a frame."""
        return not self._buffer

    def take_back(self) -> bytes | None:
        """What was fed and is in no frame, if it is little: forgotten, to be fed again before the rest.

        None where it must be left: it is long, or may be the stream's byte order mark.
        """
        if self._buffer and (not self._begun or len(self._buffer) > _TAKE_BACK_BYTES_MAX):
            return None
        begun = bytes(self._buffer)
        self._buffer.clear()
        self._searched = 0
        return begun

    def _plain(self, chunk: bytes, frames: list[SseFrame]) -> bytes:
        """The fast path: take events of a name or none and one ``data`` line, as servers send it.

        ``chunk`` begins where a frame does.
        """
        if b"\r" in chunk:
            return chunk
        begin, prefix = 0, len(_PLAIN_PREFIX)
        while True:
            at, fields = begin, _NO_FIELDS
            if chunk.startswith(_PLAIN_NAME, begin):
                named = chunk.find(b"\n", begin)
                at = len(chunk) if named < 0 else named + 1
                fields = ((b"event", chunk[begin + len(_PLAIN_NAME) : named]),)
            if not chunk.startswith(_PLAIN_PREFIX, at):
                break
            end = chunk.find(b"\n", at)
            if end < 0:
                break
            following = end + 2
            if not chunk.startswith(b"\n\n", end) or following - begin > self._frame_bytes_max:
                break
            span = (at + prefix - begin, end - begin)
            frames.append(SseFrame(chunk[begin:following], chunk[at + prefix : end], span, fields))
            begin = following
        return chunk[begin:] if begin else chunk

    def _go_on_plain(self, frames: list[SseFrame]) -> None:
        """Take the fast path behind the frame that a chunk completed; once per chunk, since it copies."""
        rest = bytes(self._buffer[self._read :])
        self._read += len(rest) - len(self._plain(rest, frames))
        self._searched = self._read

    def _begin(self, *, eof: bool) -> bool:
        """Pass over a byte order mark; False while it is not clear whether there is one."""
        if self._buffer.startswith(_BOM):
            self._read = self._searched = len(_BOM)
        elif _BOM.startswith(self._buffer) and not eof:
            return False
        self._begun = True
        return True

    def _next(self, *, eof: bool) -> bytes | None:
        """The bytes of the next frame that is complete; blank lines before it are passed over."""
        buffer = self._buffer
        if self._searched == self._read:
            blank = _BLANK.match(buffer, self._read)
            self._read = self._searched = self._read if blank is None else blank.end()
        found = _FRAME_END.search(buffer, max(self._read, self._searched - _OVERLAP))
        if found is None:
            self._searched = len(buffer)
            return None
        end = found.end()
        if end == len(buffer) and buffer[-1:] == b"\r" and not eof:
            # The LF of this CRLF may be in the next chunk.
            self._searched = found.start()
            return None
        raw = bytes(buffer[self._read : end])
        self._read = self._searched = end
        return raw

    def _forget_read(self) -> None:
        """Take what was read off the buffer. What is left of it came with the last chunk."""
        if self._read:
            del self._buffer[: self._read]
            self._searched -= self._read
            self._read = 0

    def _too_large(self) -> PeerError:
        self._buffer.clear()
        return PeerError(
            Reason.UPSTREAM_UNREADABLE,
            f"an event of the answer exceeds {self._frame_bytes_max} bytes",
            status=502,
        )


def _frame(raw: bytes) -> SseFrame:
    data: list[tuple[int, int]] = []
    fields: list[tuple[bytes, bytes]] = []
    position = 0
    while position < len(raw):
        ending = _LINE_END.search(raw, position)
        line_end, following = (len(raw), len(raw)) if ending is None else ending.span()
        if line_end > position:
            name, start = _field(raw, position, line_end)
            if name == b"data":
                data.append((start, line_end))
            else:
                fields.append((name, raw[start:line_end]))
        position = following
    joined = b"\n".join(raw[start:end] for start, end in data) if data else None
    return SseFrame(raw, joined, data[0] if len(data) == 1 else None, tuple(fields))


def _field(raw: bytes, start: int, end: int) -> tuple[bytes, int]:
    """A line's field name and where its value begins; one space after the colon is no part of it."""
    colon = raw.find(b":", start, end)
    if colon < 0:
        return raw[start:end], end
    value = colon + 1
    if raw[value : value + 1] == b" " and value < end:
        value += 1
    return raw[start:colon], value
