"""What requests take of the room while they are held."""

from __future__ import annotations

import gc
import json
import tracemalloc
from dataclasses import replace

import pytest
from doubles import LineCodec, LineSession, Playbook

from extproc.codecs import openai_chat, triton_generate
from extproc.domain.head import RequestHead
from extproc.domain.judging import ToolSpec
from extproc.domain.limits import LIMITS
from extproc.domain.ports import Codec, RequestEdits, RequestMessage

STRINGS = 20_000
WORD = "\u6f22"


def read(codec: Codec, path: str, body: bytes) -> tuple[RequestMessage, object]:
    """A request that has gone on, and the session, which may keep something too."""
    session = codec.open(RequestHead(method="POST", path=path))
    (message,) = session.read_request(body, eof=True)
    session.write_request(0, RequestEdits())
    return message, session


@pytest.mark.parametrize(
    ("codec", "path", "document"),
    [
        (triton_generate.CODEC, "/v2/models/m/generate", {"text_input": "x", "stop_words": [WORD]}),
        (
            openai_chat.CODEC,
            "/v1/chat/completions",
            {"model": "m", "messages": [{"role": "user", "content": "x"}], "stop": [WORD]},
        ),
    ],
)
def test_what_is_counted_covers_what_is_kept_of_a_request_of_short_strings(codec, path, document):
    """Of a text four times its bytes may be kept, which the room allows for; the rest is its parts'."""
    words = [WORD] * STRINGS
    body = json.dumps({name: words if value == [WORD] else value for name, value in document.items()})
    read(codec, path, body.encode())
    gc.collect()
    tracemalloc.start()
    before, _ = tracemalloc.get_traced_memory()
    kept = read(codec, path, body.encode())
    gc.collect()
    after, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    message, _ = kept
    seams = sum(len(segment.seams) for segment in message.segments)
    parts = (len(message.segments) + len(message.tools)) * LIMITS.part_bytes + seams * LIMITS.seam_bytes
    assert after - before <= 4 * message.inspectable_bytes + parts
    # Where each string is a segment, that is most of it.
    assert len(message.segments) < STRINGS or after - before > 4 * message.inspectable_bytes


class PartsSession(LineSession):
    """A line has as many seams as bytes in its only segment, and two tools."""

    def _message(self, line: bytes) -> RequestMessage:
        message = super()._message(line)
        (segment,) = message.segments
        seamed = replace(segment, seams=tuple(range(len(line))))
        return replace(message, segments=(seamed,), tools=(ToolSpec("a"), ToolSpec("b")))


class PartsCodec(LineCodec):
    def open(self, head: RequestHead) -> PartsSession:
        return PartsSession(alone=self.alone)


def test_segments_tools_and_seams_of_a_request_count_until_the_stream_ends():
    book = Playbook(codecs=[PartsCodec(alone=True)])
    book.head()
    book.body(b"12345")
    assert book.stream.body_bytes == len("12345")
    book.body(b"678\n", end=True)
    counted = len("12345678\n") + 3 * LIMITS.part_bytes + len("12345678") * LIMITS.seam_bytes
    assert book.stream.body_bytes == counted
    book.answer_head()
    book.answer(b"0 hi\n")
    assert book.stream.body_bytes == counted
