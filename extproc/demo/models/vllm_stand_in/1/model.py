"""A stand-in for vllm_backend: its inputs, outputs, defaults and errors, with scripted text.

Triton's Python backend loads this file. Like vllm_backend it takes requests at once and answers each from
an event loop, one response per token, so that any number of them stream side by side.
"""

# ruff: noqa: INP001 - a version folder of a model repository is no package.

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import triton_python_backend_utils as pb_utils

# The backend puts this folder into no import path.
sys.path.insert(0, str(Path(__file__).parent))

import scripts

# What vLLM takes where a request names no number.
MAX_TOKENS_DEFAULT = 16
# A silent script gives up after this, so that no request stays for ever.
SILENCE_MAX_S = 60.0


@dataclass(frozen=True, slots=True)
class Request:
    """What a request asks for."""

    prompt: str
    stream: bool
    prepend_prompt: bool
    max_tokens: int
    finish_reason: bool
    num_input_tokens: bool
    num_output_tokens: bool


class TritonPythonModel:
    """The class that Triton's Python backend looks for."""

    def initialize(self, args: dict[str, str]) -> None:
        """Take the settings; start the loop."""
        self.name = args["model_name"]
        self.pace_s = int(os.environ.get("HEADGATE_STAND_IN_PACE_MS", "15")) / 1000
        self.recitals = _path_from("HEADGATE_STAND_IN_SCRIPTS")
        self.journal = _path_from("HEADGATE_STAND_IN_JOURNAL")
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def execute(self, requests: list[pb_utils.InferenceRequest]) -> None:
        """Take the requests; their answers go out later, by their senders."""
        for request in requests:
            asyncio.run_coroutine_threadsafe(self.answer(request), self.loop)

    def finalize(self) -> None:
        """Stop the loop."""
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=2)

    async def answer(self, raw: pb_utils.InferenceRequest) -> None:
        """Answer one request."""
        sender = raw.get_response_sender()
        try:
            request = read(raw)
            self.note(event="received", **self.seen(raw, request))
            script = scripts.choose(request.prompt, self.recitals)
            spoken, cancelled = await self.speak(sender, request, script)
            self.note(event="ended", prompt=request.prompt, tokens=spoken, cancelled=cancelled)
        except Exception as error:  # noqa: BLE001 - as vllm_backend: whatever it was, the client is told.
            sender.send(
                pb_utils.InferenceResponse(error=pb_utils.TritonError(f"Error generating stream: {error}")),
                flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL,
            )

    async def speak(
        self, sender: pb_utils.InferenceResponseSender, request: Request, script: scripts.Script
    ) -> tuple[int, bool]:
        """Say the script. Gives how many tokens were said, and whether the client left."""
        tokens = script.tokens[: request.max_tokens]
        reason = "length" if len(tokens) < len(script.tokens) else "stop"
        pace_s = self.pace_s if script.pace_ms is None else script.pace_ms / 1000
        if script.silent and await self.stay_silent(sender):
            return 0, True
        for index, token in enumerate(tokens):
            # Without a pace the loop still must turn, so that others are heard.
            await asyncio.sleep(pace_s)
            if sender.is_cancelled():
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                return index, True
            if index == script.fails_after:
                raise RuntimeError("engine exploded mid-stream")
            if request.stream:
                last = index + 1 == len(tokens)
                sender.send(
                    response(request, token, count=1, reason=reason if last else "None"),
                    flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL if last else 0,
                )
        if not request.stream or not tokens:
            sender.send(
                response(request, "".join(tokens), count=len(tokens), reason=reason),
                flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL,
            )
        return len(tokens), False

    async def stay_silent(self, sender: pb_utils.InferenceResponseSender) -> bool:
        """Wait until the client leaves. Gives whether it did."""
        for _ in range(int(SILENCE_MAX_S / 0.02)):
            await asyncio.sleep(0.02)
            if sender.is_cancelled():
                sender.send(flags=pb_utils.TRITONSERVER_RESPONSE_COMPLETE_FINAL)
                return True
        return False

    def seen(self, raw: pb_utils.InferenceRequest, request: Request) -> dict[str, object]:
        """What the model got, for the journal."""
        return {
            "model": self.name,
            "id": raw.request_id(),
            "prompt": request.prompt,
            "stream": request.stream,
            "max_tokens": request.max_tokens,
            "parameters": json.loads(raw.parameters() or "{}"),
        }

    def note(self, **entry: object) -> None:
        """Write a line to the journal, if a test asked for one."""
        if self.journal is None:
            return
        with self.journal.open("a", encoding="utf-8") as journal:
            journal.write(json.dumps(entry) + "\n")


def read(raw: pb_utils.InferenceRequest) -> Request:
    """A request's inputs, with vllm_backend's defaults."""
    stream = _flag(raw, "stream")
    exclude = pb_utils.get_input_tensor_by_name(raw, "exclude_input_in_output")
    # Where nothing is said, a whole answer begins with its prompt and a stream does not.
    prepend = not stream if exclude is None else not exclude.as_numpy()[0]
    if prepend and stream:
        raise ValueError("When streaming, `exclude_input_in_output` = False is not allowed.")
    sampling = _sampling_parameters(raw)
    return Request(
        prompt=_text(raw, "text_input"),
        stream=stream,
        prepend_prompt=prepend,
        max_tokens=int(sampling.get("max_tokens", MAX_TOKENS_DEFAULT)),
        finish_reason=_flag(raw, "return_finish_reason"),
        num_input_tokens=_flag(raw, "return_num_input_tokens"),
        num_output_tokens=_flag(raw, "return_num_output_tokens"),
    )


def response(request: Request, text: str, *, count: int, reason: str) -> pb_utils.InferenceResponse:
    """One response: the text, and beside it what was asked for."""
    whole = request.prompt + text if request.prepend_prompt else text
    outputs = [pb_utils.Tensor("text_output", np.asarray([whole.encode()], dtype=np.object_))]
    if request.finish_reason:
        outputs.append(pb_utils.Tensor("finish_reason", np.asarray([reason.encode()], dtype=np.object_)))
    if request.num_input_tokens:
        prompt_tokens = len(scripts.tokens_of(request.prompt))
        outputs.append(pb_utils.Tensor("num_input_tokens", np.asarray([prompt_tokens], dtype=np.uint32)))
    if request.num_output_tokens:
        # Of this response alone: a reader of a stream adds them up.
        outputs.append(pb_utils.Tensor("num_output_tokens", np.asarray([count], dtype=np.uint32)))
    return pb_utils.InferenceResponse(output_tensors=outputs)


def _sampling_parameters(raw: pb_utils.InferenceRequest) -> dict[str, object]:
    """The tensor where there is one, else the request's own parameters; never both."""
    if pb_utils.get_input_tensor_by_name(raw, "sampling_parameters") is not None:
        return json.loads(_text(raw, "sampling_parameters"))
    return json.loads(raw.parameters() or "{}")


def _text(raw: pb_utils.InferenceRequest, name: str) -> str:
    value = pb_utils.get_input_tensor_by_name(raw, name).as_numpy()[0]
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _flag(raw: pb_utils.InferenceRequest, name: str) -> bool:
    tensor = pb_utils.get_input_tensor_by_name(raw, name)
    return tensor is not None and bool(tensor.as_numpy()[0])


def _path_from(variable: str) -> Path | None:
    value = os.environ.get(variable)
    return Path(value) if value else None
