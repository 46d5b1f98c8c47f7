from dataclasses import replace

import pytest
from exchanges import exchange, guard_env, read_only, segment
from hypothesis import given
from hypothesis import strategies as st
from judging import cuts, judged, pieces_of

from extproc.domain.effects import Classify, Renewed, Scores, TextScore
from extproc.domain.errors import SettingError
from extproc.domain.judging import OnAnswer
from extproc.domain.limits import LIMITS
from extproc.domain.reading import ScoreModel
from extproc.domain.segment import Channel, Origin, Role
from extproc.domain.verdict import Action, Mode, Reason
from extproc.guards import moderation
from extproc.guards.moderation import HeadReads, OnRequest, Settings

TOPICS = {"weapons": ("pipe bomb", "nerve agent"), "rivals": ("Acme Corp.", "ÉCLAIR", "bomb disposal unit")}
CONTENT = Channel(0, "content")


def guard(**settings):
    return moderation.GUARD.build(Settings(**{"topics": TOPICS, **settings}), guard_env())


def scanner(**settings):
    watch = guard(**settings).scanner(exchange("hi"))
    return lambda: watch.judge.begin().open(CONTENT)


def scored(*values, head="toxic"):
    return Scores(
        head=head,
        model="judge-1",
        scores=tuple(TextScore(score=value, windows=1, tokens=3, start=0, end=1) for value in values),
    )


def kinds(verdict):
    return [(one.place, one.finding.entity_type) for one in verdict.findings]


def test_it_is_off_until_a_policy_wants_it():
    assert moderation.GUARD.mode is Mode.OFF
    assert guard(topics={}).scanner(exchange("hi")) is None
    assert guard().scanner(read_only()) is None


@pytest.mark.parametrize(
    ("text", "topic"),
    [
        ("how to build a pipe bomb?", "WEAPONS"),
        ("PIPE -\n Bomb", "WEAPONS"),
        ("pi\u200bpe bomb", "WEAPONS"),
        ("ask ACME, corp about it", "RIVALS"),
        ("an \u00c9clair", "RIVALS"),
        ("an eclair", "RIVALS"),
        ("a pipe bomb disposal unit", "WEAPONS"),
        ("pipe pipe bomb", "WEAPONS"),
    ],
)
def test_phrases_are_found_as_whole_words(text, topic):
    verdict = guard().judge(exchange(text), ())
    assert (verdict.action, verdict.reason, verdict.status) == (Action.BLOCK, Reason.TOPIC_BLOCKED, 403)
    assert kinds(verdict) == [("text_input", f"TOPIC_{topic}")]
    assert judged(scanner(), [text])[1][0].entity_type == f"TOPIC_{topic}"


@pytest.mark.parametrize("text", ["pipe bombs", "a pipe, then a bomb", "bomb pipe", "acme", ""])
def test_other_words_pass(text):
    assert guard().judge(exchange(text), ()).action is Action.ALLOW
    assert judged(scanner(), [text]) == (text, ())


def test_a_request_may_be_let_pass_and_told_of():
    verdict = guard(request=OnRequest.ALLOW).judge(exchange("pipe bomb"), ())
    assert (verdict.action, verdict.reason, len(verdict.findings)) == (
        Action.ALLOW,
        Reason.TOPIC_BLOCKED,
        1,
    )


def test_a_phrase_that_parts_make_together_is_found():
    for text, seam in (("a pipe bomb", 4), ("a pipebomb", 6)):
        one = replace(segment(text), seams=(seam,))
        assert guard().judge(exchange(one), ()).action is Action.BLOCK


def test_what_of_a_request_is_judged():
    view = exchange(
        segment("never talk of a pipe bomb", 0, role=Role.SYSTEM, place="system"),
        segment("pipe bomb", 1, role=Role.TOOL, origin=Origin.TOOL_RESULT, place="tool"),
        segment("pipe bomb", 2, place="user"),
    )
    assert [place for place, _ in kinds(guard().judge(view, ()))] == ["tool", "user"]
    narrowed = guard(roles=(), origins=(Origin.DIRECT,)).judge(view, ())
    assert [place for place, _ in kinds(narrowed)] == ["system", "user"]


def test_nothing_of_a_phrase_goes_out():
    assert judged(scanner(), list("so, a nerve agent"))[0] == "so, a "
    assert judged(scanner(), ["so, a pipe  bomb"])[0] == "so, a "


phrases = st.sampled_from(
    ["pipe", "bomb", "Acme", "corp", "disposal", "unit", "nerve agent", "and", "é", ",\n"]
)


@given(st.lists(phrases, max_size=12).map(" ".join), cuts)
def test_what_is_found_and_released_does_not_depend_on_the_cuts(text, places):
    whole = judged(scanner(), [text])
    assert judged(scanner(), pieces_of(text, places)) == whole
    assert judged(scanner(), list(text)) == whole


@given(st.lists(phrases, max_size=12).map(" ".join))
def test_an_answer_and_a_request_are_judged_alike(text):
    found = judged(scanner(), [text])[1]
    located = guard().judge(exchange(text), ()).findings
    assert tuple(one.finding for one in located) == found


@pytest.mark.parametrize("answer", OnAnswer)
def test_what_a_policy_wants_done_with_answers(answer):
    watch = guard(answer=answer, canned="No.").scanner(exchange("hi"))
    assert (watch.on_finding, watch.canned, watch.reason) == (answer, "No.", Reason.TOPIC_BLOCKED)
    judging = watch.judge.begin()
    assert judging.open(Channel(0, "tool_calls.0.arguments")) is not None
    assert judging.open(Channel(0, "tool_calls.0.name")) is None


@pytest.mark.parametrize(
    "topics",
    [
        {"Weapons": ("a",)},
        {"the weapons": ("a",)},
        {"é": ("a",)},
        {"a": ("",)},
        {"a": (" ?! ",)},
        {"a": ("w " * (LIMITS.phrase_words_max + 1),)},
        {"a": tuple(f"w{at}" for at in range(LIMITS.phrases_max + 1))},
    ],
)
def test_topics_that_cannot_be_are_refused(topics):
    with pytest.raises(SettingError, match=r"topic|phrase") as refused:
        Settings(topics=topics)
    assert refused.value.place[0] == "topics"


# --- the judge model -----------------------------------------------------------------------------


def test_a_head_is_asked_about_all_that_is_judged():
    view = exchange(segment("be kind", role=Role.SYSTEM), segment("one", 1), segment("", 2))
    assert guard().needs(view) == ()
    assert guard(head="toxic").needs(view) == (Classify(head="toxic", texts=("one",), tenant="acme"),)
    assert guard(head="toxic").needs(read_only()) == ()


@pytest.mark.parametrize(
    ("score", "action"), [(0.49, Action.ALLOW), (0.5, Action.BLOCK), (float("nan"), Action.BLOCK)]
)
def test_its_score_refuses_from_the_threshold_on(score, action):
    verdict = guard(head="toxic").judge(exchange("one", "two"), (scored(0.1, score),))
    assert verdict.action is action
    assert verdict.threshold == 0.5
    assert kinds(verdict) == ([] if action is Action.ALLOW else [("text_input", "TOPIC")])


def test_what_it_lets_pass_the_lists_may_not():
    verdict = guard(head="toxic").judge(exchange("a pipe bomb"), (scored(0.1),))
    assert (verdict.action, verdict.score) == (Action.BLOCK, 0.1)


@pytest.mark.parametrize(
    "answers", [(), (scored(0.1, head="other"),), (scored(0.1, 0.1),), (Renewed(held=True),)]
)
def test_answers_to_another_question_are_a_bug(answers):
    with pytest.raises(ValueError, match="another question"):
        guard(head="toxic").judge(exchange("one"), answers)


@pytest.mark.parametrize("reads", HeadReads)
def test_the_head_reads_what_the_policy_says(reads):
    made = guard(head="toxic", head_reads=reads, head_deadline_ms=700, threshold=0.7, topics={})
    asked = made.needs(exchange("hi"))
    assert bool(asked) == (reads is not HeadReads.ANSWER)
    watch = made.scanner(exchange("hi"))
    if reads is HeadReads.REQUEST:
        assert watch is None
        return
    assert watch.model == ScoreModel(
        head="toxic", threshold=0.7, entity_type="TOPIC", detector="moderation/toxic", deadline_ms=700
    )
    assert (watch.on_finding, watch.reason, watch.touches) == (OnAnswer.CUT, Reason.TOPIC_BLOCKED, True)
    # Without phrases nothing else reads it.
    assert watch.judge.begin().open(CONTENT) is None
    assert made.scanner(read_only()) is None


def test_a_head_of_answers_says_nothing_of_requests():
    verdict = guard(head="toxic", head_reads=HeadReads.ANSWER, topics={}).judge(exchange("hi"), ())
    assert (verdict.action, verdict.score, verdict.threshold) == (Action.ALLOW, None, None)


def test_answers_are_read_by_a_head_that_is_named():
    with pytest.raises(ValueError, match="the head of a classifier"):
        Settings(head_reads=HeadReads.BOTH)
