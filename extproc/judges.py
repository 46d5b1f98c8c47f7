"""The classifiers of an operator's own, whose heads a policy's ``moderation`` may name.

They come from a manifest, from a directory as Hugging Face's tools leave it, or from a Triton. That one
must be asked directly and not through a gateway that this filter guards: it would wait for itself.
"""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from classifiers.classifier import Classifier
from classifiers.errors import ClassifierError, ModelError, ServerError
from classifiers.huggingface import heads_of, read_directory
from classifiers.model import Activation
from classifiers.registry import load_operator
from classifiers.runtimes import RuntimeOptions, discover
from classifiers.texts import TextClassifier
from classifiers.triton import ServedModel
from classifiers.triton_address import is_address, parse_address
from extproc.domain.errors import HeadgateError
from extproc.domain.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from classifiers.model import Head, Model
    from classifiers.triton import Signature
    from classifiers.triton_address import TritonAddress
    from extproc.edge.inference import Scoring

LOG = logging.getLogger("headgate.judges")

# The guard of that name has a model of its own, which none of these may stand in for.
INJECTION: Final = "injection"


class JudgeError(HeadgateError):
    """A judge model that cannot be used; says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgePlace:
    """Where a judge model is, as ``headgate serve`` was told.

    ``model`` is a path or a ``triton://`` address; ``tokenizer`` the directory of a served model that takes
    token ids; ``authorities`` those of its server's certificate (PEM).
    """

    model: str
    tokenizer: Path | None = None
    authorities: Path | None = None


class Served:
    """A judge model on a server: whether it is there. One thread at a time may look."""

    def __init__(self, model: ServedModel, head: Classifier | TextClassifier) -> None:
        self._model = model
        self._head = head
        self._seen: Signature | None = None
        self.fault = "it was not looked at yet"

    @property
    def ready(self) -> bool:
        """Whether it was there, and gave scores, when it was last looked at."""
        return not self.fault

    def look(self) -> None:
        """As ``try_out``, but it tells by ``ready`` and ``fault`` alone."""
        with contextlib.suppress(ServerError, ModelError):
            self.try_out()

    def try_out(self) -> None:
        """Ask for it, and for scores where it is new or another than before.

        Raises:
            ServerError: it is not there.
            ModelError: it is another kind of model.
        """
        try:
            signature = self._model.look()
            if self._seen != signature:
                self._head.warm_up()
        except (ServerError, ModelError) as error:
            self._seen = None
            self.fault = str(error)
            raise
        self._seen = signature
        self.fault = ""

    def close(self) -> None:
        """Ask it no more; a look under way fails."""
        self._model.close()


@dataclass(frozen=True, slots=True, kw_only=True)
class Judges:
    """A judge model, opened. ``served`` is None for one that runs in this process."""

    heads: Mapping[str, Scoring]
    description: str
    served: Served | None = None


NONE: Final = Judges(heads={}, description="")


def open_judges(place: JudgePlace, threads: int) -> Judges:
    """Open a judge model: load it and warm it up on ``threads`` threads, or look at its server.

    A server that does not answer is waited for, while what would ask it is refused.

    Raises:
        JudgeError: it cannot be used, or a head has the name of the injection guard's.
    """
    try:
        judges = _served(place) if is_address(place.model) else _loaded(place, threads)
    except (ClassifierError, ImportError) as error:
        raise JudgeError(f"--judge-model: it cannot be used: {error}") from None
    if INJECTION in judges.heads:
        raise JudgeError(
            f"--judge-model: its head {INJECTION} needs another name, in the manifest, in config.json's "
            "id2label or in ?labels="
        )
    return judges


def _loaded(place: JudgePlace, threads: int) -> Judges:
    if "://" in place.model:
        raise ModelError("an address of a model begins with triton:// or tritons://")
    if place.tokenizer is not None or place.authorities is not None:
        raise ModelError("--judge-tokenizer and --judge-ca belong to a triton:// address")
    model = load_operator(Path(place.model))
    runtime = discover()["onnx"].open(model, RuntimeOptions(threads=threads))
    heads = {head: Classifier(model, runtime, head=head) for head in model.manifest.heads}
    weights = model.manifest.weights
    digest = "" if weights is None else f", sha256 {weights.sha256}"
    return Judges(
        heads=heads,
        description=_description(f"{runtime.describe()}{digest}", model.manifest.heads)
        + f"; windows of {model.manifest.window_tokens} tokens",
    )


def _served(place: JudgePlace) -> Judges:
    address = parse_address(place.model)
    if place.authorities is not None and not address.tls:
        raise ModelError("--judge-ca: only a tritons:// address has a certificate to check")
    model = ServedModel(address, authorities=_authorities(place.authorities))
    if not address.tls and not address.is_local:
        LOG.warning("prompts go to %s unencrypted; tritons:// encrypts them", address.place)
    if place.tokenizer is None:
        judges = _of_texts(address, model)
    else:
        judges = _of_tokens(read_directory(place.tokenizer, weights=False), address, model)
    served = judges.served
    if served is not None:
        try:
            served.try_out()
        except ServerError as error:
            LOG.warning("the judge model is not there yet: %s", error)
    return judges


def _of_texts(address: TritonAddress, model: ServedModel) -> Judges:
    if not address.labels:
        raise ModelError(
            "write behind the address what its scores stand for, as in ?labels=toxic,spam, or give "
            "--judge-tokenizer for a model of token ids"
        )
    heads = heads_of(address.labels, address.activation or Activation.NONE, where="labels")
    made = {name: TextClassifier(model, head, columns=len(address.labels)) for name, head in heads.items()}
    place = f"{address.id} on {address.place}"
    return Judges(
        heads=made,
        description=_description(place, heads) + f"; windows of {address.window_bytes} bytes",
        served=Served(model, next(iter(made.values()))),
    )


def _of_tokens(model: Model, address: TritonAddress, served: ServedModel) -> Judges:
    if address.labels:
        raise ModelError("labels are those of the tokenizer's directory; leave ?labels= out")
    made = model.served_as(address.id, address.activation)
    runtime = discover()["triton"].open(made, RuntimeOptions(server=served))
    heads = {head: Classifier(made, runtime, head=head, warm=False) for head in made.manifest.heads}
    return Judges(
        heads=heads,
        description=_description(f"{runtime.describe()}, tokens as {model.id}", made.manifest.heads)
        + f"; windows of {made.manifest.window_tokens} tokens",
        served=Served(served, next(iter(heads.values()))),
    )


def _description(what: str, heads: Mapping[str, Head]) -> str:
    """The line that start-up prints of it."""
    kinds = ", ".join(sorted({head.activation for head in heads.values()}))
    return f"judge model {what}: heads {', '.join(heads)} ({kinds}), from the policy's threshold on"


def _authorities(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        with path.open("rb") as file:
            content = file.read(LIMITS.tls_file_bytes_max + 1)
    except OSError as error:
        raise ModelError(f"--judge-ca: {error.strerror or 'cannot be read'}") from None
    if len(content) > LIMITS.tls_file_bytes_max:
        raise ModelError(f"--judge-ca: holds more than {LIMITS.tls_file_bytes_max} bytes")
    return content
