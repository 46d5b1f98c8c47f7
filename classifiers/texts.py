"""Scores of texts by a model that tokenizes by itself, as one on a server does.

Its tokens are not known here, so that windows are cut by bytes: what the model's own tokenizer cuts off at
its end would be judged by nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from classifiers.classifier import gather, scores_of
from classifiers.errors import AbandonedError, LogitsError, ModelError, TooManyWindowsError
from classifiers.triton import text_rows
from classifiers.windows import always

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from classifiers.classifier import TextScore
    from classifiers.model import Head
    from classifiers.triton import ServedModel

# Of two neighbours a quarter is the same, so that nothing is only ever seen at a border.
_STRIDE_SHARE: Final = 0.75
_UTF8_BORDERS: Final = (0x80, 0x800, 0x10000)
_PROBE: Final = "a"


@dataclass(frozen=True, slots=True)
class Piece:
    """The code points of a text that are asked about at once."""

    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Pieces:
    """A text's pieces. ``token_count`` counts its code points: nobody here knows its tokens."""

    token_count: int
    windows: tuple[Piece, ...]


def cut(text: str, window_bytes: int) -> Pieces:
    """Overlapping pieces of at most so many bytes of UTF-8 (4 at least), which cover the text."""
    if len(text) * 4 <= window_bytes:
        return Pieces(len(text), (Piece(0, len(text)),) if text else ())
    points = np.frombuffer(text.encode("utf-32-le"), dtype="<u4")
    ends = np.cumsum(1 + sum((points >= border).astype(np.int64) for border in _UTF8_BORDERS))
    pieces: list[Piece] = []
    start = 0
    while True:
        before = int(ends[start - 1]) if start else 0
        end = int(np.searchsorted(ends, before + window_bytes, side="right"))
        pieces.append(Piece(start, end))
        if end == len(text):
            return Pieces(len(text), tuple(pieces))
        step = int(np.searchsorted(ends, before + window_bytes * _STRIDE_SHARE, side="right"))
        start = max(start + 1, step)


class TextClassifier:
    """One head of a served model. Safe to call from several threads at once."""

    def __init__(self, served: ServedModel, head: Head, *, columns: int) -> None:
        self._served = served
        self._head = head
        self._columns = columns
        self.model_id = served.address.id

    def score(
        self,
        texts: Sequence[str],
        *,
        windows_max: int | None = None,
        proceed: Callable[[], bool] = always,
    ) -> list[TextScore]:
        """As ``Classifier.score`` does; raises what it raises."""
        cuts = [cut(text, self._served.address.window_bytes) for text in texts]
        asked = [
            text[one.start : one.end]
            for text, pieces in zip(texts, cuts, strict=True)
            for one in pieces.windows
        ]
        if windows_max is not None and len(asked) > windows_max:
            raise TooManyWindowsError(windows_max)
        scores: list[NDArray[np.float64]] = [np.zeros(0)]
        at = 0
        while at < len(asked):
            if not proceed():
                raise AbandonedError
            batch = asked[at : at + self._served.batch_max]
            scores.append(self._run(batch))
            at += len(batch)
        return gather(cuts, np.concatenate(scores))

    def warm_up(self) -> None:
        """Ask it once, so that a model of other inputs or scores is found before a request needs it.

        Raises:
            ModelError: it is one.
            ServerError: the server did not answer.
        """
        try:
            self._run([_PROBE])
        except LogitsError as error:
            raise ModelError(
                f"{self.model_id}: {error}; it must give {self._columns} for each text, one per label, and "
                "?activation=sigmoid or softmax must be written where they are no probabilities yet"
            ) from None

    def _run(self, texts: Sequence[str]) -> NDArray[np.float64]:
        rows = text_rows(self._served.signature, texts)
        logits = self._served.infer([rows], len(texts))
        return scores_of(logits, self._head, rows=len(texts), columns=self._columns)
