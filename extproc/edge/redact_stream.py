"""The streaming scanner between two byte streams, for ``headgate redact``: constant memory."""

from __future__ import annotations

import codecs
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, TextIO

from extproc.domain.errors import HeadgateError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from extproc.domain.scanning import Scan, Scanner


class InvalidUtf8Error(HeadgateError):
    """The source is not UTF-8; ``byte_offset`` is where the first wrong sequence begins.

    What stands before it was judged as far as it could be and is out; what was held is not.
    """

    def __init__(self, byte_offset: int) -> None:
        super().__init__(f"not UTF-8 at byte {byte_offset}")
        self.byte_offset = byte_offset


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a run read, wrote and found; ``found`` counts by entity type."""

    bytes_read: int
    bytes_written: int
    chars_read: int
    held_chars_max: int
    found: Mapping[str, int]


class _Run:
    """One run's counters and outlets."""

    def __init__(self, sink: BinaryIO, findings: TextIO | None, scanner: Scanner) -> None:
        self.sink = sink
        self.findings = findings
        self.scanner = scanner
        self.bytes_read = 0
        self.bytes_written = 0
        self.chars_read = 0
        self.held_chars_max = 0
        self.found: Counter[str] = Counter()

    def feed(self, text: str, *, eof: bool = False) -> None:
        self.chars_read += len(text)
        scan = self.scanner.feed(text, eof=eof)
        self.held_chars_max = max(self.held_chars_max, self.scanner.held_chars)
        self.write(scan)

    def write(self, scan: Scan) -> None:
        released = scan.released.encode()
        if released:
            self.sink.write(released)
            # Whoever reads the other end of a pipe sees what is decided as soon as it is.
            self.sink.flush()
        self.bytes_written += len(released)
        for finding in scan.findings:
            self.found[finding.entity_type] += 1
            if self.findings is not None:
                line = {
                    "entity_type": finding.entity_type,
                    "start": finding.start,
                    "end": finding.end,
                    "score": finding.score,
                    "detector": finding.detector,
                }
                self.findings.write(json.dumps(line) + "\n")


def redact_stream(  # noqa: PLR0913 - settings by name, each said once at the call.
    source: BinaryIO,
    sink: BinaryIO,
    *,
    scanner: Scanner,
    chunk_bytes: int,
    findings: TextIO | None = None,
    told: Callable[[int], None] = lambda _bytes_read: None,
) -> Summary:
    """Redact UTF-8 from ``source`` to ``sink``, ``chunk_bytes`` at a time.

    The output depends on the bytes alone, not on how they are cut. Findings go out as JSON lines with
    offsets in code points of the input and without any text. ``told`` hears after each chunk how many bytes
    have been read. Neither stream is closed.

    Raises:
        InvalidUtf8Error: the source is not UTF-8, or ends within a character. The scanner is dropped.
        ValueError: ``chunk_bytes`` is not positive.
    """
    if chunk_bytes < 1:
        raise ValueError("chunk_bytes must be positive")
    run = _Run(sink, findings, scanner)
    decoder = codecs.getincrementaldecoder("utf-8")("strict")
    while True:
        chunk = source.read(chunk_bytes)
        pending = len(decoder.getstate()[0])
        try:
            text = decoder.decode(chunk, final=not chunk)
        except UnicodeDecodeError as error:
            run.feed(error.object[: error.start].decode())
            scanner.drop()
            raise InvalidUtf8Error(run.bytes_read - pending + error.start) from None
        run.bytes_read += len(chunk)
        run.feed(text, eof=not chunk)
        told(run.bytes_read)
        if not chunk:
            return Summary(
                bytes_read=run.bytes_read,
                bytes_written=run.bytes_written,
                chars_read=run.chars_read,
                held_chars_max=run.held_chars_max,
                found=dict(run.found),
            )
