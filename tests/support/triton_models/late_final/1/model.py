"""A decoupled LLM whose last response does not say that it is the last: an empty final one follows.

``echo: TEXT`` says TEXT, word by word; a limit cuts it.
"""

from __future__ import annotations

import re

import numpy as np
import triton_python_backend_utils as pb_utils

_TOKEN = re.compile(r"\s*\S+")


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> None:
        """Answer each request, then say that there is no more."""
        for request in requests:
            sender = request.get_response_sender()
            prompt = tensor(request, "text_input")[0].decode()
            words = _TOKEN.findall(prompt.partition("echo: ")[2])
            for word in words[: int(tensor(request, "max_tokens")[0])]:
                outputs = [pb_utils.Tensor("text_output", np.asarray([word.encode()], dtype=np.object_))]
                for name, count in (("num_input_tokens", len(prompt.split())), ("num_output_tokens", 1)):
                    if tensor(request, f"return_{name}") is not None:
                        outputs.append(pb_utils.Tensor(name, np.asarray([count], dtype=np.int32)))
                sender.send(pb_utils.InferenceResponse(output_tensors=outputs))
            sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)


def tensor(request: pb_utils.InferenceRequest, name: str) -> np.ndarray | None:
    """An input's values, None where it is absent."""
    found = pb_utils.get_input_tensor_by_name(request, name)
    return None if found is None else found.as_numpy().flatten()
