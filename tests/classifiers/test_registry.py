from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from dataclasses import replace
from importlib import metadata

import pytest

from classifiers.errors import ModelError
from classifiers.model import DirectorySource, PinnedFile, WheelSource
from classifiers.registry import DEFAULT_MODEL, load, load_operator, load_shipped, shipped

CONTENT = {
    "model.onnx": b"weights",
    "tokenizer.json": b"{}",
    "config.json": json.dumps({"max_position_embeddings": 512}).encode(),
}


def sha256(content):
    return hashlib.sha256(content).hexdigest()


@pytest.fixture
def operator_manifest(tmp_path, model):
    """A manifest of three files that lie in a directory, as it should be."""
    for name, content in CONTENT.items():
        (tmp_path / name).write_bytes(content)
    pinned = {name: PinnedFile(name=name, sha256=sha256(content)) for name, content in CONTENT.items()}
    return replace(
        model.manifest,
        source=DirectorySource(directory=tmp_path),
        weights=pinned["model.onnx"],
        tokenizer=pinned["tokenizer.json"],
        config=pinned["config.json"],
    )


def test_the_shipped_model_is_what_its_manifest_pins(model):
    manifest = shipped()[DEFAULT_MODEL]
    assert model.manifest == manifest
    assert sha256(model.weights) == manifest.weights.sha256
    assert sha256(model.tokenizer) == manifest.tokenizer.sha256
    assert manifest.licence == "Apache-2.0"


def test_the_calibration_is_the_one_in_the_wheel():
    manifest = shipped()[DEFAULT_MODEL]
    assert isinstance(manifest.source, WheelSource)
    wheel = metadata.distribution(manifest.source.distribution)
    config = json.loads(
        wheel.locate_file(f"{manifest.source.folder}/classifier_config.json").read_text(encoding="utf-8")
    )
    head = manifest.heads["injection"]
    assert head.temperature == config["calibration"]["temperatureT"]
    assert head.threshold == config["calibration"]["highRiskThreshold"]


def test_loading_imports_none_of_the_wheels_code():
    program = (
        "import sys; from classifiers.registry import load_shipped; load_shipped(); "
        "sys.exit(any(name.split('.')[0] == 'stackone_defender' for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0  # noqa: S603 - our own program.


def test_a_directory_is_loaded(operator_manifest):
    model = load(operator_manifest)
    assert (model.weights, model.tokenizer) == (CONTENT["model.onnx"], CONTENT["tokenizer.json"])


@pytest.mark.parametrize("name", sorted(CONTENT))
def test_a_file_that_is_not_the_pinned_one_is_refused(operator_manifest, tmp_path, name):
    (tmp_path / name).write_bytes(CONTENT[name] + b" ")
    with pytest.raises(ModelError, match="is not the pinned file") as caught:
        load(operator_manifest)
    assert sha256(CONTENT[name] + b" ") in str(caught.value)
    assert "pin another in the manifest after checking" in str(caught.value)


@pytest.mark.parametrize("name", sorted(CONTENT))
def test_a_missing_file_is_named(operator_manifest, tmp_path, name):
    (tmp_path / name).unlink()
    with pytest.raises(ModelError, match="cannot be read") as caught:
        load(operator_manifest)
    assert name in str(caught.value)
    assert "restore the file" in str(caught.value)


def test_a_wheel_that_is_not_installed_is_named_with_the_command_for_it(model):
    missing = WheelSource(distribution="headgate-no-such-wheel", version="1.0", folder="models")
    with pytest.raises(ModelError, match=r"run: pip install headgate-no-such-wheel==1\.0"):
        load(replace(model.manifest, source=missing))


def test_another_version_of_the_wheel_is_refused(model):
    other = replace(model.manifest.source, version="0.0.1")
    with pytest.raises(ModelError, match=r"run: pip install stackone-defender==0\.0\.1"):
        load(replace(model.manifest, source=other))


def test_a_window_longer_than_the_models_positions_is_refused(operator_manifest):
    with pytest.raises(ModelError, match="lower window_tokens"):
        load(replace(operator_manifest, window_tokens=513))


@pytest.mark.parametrize("config", [b"[]", b"{}", b"not json"])
def test_a_config_that_is_not_the_models_is_refused(operator_manifest, tmp_path, config):
    (tmp_path / "config.json").write_bytes(config)
    pinned = PinnedFile(name="config.json", sha256=sha256(config))
    with pytest.raises(ModelError, match=r"config\.json"):
        load(replace(operator_manifest, config=pinned))


def test_an_operators_manifest_file_leads_to_its_directory(operator_manifest, tmp_path):
    def table(pinned):
        return f'name = "{pinned.name}"\nsha256 = "{pinned.sha256}"\n'

    manifest_file = tmp_path / "house.toml"
    manifest_file.write_text(
        'id = "house"\nlicence = "MIT"\nwindow_tokens = 512\nstride_tokens = 384\nrow_independent = true\n'
        '[source]\ndirectory = "."\n'
        f"[files.weights]\n{table(operator_manifest.weights)}"
        f"[files.tokenizer]\n{table(operator_manifest.tokenizer)}"
        f"[files.config]\n{table(operator_manifest.config)}"
        '[heads.injection]\ncolumn = 1\nactivation = "softmax"\ntemperature = 1.0\nthreshold = 0.5\n',
        encoding="utf-8",
    )
    assert load_operator(manifest_file).weights == CONTENT["model.onnx"]


def test_a_model_that_is_not_shipped_is_refused_with_the_ones_that_are():
    with pytest.raises(ModelError, match=f"choose one of: {DEFAULT_MODEL}"):
        load_shipped("no-such-model")


def test_a_models_bytes_stay_out_of_its_repr(model):
    assert len(repr(model)) < 2_000
