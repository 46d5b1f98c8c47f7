"""The front end's own bytes are those that Triton's was recorded with; the rest is seen in tests/e2e."""

from __future__ import annotations

import json
import threading
from contextlib import ExitStack
from http import HTTPStatus
from http.client import HTTPConnection
from pathlib import Path

import pytest

from extproc.demo import openai_front as front
from extproc.demo.openai_tokens import Choice, ModelFailed, Token
from extproc.demo.ports import LOOPBACK

GOLDEN = Path(__file__).parent.parent / "golden" / "codecs" / "openai_chat"
MODELS = ("vllm_llm", "other")


def recorded(name: str) -> dict:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


class Says:
    """A Triton that says the given tokens, and breaks after them if it must."""

    def __init__(self, *texts: str, prompt_tokens: int = 2, breaks: bool = False) -> None:
        self.texts = texts
        self.prompt_tokens = prompt_tokens
        self.breaks = breaks
        self.asked: list[tuple[str, str, dict]] = []

    def is_ready(self) -> bool:
        return True

    def tokens(self, model: str, prompt: str, parameters: dict, ends: ExitStack):
        self.asked.append((model, prompt, parameters))
        for at, text in enumerate(self.texts, 1):
            yield Token(text, at == len(self.texts) and not self.breaks, self.prompt_tokens, 1)
        if self.breaks:
            raise ModelFailed("engine exploded")


@pytest.fixture
def serve():
    """Serves a Triton's front end; gives what sends a request to it."""
    with ExitStack() as ends:

        def start(triton: Says):
            server = ends.enter_context(front.FrontServer(0, triton=triton, models=MODELS))
            thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
            thread.start()
            ends.callback(thread.join)
            ends.callback(server.shutdown)

            def send(method: str, path: str, body: bytes | None = None, **options):
                connection = HTTPConnection(LOOPBACK, server.server_address[1], timeout=10)
                ends.callback(connection.close)
                connection.request(method, path, body, **options)
                return connection.getresponse()

            return send

        yield start


def with_id_of(body: bytes, expected: str) -> str:
    """An answer with the id and the time of another."""
    own, theirs = (
        json.loads(text.split("\n")[0].removeprefix("data: ")) for text in (body.decode(), expected)
    )
    for name in ("id", "created"):
        body = body.replace(json.dumps(own[name]).encode(), json.dumps(theirs[name]).encode())
    return body.decode()


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("chat", [" The", " quick", " brown", " fox"]),
        ("chat_stream", ["The", " quick", " brown"]),
        ("chat_stream_usage", ["The", " quick", " brown"]),
    ],
)
def test_answers_are_those_of_tritons_front_end(serve, name, texts):
    sample = recorded(name)
    answer = serve(Says(*texts))("POST", sample["path"], sample["request"].encode())
    assert (answer.status, answer.headers["content-type"]) == (
        200,
        sample["response_headers"]["content-type"],
    )
    assert with_id_of(answer.read(), sample["response"]) == sample["response"]


@pytest.mark.parametrize("name", ["err_unknown_model", "err_unknown_model_stream", "err_stream_options"])
def test_refusals_are_those_of_tritons_front_end(serve, name):
    sample = recorded(name)
    answer = serve(Says())("POST", sample["path"], sample["request"].encode())
    assert (answer.status, answer.read().decode()) == (sample["status"], sample["response"])


@pytest.mark.parametrize(
    ("body", "kind"),
    [(b"{nope", "json_invalid"), (b'{"model":"vllm_llm"}', "missing"), (b'{"messages":[]}', "missing")],
)
@pytest.mark.parametrize("path", sorted(front.ROUTES.keys() - {"/v1/messages", "/v1/responses"}))
def test_what_does_not_validate_is_a_422_with_findings(serve, path, body, kind):
    answer = serve(Says())("POST", path, body)
    assert answer.status == HTTPStatus.UNPROCESSABLE_ENTITY
    assert [one["type"] for one in json.loads(answer.read())["detail"]] == [kind]


def test_every_text_of_the_conversation_is_in_the_prompt(serve):
    triton = Says("ok")
    body = {
        "model": "other",
        "messages": [
            {"role": "system", "content": "be brief"},
            {
                "role": "user",
                "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}],
            },
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]},
        ],
        "tools": ["t"],
        "max_tokens": 5,
        "max_completion_tokens": 4,
        "temperature": 0.5,
    }
    serve(triton)("POST", "/v1/chat/completions", json.dumps(body).encode()).read()
    lines = ['tools: ["t"]', "system: be brief", "user: one two", "assistant: "]
    prompt = "\n".join([*lines, 'called: {"function": {"name": "f"}}'])
    assert triton.asked == [("other", prompt, {"max_tokens": 4, "temperature": 0.5})]


def test_marks_make_reasoning_and_tool_calls():
    texts = ["<think>", "hm", "</think>", "a", "<tool_call:f>", "{", "}", "</tool_call>"]
    choice = Choice(0, Says(*texts).tokens("m", "p", {}, ExitStack()))
    deltas = []
    while choice.finish is None:
        deltas += choice.deltas()
    for delta in deltas:
        for call in delta.get("tool_calls", ()):
            call.pop("id", None)
    assert deltas == [
        {"reasoning_content": "hm"},
        {"content": "a"},
        {"tool_calls": [{"index": 0, "type": "function", "function": {"name": "f", "arguments": ""}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "{"}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": "}"}}]},
        {},
    ]
    assert (choice.finish, choice.texts) == ("tool_calls", {"reasoning_content": "hm", "content": "a"})
    assert choice.calls[0]["function"] == {"name": "f", "arguments": "{}"}


def ask(**members) -> bytes:
    body = {"model": "vllm_llm", "messages": [{"role": "user", "content": "x"}], **members}
    return json.dumps(body).encode()


def test_a_model_that_fails_at_once_gives_a_status(serve):
    for stream in (False, True):
        answer = serve(Says(breaks=True))("POST", "/v1/chat/completions", ask(stream=stream))
        assert (answer.status, json.loads(answer.read())) == (500, {"detail": "engine exploded"})


def test_a_model_that_fails_later_breaks_the_stream_off(serve):
    answer = serve(Says("a", "b", breaks=True))("POST", "/v1/chat/completions", ask(stream=True))
    assert answer.status == 200
    with pytest.raises(Exception, match="IncompleteRead") as caught:
        answer.read()
    assert b"[DONE]" not in caught.value.partial
    assert b'"finish_reason":"stop"' not in caught.value.partial


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_repeat_the_content_where_they_are_asked_for(serve, *, stream):
    triton = Says("<think>", "hm", "</think>", "a", "é")
    answer = serve(triton)("POST", "/v1/chat/completions", ask(stream=stream, logprobs=True)).read()
    events = answer.split(b"\n\n")[:-2] if stream else [b"data: " + answer]
    choices = [json.loads(event.removeprefix(b"data: "))["choices"][0] for event in events]
    told = [one for choice in choices for one in (choice["logprobs"] or {"content": []})["content"]]
    assert [(one["token"], one["bytes"]) for one in told] == [("a", [97]), ("é", [195, 169])]


def test_models_are_listed(serve):
    send = serve(Says())
    listed = json.loads(send("GET", "/v1/models").read())
    assert [one["id"] for one in listed["data"]] == list(MODELS)
    assert json.loads(send("GET", "/v1/models/other").read())["id"] == "other"
    missing = send("GET", "/v1/models/nope")
    assert (missing.status, json.loads(missing.read())) == (404, {"detail": "Unknown model: nope"})
    assert send("GET", "/health/ready").status == 200


def test_other_paths_are_not_found(serve):
    send = serve(Says())
    for answer in (send("GET", "/metrics"), send("POST", "/v1/nothing", b"{}")):
        assert (answer.status, json.loads(answer.read())) == (404, {"detail": "Not Found"})


def test_a_body_in_chunks_is_read(serve):
    body = ask()
    pieces = iter([body[:10], body[10:]])
    send = serve(Says("a"))
    answer = send(
        "POST",
        "/v1/chat/completions",
        pieces,
        encode_chunked=True,
        headers={"transfer-encoding": "chunked"},
    )
    assert answer.status == 200
