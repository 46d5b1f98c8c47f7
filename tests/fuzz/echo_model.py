"""A model that answers with what it received: every input tensor, the request's parameters and its id.

Triton's Python backend loads this file, under the inputs of one LLM backend or another.
"""

from __future__ import annotations

import json

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """One response for each request."""
        return [response_to(request) for request in requests]


def response_to(request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
    """What came, as a JSON document: bytes of tensors stand as the code points of the same numbers."""
    seen = {
        "id": request.request_id(),
        "parameters": json.loads(request.parameters() or "{}"),
        "inputs": {tensor.name(): elements(tensor.as_numpy()) for tensor in request.inputs()},
    }
    document = np.asarray([json.dumps(seen).encode()], dtype=np.object_)
    return pb_utils.InferenceResponse(output_tensors=[pb_utils.Tensor("echo", document)])


def elements(array: np.ndarray) -> list[object]:
    """A tensor's elements in order, whatever its shape."""
    flat = array.reshape(-1).tolist()
    return [one.decode("latin-1") if isinstance(one, bytes) else one for one in flat]
