"""``headgate check``: from files and words to an explanation and an exit code."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc import policies
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Action
from extproc.explain.model import ExplainError, Question
from extproc.explain.run import explain
from extproc.explain.text import explanation_json, explanation_text
from extproc.policy.faults import one_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from extproc.policy.loading import LoadedPolicy

PASSES: Final = 0
BLOCKED: Final = 1
"""Exit codes: the request would go on, changed or not; it would be refused."""

_PATH_CHARS_MAX: Final = 8_192


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """The words of the command; None where one was left out."""

    policy: Path
    tenant: str | None = None
    route: str | None = None
    path: str | None = None
    model: bool = True
    as_json: bool = False


def run_check(request: BinaryIO, answer: BinaryIO | None, options: CheckOptions) -> tuple[str, int]:
    """Explain a request.

    Args:
        request: Its body.
        answer: The text that the model would say, UTF-8.
        options: The rest.

    Returns:
        What to print, and the exit code.

    Raises:
        HeadgateError: the question cannot be put; says why.
    """
    loaded = policies.load(options.policy)
    question = Question(
        # One byte more than is allowed, so that the service's own bound says so.
        body=request.read(LIMITS.body_bytes_max + 1),
        tenant=options.tenant or _only_tenant(loaded),
        path=_checked(options.path),
        route=options.route,
        answer=None if answer is None else _text(answer),
    )
    scoring = None
    if options.model:
        from extproc.explain.scoring import model_scoring  # noqa: PLC0415 - loads the service's parts.

        scoring = model_scoring()
    told = explain(question, loaded, scoring)
    text = explanation_json(told) if options.as_json else explanation_text(told)
    return text, BLOCKED if told.action is Action.BLOCK else PASSES


def _only_tenant(loaded: LoadedPolicy) -> str:
    tenants = tuple(loaded.file.tenants)
    if not tenants:
        raise ExplainError("the policy holds no tenant: nobody could call, and everyone would get a 401")
    if len(tenants) > 1:
        raise ExplainError(f"the policy holds several tenants; with --tenant {one_of(tenants)}")
    return tenants[0]


def _checked(path: str | None) -> str | None:
    if path is None:
        return None
    plain = path.isascii() and path.isprintable() and " " not in path and "#" not in path
    if not path.startswith("/") or not plain or len(path) > _PATH_CHARS_MAX:
        raise ExplainError("--path is no path of a request; write it as in /v2/models/NAME/generate")
    return path


def _text(answer: BinaryIO) -> str:
    content = answer.read(LIMITS.answer_bytes_max + 1)
    if len(content) > LIMITS.answer_bytes_max:
        raise ExplainError(f"the answer is too long: at most {LIMITS.answer_bytes_max} bytes are read")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        raise ExplainError("the answer is not UTF-8; save it as UTF-8") from None
