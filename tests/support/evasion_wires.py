"""One sound request on every wire, and what became of it: for tests that bend how it is carried.

A question holds a credential, and the model answers with another. What passes was judged if the model's
journal has the first replaced, and the client gets the second replaced; whatever is refused leaves no trace
in the journal.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from grpc_calls import STREAM, UNARY, infer
from live_traffic import Planted, harmless, leaks, noted, plant, planted_key
from raw_http import Heard
from real_parts import StandIn

from extproc.demo.openai_embeddings import vector_of

MODEL: Final = "vllm_stand_in"
SYNC: Final = "sync_vllm"
OTHERS: Final = "internal_llm"
_LIMIT: Final = 200
_DIMENSIONS: Final = 8
_REDACTED: Final = "[AWS_ACCESS_KEY]"
SECRETS: Final[list[str]] = []
"""Every value that was planted so far."""


def _dumped(document: object) -> bytes:
    text: str = json.dumps(document)
    return text.encode()


def _generate(model: str, text: str) -> bytes:
    document = {"text_input": text, "exclude_input_in_output": True, "parameters": {"max_tokens": _LIMIT}}
    return _dumped(document)


def _generate_stream(model: str, text: str) -> bytes:
    return _dumped({"text_input": text, "stream": True, "parameters": {"max_tokens": _LIMIT}})


def _infer(model: str, text: str) -> bytes:
    inputs = [
        {"name": "text_input", "shape": [1], "datatype": "BYTES", "data": [text]},
        {"name": "exclude_input_in_output", "shape": [1], "datatype": "BOOL", "data": [True]},
    ]
    return _dumped({"inputs": inputs, "parameters": {"max_tokens": _LIMIT}})


def frame_of(payload: bytes, *, flag: int = 0, length: int | None = None) -> bytes:
    """A gRPC message in its frame, whose flag and length may be false."""
    return bytes([flag]) + (len(payload) if length is None else length).to_bytes(4, "big") + payload


def message_of(model: str, text: str, *, streams: bool) -> bytes:
    """A gRPC message without its frame."""
    flags = ("stream",) if streams else ("exclude_input_in_output",)
    message: bytes = infer(model, text, parameters={"max_tokens": _LIMIT}, flags=flags).SerializeToString()
    return message


def _chat(model: str, text: str) -> bytes:
    messages = [{"role": "user", "content": text}]
    return _dumped({"model": model, "messages": messages, "max_tokens": _LIMIT, "stream": True})


def _completions(model: str, text: str) -> bytes:
    return _dumped({"model": model, "prompt": text, "max_tokens": _LIMIT})


def _embeddings(model: str, text: str) -> bytes:
    return _dumped({"model": model, "input": text})


def _messages(model: str, text: str) -> bytes:
    return _dumped({"model": model, "messages": [{"role": "user", "content": text}], "max_tokens": _LIMIT})


def _responses(model: str, text: str) -> bytes:
    return _dumped({"model": model, "input": text, "max_output_tokens": _LIMIT})


@dataclass(frozen=True)
class Wire:
    """A path of a wire, and how a request of it is written.

    ``write`` takes a model and a text; a model that the path names it leaves out. ``prefix`` is what the
    front end writes before a text.
    """

    name: str
    pattern: str
    write: Callable[[str, str], bytes]
    model: str = MODEL
    prefix: str = ""
    is_grpc: bool = False
    # The bodies say of themselves that they are JSON, or the wire refuses them.
    checks_kind: bool = False
    decodes: frozenset[str] = frozenset()

    @property
    def path(self) -> str:
        return self.path_of(self.model)

    def path_of(self, model: str) -> str:
        return self.pattern.format(model=model)

    @property
    def kind(self) -> str:
        return "application/grpc" if self.is_grpc else "application/json"

    @property
    def names_model_in_path(self) -> bool:
        return "{model}" in self.pattern

    def body(self, text: str, model: str | None = None) -> bytes:
        return self.write(model or self.model, text)


HTTP_WIRES: Final = (
    Wire("generate", "/v2/models/{model}/generate", _generate),
    Wire("generate_stream", "/v2/models/{model}/generate_stream", _generate_stream),
    Wire("infer", "/v2/models/{model}/infer", _infer, SYNC, decodes=frozenset({"gzip", "deflate"})),
    Wire("chat", "/v1/chat/completions", _chat, prefix="user: ", checks_kind=True),
    Wire("completions", "/v1/completions", _completions, checks_kind=True),
    Wire("embeddings", "/v1/embeddings", _embeddings, checks_kind=True),
    Wire("responses", "/v1/responses", _responses, prefix="user: ", checks_kind=True),
    Wire("messages", "/v1/messages", _messages, prefix="user: ", checks_kind=True),
)
GRPC_WIRES: Final = (
    Wire(
        "ModelInfer",
        UNARY,
        lambda model, text: frame_of(message_of(model, text, streams=False)),
        SYNC,
        is_grpc=True,
    ),
    Wire(
        "ModelStreamInfer",
        STREAM,
        lambda model, text: frame_of(message_of(model, text, streams=True)),
        is_grpc=True,
    ),
)
WIRES: Final = (*HTTP_WIRES, *GRPC_WIRES)


@dataclass(frozen=True)
class Question:
    """A question with a credential in it, at which the model answers with another."""

    planted: Planted
    secret: str = field(repr=False)

    @property
    def text(self) -> str:
        return f"{self.planted.prompt} for {self.secret} please"

    @property
    def judged(self) -> str:
        """What the model may be told of it."""
        return f"{self.planted.prompt} for {_REDACTED} please"


def question(stand_in: StandIn) -> Question:
    planted = plant(stand_in)
    secret = harmless(planted_key, f"{planted.prompt} for {{}} please")
    made = Question(planted, secret)
    SECRETS.extend((made.planted.value, made.secret))
    return made


def shows(seen: bytes, asked: Question) -> bool:
    """Whether a planted value is to be seen."""
    return leaks(seen, asked.planted.value) or leaks(seen, asked.secret)


def received(stand_in: StandIn, asked: Question) -> list[str]:
    """The prompts that the model got of a question, without those that may be shown."""
    return [str(entry["prompt"]) for entry in noted(stand_in, "received", asked.planted.name)]


def check_judged(wire: Wire, heard: Heard, asked: Question, stand_in: StandIn, *, times: int = 1) -> None:
    """It passed, and what reached model and client is what was judged."""
    assert (heard.status, heard.grpc_status) == (200, 0 if wire.is_grpc else None)
    assert not shows(heard.everything, asked)
    if wire.name == "embeddings":
        assert json.loads(heard.body)["data"][0]["embedding"] == vector_of(asked.judged, _DIMENSIONS)
        return
    assert received(stand_in, asked) == [wire.prefix + asked.judged] * times
    assert _REDACTED.encode() in heard.body or wire.name in {"generate_stream", "chat"}


def check_refused(heard: Heard, asked: Question, stand_in: StandIn) -> None:
    """Nothing of it reached the model, and the client sees nothing of it either."""
    assert not (heard.status == 200 and heard.grpc_status in {None, 0})
    assert not shows(heard.everything, asked)
    assert received(stand_in, asked) == []


def ids(wires: Sequence[Wire]) -> list[str]:
    return [wire.name for wire in wires]
