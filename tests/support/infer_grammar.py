"""Requests of KServe v2's infer, in JSON and in the binary extension, valid and not quite."""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from dataclasses import dataclass
from typing import Final

from agreement_cases import Case
from echo_triton import INPUTS, model_of
from generate_grammar import NAMES, PNG, document_of
from json_grammar import INTEGERS, TEXTS, Members, Raw, Value, damage, disturb, spell

from extproc.domain.segment import Backend

LENGTH_HEADER: Final = "inference-header-content-length"
_FORMATS: Final = {"BOOL": "?", "UINT8": "B", "INT32": "i", "UINT64": "Q", "FP32": "f"}
# What a request may say of itself.
_PARAMETERS: Final[dict[str, tuple[Value, ...]]] = {
    "max_tokens": (1, 5, 9_000),
    "temperature": (0.5, 1),
    "stop": ("stop here", "EVIL", "a\0b"),
    "n": (1, 2),
    "seed": (1, 4111111111111111),
    "note": TEXTS,
    "binary_data_output": (True, False),
}
# Values of the inputs that only take some; any other takes what its datatype has.
_VALUES: Final[dict[str, tuple[Value, ...]]] = {
    "image": (PNG, "EVIL"),
    "image_url": (f"data:image/png;base64,{PNG}", "https://example.org/a.png"),
    "image_url_input": (f"data:image/png;base64,{PNG}",),
    "max_tokens": (1, 5, 9_000),
    "request_output_len": (1, 9_000),
    "sampling_param_max_tokens": (1, 5, 9_000),
    "beam_width": (1, 2),
    "num_return_sequences": (1, 2),
    "sampling_param_best_of": (1, 2),
    "return_logprobs": (False,),
    "stop": (False, False, True),
}
_VALUES_OF: Final[dict[str, tuple[Value, ...]]] = {
    "STRING": TEXTS,
    "BOOL": (True, False),
    "FP32": (0, 0.5, 1, 2, Raw(b"5e-1")),
    "UINT8": (0, 1, 69, 255),
    "INT32": (0, 1, 7, *INTEGERS[3:10], 4111111111111111),
    "UINT64": (0, 1, 7, 2**63, 4111111111111111),
}
_DATATYPES: Final = ("BYTES", "BOOL", "INT32", "INT64", "UINT8", "FP32", "FP16", "STRING", "bytes")
_NAMES: Final = (
    *("name", "datatype", "shape", "data", "parameters", "binary_data_size", "binary_data", "inputs"),
    *("outputs", "classification", "shared_memory_region", "shared_memory_byte_size"),
    *NAMES,
)


@dataclass(frozen=True)
class InferGrammar:
    """POST on infer of the echo models."""

    name: str = "infer"

    def case(self, rng: random.Random) -> Case:
        """A request, valid or not quite."""
        backend = rng.choice((Backend.VLLM, Backend.TENSORRTLLM, Backend.LLMAPI, Backend.NONE))
        root, tail = _request(backend, rng)
        for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
            disturb(root, rng, names=_NAMES)
        document = spell(root, rng)
        if rng.random() < 0.1:
            document = damage(document, rng)
        if rng.random() < 0.1:
            tail = _damaged_tail(tail, rng)
        headers = {"content-type": rng.choice(("application/json", "application/octet-stream"))}
        if tail or rng.random() < 0.1:
            off_by = rng.choice((-1, 1, 4)) if rng.random() < 0.05 else 0
            headers[LENGTH_HEADER] = str(max(len(document) + off_by, 0))
        body = document + tail
        if rng.random() < 0.1:
            body, headers["content-encoding"] = _compressed(body, rng)
        return Case(
            path=f"/v2/models/{model_of(backend)}/infer",
            body=body,
            backend=backend,
            headers=headers,
            flattened=False,
        )


def _request(backend: Backend, rng: random.Random) -> tuple[Members, bytes]:
    """A request that the backend takes, and its tail."""
    share, in_tail = rng.random(), rng.choice((0, 0, 0.5, 1))
    # A batch of prompts, where the model has batches.
    batch = rng.choice((1, 1, 1, 2)) if backend is Backend.TENSORRTLLM else None
    listed: list[Value] = []
    tail = b""
    for name, (datatype, dimension) in INPUTS[backend].items():
        if name != "text_input" and rng.random() > share * 0.6:
            continue
        count = dimension if dimension > 0 else rng.choice((1, 1, 2, 3))
        shape = [count] if batch is None else [batch, count]
        value = value_of(name, datatype, rng)
        # One setting holds for a whole batch.
        values = [
            value if name in _VALUES else value_of(name, datatype, rng) for _ in range(count * (batch or 1))
        ]
        tensor = Members(
            [
                ("name", name),
                ("shape", [*shape]),
                ("datatype", "BYTES" if datatype == "STRING" else datatype),
            ]
        )
        piece = packed(datatype, values) if rng.random() < in_tail else None
        if piece is None:
            tensor.pairs.append(("data", _nested(values, shape) if rng.random() < 0.2 else values))
        else:
            tensor.pairs.append(("parameters", Members([("binary_data_size", len(piece))])))
            tail += piece
        if rng.random() < 0.03:
            tensor.pairs[2] = ("datatype", rng.choice(_DATATYPES))
        listed.append(tensor)
    return Members(_top(listed, rng)), tail


def _top(listed: list[Value], rng: random.Random) -> list[tuple[str, Value]]:
    pairs: list[tuple[str, Value]] = [("inputs", listed)]
    if rng.random() < 0.3:
        pairs.append(
            ("id", rng.choice(("", "7", "request-1", "EVIL", "0f8fad5b-d9cb-469f-a165-70867728950e")))
        )
    if rng.random() < 0.4:
        chosen = [(name, rng.choice(values)) for name, values in _PARAMETERS.items() if rng.random() < 0.3]
        pairs.append(("parameters", Members(chosen)))
    if rng.random() < 0.3:
        wanted = Members([("name", "echo")])
        if rng.random() < 0.3:
            wanted.pairs.append(("parameters", Members([("binary_data", rng.random() < 0.5)])))
        pairs.append(("outputs", [wanted]))
    rng.shuffle(pairs)
    return pairs


def value_of(name: str, datatype: str, rng: random.Random) -> Value:
    if name == "sampling_parameters":
        return document_of(rng)
    return rng.choice(_VALUES.get(name) or _VALUES_OF[datatype])


def packed(datatype: str, values: list[Value]) -> bytes | None:
    """The values as the tail has them; None where one does not fit."""
    written = b""
    for value in values:
        if datatype == "STRING":
            spelled = str(value).encode()
            written += struct.pack("<I", len(spelled)) + spelled
        elif isinstance(value, int | float):
            try:
                written += struct.pack(f"<{_FORMATS[datatype]}", value)
            except struct.error:
                return None
        else:
            return None
    return written


def _nested(values: list[Value], shape: list[int]) -> Value:
    rows = shape[0] if len(shape) > 1 else len(values)
    width = len(values) // rows
    return [values[at : at + width] for at in range(0, len(values), width)]


def _damaged_tail(tail: bytes, rng: random.Random) -> bytes:
    at = rng.randint(0, len(tail))
    return rng.choice(
        (
            tail[:at],
            tail + b"\x04\x00\x00\x00EVIL",
            tail + b"\x00",
            tail[:at] + b"\xff" + tail[at + 1 :],
            tail[:at] + struct.pack("<I", rng.choice((0, 1, 2**31, 2**32 - 1))) + tail[at + 4 :],
            tail[at:] + tail[:at],
        )
    )


def _compressed(body: bytes, rng: random.Random) -> tuple[bytes, str]:
    match rng.randrange(5):
        case 0 | 1:
            return gzip.compress(body), "gzip"
        case 2:
            return zlib.compress(body), "deflate"
        case 3:
            return gzip.compress(body) + rng.choice((b"x", gzip.compress(b"{}"))), "gzip"
        case _:
            return body, rng.choice(("gzip", "deflate", "identity", "br"))
