"""What the differential fuzz is about: requests, what the filter made of them, what a model received."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from extproc.domain.ports import RequestEdits, RequestMessage
from extproc.domain.segment import Backend


@dataclass(frozen=True, kw_only=True)
class Case:
    """One request as a client would send it.

    ``flattened`` says that the wire has one name space for tensors and parameters, as generate has;
    ``renamed`` that the filter forwards a request under an id of its own.
    """

    path: str
    body: bytes
    backend: Backend
    flattened: bool = True
    renamed: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Forwarded:
    """What the codec lets through of a case, and what it had judged of it."""

    case: Case
    body: bytes
    headers: Mapping[str, str]
    message: RequestMessage
    edits: RequestEdits


@dataclass(frozen=True, kw_only=True)
class Echo:
    """What a model received."""

    request_id: str
    parameters: Mapping[str, object]
    inputs: Mapping[str, Sequence[object]]


class Link(Protocol):
    """Sends requests of one wire to Triton."""

    def exchange(self, batch: Sequence[Forwarded]) -> Sequence[Echo | None]:
        """What the models received, in order; None where Triton refused."""


class Grammar(Protocol):
    """Makes requests of one wire."""

    @property
    def name(self) -> str:
        """As on the command line."""

    def case(self, rng: random.Random) -> Case:
        """A request, valid or not quite."""


def echo_of(document: str) -> Echo:
    """An echo from the document that a model answers with."""
    seen = json.loads(document)
    return Echo(request_id=seen["id"], parameters=seen["parameters"], inputs=seen["inputs"])
