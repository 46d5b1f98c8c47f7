"""OpenAI's list of models, and what it says about one of them.

Only GET, only without body and query. The list names the models that the caller may use: which exist
besides is not the caller's to know.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.codecs import _openai_http as oai
from extproc.codecs import _triton_http as http
from extproc.codecs.read_only import ReadOnlySession
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS, Limits
from extproc.domain.verdict import Reason
from extproc.wire.splice import Splice, splice
from extproc.wire.strict_json import Array, Object, Text, parse

if TYPE_CHECKING:
    from extproc.domain.head import RequestHead
    from extproc.domain.ports import Codec, CodecSession, WireRefusal
    from extproc.domain.verdict import Refusal
    from extproc.wire.strict_json import Value

_NAME: Final = r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,127}"
# Names as org/model have one slash. Servers that load and unload models do it under these words.
_PATH: Final = re.compile(rf"/v1/models(?:/(?P<model>{_NAME}(?:/(?!(?:un)?load$){_NAME})?))?")


class ModelsSession(ReadOnlySession):
    """One GET and its answer."""

    def judged(self, body: bytes) -> bytes:
        """The answer; a list without the models that the caller may not use.

        Raises:
            PeerError: it is no list of models, so that nothing can be left out of it.
        """
        allowed = self._edits.allowed_models
        if self._model or allowed is None:
            return body
        models = self._models_in(body)
        kept = [model for model in models.items if _id_of(model) in allowed]
        if len(kept) == len(models.items):
            return body
        listed = b",".join(body[model.start : model.end] for model in kept)
        return splice(body, [Splice(models.start + 1, models.end - 1, listed)])

    def judged_error(self, body: bytes, status: int) -> bytes:
        """An error as it may go on."""
        return oai.judged_error(body, status, limits=self._limits)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """The refusal with a real status, in OpenAI's error shape."""
        return oai.wire_refusal(refusal, self._request_id)

    def _models_in(self, body: bytes) -> Array:
        try:
            root = parse(body, limits=self._limits)
        except PeerError as error:
            raise http.unreadable(error.message) from None
        # Servers that list models under further names would tell of them there.
        if not isinstance(root, Object) or not root.members.keys() <= {"object", "data"}:
            raise http.unreadable("it is no list of models")
        models = root.members.get("data")
        if models is None or not isinstance(models.value, Array):
            raise http.unreadable("it is no list of models")
        return models.value


def _id_of(model: Value) -> str | None:
    """A model's name; None where it has none, and cannot be allowed."""
    member = model.members.get("id") if isinstance(model, Object) else None
    return member.value.value if member is not None and isinstance(member.value, Text) else None


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelsCodec:
    """GET on the list of models or one of them."""

    name: str = "openai_models"
    limits: Limits = LIMITS

    def accepts(self, head: RequestHead) -> bool:
        """Whether it is a GET on one of the paths."""
        return head.method == "GET" and _PATH.fullmatch(head.path) is not None

    def open(self, head: RequestHead) -> CodecSession:
        """A session. Raises PeerError for a query or an encoded body."""
        found = _PATH.fullmatch(head.path)
        if found is None:
            raise PeerError(Reason.PATH_NOT_ALLOWED, "the path is not allowed", status=404)
        http.check_request_head(head)
        return ModelsSession(head, found["model"] or "", self.limits)

    def refuse(self, refusal: Refusal) -> WireRefusal:
        """In OpenAI's error shape."""
        return oai.wire_refusal(refusal, "")


CODEC: Codec = ModelsCodec()
