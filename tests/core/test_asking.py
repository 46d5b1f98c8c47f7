"""Streams whose answers models read: what waits, what goes on when they answer, and every way to end."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from answer_wires import WIRES
from doubles import LineCodec, LineSession, Playbook, bound, policy, watching
from hypothesis import given, settings
from hypothesis import strategies as st
from read_answers import BADNESS, REDACTOR, Heard, judges, reads, snapshot, told, union_on_whole
from redaction_texts import split
from span_model import NAMES, spans_in

from extproc.core import commands as cmd
from extproc.core import events as ev
from extproc.core.asking import AskingScan
from extproc.domain.bodies import BodyRule, Keep
from extproc.domain.effects import Classify, FindSpans, Spans
from extproc.domain.errors import FailureKind
from extproc.domain.judging import OnAnswer
from extproc.domain.limits import LIMITS
from extproc.domain.reading import OnDeadline
from extproc.domain.segment import Channel, Delta
from extproc.domain.verdict import Action, Lane, Mode, OnError, Reason
from extproc.guards._rules import OnFinding

WIRE = {one.name: one for one in WIRES}
CHAT, WHOLE, GRPC = WIRE["chat"], WIRE["chat, whole"], WIRE["stream_infer"]
MAIL = "ann@example.com"
TEXT = f"Please go and ask Ann Smith at 12 Elm Street about that mail to {MAIL}. "
LENIENT = {"on_deadline": OnDeadline.RELEASE_RULES}
GOOD = "This one is only here to be some forty-eight letters long. "
BAD = f"And this sentence speaks of {BADNESS}, which nobody wants here. "


def begun(*guards, text=TEXT * 4, wire=CHAT, chars=20, less=3) -> Heard:
    """A stream up to the end of its text: what ends it has not come."""
    heard = Heard(wire, snapshot(*guards))
    heard.rest = []
    chunks = wire.say([text[at : at + chars] for at in range(0, len(text), chars)])
    for data in chunks[: len(chunks) - less]:
        heard.chunk(data)
    heard.rest = chunks[len(chunks) - less :]
    return heard


def ended(heard: Heard) -> Heard:
    """The rest of what the upstream says."""
    for data in heard.rest:
        heard.chunk(data)
    heard.end()
    return heard


def replies(heard: Heard) -> int:
    return sum(isinstance(one, (*cmd.REPLIES, cmd.Abort)) for one in heard.book.commands)


def refused(heard: Heard) -> list[tuple[int, Reason]]:
    return [(one.refusal.status, one.reason) for one in heard.book.of(cmd.Refuse)]


# --- an end that waits -----------------------------------------------------------------------


def test_what_follows_a_text_waits_until_its_end_is_read():
    heard = ended(begun(reads()))
    before = heard.data
    assert b'finish_reason": "stop' not in before
    assert b"usage" not in before
    assert b"[DONE]" not in before
    assert heard.book.records() == []
    heard.answer_all()
    assert heard.text() == union_on_whole(TEXT * 4)
    record = heard.record
    assert (record.action, record.reason, record.guard) == (Action.REDACT, Reason.REDACTED, "pii")
    assert (record.answer_chars_unread, record.degraded) == (0, False)
    assert heard.counted() == {"PERSON": 4, "LOCATION": 4, "EMAIL_ADDRESS": 4}
    assert {one.detector for one in record.entities} >= {"pii/stand-in"}


def test_a_whole_answer_waits_with_its_head():
    heard = ended(begun(reads(), wire=WHOLE))
    assert [one for one in heard.book.of(cmd.ReplyHeaders) if one.lane is Lane.RESPONSE] == []
    heard.answer_all()
    assert heard.text() == union_on_whole(TEXT * 4)


def test_text_of_another_choice_stays_in_its_order():
    """One choice ends while the model reads it; of the other, text stands in that same frame."""

    def event(*choices):
        return b"data: " + json.dumps({"id": "c", "choices": choices}).encode() + b"\n\n"

    def choice(index, text, reason=None):
        return {"index": index, "delta": {"content": text}, "finish_reason": reason}

    heard = Heard(CHAT, snapshot(reads()))
    heard.chunk(event(choice(0, GOOD), choice(1, GOOD * 3)))
    heard.chunk(event(choice(0, "Ann Smith", "stop"), choice(1, "Bob Stone. " * 20)))
    # Those of the other choice first.
    while others := [at for at, one in enumerate(heard.waiting) if "Ann" not in one.effect.texts[-1]]:
        heard.answer(others[0])
    assert heard.book.stream._answer._lane.pended is not None
    heard.answer_all()
    heard.chunk(event(choice(1, "Li Wei", "stop")) + b"data: [DONE]\n\n")
    heard.end()
    heard.answer_all()
    texts = {0: "", 1: ""}
    for one in heard.data.split(b"\n\n")[:-2]:
        for said in json.loads(one.removeprefix(b"data: "))["choices"]:
            texts[said["index"]] += said["delta"].get("content") or ""
    assert texts == {
        0: union_on_whole(f"{GOOD}Ann Smith"),
        1: union_on_whole(GOOD * 3 + "Bob Stone. " * 20 + "Li Wei"),
    }


def test_what_waits_is_bounded():
    heard = Heard(CHAT, snapshot(reads()))
    heard.book.stream._answer._backlog._limits = replace(LIMITS, answer_waiting_bytes_max=100)
    for data in CHAT.say([TEXT])[:3]:
        heard.chunk(data)
    heard.chunk(b"data: " + b" " * 200)
    assert b"a model that must read the answer is not available" in heard.data
    assert b"Ann" not in heard.data
    record = heard.record
    assert (record.action, record.reason) == (Action.BLOCK, Reason.CLASSIFIER_UNAVAILABLE)


def test_pieces_that_wait_are_bounded():
    heard = begun(reads())
    for data in heard.rest:
        heard.chunk(data)
    for _ in range(LIMITS.answer_waiting_chunks_max + 1):
        heard.chunk(b"")
    assert heard.record.reason is Reason.CLASSIFIER_UNAVAILABLE


# --- every way it can end --------------------------------------------------------------------


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (ev.PeerClosed, Reason.PEER_CLOSED),
        (ev.Crashed, Reason.INTERNAL),
        (ev.Overloaded, Reason.OVERLOADED),
    ],
    ids=["closed", "crashed", "overloaded"],
)
def test_what_is_held_is_dropped_with_the_stream(event, reason, at_end):
    heard = begun(reads(), text=GOOD * 6)
    if at_end:
        ended(heard)
    heard.answer()
    seen = heard.data
    heard.send(event(heard.tick()))
    count = replies(heard)
    assert heard.record.reason is reason
    assert heard.data.startswith(seen)
    heard.answer_all()
    heard.pass_deadline()
    # Answers that come too late change nothing.
    assert (replies(heard), len(heard.book.records())) == (count, 1)
    assert heard.book.stream.idle


@pytest.mark.parametrize("at_end", [False, True])
@pytest.mark.parametrize("kind", list(FailureKind))
def test_strict_cuts_where_the_model_does_not_answer(kind, at_end):
    heard = begun(reads())
    heard.answer()
    if at_end:
        ended(heard)
    seen = heard.text(whole=False)
    heard.fail(kind)
    assert heard.data.count(b"a model that must read the answer is not available") == 1
    record = heard.record
    assert (record.action, record.reason, record.guard) == (
        Action.BLOCK,
        Reason.CLASSIFIER_UNAVAILABLE,
        "pii",
    )
    assert record.degraded
    assert [one.degraded for one in record.verdicts if one.guard == "pii"] == [True]
    assert record.answer_chars_unread == 0
    assert union_on_whole(TEXT * 4).startswith(seen)


def test_strict_refuses_with_a_status_where_nothing_is_out():
    heard = ended(begun(reads(), wire=WHOLE))
    heard.fail()
    assert refused(heard) == [(503, Reason.CLASSIFIER_UNAVAILABLE)]
    assert heard.record.status == 503


def test_an_answer_to_another_question_counts_as_none():
    heard = begun(reads())
    asked = heard.waiting[0]
    heard.send(ev.EffectDone(heard.tick(), asked.effect_id, Spans(model="stand-in", spans=())))
    assert heard.record.reason is Reason.CLASSIFIER_UNAVAILABLE


def test_a_finding_of_the_model_ends_an_answer_where_the_policy_blocks():
    heard = begun(reads(answer=OnFinding.BLOCK), text=GOOD * 3 + TEXT)
    heard.answer_all()
    ended(heard)
    heard.answer_all()
    record = heard.record
    assert (record.action, record.reason, record.guard) == (Action.BLOCK, Reason.PII_FOUND, "pii")
    assert b"Ann" not in heard.data


def test_an_upstream_that_fails_in_band_takes_what_is_held_with_it():
    heard = begun(reads())
    heard.chunk(b'data: {"error": {"message": "no more of Li Wei", "code": 500}}\n\n')
    heard.answer_all()
    heard.end()
    heard.answer_all()
    assert b"Ann" not in heard.data
    assert b"Li Wei" not in heard.data
    assert heard.record.reason in {Reason.UPSTREAM_ERROR, Reason.REDACTED}


@pytest.mark.parametrize("wire", [CHAT, WHOLE], ids=lambda wire: wire.name)
def test_more_than_may_be_held_is_refused(wire):
    heard = Heard(wire, snapshot(reads()))
    for data in wire.say(["word " * (LIMITS.held_chars_max // 5), "and more."]):
        heard.chunk(data)
    heard.end()
    heard.answer_all()
    record = heard.record
    assert (record.action, record.reason, record.guard) == (
        Action.BLOCK,
        Reason.CLASSIFIER_UNAVAILABLE,
        "pii",
    )
    assert b"word" not in heard.data


# --- the deadline ----------------------------------------------------------------------------


def timers(heard: Heard) -> list[int]:
    return [one.after_ms for one in heard.book.of(cmd.SetDeadline) if one.kind is ev.DeadlineKind.ANSWER]


def test_strict_minds_no_deadline():
    assert timers(begun(reads())) == []


def test_at_its_deadline_goes_out_what_the_rules_clear():
    text = f"Ask Ann Smith, or write to {MAIL} or bob@exam"
    heard = begun(reads(**LENIENT), text=text)
    assert heard.text(whole=False) == ""
    assert timers(heard) == [2_000]
    heard.pass_deadline()
    # Also what nobody was asked about, since its sentence is not over.
    assert heard.text(whole=False) == "Ask Ann Smith, or write to [EMAIL_ADDRESS] or "
    assert len(heard.book.of(cmd.ReportUnread)) == 1
    for data in heard.rest:
        heard.chunk(data)
    heard.end()
    heard.answer_all()
    record = heard.record
    assert record.degraded
    # The rules held the rest for longer, and then nothing else did.
    assert record.answer_chars_unread == len(text)


def test_the_deadline_is_the_oldest_characters():
    heard = Heard(CHAT, snapshot(reads(**LENIENT)))
    say = CHAT.say(["", "one two ", "three four ", "five"])
    for data in say[:3]:
        heard.chunk(data)
        heard.tick(500)
    heard.chunk(say[3])
    assert timers(heard) == [2_000]
    heard.pass_deadline(1_500)
    assert heard.text(whole=False) == "one two "
    assert timers(heard) == [2_000, 500]
    heard.pass_deadline(500)
    assert heard.text(whole=False) == "one two three four "


def test_nothing_is_minded_once_all_is_read():
    heard = begun(reads(**LENIENT), text=GOOD * 5 + "x " * 80)
    count = len(timers(heard))
    heard.answer_all()
    heard.pass_deadline()
    ended(heard)
    heard.answer_all()
    assert count == 1
    assert heard.book.stream.idle


def test_a_failed_question_lets_go_of_its_windows_alone():
    heard = ended(begun(reads(**LENIENT), text=TEXT + GOOD * 3 + TEXT))
    heard.fail()
    heard.answer_all()
    text = heard.text()
    assert text.startswith(f"{TEXT}{GOOD}".replace(MAIL, "[EMAIL_ADDRESS]"))
    assert text.endswith("ask [PERSON] at [LOCATION] about that mail to [EMAIL_ADDRESS]. ")
    assert 0 < heard.record.answer_chars_unread < len(TEXT + GOOD * 3 + TEXT)
    assert len(heard.book.of(cmd.ReportUnread)) == 1


def test_at_the_deadline_a_frame_goes_on_that_waited():
    heard = ended(begun(reads(**LENIENT)))
    heard.pass_deadline()
    assert heard.text() == (TEXT * 4).replace(MAIL, "[EMAIL_ADDRESS]")
    # The bytes of what rules found count, too: the model has not read them.
    assert heard.record.answer_chars_unread == len(TEXT * 4)


moves = st.lists(st.sampled_from(["answer", "fail", "wait", "chunk", "chunk", "chunk"]), max_size=40)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.sampled_from([*NAMES, MAIL, GOOD, "so.", "4111 1111 1111 1111", "x"]), max_size=25),
    st.lists(st.integers(0, 600), max_size=12),
    moves,
    st.sampled_from([CHAT, WHOLE, WIRE["messages"], GRPC]),
)
def test_whatever_passes_nothing_goes_out_that_rules_hold(said, cuts, moved, wire):
    text = " ".join(said)
    heard = Heard(wire, snapshot(reads(**LENIENT)))
    chunks = wire.say(split(text, cuts))
    for move in moved:
        if move == "chunk" and chunks:
            heard.chunk(chunks.pop(0))
        elif move == "answer" and heard.waiting:
            heard.answer()
        elif move == "fail" and heard.waiting:
            heard.fail()
        elif move == "wait":
            heard.pass_deadline(1_000)
    for data in chunks:
        heard.chunk(data)
    heard.end()
    heard.answer_all()
    out = heard.text()
    assert MAIL not in out
    assert "4111 1111" not in out
    record = heard.record
    passed = sum(len(out[one.start : one.end]) for one in spans_in(out))
    assert passed <= record.answer_chars_unread <= len(text)
    if not record.answer_chars_unread:
        assert out == union_on_whole(text)
    assert (len(heard.book.of(cmd.ReportUnread)) == 1) == bool(record.answer_chars_unread)


# --- what is asked ---------------------------------------------------------------------------


def test_so_much_is_asked_at_once():
    heard = Heard(WHOLE, snapshot(reads()))
    for data in WHOLE.say([TEXT * 60]):
        heard.chunk(data)
    heard.end()
    seen = 0
    while heard.waiting:
        assert len(heard.waiting) <= LIMITS.answer_questions_max
        for one in heard.waiting:
            assert len(one.effect.texts) <= LIMITS.model_windows_max
            assert one.effect.tenant == "acme"
            assert (one.deadline_ms, one.owed) == (LIMITS.spans_deadline_ms, False)
        heard.answer()
        seen += 1
    assert seen > 3
    assert heard.text() == union_on_whole(TEXT * 60)


def test_without_a_model_nothing_of_this_is_made(monkeypatch):
    monkeypatch.setattr(AskingScan, "__init__", lambda *_args, **_more: pytest.fail("made"))
    heard = begun(replace(reads(), guard=replace(reads().guard, model=None)))
    ended(heard)
    assert heard.text() == (TEXT * 4).replace(MAIL, "[EMAIL_ADDRESS]")


@pytest.mark.parametrize(
    ("operator", "shown"),
    [
        ("redact", "[PERSON]"),
        ("replace:somebody", "somebody"),
        ("mask:2", "*** ***th"),
    ],
)
def test_each_type_has_its_operator(operator, shown):
    heard = ended(begun(reads(operators={"PERSON": operator}), text="It was Ann Smith."))
    heard.answer_all()
    assert heard.text() == f"It was {shown}."


def test_what_models_read_stays_with_the_rules_of_other_guards():
    heard = Heard(CHAT, snapshot(reads(), replace(watching(), guard=_secrets())))
    key = "AK" + "IA" + "Q3EGRSTUVWXYZ2AB"
    for data in CHAT.say([f"Ann Smith has {key} now."]):
        heard.chunk(data)
    heard.end()
    heard.answer_all()
    assert heard.text() == "[PERSON] has [AWS_ACCESS_KEY] now."
    assert {one.guard for one in heard.record.entities} == {"pii", "secrets"}


def _secrets():
    from exchanges import guard_env  # noqa: PLC0415 - for this one.

    from extproc.guards import secrets  # noqa: PLC0415

    return secrets.GUARD.build(secrets.Settings(), replace(guard_env(), find=REDACTOR.find))


# --- shadow ----------------------------------------------------------------------------------


def test_a_model_in_shadow_changes_no_byte_and_holds_none():
    heard = ended(begun(reads(mode=Mode.SHADOW)))
    assert heard.text() == TEXT * 4
    # Only the record waits, and tells of no time of that.
    ended_us = heard._now_us
    heard.tick(1_000)
    assert heard.book.stream.done
    assert not heard.book.stream.idle
    assert heard.book.records() == []
    assert all(one.owed for one in heard.waiting)
    heard.answer_all()
    assert heard.counted() == {"PERSON": 4, "LOCATION": 4, "EMAIL_ADDRESS": 4}
    assert heard.record.action is Action.ALLOW
    assert heard.record.total_us < ended_us
    assert heard.book.stream.idle


def test_a_model_in_shadow_that_fails_is_told_of():
    heard = ended(begun(reads(mode=Mode.SHADOW)))
    while heard.waiting:
        heard.fail()
    record = heard.record
    assert (record.degraded, record.action) == (True, Action.ALLOW)
    assert record.answer_chars_unread == len(TEXT * 4)
    assert heard.book.of(cmd.ReportUnread) == []
    assert heard.counted() == {"EMAIL_ADDRESS": 4}


def test_what_a_shadow_keeps_is_bounded():
    heard = Heard(CHAT, snapshot(reads(mode=Mode.SHADOW)))
    long = "word " * (LIMITS.held_chars_max // 5 + 100)
    for data in CHAT.say([long, TEXT]):
        heard.chunk(data)
    heard.end()
    heard.answer_all()
    assert heard.text() == long + TEXT
    assert heard.record.answer_chars_unread == len(long + TEXT)


def test_a_stream_that_breaks_waits_for_no_shadow():
    heard = begun(reads(mode=Mode.SHADOW))
    heard.send(ev.PeerClosed(heard.tick()))
    assert heard.record.reason is Reason.PEER_CLOSED
    heard.answer_all()
    assert len(heard.book.records()) == 1


def test_enforced_and_shadow_are_asked_apart():
    heard = ended(begun(reads(), judges(mode=Mode.SHADOW), text=TEXT + BAD))
    kinds = {(type(one.effect), one.owed) for one in heard.waiting}
    assert kinds == {(FindSpans, False), (Classify, True)}
    heard.answer_all()
    assert heard.text() == union_on_whole(TEXT + BAD)
    assert heard.counted()["TOPIC"] == 1


# --- judge models ----------------------------------------------------------------------------


def test_what_a_judge_has_not_read_is_held():
    heard = begun(judges(), text=GOOD * 4)
    assert heard.text(whole=False) == ""
    heard.answer()
    assert heard.text(whole=False) == GOOD
    ended(heard)
    heard.answer_all()
    assert heard.text() == GOOD * 4
    assert heard.record.action is Action.ALLOW
    assert all(one.deadline_ms == 1_000 for one in heard.book.effects())


@pytest.mark.parametrize(
    "wire", [CHAT, WIRE["messages"], WIRE["responses"], GRPC], ids=lambda wire: wire.name
)
def test_an_answer_is_cut_where_its_first_bad_sentence_begins(wire):
    heard = begun(judges(), text=GOOD * 2 + BAD + GOOD, wire=wire, less=1)
    heard.answer_all()
    ended(heard)
    heard.answer_all()
    assert BADNESS.encode() not in heard.data
    assert b"about a topic that is not allowed here" in heard.data
    record = heard.record
    assert (record.action, record.reason, record.guard) == (
        Action.BLOCK,
        Reason.TOPIC_BLOCKED,
        "moderation",
    )
    assert [(one.entity_type, one.detector) for one in record.entities] == [("TOPIC", "moderation/manners")]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([GOOD, GOOD, BAD, "so. "]), max_size=8),
    st.lists(st.integers(0, 500), max_size=8),
    st.randoms(use_true_random=False),
    st.booleans(),
)
def test_a_replaced_answer_depends_on_its_text_alone(said, cuts, chance, spans):
    text = "".join(said)
    guards = [judges(answer=OnAnswer.REPLACE, canned="[CANNED]"), *([reads()] if spans else [])]
    heard = Heard(CHAT, snapshot(*guards))
    heard.play(CHAT.say(split(text, cuts)), chance)
    whole = Heard(CHAT, snapshot(*guards))
    whole.play(CHAT.say([text]), chance)
    assert heard.text() == whole.text()
    assert BADNESS not in heard.text()
    assert heard.text().endswith("[CANNED]") == (BAD in said)
    assert heard.counted() == whole.counted()


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.SHADOW])
def test_a_flag_and_a_shadow_hold_nothing(mode):
    heard = ended(begun(judges(mode=mode, answer=OnAnswer.FLAG), text=GOOD + BAD + GOOD))
    assert heard.text() == GOOD + BAD + GOOD
    assert heard.book.records() == []
    heard.answer_all()
    record = heard.record
    flagged = Reason.TOPIC_BLOCKED if mode is Mode.ENFORCE else Reason.CLEAN
    assert [one.reason for one in record.verdicts if one.guard == "moderation"] == [flagged]
    assert (record.action, heard.counted()) == (Action.ALLOW, {"TOPIC": 1})


def test_without_a_score_on_error_says_what_happens():
    heard = ended(begun(judges(on_error=OnError.ALLOW), text=GOOD + BAD))
    while heard.waiting:
        heard.fail(FailureKind.DEADLINE)
    assert heard.text() == GOOD + BAD
    record = heard.record
    assert record.degraded
    assert record.answer_chars_unread == len(GOOD + BAD)
    heard = ended(begun(judges(on_error=OnError.BLOCK), text=GOOD + BAD))
    heard.fail(FailureKind.DEADLINE)
    assert heard.record.reason is Reason.CLASSIFIER_UNAVAILABLE
    # A window is never too long: whoever says so must not be a way around the judge.
    heard = ended(begun(judges(on_error=OnError.ALLOW), text=GOOD + BAD))
    heard.fail(FailureKind.TOO_LONG)
    assert heard.record.reason is Reason.CLASSIFIER_UNAVAILABLE


def test_phrases_and_the_head_judge_together():
    guard = judges(topics={"pets": ("small cat",)}, answer=OnAnswer.REPLACE, canned="[CANNED]")
    heard = ended(begun(guard, text=GOOD * 2 + "A small cat sat there. " + GOOD))
    heard.answer_all()
    # What stands before the phrase, and is no whole window, is not judged any more.
    assert heard.text() == f"{GOOD * 2}[CANNED]"
    assert heard.counted() == {"TOPIC_PETS": 1}


def test_spans_are_found_in_what_a_judge_let_pass():
    heard = Heard(CHAT, snapshot(judges(), reads()))
    for data in CHAT.say([TEXT]):
        heard.chunk(data)
    heard.end()
    assert [type(one.effect) for one in heard.waiting] == [Classify]
    heard.answer()
    assert [type(one.effect) for one in heard.waiting] == [FindSpans]
    heard.answer_all()
    assert heard.text() == union_on_whole(TEXT)


# --- what else stands behind -----------------------------------------------------------------


def call_event(arguments, reason=None):
    call = {"index": 0, "function": {"arguments": arguments}}
    delta = {"tool_calls": [call]} if arguments else {}
    document = {"id": "c", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}
    return b"data: " + json.dumps(document).encode() + b"\n\n"


def test_what_tools_are_called_with_is_read_and_their_names_are_not():
    heard = Heard(CHAT, snapshot(reads()))
    begins = {
        "index": 0,
        "id": "call_1",
        "type": "function",
        "function": {"name": "Ann Smith", "arguments": ""},
    }
    first = {"id": "c", "choices": [{"index": 0, "delta": {"tool_calls": [begins]}, "finish_reason": None}]}
    heard.chunk(b"data: " + json.dumps(first).encode() + b"\n\n")
    arguments = json.dumps({"who": "Ann Smith", "where": "12 Elm Street"})
    for at in range(0, len(arguments), 9):
        heard.chunk(call_event(arguments[at : at + 9]))
    heard.chunk(call_event("", "tool_calls") + b"data: [DONE]\n\n")
    heard.end()
    heard.answer_all()
    events = [json.loads(one.removeprefix(b"data: ")) for one in heard.data.split(b"\n\n")[:-2]]
    calls = [one["choices"][0]["delta"].get("tool_calls", [{}])[0].get("function", {}) for one in events]
    said = "".join(one.get("arguments", "") for one in calls)
    assert json.loads(said) == {"who": "[PERSON]", "where": "[LOCATION]"}
    assert "".join(one.get("name", "") for one in calls) == "Ann Smith"


@pytest.mark.parametrize(
    ("text", "read"),
    [("req-8f2c01", False), ("two words", True), (f"\u8fd9\u662f{BADNESS}\u7684\u8bdd\u3002", True)],
    ids=["id", "words", "no spaces"],
)
def test_of_what_stands_beside_the_texts_ids_alone_are_not_read(text, read):
    heard = Heard(CHAT, snapshot(judges()))
    heard.chunk(b"data: " + json.dumps({"id": text, "choices": []}).encode() + b"\n\n")
    assert [one.effect.texts for one in heard.waiting] == ([(text,)] if read else [])
    heard.answer_all()
    assert (heard.book.sent(Lane.RESPONSE) == b"") is (BADNESS in text)


class BesideCodec(LineCodec):
    """Every text is one beside the answer's, and none says that it ends."""

    def open(self, _head):
        session = LineSession(alone=True)
        read = session.read_response

        def beside(chunk, *, eof):
            for frame in read(chunk, eof=eof):
                deltas = tuple(Delta(Channel(0, "output.once"), one.text) for one in frame.deltas)
                yield frame._replace(deltas=deltas, ended=())

        session.read_response = beside
        return session


def test_what_stands_beside_the_texts_and_may_go_on_is_read():
    book = Playbook(snapshot(judges()), codecs=[BesideCodec(alone=True)])
    book.head()
    book.body(b"hi\n", end=True)
    book.answer_head()
    book.answer(f"0 one\n0 {BADNESS}\n0 .\n".encode(), end=True)
    (asked,) = book.effects()
    assert asked.effect.texts == (f"one{BADNESS}",)
    book.effect(0, told(asked.effect))
    assert book.sent(Lane.RESPONSE) == b"0 \n0 \n0 ERROR topic_blocked\n"
    assert book.records()[0].reason is Reason.TOPIC_BLOCKED


@pytest.mark.parametrize(
    ("keep", "kept"), [(Keep.REDACTED, "It was [PERSON]."), (Keep.SEALED, "It was Ann Smith.")]
)
def test_what_is_kept_of_an_answer_is_what_went_out_or_what_came(keep, kept):
    rule = BodyRule(
        keep=keep,
        actions=frozenset(Action),
        lifetime_days=1,
        reviewer_key="",
        required=False,
        redact=lambda text: text,
    )
    heard = Heard(CHAT, replace(snapshot(reads()), bodies={"acme": rule}))
    for data in CHAT.say(["It was ", "Ann ", "Smith."]):
        heard.chunk(data)
    heard.end()
    heard.answer_all()
    (emitted,) = heard.book.of(cmd.Emit)
    assert emitted.sample.answer[-1].text == kept


# --- pseudonyms ------------------------------------------------------------------------------


def test_tokens_are_turned_back_behind_the_model():
    body = {"model": "m", "stream": True, "messages": [{"role": "user", "content": f"write to {MAIL}"}]}
    wire = replace(CHAT, request=json.dumps(body).encode())
    heard = Heard(wire, snapshot(reads(operators={"EMAIL_ADDRESS": "pseudonym"})))
    asked = json.loads(heard.book.sent(Lane.REQUEST))["messages"][0]["content"]
    token = asked.removeprefix("write to ")
    text = f"Ann Smith wrote to {token} and to bob@example.com"
    for data in wire.say([text[at : at + 7] for at in range(0, len(text), 7)]):
        heard.chunk(data)
    heard.end()
    heard.answer_all()
    assert heard.text() == f"[PERSON] wrote to {MAIL} and to [EMAIL_ADDRESS]"


# --- an effect of the request is not of the answer -------------------------------------------


def test_answers_to_guards_go_to_the_request():
    asks = bound(_Asks(), name="asks")
    book = Playbook(policy(asks))
    book.head()
    book.body(b"a\n", end=True)
    assert len(book.effects()) == 1
    book.send(ev.EffectFailed(book.tick(), book.effects()[0].effect_id, FailureKind.UNAVAILABLE))
    assert book.records()[0].reason is Reason.CLASSIFIER_UNAVAILABLE


class _Asks:
    def needs(self, exchange):
        return (Classify(head="x", texts=("a",)),) if exchange.request else ()

    def judge(self, exchange, answers):
        raise AssertionError

    def scanner(self, exchange):
        return None


# --- what comes too late, or too much --------------------------------------------------------


@pytest.mark.parametrize("wire", [CHAT, WIRE["completions"]], ids=lambda wire: wire.name)
def test_an_answer_that_goes_on_behind_its_end_has_its_record(wire):
    heard = Heard(wire, snapshot(reads(mode=Mode.SHADOW)))
    chunks = wire.say(["It was Ann Smith."])
    heard.chunk(b"".join([*chunks, chunks[-1]]))
    assert heard.record.reason is Reason.UPSTREAM_UNREADABLE
    heard.answer_all()
    assert heard.book.stream.idle


@pytest.mark.parametrize("spans", [True, False])
def test_a_question_that_nobody_needs_any_more_may_fail(spans):
    guards = [judges(answer=OnAnswer.REPLACE, canned="[CANNED]"), *([reads()] if spans else [])]
    heard = begun(*guards, text=GOOD * 2 + BAD + GOOD * 20, chars=3_000)
    while "[CANNED]" not in heard.text(whole=False):
        # Of the judge's questions the first; the second one is open.
        kinds = [type(one.effect) for one in heard.waiting]
        heard.answer(kinds.index(FindSpans) if FindSpans in kinds else 0)
    assert heard.waiting
    while heard.waiting:
        heard.fail()
    ended(heard)
    text = heard.text()
    assert text.endswith("[CANNED]")
    assert (GOOD * 2).startswith(text.removesuffix("[CANNED]"))
    assert (heard.record.action, heard.record.reason) == (Action.REDACT, Reason.TOPIC_BLOCKED)


@pytest.mark.parametrize("wire", [CHAT, WHOLE], ids=lambda wire: wire.name)
@pytest.mark.parametrize("guard", [reads(), judges(), reads(mode=Mode.SHADOW)])
def test_what_is_too_much_to_hold_is_never_asked_about(wire, guard):
    heard = Heard(wire, snapshot(guard))
    for data in wire.say(["word " * LIMITS.held_chars_max]):
        heard.chunk(data)
    heard.end()
    assert heard.book.effects() == []
    assert len(heard.book.records()) == 1


def test_a_record_waits_for_a_shadow_that_hangs_no_longer_than_for_one_question():
    heard = Heard(WHOLE, snapshot(reads(mode=Mode.SHADOW)))
    for data in WHOLE.say([TEXT * 60]):
        heard.chunk(data)
    heard.end()
    asked = len(heard.book.effects())
    assert asked == LIMITS.answer_questions_max
    while heard.waiting:
        heard.fail(FailureKind.DEADLINE)
    assert len(heard.book.effects()) == asked
    assert heard.record.answer_chars_unread == len(TEXT * 60)
    # What the rules find counts all the same.
    assert heard.counted() == {"EMAIL_ADDRESS": 60}
