"""Tells what came of a run, from the commands that core gave and what was seen at its seams."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from extproc.core import commands as cmd
from extproc.core.edits import merge_edits
from extproc.domain.effects import Classify
from extproc.domain.judging import ChannelKind, JudgeWatch, kind_of
from extproc.domain.scanning import RuleWatch
from extproc.domain.segment import Operation
from extproc.domain.verdict import Action, Lane, Mode, Reason
from extproc.explain.model import Change, Explanation, Forwarded, Found, KeptBodies, ShownText, Step
from extproc.policy.envoy_routes import shown_route
from extproc.policy.faults import nearest

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from extproc.domain.ports import BoundGuard, PolicySnapshot, RequestEdits, RequestMessage
    from extproc.domain.verdict import Finding, GuardRecord, Record
    from extproc.explain.model import Question
    from extproc.explain.witness import Seen
    from extproc.policy.loading import LoadedPolicy

_ANSWER: Final = "ANSWER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A run that is over. ``scored`` says whether a classifier was there to be asked."""

    question: Question
    path: str
    loaded: LoadedPolicy
    policy: PolicySnapshot
    commands: Sequence[cmd.Command]
    seen: Seen
    scored: bool

    @property
    def record(self) -> Record:
        """The exchange's record, which every run ends with."""
        return next(one.record for one in self.commands if isinstance(one, cmd.Emit))

    @property
    def refusal(self) -> cmd.Refuse | None:
        """The refusal that went out in place of the request or the answer."""
        return next((one for one in self.commands if isinstance(one, cmd.Refuse)), None)


def policy_name(loaded: LoadedPolicy, question: Question) -> str:
    """The policy that holds for a question; empty where its route is closed."""
    try:
        return loaded.file.policy_of(question.tenant, question.route)
    except KeyError:
        return ""


def explanation(told: Told) -> Explanation:
    """All that can be said of a run."""
    record, refusal = told.record, told.refusal
    return Explanation(
        policy_digest=record.policy_digest,
        policy=policy_name(told.loaded, told.question),
        tenant=told.question.tenant,
        route=told.question.route,
        method=told.question.method,
        path=told.path,
        codec=record.codec,
        operation=record.operation,
        action=record.action,
        # Without an answer it is we who leave.
        reason=Reason.CLEAN if record.reason is Reason.PEER_CLOSED else record.reason,
        guard=record.guard,
        status=record.status or None if refusal is None else refusal.refusal.status,
        grpc_status=None if refusal is None else refusal.refusal.grpc_status,
        message=_message(told),
        tokens_reserved=record.tokens_reserved,
        steps=(*_request_steps(told), *_answer_steps(told)),
        forwarded=_forwarded(told),
        bodies=_bodies(told),
        notes=tuple(_notes(told)),
        answer=_answer(told),
    )


def _message(told: Told) -> str:
    if told.seen.refusal is not None:
        return told.seen.refusal.message
    if told.refusal is None:
        return ""
    # Core's own words, where no codec was chosen: JSON with a string ``error``.
    return str(json.loads(told.refusal.refusal.body)["error"])


def _guards(told: Told) -> tuple[BoundGuard, ...]:
    return (*told.policy.identity, *told.policy.pipelines.get(told.question.tenant, ()))


def _skipped(told: Told, guard: str) -> bool:
    asked = any(isinstance(effect, Classify) for effect in told.seen.effects.get(guard, ()))
    return asked and not told.scored


# --- guard by guard --------------------------------------------------------------------------


def _request_steps(told: Told) -> Iterator[Step]:
    judged = {one.guard: one for one in told.record.verdicts}
    for bound in _guards(told):
        step = Step(
            stage=bound.stage.name,
            guard=bound.name,
            owasp=bound.owasp,
            mode=bound.mode,
            action="off" if bound.mode is Mode.OFF else "not reached",
        )
        record = judged.get(bound.name)
        if record is not None:
            skipped = _skipped(told, bound.name)
            step = dataclasses.replace(step, action="skipped") if skipped else _judged(step, record, told)
        yield step


def _judged(step: Step, record: GuardRecord, told: Told) -> Step:
    verdict = told.seen.verdicts.get(step.guard)
    return dataclasses.replace(
        step,
        action=record.action.name.lower(),
        reason=record.reason,
        score=record.score,
        threshold=record.threshold,
        detector=record.detector,
        found=tuple(
            _found(one.finding, lane=one.lane, place=one.place)
            for one in (() if verdict is None else verdict.findings)
        ),
    )


def _answer_steps(told: Told) -> Iterator[Step]:
    """What the guards did to the answer, if there was one."""
    if not told.question.answered:
        return
    places = {one.detector: one.place for one in told.record.entities if one.lane is Lane.RESPONSE}
    for bound in _guards(told):
        watch = told.seen.watches.get(bound.name)
        if watch is None:
            continue
        findings = told.seen.judged.get(bound.name, [])
        if isinstance(watch, RuleWatch):
            findings = [
                one for one in told.seen.answer_findings if one.detector.partition("/")[0] == watch.pack
            ]
        found = tuple(
            _found(one, lane=Lane.RESPONSE, place=places.get(one.detector, "")) for one in findings
        )
        # What a model found is counted; where it stood nobody here has seen.
        counted = any(one.lane is Lane.RESPONSE and one.guard == bound.name for one in told.record.entities)
        action, reason = _done(watch, found=bool(found) or counted)
        unread = watch.model is not None and not told.scored and not found
        yield Step(
            stage=_ANSWER,
            guard=bound.name,
            owasp=bound.owasp,
            mode=bound.mode,
            action="skipped" if unread else action.name.lower(),
            reason=reason,
            found=found,
        )


def _done(watch: RuleWatch | JudgeWatch, *, found: bool) -> tuple[Action, Reason]:
    if not found:
        return Action.ALLOW, Reason.CLEAN
    if isinstance(watch, JudgeWatch) and not watch.touches:
        return Action.ALLOW, watch.reason
    return Action.BLOCK if watch.block else Action.REDACT, watch.reason


def _found(finding: Finding, *, lane: Lane, place: str) -> Found:
    return Found(
        lane=lane,
        place=place,
        entity_type=finding.entity_type,
        detector=finding.detector,
        start=finding.start,
        end=finding.end,
        score=finding.score,
    )


# --- what goes on ----------------------------------------------------------------------------

# What asks for token counts, on the wires where they do not come by themselves.
_USAGE_WORDS: Final = (b'"include_usage"', b"return_num_input_tokens", b"return_num_output_tokens")


def _forwarded(told: Told) -> Forwarded | None:
    """What the model server gets; None where it gets nothing."""
    edits, message = told.seen.edits, told.seen.message
    if edits is None or message is None:
        return None
    head = next(
        one for one in told.commands if isinstance(one, cmd.ReplyHeaders) and one.lane is Lane.REQUEST
    )
    chunks = [
        one.chunk for one in told.commands if isinstance(one, cmd.ReplyBody) and one.lane is Lane.REQUEST
    ]
    return Forwarded(
        request_bytes=len(told.question.body or b""),
        forwarded_bytes=sum(map(len, chunks)),
        changes=tuple(
            Change(
                place=message.segments[edit.segment_index].place,
                start=edit.start,
                end=edit.end,
                replacement_chars=len(edit.replacement),
            )
            for edit in merge_edits(edits.segments)
        ),
        output_tokens_max=edits.cap_output_tokens,
        asks_for_usage=edits.ask_usage and any(word in b"".join(chunks) for word in _USAGE_WORDS),
        headers_removed=head.edits.remove,
        models_shown=_models_shown(edits, message),
        unscanned=tuple(map(str, told.record.unscanned)),
    )


def _models_shown(edits: RequestEdits, message: RequestMessage) -> tuple[str, ...] | None:
    if message.operation is not Operation.READ_ONLY or edits.allowed_models is None:
        return None
    return tuple(sorted(edits.allowed_models))


def _answer(told: Told) -> tuple[ShownText, ...] | None:
    """What the client gets of the first exchange's answer; nothing where a refusal takes its place."""
    if not told.question.shows_answer:
        return None
    if told.refusal is not None or told.seen.message is None:
        return ()
    first = min((key for key, _ in told.seen.written), default=0)
    return tuple(
        ShownText(choice=channel.choice, place=channel.field, text="".join(texts))
        for (key, channel), texts in told.seen.written.items()
        # Ids are no part of what the model said.
        if key == first and kind_of(channel) is not ChannelKind.ONCE
    )


def _bodies(told: Told) -> KeptBodies | None:
    rule = told.policy.bodies.get(told.question.tenant)
    if rule is None:
        return None
    sample = next((one.sample for one in told.commands if isinstance(one, cmd.Emit)), None)
    return KeptBodies(
        keep=rule.keep,
        actions=tuple(action.name.lower() for action in sorted(rule.actions)),
        lifetime_days=rule.lifetime_days,
        kept=told.record.bodies,
        texts=0 if sample is None else len(sample.request) + len(sample.answer),
        size_bytes=0 if sample is None else sample.size_bytes,
    )


def _question_notes(told: Told) -> Iterator[str]:
    question, file = told.question, told.loaded.file
    if question.path is None:
        yield "no --path was given: this one was assumed"
    if not file.tenants[question.tenant].keys:
        yield f"tenant {question.tenant} has no keys: nobody can call as it"
    if file.routes and question.route is None:
        yield "no --route was given: as where Envoy does not name the route"
    elif file.routes and question.route not in file.routes:
        name = shown_route(question.route or "")
        yield f"route {name} is not in the policy: it is closed; {nearest(name, tuple(file.routes))}"


def _notes(told: Told) -> Iterator[str]:
    yield from _question_notes(told)
    for bound in _guards(told):
        if _skipped(told, bound.name):
            yield f"{bound.name} was skipped: it asks the classifier, which was left out"
    if told.question.tenant in told.policy.bodies and not told.question.answered:
        yield "what is kept, and whether, may depend on the answer"
    if sum(isinstance(one, cmd.Emit) for one in told.commands) > 1:
        yield "there are several requests in it: the first one is explained"
    if told.record.tokens_reserved is not None:
        yield "the tenant's budget was taken to be unspent"
    for one in told.commands:
        if isinstance(one, cmd.ReportBug):
            yield f"this met a bug of the service, which refuses then: {one.kind} at {one.where}"
