"""Cuts a text into overlapping windows of tokens. Nothing is ever truncated.

Windows begin at token 0, ``stride_tokens``, 2 x ``stride_tokens``, …, whatever follows. So a window that
was full stays the same when text is appended after a space, and the maximum over a document's full windows
can only grow. It does not hold for the last window while it is not full: text appended to it dilutes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers

from classifiers.errors import AbandonedError, ModelError, TooManyWindowsError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray

    from classifiers.model import Model

# One call of the tokenizer takes a few milliseconds for so much text: the unit in which it can be stopped.
PIECE_CHARS = 16_384

# BERT's pre-tokenizer ends a word before each of these, so a cut there leaves every token as it was:
# Unicode white space that its normalizer keeps, and ASCII punctuation.
CUT_BEFORE = frozenset(
    " \t\n\r\u00a0\u1680\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2007\u2008\u2009\u200a\u2028\u2029"
    "\u202f\u205f\u3000!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"
)


@dataclass(frozen=True, slots=True)
class Window:
    """Token ids [tokens] with the special ones, and the code points of the text that they cover."""

    ids: NDArray[np.int64]
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Windows:
    """A text's windows. ``token_count`` counts each token of the text once, and no special ones."""

    token_count: int
    windows: tuple[Window, ...]


def always() -> bool:
    """The ``proceed`` of a caller that waits however long it takes."""
    return True


def window_bounds(token_count: int, capacity: int, stride: int) -> tuple[tuple[int, int], ...]:
    """Half-open token ranges of at most ``capacity`` that cover ``token_count`` tokens."""
    if token_count <= capacity:
        return ((0, token_count),) if token_count else ()
    # Full windows, then one that has at least a token of its own and no more than it can hold.
    last = -(-(token_count - capacity) // stride)
    return tuple((k * stride, min(k * stride + capacity, token_count)) for k in range(last + 1))


def piece_bounds(text: str, piece_chars: int = PIECE_CHARS) -> Iterator[tuple[int, int]]:
    """Half-open ranges that make up the text, each cut where no word goes on, if there is such a place."""
    start = 0
    while len(text) - start > piece_chars:
        limit = start + piece_chars
        cut = next((at for at in range(limit, start, -1) if text[at] in CUT_BEFORE), limit)
        yield start, cut
        start = cut
    if start < len(text):
        yield start, len(text)


class Windower:
    """One model's tokenizer and its windows. Safe to share between threads once made."""

    def __init__(self, model: Model) -> None:
        tokenizer = _open_tokenizer(model)
        probe = tokenizer.encode("a")
        special = probe.special_tokens_mask
        prefix = len(list(takewhile(bool, special)))
        suffix = len(list(takewhile(bool, reversed(special))))
        self._prefix: list[int] = probe.ids[:prefix]
        self._suffix: list[int] = probe.ids[len(special) - suffix :]
        self._tokenizer = tokenizer
        self.capacity = model.manifest.window_tokens - prefix - suffix
        self.stride = model.manifest.stride_tokens
        if not 0 < self.stride <= self.capacity:
            raise ModelError(
                f"model {model.id}: stride_tokens must be between 1 and {self.capacity} (window_tokens "
                "without special tokens), or tokens between windows would stay unseen; correct the manifest"
            )
        pad = model.manifest.pad_id
        if pad is None:
            pad = tokenizer.token_to_id("[PAD]")
        self.pad_id = 0 if pad is None else pad

    def cut(
        self, text: str, *, windows_max: int | None = None, proceed: Callable[[], bool] = always
    ) -> Windows:
        """A text's windows.

        Raises:
            TooManyWindowsError: more than ``windows_max``; found without tokenising all of the text.
            AbandonedError: ``proceed`` said no; it is asked before every piece.
        """
        tokens_max = None if windows_max is None else self._tokens_in(windows_max)
        ids: list[int] = []
        starts: list[int] = []
        ends: list[int] = []
        for start, end in piece_bounds(text):
            if not proceed():
                raise AbandonedError
            # encode() would hold the interpreter's lock, encode_batch() does not.
            encoding = self._tokenizer.encode_batch([text[start:end]], add_special_tokens=False)[0]
            ids += encoding.ids
            starts += [start + first for first, _ in encoding.offsets]
            ends += [start + last for _, last in encoding.offsets]
            if tokens_max is not None and windows_max is not None and len(ids) > tokens_max:
                raise TooManyWindowsError(windows_max)
        bounds = window_bounds(len(ids), self.capacity, self.stride)
        windows = (Window(self.wrap(ids[a:b]), starts[a], ends[b - 1]) for a, b in bounds)
        return Windows(len(ids), tuple(windows))

    def wrap(self, ids: Sequence[int]) -> NDArray[np.int64]:
        """Token ids between the model's special tokens."""
        return np.asarray([*self._prefix, *ids, *self._suffix], dtype=np.int64)

    def _tokens_in(self, windows: int) -> int:
        return 0 if windows <= 0 else self.capacity + (windows - 1) * self.stride


def _open_tokenizer(model: Model) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_str(model.tokenizer.decode())
    except Exception as error:  # noqa: BLE001 - the library raises Exception itself.
        raise ModelError(f"model {model.id}: its tokenizer.json cannot be read: {error}") from None
    # The file may switch on both (the shipped one does, at 256): what is cut off would never be judged.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    # "[SEP]" or "[MASK]" in a text are the client's characters, not the model's tokens.
    tokenizer.encode_special_tokens = True
    word_pieces = tokenizer.model
    if isinstance(word_pieces, models.WordPiece) and tokenizer.pre_tokenizer is not None:
        # A longer word would become one unknown token, and whatever it says would be unseen.
        long_words = pre_tokenizers.FixedLength(word_pieces.max_input_chars_per_word)
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([tokenizer.pre_tokenizer, long_words])
    return tokenizer
