"""All parts together: started side by side, watched, stopped in order."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.demo.parts import Envoy, Headgate, OpenAIFront, Triton, Valkey
from extproc.demo.process import Part, PartFailed

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from extproc.demo.credentials import Credentials

MODEL: Final = "vllm_stand_in"
# Served by the demo's Triton and allowed to none of its tenants.
OTHER_MODEL: Final = "internal_llm"

# Somebody else may take a free port in the moment before its part listens; then all starts over.
_STARTS_MAX: Final = 3
_PORT_TAKEN: Final = ("address already in use", "is it in use?", "unavailable - address")
_WATCH_PAUSE_S: Final = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """The running parts."""

    triton: Triton
    openai: OpenAIFront
    valkey: Valkey
    headgate: Headgate
    envoy: Envoy

    @property
    def parts(self) -> tuple[Part, ...]:
        """In the order in which they depend on each other."""
        return (self.triton, self.openai, self.valkey, self.headgate, self.envoy)

    def stop(self) -> None:
        """End all, clients' side first."""
        stop_all(self.parts)

    def watch(self, *, until: Callable[[], bool]) -> None:
        """Stay while every part runs and ``until`` is not true.

        Raises:
            PartFailed: a part ended by itself.
        """
        while not until():
            for part in self.parts:
                part.check()
            time.sleep(_WATCH_PAUSE_S)


def stop_all(parts: tuple[Part, ...]) -> None:
    """End parts in reverse order, each even if another one fails to."""
    faults: list[Exception] = []
    for part in reversed(parts):
        try:
            part.stop()
        except Exception as error:  # noqa: BLE001 - the others must be ended all the same.
            faults.append(error)
    if faults:
        raise ExceptionGroup("parts could not be ended", faults)


def start_stack(  # noqa: PLR0913 - settings by name, each said once at the call.
    state: Path,
    *,
    triton_environment: Path,
    credentials: Credentials,
    journal: Path | None = None,
    pace_ms: int = 15,
    port: int | None = None,
    told: Callable[[Part, str], None] = lambda _part, _what: None,
) -> Stack:
    """Start every part and wait until each is ready.

    Args:
        state: Where their files go.
        triton_environment: Triton's virtual environment.
        credentials: The filter's pepper and policy.
        journal: Where the model notes what it received; nowhere unless given, as it holds prompts.
        pace_ms: The model's pause before each token.
        port: Envoy's; a free one unless given.
        told: Is told what each part is doing.

    Raises:
        PartFailed: one of them did not start; the others are ended.
    """
    for attempt in range(1, _STARTS_MAX + 1):
        stack = _assemble(
            state,
            credentials,
            Triton(
                state,
                environment_path=triton_environment,
                models=(MODEL, OTHER_MODEL),
                journal=journal,
                pace_ms=pace_ms,
            ),
            port,
        )
        try:
            _start(stack, told)
        except PartFailed as error:
            stack.stop()
            if attempt == _STARTS_MAX or not _lost_a_port(error) or (port and error.part == Envoy.name):
                raise
        except BaseException:
            # Ctrl-C too: whatever it is goes on, but no part may be left behind.
            stack.stop()
            raise
        else:
            return stack
    raise AssertionError("unreachable: the last attempt returns or raises")


def _assemble(state: Path, credentials: Credentials, triton: Triton, port: int | None) -> Stack:
    openai = OpenAIFront(state, triton_port=triton.port, models=(MODEL, OTHER_MODEL))
    valkey = Valkey(state)
    headgate = Headgate(
        state,
        policy=credentials.policy_file,
        pepper=credentials.pepper_file,
        redis_url=valkey.url,
        verdict_log=state / "verdicts.jsonl",
    )
    envoy = Envoy(
        state,
        triton_port=triton.port,
        triton_grpc_port=triton.grpc_port,
        openai_port=openai.port,
        extproc_port=headgate.port,
        port=port,
    )
    return Stack(triton=triton, openai=openai, valkey=valkey, headgate=headgate, envoy=envoy)


def _start(stack: Stack, told: Callable[[Part, str], None]) -> None:
    waiting = list(stack.parts)
    ends = {}
    for part in waiting:
        told(part, "starting")
        part.start()
        ends[part.name] = time.monotonic() + part.ready_within_s
    while waiting:
        for part in tuple(waiting):
            part.check()
            if part.probe():
                told(part, "ready")
                waiting.remove(part)
            elif time.monotonic() > ends[part.name]:
                raise part.failure(f"not ready within {part.ready_within_s:g} s")
        time.sleep(_WATCH_PAUSE_S / 4)
    while not stack.envoy.finds_filter():
        stack.envoy.check()
        if time.monotonic() > ends[stack.envoy.name]:
            raise stack.envoy.failure("no filter passed its health check")
        time.sleep(_WATCH_PAUSE_S / 4)


def _lost_a_port(error: PartFailed) -> bool:
    log = "\n".join(error.log_tail).lower()
    return any(sign in log for sign in _PORT_TAKEN)
