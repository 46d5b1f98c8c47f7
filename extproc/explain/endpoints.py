"""Where a request belongs that does not say it, and what its head says besides.

It knows paths and the fields by which their requests are told apart. Which protocols are served is for the
codecs to say: no path is assumed that none of them accepts.
"""

from __future__ import annotations

import json
import re
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc import codecs
from extproc.domain.head import RequestHead
from extproc.explain.model import ExplainError
from extproc.explain.report import policy_name
from extproc.policy.faults import one_of
from extproc.policy.snapshot import NamesModels

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.explain.model import Question
    from extproc.policy.loading import LoadedPolicy

# By a field at the top of the body, the first that is there: the paths whose requests have it.
_BY_FIELD: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "messages": ("/v1/chat/completions",),
        "inputs": ("/v2/models/{model}/infer",),
        "prompt": ("/v1/completions",),
        "input": ("/v1/embeddings", "/v1/responses"),
    }
)
# Beside messages, fields that only Anthropic's have.
_ANTHROPIC_FIELDS: Final = frozenset({"system", "stop_sequences", "thinking"})
_ANTHROPIC: Final = ("/v1/messages",)
_ELSE: Final = ("/v2/models/{model}/generate",)
# /package.Service/Method
_GRPC_PATH: Final = re.compile(r"/[A-Za-z_][\w.]*\.[A-Za-z_]\w*/[A-Za-z_]\w*", re.ASCII)
# In front of a message: a byte of flags and four of length.
FRAME_BYTES: Final = 5


def assumed_path(question: Question, loaded: LoadedPolicy) -> str:
    """Where a request belongs, by its shape and by the models of the policy.

    Raises:
        ExplainError: it could belong to several places, or has no body to tell.
    """
    if question.body is None:
        raise ExplainError("which request? Name a file with its body, or with --path what is asked for")
    fields = _fields_of(question.body)
    templates = next((paths for name, paths in _BY_FIELD.items() if name in fields), _ELSE)
    if "messages" in fields and not _ANTHROPIC_FIELDS.isdisjoint(fields):
        templates = _ANTHROPIC
    model = _a_model(question, loaded)
    served = [path for path in (one.format(model=model) for one in templates) if _is_served(path)]
    if len(served) > 1:
        raise ExplainError(f"its shape fits several paths; with --path {one_of(served)}")
    return served[0] if served else _ELSE[0].format(model=model)


def _fields_of(body: bytes) -> frozenset[str]:
    """The names at the top of a body; none where it is no JSON object, which the codec will say."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(document) if isinstance(document, dict) else frozenset()


def _is_served(path: str) -> bool:
    return codecs.codec_for(codecs.discover(), RequestHead(method="POST", path=path)) is not None


def _a_model(question: Question, loaded: LoadedPolicy) -> str:
    policy = policy_name(loaded, question)
    models = {
        name
        for section in (loaded.file.policies[policy].values() if policy else ())
        if isinstance(section.settings, NamesModels)
        for name in section.settings.known_models
    }
    return min(models, default="model")


def is_grpc(path: str) -> bool:
    """Whether a path names a method of gRPC."""
    return _GRPC_PATH.fullmatch(path) is not None


def framed(body: bytes) -> bytes:
    """Messages of gRPC in their frames: as they are, or one that stands alone."""
    at = 0
    while at + FRAME_BYTES <= len(body) and body[at] <= 1:
        at += FRAME_BYTES + int.from_bytes(body[at + 1 : at + FRAME_BYTES])
    if body and at == len(body):
        return body
    return b"\0" + len(body).to_bytes(4) + body
