"""What ``headgate demo --once`` plays: what is sent, by which client, and what must come of it."""

from __future__ import annotations

import json
import runpy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tritonclient.http import InferenceServerClient  # type: ignore[import-untyped]  # it ships no types.
from tritonclient.utils import InferenceServerException  # type: ignore[import-untyped]  # as above.

from extproc.demo import prompts
from extproc.demo.stack import MODEL, OTHER_MODEL
from extproc.demo.triton_env import STAND_IN
from extproc.domain.verdict import Action, Reason

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import httpx

_GOT_CHARS_MAX: Final = 90
_SPENDS_MAX: Final = 4
_OK: Final = 200
_GENERATE: Final = f"/v2/models/{MODEL}/generate"
_STREAM: Final = f"/v2/models/{MODEL}/generate_stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where a request goes, the gateway or Triton itself, and the credentials for it."""

    client: httpx.Client
    address: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a client got. ``text`` is the model's text, or the message of an error.

    ``request_id`` is empty where the client does not show it. ``events`` counts those of a stream.
    """

    status: int
    text: str
    request_id: str = ""
    events: int = 0
    retry_after: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """The answer, and the prompts that the model received meanwhile."""

    answer: Answer
    received: tuple[str, ...]


def _what_came(seen: Seen) -> str:
    # A refusal names its request at the end, which the row need not.
    text = seen.answer.text.partition(" (request ")[0]
    short = text if len(text) <= _GOT_CHARS_MAX else f"{text[: _GOT_CHARS_MAX - 1]}…"
    return f"{seen.answer.events} events: {short}" if seen.answer.events else short


def _nothing_more(seen: Seen) -> str:
    del seen
    return ""


def _model_saw_nothing(seen: Seen) -> str:
    return "the model received the prompt" if seen.received else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request and what must come of it.

    ``check`` says what is wrong beyond status, decision and reason, and is empty where nothing is; ``got``
    says in short what came. ``timed`` cases are sent straight to Triton too.
    """

    name: str
    sent: str
    call: Callable[[Target], Answer]
    status: int
    action: Action
    reason: Reason
    check: Callable[[Seen], str] = _nothing_more
    got: Callable[[Seen], str] = _what_came
    tenant: str | None = "acme"
    timed: bool = False


# --- clients ---------------------------------------------------------------------------------


def _post(path: str, body: bytes) -> Callable[[Target], Answer]:
    def call(target: Target) -> Answer:
        answer = target.client.post(path, content=body, headers={"content-type": "application/json"})
        return _answer(answer, _text_of(answer.content))

    return call


def _stream(prompt: str, max_tokens: int = 200) -> Callable[[Target], Answer]:
    """Ask for a stream and read it as it comes, event by event, as an application would."""
    body = _body(prompt, max_tokens, stream=True)

    def call(target: Target) -> Answer:
        held, texts = b"", []
        with target.client.stream("POST", _STREAM, content=body) as answer:
            for chunk in answer.iter_raw():
                *events, held = (held + chunk).split(b"\n\n")
                texts += [_text_of(event.removeprefix(b"data: ")) for event in events]
        if not texts:
            return _answer(answer, _text_of(held))
        return _answer(answer, "".join(texts), events=len(texts))

    return call


def _spend(prompt: str) -> Callable[[Target], Answer]:
    """Ask until refused: where a minute begins in between, the first answers are not counted any more."""
    ask = _stream(prompt, max_tokens=64)

    def call(target: Target) -> Answer:
        answer = ask(target)
        for _ in range(_SPENDS_MAX):
            if answer.status != _OK:
                break
            answer = ask(target)
        return answer

    return call


def _triton(
    ask: Callable[[InferenceServerClient, Mapping[str, str]], object],
) -> Callable[[Target], Answer]:
    """Ask with NVIDIA's own client, which turns a refusal into its ordinary exception."""

    def call(target: Target) -> Answer:
        client = InferenceServerClient(target.address)
        try:
            return Answer(status=_OK, text=json.dumps(ask(client, target.headers)))
        except InferenceServerException as error:
            status = str(error.status() or "")
            return Answer(status=int(status) if status.isdigit() else 0, text=str(error.message()))
        finally:
            client.close()

    return call


def _answer(answer: httpx.Response, text: str, *, events: int = 0) -> Answer:
    return Answer(
        status=answer.status_code,
        text=text,
        request_id=answer.headers.get("x-request-id", ""),
        events=events,
        retry_after=answer.headers.get("retry-after", ""),
    )


def _text_of(body: bytes) -> str:
    """The model's text or the error's message in a JSON document; empty where there is neither."""
    try:
        document = json.loads(body)
    except ValueError:
        return ""
    if not isinstance(document, dict):
        return ""
    return str(document.get("text_output", document.get("error", "")))


def _body(prompt: str, max_tokens: int, *, stream: bool) -> bytes:
    body: dict[str, object] = {"text_input": prompt, "parameters": {"max_tokens": max_tokens}}
    return json.dumps(body | ({"stream": True} if stream else {"exclude_input_in_output": True})).encode()


# --- what must have come ---------------------------------------------------------------------


def _has_text(seen: Seen) -> str:
    return "" if "once upon a time" in seen.answer.text else "the answer is not the model's"


def _came_in_pieces(seen: Seen) -> str:
    return _has_text(seen) or ("" if seen.answer.events > 1 else "the stream came in one piece")


def _nothing_leaked(seen: Seen) -> str:
    text = seen.answer.text
    if any(value in text for value in _made_up_values()):
        return "a value that must be redacted came through"
    return "" if "[EMAIL_ADDRESS]" in text else "nothing stands where the values were"


def _prompt_was_redacted(seen: Seen) -> str:
    if any(prompts.MAIL in prompt for prompt in seen.received):
        return "the model received the address"
    received = any("[EMAIL_ADDRESS]" in prompt for prompt in seen.received)
    return "" if received else "the model did not receive the prompt"


def _what_the_model_saw(seen: Seen) -> str:
    return f"the model saw: {seen.received[0]}" if seen.received else "the model saw nothing"


def _says_when_to_come_back(seen: Seen) -> str:
    return "" if seen.answer.retry_after.isdigit() else "there is no retry-after"


def _what_came_and_when_to_come_back(seen: Seen) -> str:
    return f"{_what_came(seen)}; retry-after: {seen.answer.retry_after or 'missing'}"


def _names_its_inputs(seen: Seen) -> str:
    return "" if '"text_input"' in seen.answer.text else "the metadata is not the model's"


def _the_models_inputs(seen: Seen) -> str:
    try:
        document = json.loads(seen.answer.text)
        return f"{document['name']}: {len(document['inputs'])} inputs"
    except (ValueError, KeyError, TypeError):
        return _what_came(seen)


def _made_up_values() -> tuple[str, ...]:
    """What the stand-in's contact card holds, asked of the model's own file."""
    scripts = runpy.run_path(str(STAND_IN / "1" / "scripts.py"))
    person: Mapping[str, str] = scripts["made_up_person"]()
    return tuple(person.values())


CASES: Final = (
    Case(
        name="ready",
        sent="tritonclient: is the server ready?",
        call=_triton(lambda client, headers: client.is_server_ready(headers=headers)),
        status=200,
        action=Action.ALLOW,
        reason=Reason.CLEAN,
        timed=True,
    ),
    Case(
        name="metadata",
        sent="tritonclient: metadata of the model",
        call=_triton(lambda client, headers: client.get_model_metadata(MODEL, headers=headers)),
        status=200,
        action=Action.ALLOW,
        reason=Reason.CLEAN,
        check=_names_its_inputs,
        got=_the_models_inputs,
        timed=True,
    ),
    Case(
        name="generate",
        sent=f"generate: {prompts.STORY}",
        call=_post(_GENERATE, _body(prompts.STORY, 200, stream=False)),
        status=200,
        action=Action.ALLOW,
        reason=Reason.CLEAN,
        check=_has_text,
        timed=True,
    ),
    Case(
        name="stream",
        sent=f"generate_stream: {prompts.STORY}",
        call=_stream(prompts.STORY),
        status=200,
        action=Action.ALLOW,
        reason=Reason.CLEAN,
        check=_came_in_pieces,
        timed=True,
    ),
    Case(
        name="answer-redacted",
        sent=f"generate_stream: {prompts.CONTACT_CARD}",
        call=_stream(prompts.CONTACT_CARD),
        status=200,
        action=Action.REDACT,
        reason=Reason.REDACTED,
        check=_nothing_leaked,
        timed=True,
    ),
    Case(
        name="prompt-redacted",
        sent=f"generate_stream: {prompts.LETTER}",
        call=_stream(prompts.LETTER),
        status=200,
        action=Action.REDACT,
        reason=Reason.REDACTED,
        check=_prompt_was_redacted,
        got=_what_the_model_saw,
        timed=True,
    ),
    Case(
        name="injection",
        sent=f"generate_stream: {prompts.INJECTION}",
        call=_stream(prompts.INJECTION),
        status=403,
        action=Action.BLOCK,
        reason=Reason.INJECTION_DETECTED,
        check=_model_saw_nothing,
    ),
    Case(
        name="no-key",
        sent="generate without an API key",
        call=_post(_GENERATE, _body(prompts.STORY, 200, stream=False)),
        status=401,
        action=Action.BLOCK,
        reason=Reason.API_KEY_MISSING,
        check=_model_saw_nothing,
        tenant=None,
    ),
    Case(
        name="other-model",
        sent=f"tritonclient: metadata of {OTHER_MODEL}, which Triton serves and the tenant may not use",
        call=_triton(lambda client, headers: client.get_model_metadata(OTHER_MODEL, headers=headers)),
        status=404,
        action=Action.BLOCK,
        reason=Reason.MODEL_NOT_ALLOWED,
    ),
    Case(
        name="bad-json",
        sent='generate: {"text_input": "unfinished',
        call=_post(_GENERATE, b'{"text_input": "unfinished'),
        status=400,
        action=Action.BLOCK,
        reason=Reason.BODY_INVALID,
        check=_model_saw_nothing,
    ),
    Case(
        name="duplicate-key",
        sent="generate: text_input twice in one body (Triton would take the first, Python the last)",
        call=_post(_GENERATE, b'{"text_input": "one", "text_input": "two"}'),
        status=400,
        action=Action.BLOCK,
        reason=Reason.BODY_INVALID,
        check=_model_saw_nothing,
    ),
    Case(
        name="over-budget",
        sent=f"generate_stream, tenant tiny, until its budget is spent: {prompts.LONG_STORY}",
        call=_spend(prompts.LONG_STORY),
        status=429,
        action=Action.BLOCK,
        reason=Reason.BUDGET_EXCEEDED,
        check=_says_when_to_come_back,
        got=_what_came_and_when_to_come_back,
        tenant="tiny",
    ),
    Case(
        name="admin-path",
        sent="tritonclient: list the model repository",
        call=_triton(lambda client, headers: client.get_model_repository_index(headers=headers)),
        status=403,
        action=Action.BLOCK,
        reason=Reason.PATH_NOT_ALLOWED,
    ),
)
