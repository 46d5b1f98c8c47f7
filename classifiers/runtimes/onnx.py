"""ONNX Runtime: on CUDA where onnxruntime-gpu offers it and it starts, else on the CPU, and says why."""

from __future__ import annotations

import contextlib
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

import numpy as np

from classifiers.errors import ModelError
from classifiers.runtimes import RuntimeOptions, RuntimeSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import ModuleType

    from numpy.typing import NDArray

    from classifiers.model import Model

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"

# On a CPU a batch gains nothing per token and is a coarser unit to stop at a deadline.
_BATCH_WINDOWS_CPU = 1
_BATCH_WINDOWS_CUDA = 32

# Errors only: its warnings about node placement are noise at every start.
_LOG_ERRORS = 3

INPUTS = ("input_ids", "attention_mask", "token_type_ids")
_TYPES: Mapping[str, type[np.signedinteger]] = {"tensor(int64)": np.int64, "tensor(int32)": np.int32}
LOGITS = "logits"


class _Node(Protocol):
    name: str
    type: str
    shape: Sequence[int | str | None]


class _Session(Protocol):
    """The part of onnxruntime.InferenceSession that is used; the package ships no types."""

    def run(
        self, outputs: Sequence[str] | None, feed: Mapping[str, NDArray[np.signedinteger]]
    ) -> list[NDArray[np.float32]]: ...
    def get_inputs(self) -> list[_Node]: ...
    def get_outputs(self) -> list[_Node]: ...
    def get_providers(self) -> list[str]: ...


class OnnxRuntime:
    """One session; ``run`` releases the interpreter's lock while it computes."""

    def __init__(self, model: Model, options: RuntimeOptions) -> None:
        try:
            library = import_module("onnxruntime")
        except ImportError:
            raise ModelError(
                f"model {model.id}: onnxruntime is not installed; "
                "run: pip install 'headgate[cpu]', or 'headgate[gpu]' on a machine with CUDA"
            ) from None
        self._session, why_not_cuda = _open_session(library, model, options)
        nodes = self._session.get_inputs()
        self._inputs = _types_of(nodes, model.id)
        self._output = _output_of(self._session.get_outputs(), model.id)
        on_cuda = self._session.get_providers()[0] == CUDA
        # An export for one row at a time says so.
        batches = on_cuda and not any(isinstance(node.shape[0], int) for node in nodes)
        self.batch_windows_max = _BATCH_WINDOWS_CUDA if batches else _BATCH_WINDOWS_CPU
        self._description = f"{model.id} on {CUDA}" if on_cuda else f"{model.id} on {CPU} ({why_not_cuda})"

    def run(self, input_ids: NDArray[np.int64], attention_mask: NDArray[np.int64]) -> NDArray[np.float32]:
        """Logits [windows, columns]."""
        tensors = {"input_ids": input_ids, "attention_mask": attention_mask}
        feed = {
            # Of a single text, the type of every token is 0.
            name: tensors.get(name, np.zeros_like(input_ids)).astype(kind, copy=False)
            for name, kind in self._inputs.items()
        }
        return self._session.run([self._output], feed)[0]

    def describe(self) -> str:
        """The model and its execution provider."""
        return self._description


def _types_of(nodes: Sequence[_Node], model_id: str) -> Mapping[str, type[np.signedinteger]]:
    """The inputs of a text classifier and their types; no other can be fed."""
    names = {node.name for node in nodes}
    unknown = sorted(names - set(INPUTS)) or [node.name for node in nodes if node.type not in _TYPES]
    if unknown or not set(INPUTS[:2]) <= names:
        wrong = f"; {', '.join(unknown)} cannot be fed" if unknown else ""
        raise ModelError(
            f"model {model_id}: it takes {', '.join(sorted(names))}{wrong}; "
            "give an ONNX text classifier of input_ids, attention_mask and at most token_type_ids, integers"
        )
    return {node.name: _TYPES[node.type] for node in nodes}


def _output_of(nodes: Sequence[_Node], model_id: str) -> str:
    names = [node.name for node in nodes]
    if LOGITS in names:
        return LOGITS
    if len(names) != 1:
        raise ModelError(f"model {model_id}: it gives {', '.join(names)}, of which none is {LOGITS}")
    return names[0]


def _open_session(library: ModuleType, model: Model, options: RuntimeOptions) -> tuple[_Session, str]:
    """A session, and why it is not on CUDA (empty where it is)."""
    why_not_cuda = _why_not_cuda(library, options)
    if not why_not_cuda:
        try:
            session = _session(library, model, options, [CUDA, CPU])
        except Exception as error:  # noqa: BLE001 - onnxruntime's exceptions share no other base.
            why_not_cuda = f"{CUDA} did not start: {type(error).__name__}"
        else:
            if session.get_providers()[0] == CUDA:
                return session, ""
            # Most often it does not raise but goes on with the next provider.
            why_not_cuda = f"{CUDA} did not start: see onnxruntime's own error, above"
    try:
        return _session(library, model, options, [CPU]), why_not_cuda
    except Exception as error:
        raise ModelError(
            f"model {model.id}: onnxruntime cannot load it ({type(error).__name__})"
        ) from error


def _why_not_cuda(library: ModuleType, options: RuntimeOptions) -> str:
    if not options.accelerated:
        return "an accelerator is switched off"
    if CUDA not in library.get_available_providers():
        return f"onnxruntime {library.__version__} offers no {CUDA}; onnxruntime-gpu does"
    preload = getattr(library, "preload_dlls", None)
    if preload is not None:
        # It loads the CUDA libraries of the nvidia-* wheels, and prints what it misses to standard output.
        with contextlib.redirect_stdout(sys.stderr):
            preload()
    return ""


def _session(library: ModuleType, model: Model, options: RuntimeOptions, providers: list[str]) -> _Session:
    settings = library.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = _LOG_ERRORS
    # Threads that spin for work would take the cores that the streams need.
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    settings.add_session_config_entry("session.inter_op.allow_spinning", "0")
    return cast("_Session", library.InferenceSession(model.weights, settings, providers=providers))


RUNTIME = RuntimeSpec(name="onnx", open=OnnxRuntime)
