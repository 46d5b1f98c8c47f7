from __future__ import annotations

import pytest

from classifiers.errors import ModelError
from classifiers.manifest import read_manifest
from classifiers.model import Activation, DirectorySource, Head

DIGEST = "0" * 64
MANIFEST = f"""
id = "house-model"
licence = "MIT"
window_tokens = 512
stride_tokens = 384
row_independent = true

[source]
directory = "weights"

[files.weights]
name = "model.onnx"
sha256 = "{DIGEST}"

[files.tokenizer]
name = "tokenizer.json"
sha256 = "{DIGEST}"

[files.config]
name = "config.json"
sha256 = "{DIGEST}"

[heads.injection]
column = 1
activation = "softmax"
temperature = 1
threshold = 0.5
"""


def read(tmp_path, text):
    file = tmp_path / "house.toml"
    file.write_text(text, encoding="utf-8")
    return read_manifest(file)


def test_a_manifest_is_read(tmp_path):
    manifest = read(tmp_path, MANIFEST)
    assert manifest.id == "house-model"
    assert manifest.source == DirectorySource(directory=tmp_path / "weights")
    assert (manifest.window_tokens, manifest.stride_tokens, manifest.row_independent) == (512, 384, True)
    assert manifest.heads == {
        "injection": Head(
            name="injection", column=1, activation=Activation.SOFTMAX, temperature=1.0, threshold=0.5
        )
    }


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ('id = "house-model"', 'id = "../model"', "id must be letters, digits"),
        ('id = "house-model"', "", "id must be a string"),
        ("window_tokens = 512", "window_tokens = true", "window_tokens must be an integer of at least 3"),
        ("row_independent = true", "row_independent = 1", "row_independent must be true or false"),
        ('name = "model.onnx"', 'name = "../model.onnx"', "files.weights.name must be letters, digits"),
        (f'sha256 = "{DIGEST}"', 'sha256 = "abc"', "files.weights.sha256 must be 64 lower-case"),
        ('activation = "softmax"', 'activation = "relu"', "heads.injection.activation must be one of"),
        (
            "temperature = 1",
            "temperature = 0",
            "heads.injection.temperature must be a finite number above 0",
        ),
        (
            "temperature = 1",
            "temperature = nan",
            "heads.injection.temperature must be a finite number above 0",
        ),
        ("threshold = 0.5", "threshold = 1", "heads.injection.threshold must be a number between 0 and 1"),
        ("threshold = 0.5", "treshold = 0.5", "heads.injection.treshold must be removed"),
        ("column = 1", "column = -1", "heads.injection.column must be an integer of at least 0"),
        ('directory = "weights"', "", "source.distribution must be a string"),
        ("[heads.injection]", "[heads]", "heads.column must be a table"),
        ('licence = "MIT"', "licence = MIT", "is not TOML"),
    ],
)
def test_a_wrong_field_is_named_with_what_belongs_there(tmp_path, old, new, complaint):
    assert old in MANIFEST
    with pytest.raises(ModelError) as caught:
        read(tmp_path, MANIFEST.replace(old, new, 1))
    assert complaint in str(caught.value)
    assert "house.toml" in str(caught.value)


def test_a_manifest_that_is_not_there_is_an_error_of_ours(tmp_path):
    with pytest.raises(ModelError, match="give the path of a manifest"):
        read_manifest(tmp_path / "none.toml")
