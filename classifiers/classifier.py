"""Texts to scores with one head of one model: windows, batches of them, and the maximum per text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np

from classifiers.errors import (
    AbandonedError,
    LogitsError,
    ModelError,
    ServerError,
    TooManyWindowsError,
)
from classifiers.windows import Windower, always

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from classifiers.model import Head, Model
    from classifiers.runtimes import Runtime
    from classifiers.windows import Window, Windows

# A batch is as long as its longest window. No window in it is shorter than this share of that length, so
# that at most a quarter of the work is padding.
_LENGTH_SHARE_MIN = 0.75


@dataclass(frozen=True, slots=True, kw_only=True)
class TextScore:
    """The score of one text: the maximum over its windows, in [0, 1].

    ``start`` and ``end`` are the code points of the window that scored highest (of equals, the first). A
    text without tokens (empty, white space, invisible characters) has no windows and the score 0:
    ``token_count`` 0 says that the model saw nothing.
    """

    score: float
    window_count: int
    token_count: int
    start: int
    end: int


class Stretch(Protocol):
    """The code points of a text that one window covers."""

    @property
    def start(self) -> int:
        """The first one."""

    @property
    def end(self) -> int:
        """The one behind the last."""


class Cut(Protocol):
    """A text as it was cut; ``classifiers.windows.Windows`` is one."""

    @property
    def token_count(self) -> int:
        """The text's tokens, each counted once."""

    @property
    def windows(self) -> Sequence[Stretch]:
        """In the order in which they were scored."""


class Classifier:
    """A model's head, loaded and warmed up. Safe to call from several threads at once.

    ``warm`` is False for a model of a server that may not be there yet: then whoever asks it warms it up.
    """

    def __init__(
        self, model: Model, runtime: Runtime, *, head: str = "injection", warm: bool = True
    ) -> None:
        if head not in model.manifest.heads:
            raise ModelError(
                f"model {model.id} has no head {head}; it has: {', '.join(model.manifest.heads)}"
            )
        self._runtime = runtime
        self._windower = Windower(model)
        self._head: Head = model.manifest.heads[head]
        self.model_id = model.id
        self._columns = model.manifest.columns
        self._row_independent = model.manifest.row_independent
        self._window_tokens = model.manifest.window_tokens
        if warm:
            self.warm_up()

    @property
    def threshold(self) -> float:
        """The head's calibrated operating point."""
        return self._head.threshold

    def describe(self) -> str:
        """The line that start-up prints."""
        return f"{self._head.name} model {self._runtime.describe()}"

    def score(
        self,
        texts: Sequence[str],
        *,
        windows_max: int | None = None,
        proceed: Callable[[], bool] = always,
    ) -> list[TextScore]:
        """The scores of ``texts``, in their order. Every token of every text is judged, or it raises.

        Args:
            texts: code points without surrogates, of any length.
            windows_max: the most windows over all texts together.
            proceed: asked before each piece of tokenising and each batch, on this thread.

        Raises:
            TooManyWindowsError: the texts need more than ``windows_max``; nothing was scored.
            AbandonedError: ``proceed`` said no.
            LogitsError: the runtime's answer was not one finite row per window.
            ServerError: the server that runs the model did not answer.
        """
        cuts = self._cut(texts, windows_max, proceed)
        windows = [window for cut in cuts for window in cut.windows]
        scores = np.zeros(len(windows), dtype=np.float64)
        batch_windows_max = self._runtime.batch_windows_max if self._row_independent else 1
        for batch in _batches(windows, batch_windows_max):
            if not proceed():
                raise AbandonedError
            scores[batch] = self._run([windows[at].ids for at in batch])
        return gather(cuts, scores)

    def _cut(
        self, texts: Sequence[str], windows_max: int | None, proceed: Callable[[], bool]
    ) -> list[Windows]:
        cuts: list[Windows] = []
        left = windows_max
        for text in texts:
            try:
                cut = self._windower.cut(text, windows_max=left, proceed=proceed)
            except TooManyWindowsError:
                raise TooManyWindowsError(0 if windows_max is None else windows_max) from None
            cuts.append(cut)
            if left is not None:
                left -= len(cut.windows)
        return cuts

    def _run(self, rows: Sequence[NDArray[np.int64]]) -> NDArray[np.float64]:
        longest = max(len(row) for row in rows)
        ids = np.full((len(rows), longest), self._windower.pad_id, dtype=np.int64)
        mask = np.zeros((len(rows), longest), dtype=np.int64)
        for at, row in enumerate(rows):
            ids[at, : len(row)] = row
            mask[at, : len(row)] = 1
        return scores_of(self._runtime.run(ids, mask), self._head, rows=len(rows), columns=self._columns)

    def warm_up(self) -> None:
        """Run the shortest and the longest window, so that the first request does not pay for allocations.

        It also finds a model that cannot run at all while the service starts.

        Raises:
            ModelError: it cannot run.
            ServerError: the server that runs it did not answer.
        """
        shortest = self._windower.wrap((self._windower.pad_id,))
        try:
            self._run([shortest])
            self._run([np.resize(shortest, self._window_tokens)])
        except ServerError:
            raise
        except Exception as error:
            raise ModelError(
                f"model {self.model_id}: its first run failed ({type(error).__name__}: {error}); "
                "check that weights, tokenizer and heads belong together"
            ) from error


def scores_of(
    logits: NDArray[np.float32], head: Head, *, rows: int, columns: int | None
) -> NDArray[np.float64]:
    """A head's scores [rows] of a model's answer.

    Args:
        logits: the answer, which should be [rows, columns].
        head: whose scores.
        rows: how many windows were asked about.
        columns: how many the model has; None where it only must have the head's own.

    Raises:
        LogitsError: it has another shape, or a score is no number in [0, 1].
    """
    flat = logits.ndim != 2 or len(logits) != rows  # noqa: PLR2004 - rows and columns.
    if flat or logits.shape[1] <= head.column or columns not in {None, logits.shape[1]}:
        raise LogitsError("the logits do not have one row per window and a column per head")
    scores = head.scores(logits)
    # Written so that not-a-number is refused: it is below every threshold, and would pass as harmless.
    if not ((scores >= 0) & (scores <= 1)).all():
        raise LogitsError("a score is no number between 0 and 1")
    return scores


def _batches(windows: Sequence[Window], windows_max: int) -> Iterator[list[int]]:
    """Indices of windows of about one length, longest first."""
    batch: list[int] = []
    for at in sorted(range(len(windows)), key=lambda index: -len(windows[index].ids)):
        if batch:
            too_short = len(windows[at].ids) < _LENGTH_SHARE_MIN * len(windows[batch[0]].ids)
            if len(batch) == windows_max or too_short:
                yield batch
                batch = []
        batch.append(at)
    if batch:
        yield batch


def gather(cuts: Sequence[Cut], scores: NDArray[np.float64]) -> list[TextScore]:
    """The score of each text: the maximum over its windows, whose ``scores`` stand in their order."""
    gathered: list[TextScore] = []
    first = 0
    for cut in cuts:
        own = scores[first : first + len(cut.windows)]
        first += len(cut.windows)
        best = int(own.argmax()) if len(own) else None
        gathered.append(
            TextScore(
                score=0.0 if best is None else float(own[best]),
                window_count=len(own),
                token_count=cut.token_count,
                start=0 if best is None else cut.windows[best].start,
                end=0 if best is None else cut.windows[best].end,
            )
        )
    return gathered
