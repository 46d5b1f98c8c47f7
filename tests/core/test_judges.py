"""Judges beside rules: what goes out is what all of them released, and the same for any chunks."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import pytest
from doubles import SECRET, FakeGuard, LineSession, Playbook, bound, policy, watching
from hypothesis import given
from hypothesis import strategies as st

from extproc.core import commands as cmd
from extproc.core.channels import ChannelScan
from extproc.domain.judging import Judged, JudgeWatch, OnAnswer, ToolCall
from extproc.domain.limits import LIMITS
from extproc.domain.ports import RequestEdits, ResponseFrame
from extproc.domain.segment import Channel
from extproc.domain.verdict import Action, Finding, Lane, Mode, Reason

WORD = "zebra"
CANNED = "[WITHHELD]"


def found(start: int, entity_type: str = "ZEBRA") -> Finding:
    return Finding(entity_type=entity_type, start=start, end=start + 5, score=1.0, detector="fake/word")


class Zebras:
    """Holds what may still become the word; with ``edits`` takes it out."""

    def __init__(self, *, edits: bool) -> None:
        self._edits = edits
        self._held = ""
        self._at = 0
        self._over = False

    def feed(self, text: str, *, eof: bool = False) -> Judged:
        if self._over:
            return Judged(text)
        held, self._held = self._held + text, ""
        base = self._at
        findings = [found(base + one.start()) for one in re.finditer(WORD, held)]
        if findings and not self._edits:
            self._over = True
            return Judged(held[: findings[0].start - base], tuple(findings[:1]))
        keep = 0 if eof else next(at for at in (4, 3, 2, 1, 0) if not at or held.endswith(WORD[:at]))
        self._held = held[len(held) - keep :]
        self._at = base + len(held) - keep
        return Judged(held[: len(held) - keep].replace(WORD, "[ANIMAL]"), tuple(findings))

    @property
    def held_chars(self) -> int:
        return len(self._held)

    def drop(self) -> None:
        self._held = ""


@dataclass(frozen=True)
class ZebraJudge:
    edits: bool = False
    fields: tuple[str, ...] = ("text",)

    def begin(self) -> ZebraJudge:
        return self

    def open(self, channel: Channel) -> Zebras | None:
        return Zebras(edits=self.edits) if channel.field in self.fields else None

    def call(self, call: ToolCall) -> Finding | None:
        return found(0, "CALL") if call.name == WORD else None


def judging(
    on_finding: OnAnswer = OnAnswer.CUT,
    *,
    mode: Mode = Mode.ENFORCE,
    judge: ZebraJudge | None = None,
    edits: bool = False,
    name: str = "zoo",
):
    watch = JudgeWatch(
        judge=judge or ZebraJudge(edits=edits),
        on_finding=on_finding,
        reason=Reason.TOPIC_BLOCKED,
        message="no animals",
        status=502,
        canned=CANNED,
        edits=edits,
    )
    return bound(FakeGuard(watch=watch), name=name, mode=mode)


class CallSession(LineSession):
    """A text ``call NAME`` is a tool call."""

    def _frame(self, line: bytes) -> ResponseFrame:
        frame = super()._frame(line)
        if frame.deltas and frame.deltas[0].text.startswith("call "):
            name = frame.deltas[0].text.removeprefix("call ")
            return frame._replace(deltas=(), calls=(ToolCall(name),))
        return frame


class RunSession(LineSession):
    """Frames with a text in runs, without token counts."""

    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        runs: list[ResponseFrame] = []
        for read in super().read_response(chunk, eof=eof):
            frame = read._replace(usage=None)
            if len(frame.deltas) != 1 or frame.ended or frame.final:
                runs.append(frame)
            elif runs and runs[-1].is_run:
                runs[-1] = runs[-1]._replace(deltas=runs[-1].deltas + frame.deltas)
            else:
                runs.append(frame._replace(is_run=True))
        return tuple(runs)

    def write_response(self, frame: ResponseFrame, texts: tuple[str, ...]) -> bytes:
        if not frame.is_run:
            return super().write_response(frame, texts)
        return b"".join(f"{frame.key} {text}\n".encode() for text in texts)


class SingleSession(RunSession):
    def read_response(self, chunk: bytes, *, eof: bool) -> tuple[ResponseFrame, ...]:
        return tuple(
            frame._replace(usage=None) for frame in LineSession.read_response(self, chunk, eof=eof)
        )


class Codec:
    name = "line"

    def __init__(self, session: type[LineSession]) -> None:
        self._session = session
        self.edits: list[RequestEdits] = []

    def accepts(self, _head) -> bool:
        return True

    def open(self, _head) -> LineSession:
        session = self._session(alone=True)
        write = session.write_request

        def noted(key: int, edits: RequestEdits) -> bytes:
            self.edits.append(edits)
            return write(key, edits)

        session.write_request = noted  # type: ignore[method-assign]
        return session


def play(snapshot, chunks, *, session: type[LineSession] = LineSession, limits=LIMITS) -> Playbook:
    book = Playbook(snapshot, codecs=[Codec(session)], limits=limits)
    book.head()
    book.body(b"a\n", end=True)
    book.answer_head()
    for chunk in chunks:
        book.answer(chunk)
    book.answer(b"", end=True)
    return book


def said(*texts: str) -> bytes:
    return b"".join(f"0 {text}\n".encode() for text in texts)


def text_of(book: Playbook) -> str:
    lines = book.sent(Lane.RESPONSE).decode().splitlines()
    return "".join(line[2:] for line in lines if line[2:] != ".")


def counted(book: Playbook) -> list[tuple[str, str, str, int]]:
    (record,) = book.records()
    return [(one.guard, one.mode, one.entity_type, one.count) for one in record.entities]


def test_a_cut_answer_says_the_guards_own_words():
    book = play(policy(judging()), [said("one", "ze", "bra two", ".")])
    assert book.sent(Lane.RESPONSE) == b""
    (refused,) = [one for one in book.commands if isinstance(one, cmd.Refuse)]
    assert (refused.refusal.status, refused.reason) == (502, Reason.TOPIC_BLOCKED)
    (record,) = book.records()
    assert (record.action, record.reason, record.guard) == (Action.BLOCK, Reason.TOPIC_BLOCKED, "zoo")


def test_an_answer_that_has_begun_is_cut_within_it():
    book = play(policy(judging()), [said("one"), said("ze"), said("bra two", ".")])
    assert book.sent(Lane.RESPONSE) == b"0 one\n0 \n0 ERROR topic_blocked\n"


@pytest.mark.parametrize("rest", [["two", "three;", "four"], [WORD, WORD], []])
def test_a_replaced_answer_says_the_policys_words_in_place_of_its_rest(rest):
    book = play(policy(judging(OnAnswer.REPLACE)), [said("one ze", "bra", *rest, ".")])
    assert text_of(book) == f"one {CANNED}" + ("four" if "three;" in rest else "")
    (record,) = book.records()
    assert (record.action, record.reason, record.guard) == (Action.REDACT, Reason.TOPIC_BLOCKED, "zoo")
    assert counted(book) == [("zoo", "enforce", "ZEBRA", 1)]


def test_rules_hold_for_what_stands_before_the_policys_words():
    guards = [judging(OnAnswer.REPLACE), watching()]
    assert text_of(play(policy(*guards), [said(f"my {SECRET} {WORD} x", ".")])) == f"my [SECRET] {CANNED}"
    # What the rules had not decided is dropped.
    assert text_of(play(policy(*guards), [said(f"my {SECRET[:4]}{WORD} x", ".")])) == f"my {CANNED}"


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.SHADOW])
def test_a_flag_and_a_shadow_change_no_byte(mode):
    on_finding = OnAnswer.FLAG if mode is Mode.ENFORCE else OnAnswer.CUT
    guard = judging(on_finding, mode=mode)
    chunks = [said("one ze", "bra", "two;", ".")]
    book = play(policy(guard), chunks)
    assert book.sent(Lane.RESPONSE) == play(policy(), chunks).sent(Lane.RESPONSE)
    (record,) = book.records()
    assert (record.action, record.reason) == (Action.ALLOW, Reason.CLEAN)
    assert counted(book) == [("zoo", str(mode), "ZEBRA", 1)]
    (verdict,) = [one for one in record.verdicts if one.guard == "zoo"]
    flagged = Reason.TOPIC_BLOCKED if mode is Mode.ENFORCE else Reason.CLEAN
    assert (verdict.action, verdict.reason) == (Action.ALLOW, flagged)


def test_what_changes_text_reads_what_the_rules_released():
    guards = [judging(OnAnswer.FLAG, edits=True, name="links"), watching()]
    book = play(policy(*guards), [said(f"a {SECRET}{WORD} ze", "bra", "x", ".")])
    assert text_of(book) == "a [SECRET][ANIMAL] [ANIMAL]x"
    assert book.records()[0].action is Action.REDACT


def test_of_two_judges_the_one_behind_reads_what_the_first_released():
    first = judging(OnAnswer.REPLACE, name="first")
    second = judging(OnAnswer.REPLACE, name="second")
    book = play(policy(first, second), [said(f"one {WORD} two", ".")])
    assert counted(book) == [("first", "enforce", "ZEBRA", 1)]


def test_a_tool_call_is_cut_whatever_the_policy_would_say_instead():
    for on_finding in (OnAnswer.CUT, OnAnswer.REPLACE):
        snapshot = policy(judging(on_finding))
        book = play(snapshot, [said("one"), said(f"call {WORD}", ".")], session=CallSession)
        assert book.sent(Lane.RESPONSE) == b"0 one\n0 ERROR topic_blocked\n"
        assert counted(book) == [("zoo", "enforce", "CALL", 1)]


@pytest.mark.parametrize(
    "guard", [judging(OnAnswer.FLAG), judging(mode=Mode.SHADOW)], ids=["flag", "shadow"]
)
def test_a_tool_call_passes_a_flag_and_a_shadow(guard):
    book = play(policy(guard), [said(f"call {WORD}", "call lion", ".")], session=CallSession)
    assert book.records()[0].action is Action.ALLOW
    assert [one[2:] for one in counted(book)] == [("CALL", 1)]


def test_a_text_that_is_no_judges_is_read_by_rules_only():
    judge = ZebraJudge(fields=("other",))
    book = play(policy(judging(judge=judge), watching()), [said(WORD, SECRET, ".")])
    assert text_of(book) == f"{WORD}[SECRET]"


@pytest.mark.parametrize(
    ("guards", "watched"),
    [
        ([], False),
        ([judging(OnAnswer.FLAG)], False),
        ([judging(mode=Mode.SHADOW)], False),
        ([judging(mode=Mode.OFF)], False),
        ([judging()], True),
        ([judging(OnAnswer.REPLACE)], True),
        ([judging(OnAnswer.FLAG, edits=True)], True),
        ([watching()], True),
    ],
)
def test_the_codec_knows_whether_the_answer_may_be_touched(guards, watched):
    codec = Codec(LineSession)
    book = Playbook(policy(*guards), codecs=[codec])
    book.head()
    book.body(b"a\n", end=True)
    assert [edits.answer_watched for edits in codec.edits] == [watched]


def test_without_judges_a_channel_is_read_by_rules_alone(monkeypatch):
    made = []
    monkeypatch.setattr(
        ChannelScan, "feed", lambda self, text, *, eof: made.append(type(self)) or _passed(text)
    )
    play(policy(watching()), [said("x", ".")])
    play(policy(judging(mode=Mode.OFF)), [said("x", ".")])
    assert set(made) == {ChannelScan}


def _passed(text):
    return type("Output", (), {"released": text, "findings": ()})


def test_what_judges_hold_is_bounded():
    limits = replace(LIMITS, held_chars_max=2)
    book = play(policy(judging()), [said("zeb", "ra")], limits=limits)
    assert [one.refusal.status for one in book.of(cmd.Refuse)] == [502]


POLICIES = {
    "cuts": (judging(),),
    "replaces": (judging(OnAnswer.REPLACE), watching()),
    "edits": (judging(OnAnswer.FLAG, edits=True), watching()),
    "flags": (judging(OnAnswer.FLAG), watching(block=True)),
    "shadow": (judging(mode=Mode.SHADOW), watching()),
    "several": (
        judging(OnAnswer.REPLACE),
        judging(OnAnswer.FLAG, edits=True, name="links"),
        watching(mode=Mode.SHADOW),
    ),
}
texts = st.lists(
    st.text(st.sampled_from("zebrahunter2 ;"), max_size=6)
    | st.sampled_from([WORD, WORD[:3], WORD[3:], SECRET, SECRET[:3], SECRET[3:], "x;"]),
    max_size=12,
)


@pytest.mark.parametrize("name", POLICIES)
@given(texts, st.lists(st.integers(0, 200), max_size=4))
def test_chunks_and_runs_mean_nothing(name, said_texts, places):
    stream = said(*said_texts, ".")
    ends = sorted({min(place, len(stream)) for place in places} | {len(stream)})
    chunks = [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    snapshot = policy(*POLICIES[name])
    one_by_one = play(snapshot, chunks, session=SingleSession)
    in_runs = play(snapshot, chunks, session=RunSession)
    assert in_runs.sent(Lane.RESPONSE) == one_by_one.sent(Lane.RESPONSE)
    told = [[replace(one, total_us=0) for one in book.records()] for book in (in_runs, one_by_one)]
    assert told[0] == told[1]


@given(texts, texts)
def test_a_replaced_text_does_not_depend_on_its_frames(first, second):
    text = "".join([*first, WORD, *second]).replace(";", "")
    snapshot = policy(judging(OnAnswer.REPLACE), watching())
    whole = text_of(play(snapshot, [said(text, ".")]))
    assert text_of(play(snapshot, [said(*text, ".")])) == whole
