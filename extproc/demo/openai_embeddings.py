"""Embeddings of the demo's OpenAI front end; no model is asked.

A text's numbers are made of its digest: equal texts have equal numbers, and any other text has others.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from http import HTTPStatus
from typing import Final

from extproc.demo.openai_call import Call, Whole, detail, read_request
from extproc.demo.openai_completions import texts_of

_DIMENSIONS_DEFAULT: Final = 8
_DIMENSIONS_MAX: Final = 4_096


def embeddings(call: Call) -> Whole:
    """POST /v1/embeddings."""
    request = read_request(call, required=("input",))
    texts = texts_of(request["input"])
    dimensions = request.get("dimensions") or _DIMENSIONS_DEFAULT
    if not isinstance(dimensions, int) or not 1 <= dimensions <= _DIMENSIONS_MAX:
        raise detail(HTTPStatus.BAD_REQUEST, "`dimensions` is out of bounds")
    tokens = sum(len(text.split()) for text in texts)
    as_base64 = request.get("encoding_format") == "base64"
    return Whole(
        {
            "object": "list",
            "data": [
                {"object": "embedding", "embedding": _written(vector, as_base64=as_base64), "index": index}
                for index, vector in enumerate(vector_of(text, dimensions) for text in texts)
            ],
            "model": request["model"],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )


def vector_of(text: str, dimensions: int) -> list[float]:
    """Numbers in [-1, 1) that a 32-bit float holds exactly."""
    digest = hashlib.shake_256(text.encode()).digest(2 * dimensions)
    return [value / 32_768 for value in struct.unpack(f"<{dimensions}h", digest)]


def _written(vector: list[float], *, as_base64: bool) -> object:
    if not as_base64:
        return vector
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()
