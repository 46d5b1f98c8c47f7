"""An LLM that answers each request once, in the schema of whichever backend its configuration has.

``echo: TEXT`` says TEXT, ``recite NAME`` what the list of strings in NAME.json joins to, ``bytes`` what is
no UTF-8, ``boom`` fails; anything else gets one quiet sentence.
A token is a word with the space before it. Limits are looked for where the backend of the schema would.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

FAREWELL = "The quick brown fox jumps over the lazy dog and keeps on running through the green valley."
MAX_TOKENS_DEFAULT = 16
_TOKEN = re.compile(r"\s*\S+")
_RECITE = re.compile(r"\brecite ([a-z0-9_-]+)\b")
_LIMITS = ("max_tokens", "sampling_param_max_tokens")


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Take the configuration."""
        self.name = args["model_name"]
        config = json.loads(args["model_config"])
        names = {one["name"] for one in config["input"]}
        self.is_vllm = "sampling_parameters" in names
        self.batches = config["max_batch_size"] > 0
        path = os.environ.get("HEADGATE_STAND_IN_JOURNAL")
        self.journal = Path(path) if path else None

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Answer each request."""
        answers = []
        for request in requests:
            try:
                answers.append(self.answer(request))
            except Exception as error:  # noqa: BLE001 - whatever it was, the client is told.
                answers.append(pb_utils.InferenceResponse(error=pb_utils.TritonError(str(error))))
        return answers

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Answer one request."""
        prompts = [one.decode() for one in tensor(request, "text_input").flatten()]
        limit = self.limit(request)
        self.note(request, prompts, limit)
        prepend = self.is_vllm and not flag(request, "exclude_input_in_output")
        spoken = [_TOKEN.findall(text_for(prompt))[:limit] for prompt in prompts]
        texts = [(prompt if prepend else "") + "".join(said) for prompt, said in zip(prompts, spoken)]  # noqa: B905
        raw = [b"\xff\xfe" if "bytes" in prompt else text.encode() for prompt, text in zip(prompts, texts)]  # noqa: B905
        outputs = [self.output("text_output", raw, np.object_)]
        if flag(request, "return_finish_reason"):
            outputs.append(self.output("finish_reason", [b"length"] * len(raw), np.object_))
        counts = np.uint32 if self.is_vllm else np.int32
        if flag(request, "return_num_input_tokens"):
            outputs.append(
                self.output("num_input_tokens", [len(_TOKEN.findall(one)) for one in prompts], counts)
            )
        if flag(request, "return_num_output_tokens"):
            outputs.append(self.output("num_output_tokens", [len(said) for said in spoken], counts))
        return pb_utils.InferenceResponse(output_tensors=outputs)

    def limit(self, request: pb_utils.InferenceRequest) -> int:
        """The most tokens of one answer."""
        if self.is_vllm:
            document = tensor(request, "sampling_parameters")
            fields = json.loads(request.parameters() or "{}" if document is None else document.flatten()[0])
            return int(fields.get("max_tokens", MAX_TOKENS_DEFAULT))
        found = [tensor(request, name) for name in _LIMITS]
        values = [int(one.flatten()[0]) for one in found if one is not None]
        return values[0] if values else MAX_TOKENS_DEFAULT

    def output(self, name: str, values: list[object], dtype: object) -> pb_utils.Tensor:
        """An output with one value for each prompt."""
        array = np.asarray(values, dtype=dtype)
        return pb_utils.Tensor(name, array.reshape(-1, 1) if self.batches else array)

    def note(self, request: pb_utils.InferenceRequest, prompts: list[str], limit: int) -> None:
        """Write what came to the journal, if a test asked for one."""
        if self.journal is None:
            return
        parameters = json.loads(request.parameters() or "{}")
        entry = {
            "event": "received",
            "model": self.name,
            "id": request.request_id(),
            "prompt": "\n".join(prompts),
            "max_tokens": limit,
            "parameters": parameters,
        }
        with self.journal.open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(entry) + "\n")


def tensor(request: pb_utils.InferenceRequest, name: str) -> np.ndarray | None:
    """An input's values, None where it is absent."""
    found = pb_utils.get_input_tensor_by_name(request, name)
    return None if found is None else found.as_numpy()


def flag(request: pb_utils.InferenceRequest, name: str) -> bool:
    """Whether a boolean input is true."""
    found = tensor(request, name)
    return found is not None and bool(found.flatten()[0])


def text_for(prompt: str) -> str:
    """What is said to a prompt."""
    if "boom" in prompt:
        raise RuntimeError("engine exploded")
    scripts = os.environ.get("HEADGATE_STAND_IN_SCRIPTS")
    recital = _RECITE.search(prompt)
    if scripts and recital:
        return "".join(json.loads((Path(scripts) / f"{recital[1]}.json").read_text(encoding="utf-8")))
    _, echo, echoed = prompt.partition("echo: ")
    return echoed if echo else FAREWELL
