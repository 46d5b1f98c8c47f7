"""Loaded once: the shipped model, its tokenizer, and classifiers on both runtimes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from classifiers.classifier import Classifier
from classifiers.registry import load_shipped
from classifiers.runtimes import RuntimeOptions, discover
from classifiers.windows import Windower


@pytest.fixture(scope="session")
def model():
    return load_shipped()


@pytest.fixture(scope="session")
def batching_model(model):
    """The same model, declared fit for batches: the fake runtime keeps that promise."""
    return replace(model, manifest=replace(model.manifest, row_independent=True))


@pytest.fixture(scope="session")
def windower(model):
    return Windower(model)


@pytest.fixture(scope="session")
def classifier(model):
    runtime = discover()["onnx"].open(model, RuntimeOptions(threads=2, accelerated=False))
    return Classifier(model, runtime)


@pytest.fixture(scope="session")
def fake_classifier(batching_model):
    return Classifier(batching_model, discover()["fake"].open(batching_model, RuntimeOptions()))
