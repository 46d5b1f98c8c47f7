"""An explanation for people, and for programs."""

from __future__ import annotations

import dataclasses
import json
from itertools import groupby
from typing import TYPE_CHECKING, Final, assert_never

from extproc.domain.verdict import Kept, Mode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from extproc.explain.model import Change, Explanation, Forwarded, Found, KeptBodies, ShownText, Step

_COLUMNS: Final = ("STAGE", "GUARD", "MODE", "ACTION", "REASON", "SCORE", "FOUND (code points)")


def explanation_text(told: Explanation) -> str:
    """A table of the guards, and what the model server and the client would get. Ends in a line break."""
    lines = [*_head(told), "", *_table(told.steps), "", *_outcome(told)]
    lines += [f"note: {note}" for note in told.notes]
    return "".join(f"{line}\n" for line in lines)


def explanation_json(told: Explanation) -> str:
    """The explanation's fields as JSON, in one document. Ends in a line break."""
    fields = {**dataclasses.asdict(told), "action": told.action.name.lower()}
    return json.dumps(fields, indent=2) + "\n"


def _head(told: Explanation) -> Iterator[str]:
    route = "" if told.route is None else f", route {told.route}"
    yield f"policy {told.policy or '(none)'}, digest {told.policy_digest[:12]}, tenant {told.tenant}{route}"
    read_by = f"read as {told.codec}" if told.codec else "in no protocol that is served"
    operation = f" ({told.operation})" if told.operation else ""
    yield f"{told.method} {told.path}, {read_by}{operation}"


def _table(steps: Sequence[Step]) -> Iterator[str]:
    rows = [_COLUMNS, *(_row(step) for step in steps)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(cells).rstrip()


def _row(step: Step) -> tuple[str, ...]:
    would = step.mode is Mode.SHADOW and step.action in {"redact", "block"}
    return (
        step.stage,
        step.guard,
        step.mode,
        f"would {step.action}" if would else step.action,
        step.reason,
        _score(step),
        _found(step.found),
    )


def _score(step: Step) -> str:
    if step.score is None or step.threshold is None:
        return ""
    return f"{step.score:.3f} of {step.threshold:g}"


def _found(found: Sequence[Found]) -> str:
    """Counts by entity type with their places: ``2 EMAIL_ADDRESS text_input 4-19, 30-45``."""

    def kind(one: Found) -> tuple[str, str]:
        return one.entity_type, one.place

    parts = []
    for (entity_type, place), of_kind in groupby(sorted(found, key=kind), key=kind):
        spans = [f"{one.start}-{one.end}" for one in of_kind]
        parts.append(f"{len(spans)} {entity_type} {place} {', '.join(spans)}")
    return "; ".join(parts)


def _outcome(told: Explanation) -> Iterator[str]:
    if told.forwarded is not None:
        yield from _forwarded(told.forwarded)
    else:
        yield "forwarded: nothing"
    if told.tokens_reserved is not None:
        yield f"budget:    {told.tokens_reserved} tokens would be reserved"
    yield f"bodies:    {_bodies(told.bodies)}"
    by = f", by {told.guard}" if told.guard else ""
    yield f"decision:  {told.action.name.lower()} ({told.reason}{by})"
    if told.status is None:
        yield "client:    the model server's own answer"
    else:
        status = f"HTTP {told.status}" if told.grpc_status is None else f"gRPC status {told.grpc_status}"
        yield f"client:    {status}: {told.message}" if told.message else f"client:    {status}"
    if told.answer is not None:
        yield from _answer(told.answer)


def _answer(answer: Sequence[ShownText]) -> Iterator[str]:
    said = [one for one in answer if one.text]
    if not said:
        yield "answer:    nothing of its text"
    for one in said:
        choice = f" of choice {one.choice}" if one.choice else ""
        yield f"answer:    {one.place}{choice}"
        yield from (f"  {_printable(line)}" for line in one.text.split("\n"))


def _printable(line: str) -> str:
    """What cannot command a terminal, nor turn the direction of what follows."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in line)


def _bodies(bodies: KeptBodies | None) -> str:
    if bodies is None:
        return "none are kept"
    match bodies.kept:
        case Kept.NO:
            return f"not kept: only those of {', '.join(bodies.actions)} are"
        case Kept.LOST:
            return "lost: too long to be kept"
        case Kept.REDACTED | Kept.SEALED:
            days = "1 day" if bodies.lifetime_days == 1 else f"{bodies.lifetime_days} days"
            texts = "1 text" if bodies.texts == 1 else f"{bodies.texts} texts"
            return f"kept {bodies.kept} for {days}: {texts}, {bodies.size_bytes} bytes"
        case _:
            assert_never(bodies.kept)


def _forwarded(forwarded: Forwarded) -> Iterator[str]:
    if forwarded.request_bytes or forwarded.forwarded_bytes:
        yield f"forwarded: {forwarded.forwarded_bytes} bytes in place of {forwarded.request_bytes}"
    else:
        yield "forwarded: as it is, without a body"
    yield from (f"  {_change(change)}" for change in forwarded.changes)
    if forwarded.output_tokens_max is not None:
        yield f"  at most {forwarded.output_tokens_max} tokens of output"
    if forwarded.asks_for_usage:
        yield "  token counts are asked for"
    if forwarded.unscanned:
        yield f"  with content that no guard can read: {', '.join(forwarded.unscanned)}"
    if forwarded.models_shown is not None:
        yield f"  of models its answer may name only {', '.join(forwarded.models_shown) or 'none'}"
    yield f"  without the headers {', '.join(forwarded.headers_removed)}"


def _change(change: Change) -> str:
    return f"{change.place} {change.start}-{change.end}: {change.replacement_chars} characters in its place"
