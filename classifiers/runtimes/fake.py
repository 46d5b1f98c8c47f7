"""A runtime without a model, for tests: a window with one of ``KEYWORDS`` scores high, any other low."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from classifiers.runtimes import RuntimeOptions, RuntimeSpec
from classifiers.windows import Windower

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from classifiers.model import Model

KEYWORDS = ("ignore", "disregard", "jailbreak")

_HIGH_LOGIT = 8.0
_LOW_LOGITS = (-10.0, -5.0)


class FakeRuntime:
    """Logits that depend on a window's tokens alone: the same in any batch, at any padding."""

    def __init__(self, model: Model, _options: RuntimeOptions) -> None:
        windower = Windower(model)
        special = set(windower.wrap(()).tolist())
        self._model_id = model.id
        self._columns = 1 + max(head.column for head in model.manifest.heads.values())
        self._keyword_ids = {
            int(token)
            for word in KEYWORDS
            for window in windower.cut(word).windows
            for token in window.ids
            if int(token) not in special
        }

    @property
    def batch_windows_max(self) -> int:
        """Several, so that tests see batches."""
        return 8

    def run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Every column of a row gets the same logit."""
        rows = [self._logit(row[mask == 1]) for row, mask in zip(input_ids, attention_mask, strict=True)]
        return np.repeat(np.asarray(rows, dtype=np.float32)[:, None], self._columns, axis=1)

    def describe(self) -> str:
        """Says that nothing real is run."""
        return f"{self._model_id} on no model at all (fake scores)"

    def _logit(self, ids: NDArray[np.int64]) -> float:
        if not self._keyword_ids.isdisjoint(ids.tolist()):
            return _HIGH_LOGIT
        digest = hashlib.sha256(np.ascontiguousarray(ids, dtype="<i8").tobytes()).digest()
        low, high = _LOW_LOGITS
        return low + (high - low) * digest[0] / 255


RUNTIME = RuntimeSpec(name="fake", open=FakeRuntime)
