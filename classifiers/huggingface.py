"""Reads a text classifier from a directory as Hugging Face's tools leave it, with an ONNX export.

``save_pretrained`` and ``optimum-cli export onnx --task text-classification`` write config.json (labels,
and whether one or several of them hold at once), tokenizer.json and the weights. Nothing pins what lies
there: the model's id carries the digest of what was read. Weights of PyTorch are never opened, since a
pickle runs code.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from classifiers.errors import ModelError
from classifiers.model import Activation, DirectorySource, Head, Manifest, Model, PinnedFile

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# An ONNX file that carries its weights itself is a protobuf, which ends at 2 GiB.
WEIGHTS_BYTES_MAX: Final = 2 * 1024**3
# The largest vocabularies (256,000 tokens) take 35 MB.
_TOKENIZER_BYTES_MAX: Final = 128 * 1024**2
_CONFIG_BYTES_MAX: Final = 1024**2
# Labels of one model; the widest taxonomies have some hundred.
_LABELS_MAX: Final = 1_000
# Longer windows cost more per token, and what stands in their middle weighs less in the score.
_WINDOW_TOKENS_MAX: Final = 512
# Shorter ones tell nothing.
_WINDOW_TOKENS_MIN: Final = 16
# Of a window; the tokenizer alone knows how many there are.
_SPECIAL_TOKENS_MAX: Final = 4
# Of two neighbours' tokens a quarter is the same, so that nothing is only ever seen at a border.
_STRIDE_SHARE: Final = 0.75
# What a policy's own threshold takes the place of: the command line has none.
_THRESHOLD: Final = 0.5
_DIGEST_CHARS: Final = 12
_NAME_CHARS_MAX: Final = 64

_CONFIG: Final = "config.json"
_TOKENIZER: Final = "tokenizer.json"
_TOKENIZER_CONFIG: Final = "tokenizer_config.json"
_WEIGHTS: Final = "model.onnx"
_ONNX: Final = ".onnx"
_PYTORCH: Final = (".safetensors", ".bin", ".pt", ".pth", ".ckpt")
# The operator that quantises activations by the whole batch's range.
_DYNAMIC: Final = b"DynamicQuantizeLinear"
# Their positions begin behind the padding token's id, so that they have fewer than config.json says.
_OFFSET_POSITIONS: Final = re.compile(r"roberta|camembert|mpnet|longformer|xmod|data2vec", re.ASCII)


@dataclass(frozen=True, slots=True)
class _Content:
    """A file's bytes, once read."""

    name: str
    content: bytes = field(repr=False)

    @property
    def pinned(self) -> PinnedFile:
        return PinnedFile(name=self.name, sha256=hashlib.sha256(self.content).hexdigest())


def read_directory(place: Path, *, weights: bool = True) -> Model:
    """Read a directory in the Hugging Face layout.

    Args:
        place: the directory, or one of several ONNX files in it or in its folder ``onnx``.
        weights: whether its weights are wanted: not where a server runs them.

    Raises:
        ModelError: something is missing or of no use; says what to do.
    """
    folder = _folder_of(place)
    if not folder.is_dir():
        raise ModelError(f"{place}: is no manifest (.toml), no directory and no .onnx file")
    config = _read(folder, _CONFIG, _CONFIG_BYTES_MAX, "save_pretrained writes it beside the weights")
    remedy = "AutoTokenizer.from_pretrained(DIRECTORY).save_pretrained(DIRECTORY) writes it"
    tokenizer = _read(folder, _TOKENIZER, _TOKENIZER_BYTES_MAX, remedy)
    found = _weights_of(place, folder) if weights else None
    settings = _members(folder / _CONFIG, config.content)
    lengths = _tokenizer_config(folder)
    window_tokens = _window_tokens(folder, settings, lengths)
    quantised = found is not None and _DYNAMIC in found.content
    heads = _heads(folder / _CONFIG, settings)
    manifest = Manifest(
        id=_id_of(folder, [one for one in (config, tokenizer, found, lengths) if one is not None]),
        licence="the operator's",
        source=DirectorySource(directory=folder),
        weights=None if found is None else found.pinned,
        tokenizer=tokenizer.pinned,
        config=config.pinned,
        window_tokens=window_tokens,
        stride_tokens=int((window_tokens - _SPECIAL_TOKENS_MAX) * _STRIDE_SHARE),
        row_independent=not quantised,
        heads=heads,
        columns=len(heads),
        pad_id=_integer(settings, "pad_token_id"),
    )
    return Model(
        manifest=manifest,
        weights=b"" if found is None else found.content,
        tokenizer=tokenizer.content,
    )


def heads_of(labels: Sequence[str], activation: Activation, *, where: str) -> Mapping[str, Head]:
    """A head for each label, named as a policy can name it: ``Hate/Threatening`` is ``hate_threatening``.

    Raises:
        ModelError: two labels get one name.
    """
    heads: dict[str, Head] = {}
    for column, label in enumerate(labels):
        name = head_name(label) or f"label_{column}"
        if name in heads:
            raise ModelError(f"{where}: two labels are both called {name} here; rename one of them")
        heads[name] = Head(
            name=name, column=column, activation=activation, temperature=1.0, threshold=_THRESHOLD
        )
    return heads


def head_name(label: str) -> str:
    """Small letters, digits and ``_``; empty where a label has none of them."""
    plain = unicodedata.normalize("NFKD", label).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "_", plain).strip("_")[:_NAME_CHARS_MAX]


# --- the files -------------------------------------------------------------------------------


def _folder_of(place: Path) -> Path:
    if place.suffix != _ONNX:
        return place
    return place.parent.parent if place.parent.name == "onnx" else place.parent


def _read(folder: Path, name: str, bytes_max: int, remedy: str) -> _Content:
    file = folder / name
    try:
        # Both: what grows while it is read must not be read whole.
        with file.open("rb") as opened:
            content = opened.read(bytes_max + 1)
    except OSError as error:
        raise ModelError(f"{file}: cannot be read ({error.strerror}); {remedy}") from None
    if len(content) > bytes_max:
        raise ModelError(f"{file}: has more than {bytes_max} bytes")
    return _Content(name, content)


def _weights_of(place: Path, folder: Path) -> _Content:
    file = place if place.suffix == _ONNX else _only_export(folder)
    beside = [one.name for one in file.parent.glob(f"{file.name}[._]data")]
    if beside:
        raise ModelError(
            f"{file}: keeps its weights in {beside[0]}, and only one file of up to 2 GiB is read; "
            "export a smaller model, or run this one in Triton and give triton://HOST:PORT/MODEL"
        )
    read = _read(file.parent, file.name, WEIGHTS_BYTES_MAX, "give a directory that has it")
    return _Content(file.relative_to(folder).as_posix(), read.content)


def _only_export(folder: Path) -> Path:
    found = sorted([*folder.glob(f"*{_ONNX}"), *folder.glob(f"onnx/*{_ONNX}")])
    named = [one for one in found if one.name == _WEIGHTS]
    for choice in (named, found):
        if len(choice) == 1:
            return choice[0]
    if found:
        names = ", ".join(one.relative_to(folder).as_posix() for one in found)
        raise ModelError(f"{folder}: has several exports ({names}); give the path of one")
    pytorch = sorted(one.name for one in folder.iterdir() if one.suffix in _PYTORCH)
    has = f"has {pytorch[0]}, which is not opened, and" if pytorch else "has"
    raise ModelError(
        f"{folder}: {has} no ONNX export; make one: pip install 'optimum-onnx[onnxruntime]' && "
        f"optimum-cli export onnx --model {folder} --task text-classification {folder}-onnx"
    )


def _id_of(folder: Path, contents: Sequence[_Content]) -> str:
    """The folder's name and a digest over all that was read: records tell models apart by it."""
    digests = "".join(one.pinned.sha256 for one in contents)
    digest = hashlib.sha256(digests.encode()).hexdigest()[:_DIGEST_CHARS]
    name = re.sub(r"[^A-Za-z0-9._-]+", "-", folder.resolve().name).strip("._-")[:_NAME_CHARS_MAX]
    return f"{name or 'model'}:{digest}"


# --- config.json -----------------------------------------------------------------------------


def _members(file: Path, content: bytes) -> Mapping[str, object]:
    try:
        members = json.loads(content)
    except (ValueError, RecursionError):
        members = None
    if not isinstance(members, dict):
        raise ModelError(f"{file}: is no JSON object; give the one that belongs to the weights")
    return members


def _integer(members: Mapping[str, object], key: str) -> int | None:
    found = members.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) and found >= 0 else None


def _heads(file: Path, settings: Mapping[str, object]) -> Mapping[str, Head]:
    named = settings.get("id2label")
    if named is None:
        # What is not written has Hugging Face's own default: two.
        named = {str(column): f"LABEL_{column}" for column in range(2)}
    if not isinstance(named, dict) or not 1 <= len(named) <= _LABELS_MAX:
        raise ModelError(f"{file}: id2label must name 1 to {_LABELS_MAX} labels")
    labels = [named.get(str(column)) for column in range(len(named))]
    told = [label for label in labels if isinstance(label, str)]
    if len(told) < len(labels):
        raise ModelError(f"{file}: id2label must have a string for each column, from 0 on")
    return heads_of(told, _activation(file, settings, len(told)), where=f"{file}: id2label")


def _activation(file: Path, settings: Mapping[str, object], labels: int) -> Activation:
    """As Hugging Face's own pipeline reads ``problem_type``, and where there is none the labels' number."""
    match settings.get("problem_type"):
        case "multi_label_classification":
            return Activation.SIGMOID
        case "single_label_classification":
            return Activation.SOFTMAX if labels > 1 else Activation.SIGMOID
        case None:
            return Activation.SIGMOID if labels == 1 else Activation.SOFTMAX
        case _:
            raise ModelError(
                f"{file}: problem_type must be single_label_classification or multi_label_classification: "
                "other models give no probability that a threshold could be set for"
            )


def _tokenizer_config(folder: Path) -> _Content | None:
    """It may be missing where config.json tells how long a window is."""
    if not (folder / _TOKENIZER_CONFIG).exists():
        return None
    return _read(folder, _TOKENIZER_CONFIG, _TOKENIZER_BYTES_MAX, "make it readable")


def _window_tokens(folder: Path, settings: Mapping[str, object], config: _Content | None) -> int:
    """The longest window that the model is sure to have positions for."""
    positions = _integer(settings, "max_position_embeddings") or _integer(settings, "n_positions")
    if positions is not None and _OFFSET_POSITIONS.search(str(settings.get("model_type"))):
        positions -= 1 + (_integer(settings, "pad_token_id") or 0)
    bounds = [_WINDOW_TOKENS_MAX, *([] if positions is None else [positions])]
    if config is not None:
        longest = _integer(_members(folder / _TOKENIZER_CONFIG, config.content), "model_max_length")
        # A tokenizer without a bound says so by a number of 30 digits.
        bounds += [] if longest is None else [longest]
    if len(bounds) == 1:
        raise ModelError(
            f"{folder / _CONFIG}: has no max_position_embeddings, and {_TOKENIZER_CONFIG} no "
            "model_max_length: write there how many tokens the model can read at once"
        )
    if min(bounds) < _WINDOW_TOKENS_MIN:
        raise ModelError(f"{folder}: the model reads fewer than {_WINDOW_TOKENS_MIN} tokens at once")
    return min(bounds)
