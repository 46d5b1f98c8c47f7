"""A model of token ids on a Triton. Its tokenizer is here, its weights are there."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from classifiers.errors import ModelError
from classifiers.runtimes import RuntimeOptions, RuntimeSpec
from classifiers.runtimes.onnx import INPUTS
from classifiers.triton import token_rows

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from classifiers.model import Model


class TritonRuntime:
    """Asks the server for every batch. It need not be there when this is made."""

    def __init__(self, model: Model, options: RuntimeOptions) -> None:
        if options.server is None:
            raise ModelError(f"model {model.id}: no server is given that runs it")
        self._served = options.server

    @property
    def batch_windows_max(self) -> int:
        """As many as the server's configuration of the model says."""
        return self._served.batch_max

    def run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits [windows, columns]. Raises ServerError where none come."""
        tensors = dict(zip(INPUTS, (input_ids, attention_mask, np.zeros_like(input_ids)), strict=True))
        rows = token_rows(self._served.signature, tensors, needed=INPUTS[:2])
        return self._served.infer(rows, len(input_ids))

    def describe(self) -> str:
        """The model and its server."""
        return f"{self._served.address.id} on {self._served.address.place}"


RUNTIME = RuntimeSpec(name="triton", open=TritonRuntime)
