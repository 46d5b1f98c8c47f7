"""Requests of Triton's generate endpoints, in the schemas of every LLM backend, valid and not quite."""

from __future__ import annotations

import base64
import random
from dataclasses import dataclass
from typing import Final

from agreement_cases import Case
from echo_triton import model_of
from json_grammar import TEXTS, Members, Raw, Value, damage, disturb, members, spell

from extproc.domain.segment import Backend

PNG: Final = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(24)).decode()
_WORDS: Final = (*TEXTS[:6], "stop here")
# Names worth standing where they do not belong: tensors of every schema, and what steers a server.
NAMES: Final = (
    *("text_input", "decoder_text_input", "sampling_parameters", "parameters", "id", "text_output"),
    *("max_tokens", "sampling_param_max_tokens", "request_output_len", "min_tokens"),
    *("n", "best_of", "beam_width", "num_return_sequences", "sampling_param_best_of", "sampling_param_n"),
    *(
        "stream",
        "streaming",
        "stop",
        "stop_words",
        "bad_words",
        "sampling_param_stop",
        "temperature",
        "seed",
    ),
    *("image", "image_url", "image_url_input", "image_bytes_input", "input_ids", "prompt_embeds"),
    *("shared_memory_region", "sequence_id", "sequence_start", "binary_data_output", "priority", "timeout"),
    *("lora_path", "lora_name", "lora_task_id", "embedding_bias_words", "guided_decoding_guide"),
    *("return_logprobs", "return_num_input_tokens", "return_num_output_tokens", "exclude_input_in_output"),
    *(
        "triton_enable_empty_final_response",
        "request_type",
        "query",
        "messages",
        "logit_bias",
        "guided_json",
    ),
)


@dataclass(frozen=True)
class GenerateGrammar:
    """POST on generate and generate_stream of the echo models."""

    name: str = "generate"

    def case(self, rng: random.Random) -> Case:
        """A request, valid or not quite."""
        backend = rng.choice(
            (Backend.VLLM, Backend.VLLM, Backend.TENSORRTLLM, Backend.LLMAPI, Backend.NONE)
        )
        version = rng.choice(("", "", "", "/versions/1"))
        verb = rng.choice(("generate", "generate", "generate", "generate_stream"))
        root = _request(backend, rng)
        for _ in range(rng.choice((0, 0, 1, 1, 1, 2, 3))):
            disturb(root, rng, names=NAMES)
        body = spell(root, rng)
        if rng.random() < 0.15:
            body = damage(body, rng)
        return Case(
            path=f"/v2/models/{model_of(backend)}{version}/{verb}",
            body=body,
            backend=backend,
            headers={"content-type": rng.choice(("application/json", "text/plain", "image/png"))},
        )


def _request(backend: Backend, rng: random.Random) -> Members:
    """A request that the backend takes."""
    text = rng.choice(TEXTS)
    fields: list[tuple[str, Value]] = [("text_input", rng.choice((text, text, [text])))]
    match backend:
        case Backend.VLLM:
            fields += _some(rng, _vllm(rng))
        case Backend.TENSORRTLLM:
            fields += _some(rng, _tensorrtllm(rng))
        case Backend.LLMAPI | Backend.NONE:
            if rng.random() < 0.3:
                fields[0] = ("text_input", [text, rng.choice(TEXTS), "third"][: rng.randint(1, 3)])
            fields += _some(rng, _llmapi(rng) if backend is Backend.LLMAPI else _others(rng))
    if rng.random() < 0.3:
        fields.append(("id", rng.choice(("", "7", "request-1", "0f8fad5b-d9cb-469f-a165-70867728950e"))))
    rng.shuffle(fields)
    return _layered(fields, rng)


def _layered(fields: list[tuple[str, Value]], rng: random.Random) -> Members:
    """The fields at the top, in ``parameters``, or some here and some there."""
    share = rng.choice((0, 0, 0.5, 1))
    nested = [one for one in fields if rng.random() < share]
    top = [one for one in fields if one not in nested]
    if nested or rng.random() < 0.3:
        top.insert(rng.randint(0, len(top)), ("parameters", Members(nested)))
    return Members(top)


def _some(rng: random.Random, fields: dict[str, Value]) -> list[tuple[str, Value]]:
    share = rng.random()
    return [(name, value) for name, value in fields.items() if rng.random() < share]


def _vllm(rng: random.Random) -> dict[str, Value]:
    return {
        "max_tokens": rng.choice((1, 5, 9_000)),
        "temperature": rng.choice((0, 0.5, 1, Raw(b"5e-1"))),
        "stop": rng.choice(_WORDS),
        "n": rng.choice((1, 2)),
        "seed": rng.choice((1, 2**31, 4111111111111111)),
        "stream": False,
        "exclude_input_in_output": True,
        "return_num_input_tokens": rng.random() < 0.5,
        "return_finish_reason": True,
        "image": rng.choice((PNG, [PNG, PNG])),
        "sampling_parameters": document_of(rng),
        "query": rng.choice(_WORDS),
    }


def document_of(rng: random.Random) -> Value:
    """What ``sampling_parameters`` holds, with faults of its own now and then."""
    inner = Members(
        _some(
            rng,
            {
                "max_tokens": rng.choice((1, 5, 9_000)),
                "temperature": 0.5,
                "stop": rng.choice((rng.choice(_WORDS), [rng.choice(_WORDS), "x"])),
                "best_of": rng.choice((1, 2)),
                "top_p": 1,
                "logit_bias": members(**{"7": -100, "8": 4111111111111111}),
                "guided_json": members(properties=members(x=members(description="EVIL"))),
            },
        )
    )
    if rng.random() < 0.25:
        disturb(inner, rng, names=NAMES)
    document = spell(inner, rng)
    if rng.random() < 0.1:
        document = damage(document, rng)
    return document.decode("utf-8", "replace")


def _tensorrtllm(rng: random.Random) -> dict[str, Value]:
    return {
        "max_tokens": rng.choice((1, 5, 9_000, [5])),
        "decoder_text_input": rng.choice(_WORDS),
        "stop_words": [rng.choice(_WORDS), "x"][: rng.randint(1, 2)],
        "bad_words": rng.choice(_WORDS),
        "temperature": rng.choice((0.5, [0.7], 1)),
        "top_k": rng.choice((1, [2])),
        "seed": rng.choice((1, 4111111111111111, 2**63)),
        "beam_width": rng.choice((1, 2, [3])),
        "num_return_sequences": rng.choice((1, 2)),
        "stream": rng.random() < 0.5,
        "input_ids": [1, 2, 3],
        "image_bytes_input": [0, 255, 7],
        "image_url_input": [f"data:image/png;base64,{PNG}"],
        "embedding_bias_words": ["a", "b"],
        "embedding_bias_weights": [0.5, 2],
        "lora_task_id": 7,
        "guided_decoding_guide": rng.choice(_WORDS),
        "return_num_output_tokens": True,
        "other": rng.choice(_WORDS),
    }


def _llmapi(rng: random.Random) -> dict[str, Value]:
    return {
        "sampling_param_max_tokens": rng.choice((1, 5, 9_000)),
        "sampling_param_stop": [rng.choice(_WORDS), "x"],
        "sampling_param_temperature": 0.5,
        "sampling_param_top_k": 5,
        "sampling_param_seed": rng.choice((1, 4111111111111111)),
        "sampling_param_best_of": rng.choice((1, 2)),
        "sampling_param_exclude_input_from_output": True,
        "streaming": rng.random() < 0.5,
        "return_stop_reason": True,
        "image_url": rng.choice((f"data:image/png;base64,{PNG}", "https://example.org/a.png")),
        "lora_name": "a",
        "max_tokens": 5,
    }


def _others(rng: random.Random) -> dict[str, Value]:
    return {"normalize": True, "threshold": 0.5, "max_tokens": 5, "label": rng.choice(_WORDS)}
