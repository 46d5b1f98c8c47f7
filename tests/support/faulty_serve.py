"""``headgate`` with faults built in, for tests alone: each sleeps until its marker stands in a text.

Every exception quotes the text that woke it, as a careless library would: what of it reaches a client, a
record or a log is then to be seen.
"""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Callable
from enum import StrEnum, auto
from pathlib import Path

from classifiers.classifier import Classifier
from extproc.codecs._generate_answer import AnswerReader
from extproc.codecs.triton_generate import GenerateSession
from extproc.domain.ports import ExchangeView, RequestEdits
from extproc.guards._rules import RuleGuard
from extproc.guards.admission import Admission
from extproc.redaction.watches import PackScanner

# While this file is missing, a classifier that hangs goes on hanging.
RELEASE_VARIABLE = "HEADGATE_TEST_RELEASE"
_HANG_MAX_S = 60.0


class Fault(StrEnum):
    """What can be made to fail; its value is the marker that makes it."""

    GUARD_NEEDS = auto()
    GUARD_JUDGES = auto()
    GUARD_WATCHES = auto()
    CLASSIFIER_RAISES = auto()
    CLASSIFIER_HANGS = auto()
    CODEC_READS_REQUEST = auto()
    CODEC_WRITES_REQUEST = auto()
    CODEC_READS_ANSWER = auto()
    CODEC_WRITES_ANSWER = auto()
    SCANNER = auto()

    @property
    def marker(self) -> str:
        """A word that neither the classifier nor a rule minds."""
        return f"plum-{list(Fault).index(self)}-tree"


def _break(fault: Fault, text: str) -> None:
    if fault.marker in text:
        raise RuntimeError(f"it choked on {text}")


def _before(owner: type, name: str, check: Callable[..., None]) -> None:
    """Have ``check`` see the arguments of a method first."""
    original = getattr(owner, name)

    @functools.wraps(original)
    def checked(self: object, *args: object, **kwargs: object) -> object:
        check(*args, **kwargs)
        return original(self, *args, **kwargs)

    setattr(owner, name, checked)


def _prompt(exchange: ExchangeView) -> str:
    request = exchange.request
    return "" if request is None else " ".join(segment.text for segment in request.segments)


def _hang(texts: list[str], **_: object) -> None:
    if not any(Fault.CLASSIFIER_HANGS.marker in text for text in texts):
        return
    released = Path(os.environ[RELEASE_VARIABLE])
    end = time.monotonic() + _HANG_MAX_S
    # It does not ask whether it should proceed: a library that hangs does not either.
    while not released.exists() and time.monotonic() < end:
        time.sleep(0.02)


def _inject() -> None:
    _before(Admission, "needs", lambda exchange: _break(Fault.GUARD_NEEDS, _prompt(exchange)))
    _before(Admission, "judge", lambda exchange, _: _break(Fault.GUARD_JUDGES, _prompt(exchange)))
    _before(RuleGuard, "scanner", lambda exchange: _break(Fault.GUARD_WATCHES, _prompt(exchange)))
    _before(Classifier, "score", lambda texts, **_: _break(Fault.CLASSIFIER_RAISES, " ".join(texts)))
    _before(Classifier, "score", _hang)
    _before(
        GenerateSession,
        "read_request",
        lambda chunk, *, eof: _break(Fault.CODEC_READS_REQUEST, chunk.decode("utf-8", "replace")),
    )
    _before(
        AnswerReader,
        "read",
        lambda chunk, *, eof: _break(Fault.CODEC_READS_ANSWER, chunk.decode("utf-8", "replace")),
    )
    _before(AnswerReader, "write", lambda frame, texts: _break(Fault.CODEC_WRITES_ANSWER, " ".join(texts)))
    _before(PackScanner, "feed", lambda text, *, eof=False: _break(Fault.SCANNER, text))
    _break_written_requests()


def _break_written_requests() -> None:
    original = GenerateSession.write_body

    def checked(self: GenerateSession, edits: RequestEdits) -> bytes:
        body = original(self, edits)
        _break(Fault.CODEC_WRITES_REQUEST, body.decode("utf-8", "replace"))
        return body

    GenerateSession.write_body = checked  # type: ignore[method-assign]  # that is the fault.


if __name__ == "__main__":
    from extproc.cli import main

    _inject()
    sys.exit(main())
