"""What a model is: its manifest, its heads and, once loaded, its verified bytes."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum, auto
from typing import TYPE_CHECKING, assert_never

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray


class Activation(StrEnum):
    """How a row of logits becomes a probability."""

    SIGMOID = auto()
    SOFTMAX = auto()
    # The model gives probabilities itself.
    NONE = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """One question that a model answers: a column of its logits with its calibration.

    ``temperature`` divides the logits first. ``threshold`` is the calibrated operating point, in [0, 1].
    """

    name: str
    column: int
    activation: Activation
    temperature: float
    threshold: float

    def scores(self, logits: NDArray[np.float32]) -> NDArray[np.float64]:
        """Logits [windows, columns] to scores [windows]; in [0, 1] where the activation makes them so."""
        scaled = logits.astype(np.float64) / self.temperature
        match self.activation:
            case Activation.SIGMOID:
                # tanh form: exp() of a large logit would overflow.
                scores = 0.5 * (1.0 + np.tanh(0.5 * scaled[:, self.column]))
            case Activation.SOFTMAX:
                powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
                scores = powers[:, self.column] / powers.sum(axis=1)
            case Activation.NONE:
                scores = scaled[:, self.column]
            case _:
                assert_never(self.activation)
        return np.asarray(scores, dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedFile:
    """A file by name and the only content that is accepted under it."""

    name: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class WheelSource:
    """Files inside an installed wheel. They are read; its code is never imported."""

    distribution: str
    version: str
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DirectorySource:
    """Files in a directory that the operator gives."""

    directory: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Which files make a model and how to read its answers.

    ``weights`` is None where a server has them. ``window_tokens`` counts the special tokens.
    ``row_independent`` is False where a row's logits depend on the rest of its batch (dynamic
    quantisation): such a model is only ever given one window at a time. ``columns`` are those of its
    logits, None where any number is right that has the heads' own. ``pad_id`` is the padding token's, None
    where the tokenizer's ``[PAD]`` is it.
    """

    id: str
    licence: str
    source: WheelSource | DirectorySource
    weights: PinnedFile | None
    tokenizer: PinnedFile
    config: PinnedFile
    window_tokens: int
    stride_tokens: int
    row_independent: bool
    heads: Mapping[str, Head]
    columns: int | None = None
    pad_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A manifest with the bytes whose digests were checked: these, not the files, are what is run.

    ``weights`` is empty where a server has them.
    """

    manifest: Manifest
    weights: bytes = field(repr=False)
    tokenizer: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """The manifest's id."""
        return self.manifest.id

    def served_as(self, model_id: str, activation: Activation | None) -> Model:
        """This tokenizer and these heads, for weights that a server has.

        ``activation`` takes the place of the heads' own where the server gives something else.
        """
        own = self.manifest.heads
        heads = {
            name: head if activation is None else replace(head, activation=activation)
            for name, head in own.items()
        }
        return replace(self, manifest=replace(self.manifest, id=model_id, heads=heads))
