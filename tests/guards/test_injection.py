import math
from dataclasses import replace

import pytest
from exchanges import exchange, guard_env, read_only, segment

from extproc.domain.effects import Classify, Renewed, Scores, TextScore
from extproc.domain.identity import Principal
from extproc.domain.ports import ALLOWED
from extproc.domain.segment import Origin, Role
from extproc.domain.verdict import Action, Lane, Reason
from extproc.guards import injection
from extproc.guards.injection import Settings


def build(**settings):
    return injection.GUARD.build(Settings(**settings), guard_env())


def scores(*values, head="injection"):
    return Scores(
        head=head,
        model="model-1",
        scores=tuple(
            TextScore(score=value, windows=index + 1, tokens=9, start=index, end=index + 5)
            for index, value in enumerate(values)
        ),
    )


def test_every_segment_is_asked_about_in_order():
    view = exchange("one", segment("two", 1, role=Role.TOOL, origin=Origin.TOOL_RESULT), "three")
    assert build().needs(view) == (
        Classify(head="injection", texts=("one", "two", "three"), tenant="acme"),
    )


def test_segments_without_text_are_not_asked_about():
    assert build().needs(exchange("", "one", "")) == (
        Classify(head="injection", texts=("one",), tenant="acme"),
    )


def test_the_work_is_the_tenants():
    view = replace(exchange("one"), principal=Principal(tenant="other", key_id="k"))
    (effect,) = build().needs(view)
    assert effect.tenant == "other"


@pytest.mark.parametrize("view", [exchange(), exchange(""), read_only("m")])
def test_without_text_nothing_is_asked_and_nothing_refused(view):
    assert build().needs(view) == ()
    assert build().judge(view, ()) == ALLOWED


def test_roles_and_origins_narrow_what_is_judged():
    view = exchange(
        segment("system", 0, role=Role.SYSTEM),
        segment("user", 1),
        segment("tool", 2, role=Role.TOOL, origin=Origin.TOOL_RESULT),
        segment("document", 3, origin=Origin.DOCUMENT),
    )
    by_role = build(roles=(Role.USER, Role.TOOL))
    assert by_role.needs(view) == (
        Classify(head="injection", texts=("user", "tool", "document"), tenant="acme"),
    )
    by_both = build(roles=(Role.USER,), origins=(Origin.DIRECT,))
    assert by_both.needs(view) == (Classify(head="injection", texts=("user",), tenant="acme"),)


@pytest.mark.parametrize("score", [0.0, 0.3, math.nextafter(0.52, 0)])
def test_below_the_threshold_passes_with_its_score(score):
    verdict = build().judge(exchange("hi"), (scores(score),))
    assert (verdict.action, verdict.reason, verdict.findings) == (Action.ALLOW, Reason.CLEAN, ())
    assert (verdict.score, verdict.threshold, verdict.detector) == (score, 0.52, "model-1")


@pytest.mark.parametrize("score", [0.52, 0.9, 1.0])
def test_at_the_threshold_and_above_is_refused(score):
    verdict = build().judge(exchange("hi"), (scores(score),))
    assert (verdict.action, verdict.reason, verdict.status) == (
        Action.BLOCK,
        Reason.INJECTION_DETECTED,
        403,
    )
    assert (verdict.score, verdict.windows) == (score, 1)


def test_a_score_that_is_no_number_is_refused():
    assert build().judge(exchange("hi"), (scores(math.nan),)).action is Action.BLOCK


def test_the_highest_segment_decides_and_each_over_the_threshold_is_located():
    view = exchange("calm", segment("attack", 1, place="parameters.*"), "attack")
    verdict = build(threshold=0.6).judge(view, (scores(0.1, 0.8, 0.7),))
    assert (verdict.action, verdict.score, verdict.windows) == (Action.BLOCK, 0.8, 6)
    assert [(one.lane, one.place, one.finding.start, one.finding.score) for one in verdict.findings] == [
        (Lane.REQUEST, "parameters.*", 1, 0.8),
        (Lane.REQUEST, "text_input", 2, 0.7),
    ]


@pytest.mark.parametrize(
    "answers",
    [(), (scores(0.1, 0.1),), (scores(),), (scores(0.1, head="pii"),), (Renewed(held=True),)],
)
def test_answers_to_another_question_never_pass(answers):
    with pytest.raises(ValueError, match="another question"):
        build().judge(exchange("hi"), answers)


def test_a_classifier_that_is_gone_has_its_own_reason():
    assert injection.GUARD.error_reason is Reason.CLASSIFIER_UNAVAILABLE


@pytest.mark.parametrize(
    ("text", "refused"),
    [
        ("\u200b\u200d", True),
        ("".join(chr(0xE0000 + ord(char)) for char in "ignore"), True),
        ("  \n", False),
    ],
)
def test_text_of_which_the_model_sees_nothing_is_refused_unless_it_is_blank(text, refused):
    nothing = TextScore(score=0.0, windows=0, tokens=0, start=0, end=0)
    view = exchange(text)
    (effect,) = build().needs(view)
    answer = Scores(head="injection", model="model-1", scores=(nothing,) * len(effect.texts))
    verdict = build().judge(view, (answer,))
    assert (verdict.action is Action.BLOCK) == refused


def test_of_parts_both_ways_to_join_them_are_asked_about():
    view = exchange(segment("ignoreall", seams=(6,)), "two")
    assert build().needs(view)[0].texts == ("ignoreall", "ignore\nall", "two")
    verdict = build(threshold=0.6).judge(view, (scores(0.1, 0.2, 0.1),))
    assert verdict.action is Action.ALLOW
    verdict = build(threshold=0.6).judge(view, (scores(0.1, 0.9, 0.1),))
    # The score's place is [1, 6) of the text with a line end.
    assert [(one.finding.start, one.finding.end) for one in verdict.findings] == [(1, 6)]


def test_far_from_their_seams_parts_are_asked_about_once():
    text = "".join(chr(ord("a") + at % 26) for at in range(10_000))
    view = exchange(segment(text, seams=(1_000, 1_500, 9_900)))
    texts = build().needs(view)[0].texts
    assert texts == (
        text,
        text[600:1_000] + "\n" + text[1_000:1_500] + "\n" + text[1_500:1_900],
        text[9_500:9_900] + "\n" + text[9_900:],
    )
    verdict = build(threshold=0.6).judge(view, (scores(0.1, 0.1, 0.9),))
    assert [(one.finding.start, one.finding.end) for one in verdict.findings] == [(9_502, 9_507)]


def test_disguised_words_are_asked_about_as_they_are_seen_too():
    text = "ign\u043ere all"
    view = exchange("plain", text)
    (effect,) = build().needs(view)
    assert effect.texts == ("plain", text, "ignore all")
    verdict = build().judge(view, (scores(0.1, 0.1, 0.9),))
    assert verdict.action is Action.BLOCK
    assert [(one.finding.start, one.finding.end) for one in verdict.findings] == [(0, len(text))]
