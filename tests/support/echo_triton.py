"""A real Triton whose models answer with what they received, each with the inputs of one LLM backend.

None is decoupled, so that every wire of Triton reaches them: generate, infer, and gRPC.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from extproc.demo.parts import Triton
from extproc.domain.segment import Backend

_MODEL: Final = Path(__file__).parents[1] / "fuzz" / "echo_model.py"

# Name: datatype and dimension. Source: the configurations that the backends ship.
_USAGE: Final = {"return_num_input_tokens": ("BOOL", 1), "return_num_output_tokens": ("BOOL", 1)}
INPUTS: Final[Mapping[Backend, Mapping[str, tuple[str, int]]]] = {
    Backend.VLLM: {
        "text_input": ("STRING", 1),
        "image": ("STRING", -1),
        "stream": ("BOOL", 1),
        "sampling_parameters": ("STRING", 1),
        "exclude_input_in_output": ("BOOL", 1),
        "return_finish_reason": ("BOOL", 1),
        "return_cumulative_logprob": ("BOOL", 1),
        "return_logprobs": ("BOOL", 1),
        **_USAGE,
    },
    Backend.TENSORRTLLM: {
        "text_input": ("STRING", 1),
        "decoder_text_input": ("STRING", 1),
        "image_bytes_input": ("UINT8", -1),
        "image_url_input": ("STRING", -1),
        "max_tokens": ("INT32", 1),
        "request_output_len": ("INT32", 1),
        "bad_words": ("STRING", -1),
        "stop_words": ("STRING", -1),
        "num_return_sequences": ("INT32", 1),
        "beam_width": ("INT32", 1),
        "temperature": ("FP32", 1),
        "top_k": ("INT32", 1),
        "top_p": ("FP32", 1),
        "min_tokens": ("INT32", 1),
        "seed": ("UINT64", 1),
        "input_ids": ("INT32", -1),
        "stop": ("BOOL", 1),
        "stream": ("BOOL", 1),
        "exclude_input_in_output": ("BOOL", 1),
        "lora_task_id": ("UINT64", 1),
        "embedding_bias_words": ("STRING", -1),
        "embedding_bias_weights": ("FP32", -1),
        "guided_decoding_guide": ("STRING", 1),
        **_USAGE,
    },
    Backend.LLMAPI: {
        "text_input": ("STRING", -1),
        "image_url": ("STRING", -1),
        "streaming": ("BOOL", 1),
        "sampling_param_best_of": ("INT32", 1),
        "sampling_param_max_tokens": ("INT32", 1),
        "sampling_param_temperature": ("FP32", 1),
        "sampling_param_top_k": ("INT32", 1),
        "sampling_param_seed": ("UINT64", 1),
        "sampling_param_stop": ("STRING", -1),
        "sampling_param_exclude_input_from_output": ("BOOL", 1),
        "stop": ("BOOL", 1),
        "return_finish_reason": ("BOOL", 1),
        "return_stop_reason": ("BOOL", 1),
        "lora_id": ("UINT64", 1),
        "lora_name": ("STRING", 1),
    },
    Backend.NONE: {"text_input": ("STRING", -1), "normalize": ("BOOL", 1), "threshold": ("FP32", 1)},
}
_REQUIRED: Final = {Backend.VLLM: {"text_input"}, Backend.LLMAPI: {"text_input"}}


def model_of(backend: Backend) -> str:
    """The name under which the echo with a backend's inputs is served."""
    return f"echo_{backend}"


class EchoTriton(Triton):
    """Triton with one echo for each backend."""

    def __init__(self, state: Path, *, environment_path: Path) -> None:
        super().__init__(state, environment_path=environment_path, models=())

    def command(self) -> Sequence[str | Path]:
        """Lay the model repository out; run the server."""
        words = super().command()
        for backend in Backend:
            folder = self.state / "models" / model_of(backend)
            (folder / "1").mkdir(parents=True)
            shutil.copy2(_MODEL, folder / "1" / "model.py")
            (folder / "config.pbtxt").write_text(_configuration(backend), encoding="utf-8")
        return words


def _configuration(backend: Backend) -> str:
    required = _REQUIRED.get(backend, set())
    inputs = ",\n".join(
        f'  {{ name: "{name}" data_type: TYPE_{datatype} dims: [ {dimension} ]'
        f"{'' if name in required else ' optional: true'} }}"
        for name, (datatype, dimension) in INPUTS[backend].items()
    )
    # tensorrtllm's ensemble is batched, the others are not.
    batch = 8 if backend is Backend.TENSORRTLLM else 0
    return (
        f'backend: "python"\nmax_batch_size: {batch}\ninput [\n{inputs}\n]\n'
        'output [ { name: "echo" data_type: TYPE_STRING dims: [ 1 ] } ]\n'
        "instance_group [ { count: 1 kind: KIND_CPU } ]\n"
    )
