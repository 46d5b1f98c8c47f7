"""A text classifier of a few words, made at run time: an ONNX graph, and a directory around it.

Each word of its vocabulary has a logit for every label; the whole text's is the highest of its words'. The
graph is written field by field, after onnx.proto, so that no package is needed for it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
HIGH, LOW = 4.0, -4.0
INPUTS = ("input_ids", "attention_mask")

_FLOAT, _INT64 = 1, 7
_ATTRIBUTE_INT, _ATTRIBUTE_INTS = 2, 7
_OPSET = 13


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _bytes(field: int, content: bytes | str) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    out = b""
    while value > 0x7F:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


def _tensor(name: str, shape: Sequence[int], kind: int, raw: bytes) -> bytes:
    dims = b"".join(_number(1, dim) for dim in shape)
    return dims + _number(2, kind) + _bytes(8, name) + _bytes(9, raw)


def _value(name: str, kind: int, shape: Sequence[str | int]) -> bytes:
    dims = b"".join(_bytes(1, _number(1, dim) if isinstance(dim, int) else _bytes(2, dim)) for dim in shape)
    tensor = _number(1, kind) + _bytes(2, dims)
    return _bytes(1, name) + _bytes(2, _bytes(1, tensor))


def _node(kind: str, inputs: Sequence[str], output: str, attributes: bytes = b"") -> bytes:
    named = b"".join(_bytes(1, name) for name in inputs)
    return named + _bytes(2, output) + _bytes(4, kind) + attributes


def _attribute(name: str, value: int | Sequence[int]) -> bytes:
    if isinstance(value, int):
        content = _number(3, value) + _number(20, _ATTRIBUTE_INT)
    else:
        content = b"".join(_number(8, one) for one in value) + _number(20, _ATTRIBUTE_INTS)
    return _bytes(5, _bytes(1, name) + content)


def graph(
    table: np.ndarray,
    *,
    inputs: Sequence[str] = INPUTS,
    output: str = "logits",
    sequence: str | int = "sequence",
) -> bytes:
    """The bytes of model.onnx: every token id has a row [labels] of ``table``, and the maximum counts."""
    nodes = [
        _node("Gather", ("table", "input_ids"), "rows"),
        _node("ReduceMax", ("rows",), output, _attribute("axes", (1,)) + _attribute("keepdims", 0)),
    ]
    content = b"".join(_bytes(1, node) for node in nodes) + _bytes(2, "tiny")
    content += _bytes(5, _tensor("table", table.shape, _FLOAT, table.astype("<f4").tobytes()))
    content += b"".join(_bytes(11, _value(name, _INT64, ("batch", sequence))) for name in inputs)
    content += _bytes(12, _value(output, _FLOAT, ("batch", table.shape[1])))
    return _number(1, 8) + _bytes(7, content) + _bytes(8, _number(2, _OPSET))


def tokenizer(words: Sequence[str]) -> Tokenizer:
    """Words, whatever their case, between [CLS] and [SEP]."""
    vocabulary = {word: at for at, word in enumerate([*SPECIAL, *words])}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.Lowercase()
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[(name, vocabulary[name]) for name in ("[CLS]", "[SEP]")],
    )
    return made


def table_of(words: Mapping[str, int | None], labels: int) -> np.ndarray:
    """Logits [tokens, labels]: a word's own label is high, all else is low."""
    rows = np.full((len(SPECIAL) + len(words), labels), LOW, dtype=np.float32)
    for at, column in enumerate(words.values()):
        if column is not None:
            rows[len(SPECIAL) + at, column] = HIGH
    return rows


WORDS: Mapping[str, int | None] = {"garden": None, "library": None, "rubbish": 0, "casino": 1}
LABELS = ("Toxic", "Spam/Ads")


def write_directory(
    folder: Path,
    *,
    labels: Sequence[str] = LABELS,
    words: Mapping[str, int | None] = WORDS,
    weights: str | None = "model.onnx",
    config: Mapping[str, object] | None = None,
    **options: object,
) -> Path:
    """A directory as ``save_pretrained`` and an ONNX export leave it; ``config`` adds to config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    settings: dict[str, object] = {
        "model_type": "bert",
        "architectures": ["BertForSequenceClassification"],
        "id2label": {str(at): label for at, label in enumerate(labels)},
        "problem_type": "multi_label_classification",
        "max_position_embeddings": 64,
        "pad_token_id": 0,
        **(config or {}),
    }
    kept = {name: value for name, value in settings.items() if value is not None}
    (folder / "config.json").write_text(json.dumps(kept), encoding="utf-8")
    tokenizer([*words]).save(str(folder / "tokenizer.json"))
    if weights is not None:
        path = folder / weights
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(graph(table_of(words, len(labels)), **options))  # type: ignore[arg-type]  # graph's own.
    return folder
