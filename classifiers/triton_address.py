"""Where a model is on a Triton, as an operator writes it: ``triton://HOST:PORT/MODEL[/VERSION][?…]``."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from classifiers.errors import ModelError
from classifiers.model import Activation

if TYPE_CHECKING:
    from collections.abc import Mapping

PLAIN: Final = "triton://"
TLS: Final = "tritons://"

# A call that nobody waits for any more keeps its thread for so long: below the time after which a thread
# counts as hung. A classifier answers in some milliseconds.
TIMEOUT_MS_MAX: Final = 1_900
TIMEOUT_MS: Final = 1_500
# Tokens have a byte at least, so that a model of 512 tokens sees all of such a window. What a server cuts
# off, nobody judges.
WINDOW_BYTES: Final = 500
_WINDOW_BYTES_MIN: Final = 64
_WINDOW_BYTES_MAX: Final = 65_536
_LABELS_MAX: Final = 1_000

_PLACE: Final = re.compile(r"(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9_.-]+):([0-9]{1,5})")
# No separator and no leading dot. Short enough to stand in a record.
_MODEL: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,95}")
_VERSION: Final = re.compile(r"[0-9]{1,18}")
_NUMBER: Final = re.compile(r"[0-9]{1,6}")
_PORT_MAX: Final = 65_535
_KNOWN: Final = ("labels", "activation", "window_bytes", "timeout_ms")


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonAddress:
    """One model of one server.

    ``place`` is HOST:PORT of its gRPC port, ``version`` empty for the server's own choice. ``labels`` name
    the columns of its scores, ``activation`` makes probabilities of them; neither is given where a
    tokenizer's directory says it. ``window_bytes`` (UTF-8) is the most text that it is asked about at once.
    """

    place: str
    tls: bool
    model: str
    version: str
    labels: tuple[str, ...]
    activation: Activation | None
    window_bytes: int
    timeout_ms: int

    @property
    def id(self) -> str:
        """The model's name in records."""
        return f"triton/{self.model}" + (f"/{self.version}" if self.version else "")

    @property
    def is_local(self) -> bool:
        """Whether it is on this machine, so that no network sees what it is asked."""
        host = self.place.rpartition(":")[0].strip("[]")
        try:
            return ipaddress.ip_address(host).is_loopback
        except ValueError:
            return host == "localhost"


def is_address(text: str) -> bool:
    """Whether it is meant to be one, right or wrong."""
    return text.startswith((PLAIN, TLS))


def parse_address(text: str) -> TritonAddress:
    """Read an address.

    Raises:
        ModelError: it is none; says which part, and what belongs there.
    """
    try:
        parts = urlsplit(text)
    except ValueError:
        raise _wrong("is no URL") from None
    place = _PLACE.fullmatch(parts.netloc)
    if place is None or not 0 < int(place[2]) <= _PORT_MAX:
        raise _wrong("needs HOST:PORT of Triton's gRPC port, which is 8001 by default")
    model, slash, version = parts.path.removeprefix("/").partition("/")
    if not _MODEL.fullmatch(model) or (slash and not _VERSION.fullmatch(version)) or parts.fragment:
        raise _wrong("needs the model's name behind the port, and at most a version behind it")
    options = _options(parts.query)
    return TritonAddress(
        place=parts.netloc,
        tls=text.startswith(TLS),
        model=model,
        version=version,
        labels=_labels(options.get("labels")),
        activation=_activation(options.get("activation")),
        window_bytes=_number(options, "window_bytes", WINDOW_BYTES, _WINDOW_BYTES_MIN, _WINDOW_BYTES_MAX),
        timeout_ms=_number(options, "timeout_ms", TIMEOUT_MS, 1, TIMEOUT_MS_MAX),
    )


def _wrong(what: str) -> ModelError:
    return ModelError(f"the address of a model on Triton {what}: triton://HOST:PORT/MODEL[/VERSION]")


def _options(query: str) -> Mapping[str, str]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), errors="strict")
    except (ValueError, UnicodeDecodeError):
        raise _wrong("has options that cannot be read; write ?labels=one,two&activation=sigmoid") from None
    options = dict(pairs)
    if len(options) < len(pairs) or not set(options) <= set(_KNOWN):
        raise _wrong(f"has an option twice or one that is unknown; known are {', '.join(_KNOWN)}")
    return options


def _labels(given: str | None) -> tuple[str, ...]:
    if given is None:
        return ()
    labels = tuple(label.strip() for label in given.split(","))
    if not all(labels) or len(labels) > _LABELS_MAX:
        raise _wrong(f"has labels of no use: write up to {_LABELS_MAX}, in the order of the scores")
    return labels


def _activation(given: str | None) -> Activation | None:
    if given is not None and given not in set(Activation):
        raise _wrong(f"has an unknown activation; write one of {', '.join(Activation)}")
    return None if given is None else Activation(given)


def _number(options: Mapping[str, str], name: str, default: int, least: int, most: int) -> int:
    given = options.get(name)
    if given is None:
        return default
    if not _NUMBER.fullmatch(given) or not least <= int(given) <= most:
        raise _wrong(f"has a {name} that is no integer from {least} to {most}")
    return int(given)
