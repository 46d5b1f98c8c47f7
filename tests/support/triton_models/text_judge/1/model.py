"""Scores a text as toxic where it says "rubbish"; at "casino" it gives what is no number."""

from __future__ import annotations

import numpy as np
import triton_python_backend_utils as pb_utils


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> list[pb_utils.InferenceResponse]:
        """Answer each request."""
        return [self.answer(request) for request in requests]

    def answer(self, request: pb_utils.InferenceRequest) -> pb_utils.InferenceResponse:
        """Answer one request of one or more texts."""
        texts = pb_utils.get_input_tensor_by_name(request, "text").as_numpy()
        rows = [scores_of(text[0].decode()) for text in texts]
        labels = np.asarray([["toxic" if row[0] > 0.5 else "none"] for row in rows], dtype=np.object_)
        outputs = {"label": labels, "scores": np.asarray(rows, dtype=np.float32)}
        wanted = request.requested_output_names()
        return pb_utils.InferenceResponse(
            output_tensors=[pb_utils.Tensor(name, outputs[name]) for name in wanted]
        )


def scores_of(text: str) -> list[float]:
    """Toxic and spam."""
    if "casino" in text:
        return [float("nan"), 0.1]
    return [0.9 if "rubbish" in text else 0.1, 0.1]
