"""Rules that have more live starts than one channel may have: enforced they refuse, in shadow they tell."""

from __future__ import annotations

from dataclasses import replace

import pytest
from doubles import LineCodec, LineSession, Playbook, bound, policy
from exchanges import guard_env

from extproc.core import commands as cmd
from extproc.domain.effects import Spans
from extproc.domain.head import RequestHead
from extproc.domain.limits import LIMITS
from extproc.domain.ports import ResponseFrame
from extproc.domain.reading import OnDeadline, SpanModel
from extproc.domain.verdict import Action, Lane, Mode, Reason
from extproc.guards import pii
from extproc.guards._rules import OnFinding
from extproc.redaction.automaton import compile_rules
from extproc.redaction.rules import Boundary, Rule
from extproc.redaction.watches import Redactor

BARE = {"left": Boundary.NONE, "right": Boundary.NONE}
# Whatever comes may begin a match.
CROWDED = Redactor(
    compile_rules(
        [
            Rule(name="crowd", entity_type="CROWD", pack="pii", body="[a-z0-9 ;]{300}X", **BARE),
            Rule(name="number", entity_type="NUMBER", pack="pii", body="[0-9]{4}", **BARE),
        ]
    ),
    hash_key=b"k" * 32,
)
MANY = "a" * (LIMITS.scan_threads_max + 1)
MODEL = SpanModel(
    name="names",
    entity_types=frozenset({"PERSON"}),
    deadline_ms=1_000,
    on_deadline=OnDeadline.RELEASE_RULES,
)
UNREAD = (Action.ALLOW, Reason.CLEAN, True)


class RunSession(LineSession):
    """All texts of a chunk are one run."""

    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        frames = super().read_response(chunk, eof=eof)
        deltas = tuple(delta for frame in frames for delta in frame.deltas)
        run = (frames[0]._replace(deltas=deltas, usage=None, is_run=True),) if deltas else ()
        return (*run, *(frame for frame in frames if not frame.deltas))

    def write_response(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        if not frame.is_run:
            return super().write_response(frame, texts)
        return b"".join(f"{frame.key} {text}\n".encode() for text in texts)


class RunCodec(LineCodec):
    def open(self, _head: RequestHead) -> LineSession:
        return RunSession(alone=True)


def guard(name: str = "pii", *, mode: Mode, types: tuple[str, ...], request=OnFinding.REDACT, model=None):
    settings = pii.Settings(entity_types=types, request=request)
    made = replace(pii.GUARD.build(settings, replace(guard_env(), find=CROWDED.find)), model=model)
    return bound(made, name=name, mode=mode)


def crowd(mode: Mode, **wants):
    return guard(mode=mode, types=("CROWD",), **wants)


def numbers(**wants):
    return guard("numbers", mode=Mode.ENFORCE, types=("NUMBER",), **wants)


def play(*guards, request: str = "hi", answer: tuple[str, ...] = ("ok",), codec=LineCodec) -> Playbook:
    book = Playbook(replace(policy(*guards), scanner=CROWDED), codecs=[codec(alone=True)])
    book.head()
    book.body(f"{request}\n".encode(), end=True)
    if book.stream.done:
        return book
    book.answer_head()
    for chunk in answer:
        book.answer("".join(f"0 {text}\n" for text in chunk.split("|")).encode())
    book.answer(b"0 .\n", end=True)
    asked = 0
    while asked < len(book.effects()):
        texts = book.effects()[asked].effect.texts
        book.effect(asked, Spans(model="names", spans=((),) * len(texts)))
        asked += 1
    return book


def told(book: Playbook) -> dict[str, tuple[Action, Reason, bool]]:
    (record,) = book.records()
    return {one.guard: (one.action, one.reason, one.degraded) for one in record.verdicts if one.degraded}


@pytest.mark.parametrize("codec", [LineCodec, RunCodec])
def test_in_shadow_they_end_no_answer(codec):
    answer = ("so far|1234", f"{MANY}|behind", "5678|it")
    book = play(crowd(Mode.SHADOW), numbers(), answer=answer, codec=codec)
    assert book.sent(Lane.RESPONSE) == play(numbers(), answer=answer, codec=codec).sent(Lane.RESPONSE)
    assert told(book) == {"pii": UNREAD}
    (record,) = book.records()
    assert (record.action, record.degraded) == (Action.REDACT, True)
    assert book.of(cmd.ReportBug) == []


@pytest.mark.parametrize("codec", [LineCodec, RunCodec])
def test_enforced_they_end_it(codec):
    book = play(crowd(Mode.ENFORCE), answer=("so far", f"{MANY}|behind"), codec=codec)
    assert MANY.encode() not in book.sent(Lane.RESPONSE)
    assert book.of(cmd.Abort) == [cmd.Abort("bug")]
    assert book.records()[0].reason is Reason.INTERNAL


@pytest.mark.parametrize("reads", [False, True], ids=["alone", "beside a model"])
def test_another_text_of_the_answer_is_read_in_shadow_again(reads):
    both = guard("both", mode=Mode.SHADOW, types=("CROWD", "NUMBER"))
    other = numbers(model=MODEL) if reads else numbers()
    book = play(both, other, answer=(f"{MANY};|1234;",))
    read = {(one.guard, one.entity_type, one.count) for one in book.records()[0].entities}
    assert ("both", "NUMBER", 1) in read
    assert told(book)["both"] == UNREAD


def test_beside_a_model_in_shadow_all_that_read_with_it_are_told_of():
    shadowed = guard("numbers", mode=Mode.SHADOW, types=("NUMBER",), model=MODEL)
    answer = ("so far 1234 and", f" {MANY} |behind. ")
    book = play(crowd(Mode.SHADOW), shadowed, answer=answer)
    assert book.sent(Lane.RESPONSE) == play(answer=answer).sent(Lane.RESPONSE)
    assert told(book) == {"pii": UNREAD, "numbers": UNREAD}
    assert book.stream.idle


def test_in_shadow_they_refuse_no_request():
    book = play(crowd(Mode.SHADOW), numbers(), request=f"{MANY} 1234")
    assert book.sent(Lane.REQUEST) == f"{MANY} [NUMBER]\n".encode()
    assert told(book) == {"pii": (Action.BLOCK, Reason.INTERNAL, True)}
    assert book.records()[0].action is Action.REDACT


def test_enforced_they_refuse_it():
    book = play(crowd(Mode.ENFORCE), request=MANY)
    assert book.sent(Lane.REQUEST) == b""
    assert [(one.refusal.status, one.reason) for one in book.of(cmd.Refuse)] == [(500, Reason.INTERNAL)]
    assert book.records()[0].action is Action.BLOCK
