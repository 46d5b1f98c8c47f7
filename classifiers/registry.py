"""Finds a model's files, checks them against their pinned digests and loads them, or refuses.

A model comes from an installed wheel (the ones that are shipped) or from what the operator gives: weights
(ONNX), tokenizer.json and config.json in the Hugging Face layout, beside or below a manifest that pins
their digests, or without one. Keep the manifest, or else the directory, where only the operator writes: it
is what is trusted.
"""

from __future__ import annotations

import hashlib
import json
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, assert_never

from classifiers.errors import ModelError
from classifiers.huggingface import read_directory
from classifiers.manifest import read_manifest
from classifiers.model import DirectorySource, Manifest, Model, PinnedFile, WheelSource

if TYPE_CHECKING:
    from collections.abc import Mapping

# What an operator gets who chooses no other.
DEFAULT_MODEL = "minilm-multihead-v5"

# An ONNX file that carries its weights itself is a protobuf, which ends at 2 GiB.
FILE_BYTES_MAX = 2 * 1024**3


def shipped() -> Mapping[str, Manifest]:
    """The manifests in ``classifiers/models``, by id."""
    with resources.as_file(resources.files("classifiers.models")) as folder:
        manifests = [read_manifest(file) for file in sorted(folder.glob("*.toml"))]
    return {manifest.id: manifest for manifest in manifests}


def load_shipped(model_id: str = DEFAULT_MODEL) -> Model:
    """Load a model that is shipped.

    Raises:
        ModelError: it is unknown, its wheel is missing, or a file is not the pinned one.
    """
    manifests = shipped()
    if model_id not in manifests:
        raise ModelError(f"model {model_id} is not shipped; choose one of: {', '.join(manifests)}")
    return load(manifests[model_id])


def load_operator(place: Path) -> Model:
    """Load the model that an operator gives.

    Args:
        place: a manifest (.toml), a directory in the Hugging Face layout, or an ONNX file in one.

    Raises:
        ModelError: a file is missing, wrong, or not the one that the manifest pins.
    """
    if place.suffix == ".toml":
        return load(read_manifest(place))
    return read_directory(place)


def load(manifest: Manifest) -> Model:
    """Read every file once, check its digest and keep the very bytes that were checked.

    Raises:
        ModelError: a file is missing or not the pinned one; the message says what to do next.
    """
    folder = _folder(manifest)
    config = _verified(manifest, folder, manifest.config)
    model = Model(
        manifest=manifest,
        weights=b"" if manifest.weights is None else _verified(manifest, folder, manifest.weights),
        tokenizer=_verified(manifest, folder, manifest.tokenizer),
    )
    _check_positions(manifest, config)
    return model


def _folder(manifest: Manifest) -> Path:
    match manifest.source:
        case DirectorySource(directory=directory):
            return directory
        case WheelSource() as wheel:
            install = f"run: pip install {wheel.distribution}=={wheel.version}"
            try:
                found = metadata.distribution(wheel.distribution)
            except metadata.PackageNotFoundError:
                raise ModelError(
                    f"model {manifest.id}: {wheel.distribution} is not installed; {install}"
                ) from None
            if found.version != wheel.version:
                raise ModelError(
                    f"model {manifest.id}: {wheel.distribution} is installed as {found.version}, "
                    f"the model is in {wheel.version}; {install}"
                )
            return Path(str(found.locate_file(wheel.folder)))
        case _:
            assert_never(manifest.source)


def _verified(manifest: Manifest, folder: Path, pinned: PinnedFile) -> bytes:
    file = folder / pinned.name
    try:
        if file.stat().st_size > FILE_BYTES_MAX:
            raise ModelError(f"model {manifest.id}: {pinned.name} has more than {FILE_BYTES_MAX} bytes")
        content = file.read_bytes()
    except OSError as error:
        raise ModelError(
            f"model {manifest.id}: {file} cannot be read ({error.strerror}); {_remedy(manifest)}"
        ) from None
    digest = hashlib.sha256(content).hexdigest()
    if digest != pinned.sha256:
        raise ModelError(
            f"model {manifest.id}: {file} is not the pinned file (its sha256 is {digest}, "
            f"pinned is {pinned.sha256}) and was not loaded; {_remedy(manifest)}"
        )
    return content


def _remedy(manifest: Manifest) -> str:
    match manifest.source:
        case WheelSource(distribution=distribution, version=version):
            return f"run: pip install --force-reinstall --no-deps {distribution}=={version}"
        case DirectorySource():
            return "restore the file, or pin another in the manifest after checking where it comes from"
        case _:
            assert_never(manifest.source)


def _check_positions(manifest: Manifest, config: bytes) -> None:
    """A window longer than the model's positions would fail, or be wrong, only once a long text comes."""
    try:
        members = json.loads(config)
    except ValueError:
        raise ModelError(f"model {manifest.id}: {manifest.config.name} is not JSON") from None
    positions = members.get("max_position_embeddings") if isinstance(members, dict) else None
    if not isinstance(positions, int):
        raise ModelError(
            f"model {manifest.id}: {manifest.config.name} has no max_position_embeddings; "
            "give the config.json that belongs to the weights"
        )
    if manifest.window_tokens > positions:
        raise ModelError(
            f"model {manifest.id}: window_tokens is {manifest.window_tokens}, but the model has "
            f"{positions} positions; lower window_tokens in the manifest"
        )
