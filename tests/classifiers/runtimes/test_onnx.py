from __future__ import annotations

import sys
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from classifiers.errors import ModelError
from classifiers.runtimes import RuntimeOptions, onnx

CUDA, CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


class Session:
    def __init__(self, providers, inputs, outputs):
        self._providers = providers
        self._inputs = inputs
        self._outputs = outputs
        self.fed = {}

    def run(self, outputs, feed):
        self.fed = feed
        return [outputs]

    def get_providers(self):
        return self._providers

    def get_inputs(self):
        return [SimpleNamespace(name=name, type=kind, shape=shape) for name, kind, shape in self._inputs]

    def get_outputs(self):
        return [SimpleNamespace(name=name) for name in self._outputs]


class Library:
    """Stands in for onnxruntime on a machine that this one is not."""

    __version__ = "1.0"

    def __init__(
        self,
        offered,
        starts,
        *,
        inputs=("input_ids", "attention_mask"),
        kind="tensor(int64)",
        rows="batch",
        outputs=("logits",),
        broken=(),
    ):
        self.offered = offered
        self.starts = starts
        self.inputs = [(name, kind, [rows, "tokens"]) for name in inputs]
        self.outputs = outputs
        self.broken = broken
        self.settings = []
        self.steps = []

    def get_available_providers(self):
        return self.offered

    def preload_dlls(self):
        self.steps.append("preload")
        print("libcudnn is missing")  # noqa: T201 - as the real one does.

    def SessionOptions(self):  # noqa: N802 - the real name.
        entries = {}
        self.settings.append(entries)
        return SimpleNamespace(add_session_config_entry=entries.__setitem__)

    def InferenceSession(self, weights, settings, *, providers):  # noqa: N802 - the real name.
        self.steps.append(tuple(providers))
        if providers[0] in self.broken:
            raise RuntimeError("of the library's own")
        starts = [one for one in providers if one in self.starts]
        self.session = Session(starts, self.inputs, self.outputs)
        return self.session


@pytest.fixture
def opened(monkeypatch, model):
    def open_with(library, **options):
        monkeypatch.setitem(sys.modules, "onnxruntime", library)
        return onnx.RUNTIME.open(model, RuntimeOptions(**options))

    return open_with


def test_cuda_is_used_where_it_is_offered_and_starts(opened, model, capsys):
    library = Library([CUDA, CPU], [CUDA, CPU])
    runtime = opened(library)
    assert runtime.describe() == f"{model.id} on {CUDA}"
    assert runtime.batch_windows_max > 1
    assert library.steps == ["preload", (CUDA, CPU)]
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("library", "options", "why"),
    [
        (Library([CPU], [CPU]), {}, f"onnxruntime 1.0 offers no {CUDA}; onnxruntime-gpu does"),
        (Library([CUDA, CPU], [CPU]), {}, f"{CUDA} did not start: see onnxruntime's own error, above"),
        (Library([CUDA, CPU], [CPU], broken=[CUDA]), {}, f"{CUDA} did not start: RuntimeError"),
        (Library([CUDA, CPU], [CUDA, CPU]), {"accelerated": False}, "an accelerator is switched off"),
    ],
    ids=["not-offered", "falls-back", "raises", "switched-off"],
)
def test_the_cpu_is_used_otherwise_and_the_reason_is_kept(opened, model, library, options, why):
    runtime = opened(library, **options)
    assert runtime.describe() == f"{model.id} on {CPU} ({why})"
    assert runtime.batch_windows_max == 1
    assert library.steps[-1] == (CPU,)


def test_its_threads_never_spin(opened):
    library = Library([CPU], [CPU])
    opened(library)
    assert library.settings == [
        {"session.intra_op.allow_spinning": "0", "session.inter_op.allow_spinning": "0"}
    ]


def test_a_model_of_other_inputs_is_refused(opened):
    with pytest.raises(ModelError, match="give an ONNX text classifier"):
        opened(Library([CPU], [CPU], inputs=("pixel_values",)))
    with pytest.raises(ModelError, match="; input_ids, attention_mask cannot be fed"):
        opened(Library([CPU], [CPU], kind="tensor(float)"))


def test_integers_are_fed_in_the_size_that_the_graph_takes(opened):
    library = Library([CPU], [CPU], inputs=onnx.INPUTS, kind="tensor(int32)", outputs=("other", "logits"))
    ids = np.asarray([[1, 2]])
    assert opened(library).run(ids, np.ones_like(ids)) == ["logits"]
    assert {name: (one.dtype, one.tolist()) for name, one in library.session.fed.items()} == {
        "input_ids": (np.int32, [[1, 2]]),
        "attention_mask": (np.int32, [[1, 1]]),
        "token_type_ids": (np.int32, [[0, 0]]),
    }


def test_the_only_output_is_taken_whatever_its_name_and_of_several_none_is_guessed(opened):
    ids = np.asarray([[1]])
    assert opened(Library([CPU], [CPU], outputs=("scores",))).run(ids, ids) == ["scores"]
    with pytest.raises(ModelError, match="it gives a, b, of which none is logits"):
        opened(Library([CPU], [CPU], outputs=("a", "b")))


def test_an_export_for_one_row_gets_one_at_a_time(opened):
    assert opened(Library([CUDA, CPU], [CUDA, CPU], rows=1)).batch_windows_max == 1


def test_without_onnxruntime_the_error_says_what_to_install(opened):
    with pytest.raises(ModelError, match=r"pip install 'headgate\[cpu\]'"):
        opened(None)


def test_weights_that_are_no_model_are_refused(model):
    with pytest.raises(ModelError, match="onnxruntime cannot load it"):
        onnx.RUNTIME.open(replace(model, weights=b"no model"), RuntimeOptions(accelerated=False))
