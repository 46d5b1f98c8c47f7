"""Traffic through a real gateway, and what is checked of it: planted values, events, books, journals."""

from __future__ import annotations

import json
import random
import secrets
import socket
import string
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import httpx
import redis
from real_parts import Gateway, StandIn, eventually

from classifiers.classifier import Classifier
from extproc.app import open_classifier
from extproc.demo.parts import Headgate
from extproc.edge.ledger import keys_of

MODEL_PATH = "/v2/models/vllm_stand_in"
GENERATE = f"{MODEL_PATH}/generate"
STREAM = f"{MODEL_PATH}/generate_stream"

_HARMLESS = 0.2  # a score that other words around a value do not raise to the injection guard's threshold
_DRAWS = 100

# Room for every test, so that only the tests of budgets meet one.
ROOMY = """
version: 1
tenants:
  acme:
    policy: standard
    keys: [{id: acme-1, hash: "${ACME_HASH}"}]
policies:
  standard:
    guards:
      schema: {models: [vllm_stand_in], output_tokens_max: 20000}
      budget: {limits: [{window: minute, tokens: 1000000000}]}
"""


class FaultyHeadgate(Headgate):
    """The filter, run by ``faulty_serve``."""

    def command(self) -> Sequence[str | Path]:
        words = list(super().command())
        script = Path(__file__).with_name("faulty_serve.py")
        return [sys.executable, "-P", script, *words[words.index("serve") :]]


# --- values that must not get through --------------------------------------------------------


def planted_key(chance: random.Random | None = None) -> str:
    """A credential of a known shape, made now. It is redacted to ``[AWS_ACCESS_KEY]``."""
    source = chance or random.SystemRandom()
    return harmless(
        lambda: "AK" + "IA" + "".join(source.choices(string.ascii_uppercase + string.digits, k=16)),
        "recite it for {} please",
    )


def planted_mail(chance: random.Random | None = None) -> str:
    """An address, made now. It is redacted to ``[EMAIL_ADDRESS]``."""
    source = chance or random.SystemRandom()

    def draw() -> str:
        name = "".join(source.choices(string.ascii_lowercase, k=10))
        return f"{name}@" + "".join(source.choices(string.ascii_lowercase, k=9)) + ".example.org"

    return harmless(draw, "recite it for {} please")


@cache
def _classifier() -> Classifier:
    return open_classifier(1)


def harmless(draw: Callable[[], str], context: str = "{}") -> str:
    """What ``draw`` gives, drawn again where the injection model might take it for an attack.

    About one random value in a thousand looks like one: with thousands of questions a run, that is a test
    that fails by chance.
    """
    model = _classifier()
    for _ in range(_DRAWS):
        drawn = draw()
        if model.score([context.format(drawn)])[0].score < _HARMLESS:
            return drawn
    raise AssertionError(f"none of {_DRAWS} values is harmless in {context!r}")


def leaks(seen: str | bytes, value: str, *, chars: int = 6) -> bool:
    """Whether any piece of a planted value of that length is to be seen."""
    text = seen.decode("utf-8", "replace") if isinstance(seen, bytes) else seen
    return any(value[at : at + chars] in text for at in range(len(value) - chars + 1))


def pieces(value: str, count: int = 4) -> list[str]:
    """A value in about so many pieces."""
    step = -(-len(value) // count)
    return [value[at : at + step] for at in range(0, len(value), step)]


# Random hexadecimal digits would look like an attack to the classifier; words of everyday do not.
_WORDS = (
    "autumn",
    "basket",
    "bridge",
    "candle",
    "copper",
    "forest",
    "garden",
    "harbor",
    "island",
    "kettle",
    "ladder",
    "lamp",
    "marble",
    "meadow",
    "needle",
    "orchard",
    "pebble",
    "quilt",
    "ribbon",
    "river",
    "saddle",
    "silver",
    "spring",
    "stone",
    "summer",
    "table",
    "teapot",
    "valley",
    "walnut",
    "window",
    "winter",
    "yarn",
)


def says(stand_in: StandIn, tokens: Sequence[str]) -> str:
    """A prompt, used by nobody else and harmless, at which the model says exactly these tokens."""
    name = harmless(lambda: "-".join(secrets.choice(_WORDS) for _ in range(8)), "recite {}")
    (stand_in.scripts_path / f"{name}.json").write_text(json.dumps(tokens), encoding="utf-8")
    return f"recite {name}"


@dataclass(frozen=True)
class Planted:
    """A question whose answer holds a value that must not get through, split over events.

    ``name`` finds the question in the model's journal; ``redacted`` is what the client may see.
    """

    value: str = field(repr=False)
    prompt: str
    tokens: tuple[str, ...] = field(repr=False)
    name: str

    @property
    def redacted(self) -> str:
        return "".join(self.tokens).replace(self.value, "[AWS_ACCESS_KEY]")


def plant(stand_in: StandIn, *, before: Sequence[str] = (), after: Sequence[str] = ()) -> Planted:
    """Have the model say a fresh value between some words."""
    value = planted_key()
    tokens = (*before, " here", " is ", *pieces(value), " for", " you", *after)
    prompt = says(stand_in, tokens)
    return Planted(value, prompt, tokens, prompt.split()[1])


# --- what the client sees --------------------------------------------------------------------


def body_of(prompt: str, *, stream: bool = True, **members: object) -> dict[str, object]:
    body: dict[str, object] = {"text_input": prompt, "parameters": {"max_tokens": 20_000}, **members}
    return {**body, "stream": True} if stream else {**body, "exclude_input_in_output": True}


def events_of(body: bytes) -> list[dict[str, object]]:
    """The whole events of a stream; what stands after the last blank line is no event."""
    return [json.loads(event.removeprefix(b"data: ")) for event in body.split(b"\n\n")[:-1]]


def text_of(body: bytes) -> str:
    """The text that a client of a stream puts together."""
    return "".join(str(event["text_output"]) for event in events_of(body) if "text_output" in event)


@dataclass(frozen=True)
class Seen:
    """An answer as far as it came. ``cut`` says that the connection broke before its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut: bool

    @property
    def request_id(self) -> str:
        return self.headers.get("x-request-id", "")

    @property
    def error(self) -> str:
        """The message of a refusal in Triton's shape; fails where it has another."""
        document = json.loads(self.body)
        assert list(document) == ["error"]
        assert isinstance(document["error"], str)
        return document["error"]


class Reading:
    """An answer that is being read, piece by piece."""

    def __init__(self, response: httpx.Response) -> None:
        self.response = response
        self.cut = False
        # Grows in place: an answer may have hundreds of megabytes.
        self._body = bytearray()
        self._pieces: Iterator[bytes] = response.iter_raw()

    def until(self, events: int) -> None:
        """Read at least so many events, or to the end."""
        while self._body.count(b"\n\n") < events and self.more():
            pass

    def more(self) -> bool:
        try:
            piece = next(self._pieces, None)
        except (httpx.RemoteProtocolError, httpx.ReadError):
            self.cut = True
            return False
        self._body += piece or b""
        return piece is not None

    def rest(self) -> Seen:
        while self.more():
            pass
        return Seen(self.response.status_code, dict(self.response.headers), bytes(self._body), self.cut)


def ask(
    gateway: Gateway, prompt: str, *, path: str = STREAM, tenant: str = "acme", **members: object
) -> Seen:
    """One question, its answer read to the end."""
    body = body_of(prompt, stream=path == STREAM, **members)
    with gateway.client(tenant) as client, client.stream("POST", path, json=body) as response:
        return Reading(response).rest()


def serves(gateway: Gateway, stand_in: StandIn, *, within_s: float = 15.0) -> None:
    """Fails unless, within that time, an ordinary question gets its whole redacted answer."""

    def answered() -> bool:
        question = plant(stand_in)
        try:
            seen = ask(gateway, question.prompt)
        except httpx.TransportError:
            return False
        return not seen.cut and seen.status == 200 and text_of(seen.body) == question.redacted

    assert eventually(answered, within_s=within_s)


# --- what others saw -------------------------------------------------------------------------


def noted(stand_in: StandIn, event: str, name: str) -> list[dict[str, object]]:
    """The model's journal of one question. Long prompts of others are not parsed."""
    if not stand_in.journal_path.exists():
        return []
    lines = stand_in.journal_path.read_text(encoding="utf-8").split("\n")[:-1]
    entries = [json.loads(line) for line in lines if name in line]
    return [entry for entry in entries if entry["event"] == event]


def open_tokens(books: redis.Redis, tenant: str = "acme") -> int:
    """Tokens that a tenant's open reservations hold."""
    held = books.hget(keys_of(tenant)[0], "held")
    return int(held) if isinstance(held, bytes) else 0


def all_settled(books: redis.Redis, tenant: str = "acme", *, within_s: float = 10.0) -> bool:
    return eventually(lambda: open_tokens(books, tenant) == 0, within_s=within_s)


# --- raw HTTP --------------------------------------------------------------------------------


def raw(port: int, request: bytes, *, timeout_s: float = 10.0) -> bytes:
    """Send exactly these bytes; give what comes back until the server closes or is silent."""
    with socket.create_connection(("127.0.0.1", port), timeout_s) as connection:
        connection.sendall(request)
        return read_answer(connection, timeout_s=timeout_s)


def read_answer(connection: socket.socket, *, timeout_s: float = 10.0) -> bytes:
    """One HTTP/1.1 answer, as far as its own length says or the server sends."""
    connection.settimeout(timeout_s)
    end = time.monotonic() + timeout_s
    seen = b""
    while time.monotonic() < end and not _whole(seen):
        try:
            piece = connection.recv(65_536)
        except (TimeoutError, ConnectionError):
            break
        if not piece:
            break
        seen += piece
    return seen


def _whole(answer: bytes) -> bool:
    head, blank, body = answer.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").partition(b"\r\n\r\n")
    if not blank:
        return False
    fields = parse_head(head)
    if "content-length" in fields:
        return len(body) >= int(fields["content-length"])
    return fields.get("transfer-encoding") == "chunked" and body.endswith(b"0\r\n\r\n")


def parse_head(head: bytes) -> dict[str, str]:
    lines = head.decode("latin-1").split("\r\n")[1:]
    return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}


def seen_in(answer: bytes) -> Seen:
    """A raw answer with a content-length, taken apart."""
    head, _, body = answer.partition(b"\r\n\r\n")
    status = int(head.split()[1]) if head else 0
    return Seen(status, parse_head(head), body, cut=not _whole(answer))


def fresh_word() -> str:
    """A word that stands in no other request of the run."""
    return f"word{secrets.token_hex(8)}"
