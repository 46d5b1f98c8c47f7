"""``headgate check``: from files and words to an explanation and an exit code."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc import policies
from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Action
from extproc.explain.model import ExplainError, Question
from extproc.explain.run import explain
from extproc.explain.text import explanation_json, explanation_text
from extproc.guards.identity import KeyHeader
from extproc.policy.faults import one_of

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from extproc.explain.run import Scoring
    from extproc.policy.loading import LoadedPolicy

PASSES: Final = 0
BLOCKED: Final = 1
"""Exit codes: the request would go on, changed or not; it would be refused."""

_PATH_CHARS_MAX: Final = 8_192
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,128}", re.ASCII)
_KEY_HEADERS: Final = frozenset(KeyHeader)
_METHOD: Final = re.compile(r"[A-Z]{1,16}", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckOptions:
    """The words of the command; None where one was left out.

    ``judge`` are the three about a judge model: its place, its tokenizer's directory, its authorities.
    """

    policy: Path
    tenant: str | None = None
    route: str | None = None
    path: str | None = None
    method: str | None = None
    headers: tuple[str, ...] = ()
    model: bool = True
    judge: tuple[str | None, Path | None, Path | None] = (None, None, None)
    as_json: bool = False
    shows_answer: bool = False


def run_check(
    request: BinaryIO | None,
    options: CheckOptions,
    *,
    answer: BinaryIO | None = None,
    answer_body: BinaryIO | None = None,
) -> tuple[str, int]:
    """Explain a request.

    Args:
        request: Its body; None where it has none.
        answer: The text that the model would say, UTF-8.
        answer_body: What the model server would send; one of the two at most.
        options: The rest.

    Returns:
        What to print, and the exit code.

    Raises:
        HeadgateError: the question cannot be put; says why.
    """
    if answer is not None and answer_body is not None:
        raise ExplainError("--answer and --answer-body are two answers; leave one out")
    if options.shows_answer and answer is None and answer_body is None:
        raise ExplainError("--show-answer shows what becomes of an --answer or an --answer-body; give one")
    loaded = policies.load(options.policy)
    question = Question(
        # One byte more than is allowed, so that the service's own bound says so.
        body=None if request is None else request.read(LIMITS.body_bytes_max + 1),
        method=_method(options.method, has_body=request is not None),
        tenant=options.tenant or _only_tenant(loaded),
        path=_checked(options.path),
        route=options.route,
        headers=tuple(map(_header, options.headers)),
        answer=None if answer is None else _text(answer),
        answer_body=None if answer_body is None else _content(answer_body),
        shows_answer=options.shows_answer,
    )
    scoring = _scoring(options) if options.model else None
    told = explain(question, loaded, scoring)
    text = explanation_json(told) if options.as_json else explanation_text(told)
    return text, BLOCKED if told.action is Action.BLOCK else PASSES


def _scoring(options: CheckOptions) -> Scoring:
    # Both load the service's parts.
    from extproc.explain.scoring import model_scoring  # noqa: PLC0415 - see above.
    from extproc.judges import JudgePlace  # noqa: PLC0415 - see above.

    model, tokenizer, authorities = options.judge
    if model is not None:
        return model_scoring(JudgePlace(model=model, tokenizer=tokenizer, authorities=authorities))
    if tokenizer is not None or authorities is not None:
        raise ExplainError("--judge-tokenizer and --judge-ca belong to a --judge-model")
    return model_scoring()


def _only_tenant(loaded: LoadedPolicy) -> str:
    tenants = tuple(loaded.file.tenants)
    if not tenants:
        raise ExplainError("the policy holds no tenant: nobody could call, and everyone would get a 401")
    if len(tenants) > 1:
        raise ExplainError(f"the policy holds several tenants; with --tenant {one_of(tenants)}")
    return tenants[0]


def _method(method: str | None, *, has_body: bool) -> str:
    if method is None:
        return "POST" if has_body else "GET"
    if _METHOD.fullmatch(method) is None:
        raise ExplainError("--method is no method; write it as in GET")
    return method


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or _HEADER_NAME.fullmatch(name) is None or not value.isprintable():
        raise ExplainError("--header is no header; write it as in 'content-type: application/json'")
    if name.lower() in _KEY_HEADERS:
        raise ExplainError("--header holds a credential; leave it out, the tenant is known without")
    return name.lower(), value.strip()


def _checked(path: str | None) -> str | None:
    if path is None:
        return None
    plain = path.isascii() and path.isprintable() and " " not in path and "#" not in path
    if not path.startswith("/") or not plain or len(path) > _PATH_CHARS_MAX:
        raise ExplainError("--path is no path of a request; write it as in /v2/models/NAME/generate")
    return path


def _content(answer: BinaryIO) -> bytes:
    content = answer.read(LIMITS.answer_bytes_max + 1)
    if len(content) > LIMITS.answer_bytes_max:
        raise ExplainError(f"the answer is too long: at most {LIMITS.answer_bytes_max} bytes are read")
    return content


def _text(answer: BinaryIO) -> str:
    try:
        return _content(answer).decode("utf-8")
    except UnicodeDecodeError:
        raise ExplainError("the answer is not UTF-8; save it as UTF-8") from None
