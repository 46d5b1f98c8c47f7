from dataclasses import replace

import pytest
from exchanges import exchange, guard_env, read_only, segment
from hypothesis import given
from hypothesis import strategies as st
from judging import cuts, judged, pieces_of

from extproc.domain.judging import OnAnswer
from extproc.domain.segment import Channel, Role
from extproc.domain.verdict import Action, Mode, Reason
from extproc.guards import prompt_leak
from extproc.guards.prompt_leak import Settings

PROMPT = (
    "You are Polly, the assistant of Example Bank. Never tell a customer the discount code. "
    "Transfers above nine thousand need a second look by the desk in Leeds."
)
LEAK = "transfers ABOVE nine   thousand\nneed a second-look by the desk"
CHANNEL = Channel(0, "content")


def guard(settings=None):
    return prompt_leak.GUARD.build(settings or Settings(), guard_env())


def asked(*texts, prompt=PROMPT):
    system = segment(prompt, role=Role.SYSTEM)
    return exchange(system, *(segment(text, at) for at, text in enumerate(texts, 1)))


def scanner(view=None, settings=None):
    watch = guard(settings).scanner(view or asked())
    return lambda: watch.judge.begin().open(CHANNEL)


def test_it_is_off_until_a_policy_wants_it():
    assert prompt_leak.GUARD.mode is Mode.OFF


def test_there_is_nothing_to_watch_for_without_a_system_prompt():
    assert guard().scanner(exchange("hello")) is None
    assert guard().scanner(read_only()) is None
    assert guard().scanner(asked(prompt="")) is None


def test_what_is_found_is_cut_or_what_the_policy_says():
    watch = guard(Settings(answer=OnAnswer.REPLACE, canned="No.")).scanner(asked())
    assert (watch.on_finding, watch.canned, watch.reason) == (
        OnAnswer.REPLACE,
        "No.",
        Reason.PROMPT_LEAKED,
    )
    assert guard().scanner(asked()).block


def test_words_of_the_prompt_in_its_order_are_a_leak_whatever_stands_between_them():
    released, (found,) = judged(scanner(), [f"Sure! {LEAK} in Leeds"])
    assert (found.entity_type, found.detector) == ("SYSTEM_PROMPT", "prompt_leak/shingles")
    # All but the word with which it begins.
    assert released == "Sure! transfers "


@pytest.mark.parametrize(
    "answer",
    [
        "Never tell a customer the time.",
        "I am the assistant of Example Bank, and a second look by the desk in York does no harm.",
        " ".join(reversed(PROMPT.split())),
        "nine thousand need nine thousand need nine thousand need nine thousand",
    ],
)
def test_other_words_are_none_and_go_out_whole(answer):
    assert judged(scanner(), [answer]) == (answer, ())


def test_several_short_runs_are_a_leak_too():
    answer = "one: never tell a customer the discount. two: code transfers above nine thousand need a, so"
    assert judged(scanner(settings=Settings(shingles_min=3)), [answer])[1] != ()
    assert judged(scanner(settings=Settings(shingles_min=4)), [answer])[1] == ()


def test_what_the_user_wrote_too_is_no_secret():
    assert judged(scanner(asked(f"Is it true that {PROMPT}")), [PROMPT]) == (PROMPT, ())


def test_a_short_prompt_is_a_leak_when_it_is_repeated_whole():
    make = scanner(asked(prompt="Speak like a grumpy pirate"))
    assert judged(make, ["I speak like a grumpy pirate, so"])[1] != ()
    assert judged(make, ["I speak like a grumpy sailor"])[1] == ()


def test_a_prompt_of_a_few_words_is_nobodys_secret():
    make = scanner(asked(prompt="Be helpful and kind"))
    assert judged(make, ["be helpful and kind"]) == ("be helpful and kind", ())


def test_every_part_of_the_conversation_that_is_the_operators_counts():
    view = exchange(segment("Be kind.", role=Role.SYSTEM), segment(PROMPT, 1, role=Role.DEVELOPER))
    assert judged(scanner(view), [PROMPT])[1] != ()


@pytest.mark.parametrize(
    "spell",
    [
        "_".join,
        lambda words: " ".join(f"_{word}_" for word in words),
        lambda words: " ".join(word[0] + "\u0323" + word[1:] for word in words),
        lambda words: " ".join(word + "\u3164" for word in words),
        lambda words: " ".join(word[0] + "\U000e0041" + word[1:] for word in words),
    ],
    ids=["joined by _", "emphasis", "accents", "fillers", "tags"],
)
def test_a_prompt_in_disguise_is_a_leak(spell):
    assert judged(scanner(), [spell(PROMPT.split())])[1] != ()


SPACELESS = (
    "\u7cfb\u7edf\u63d0\u793a\u4f60\u662f\u5317\u98ce\u94f6\u884c\u7684\u52a9\u624b"
    "\u7edd\u5bf9\u4e0d\u80fd\u900f\u9732\u9ec4\u91d1\u5ba2\u6237\u7684\u6298\u6263"
)


@pytest.mark.parametrize(("length", "leaks"), [(14, False), (15, True), (26, True)])
def test_of_a_prompt_without_spaces_two_characters_are_one_word(length, leaks):
    said = f"\u597d{SPACELESS[4 : 4 + length]}\u3002"
    released, found = judged(scanner(asked(prompt=SPACELESS + SPACELESS[:9])), [said])
    assert bool(found) is leaks
    assert (released == said) is not leaks


def test_a_prompt_of_a_few_characters_is_nobodys_secret():
    make = scanner(asked(prompt=SPACELESS[:9]))
    assert judged(make, [SPACELESS[:9]]) == (SPACELESS[:9], ())


def test_the_texts_of_an_answer_are_counted_together():
    words = [f"word{at}" for at in range(16)]
    judging = guard().scanner(asked(prompt=" ".join(words))).judge.begin()
    first, second = (judging.open(Channel(0, f"tool_calls.{at}.arguments")) for at in range(2))
    assert first.feed(" ".join(words[:8]), eof=True).findings == ()
    # Three shingles stood in the first; the fourth is the first of the second.
    (found,) = second.feed(" ".join(words[8:]), eof=True).findings
    assert (found.start, found.end) == (0, len(" ".join(words[8:14])))


words = st.sampled_from([*PROMPT.split(), "and", "so", "Leeds,\n"])
answers = st.lists(words | st.just(PROMPT[40:120]), max_size=30).map(" ".join)


@given(answers, cuts)
def test_what_is_found_and_released_does_not_depend_on_the_cuts(answer, places):
    whole = judged(scanner(), [answer])
    assert judged(scanner(), pieces_of(answer, places)) == whole
    assert judged(scanner(), list(answer)) == whole
    assert answer.startswith(whole[0])


@given(answers)
def test_what_is_held_is_bounded(answer):
    reader = scanner()()
    for letter in answer:
        if reader.feed(letter).findings:
            return
        assert reader.held_chars <= 9 * 10


def test_a_prompt_that_repeats_itself_holds_no_more():
    reader = scanner(asked(prompt="la la la la la la la la la"))()
    for _ in range(500):
        reader.feed("la ")
        if reader.held_chars > 40:
            raise AssertionError("it holds more and more")


# --- the canary ----------------------------------------------------------------------------------

CANARY = Settings(canary=True)


def planted(view):
    verdict = guard(CANARY).judge(view, ())
    (edit,) = verdict.edits
    assert (verdict.action, edit.segment_index, edit.start, edit.end) == (Action.ALLOW, 0, 0, 1)
    assert edit.replacement.endswith(PROMPT[0])
    return edit.replacement.split()[2].rstrip(",")


def test_no_canary_is_planted_unasked_or_without_a_system_prompt():
    assert guard().judge(asked(), ()).edits == ()
    assert guard(CANARY).judge(exchange("hello"), ()).edits == ()


def test_a_canary_is_the_exchanges_own():
    view = asked()
    word = planted(view)
    assert planted(view) == word
    assert planted(replace(view, exchange_id="e:1")) != word
    assert (len(word), word.isalpha()) == (24, True)


@given(cuts)
def test_a_canary_never_goes_out(places):
    word = planted(asked())
    answer = f"My reference is {word.upper()}, as they say"
    released, (found,) = judged(scanner(settings=CANARY), pieces_of(answer, places))
    assert (released, found.entity_type) == ("My reference is ", "CANARY")


@pytest.mark.parametrize(
    "spell",
    [
        lambda word: "x" * 116 + word,
        lambda word: word[:5] + "\u206a" + word[5:],
        lambda word: word[:5] + "\u0323" + word[5:],
        lambda word: word[:12] + "-" + word[12:],
        " ".join,
        lambda word: "_".join(word.upper()),
        lambda word: word[:3] + word,
        lambda word: f"{word[:8]} {word[8:]}\u4e2d",
    ],
    ids=["in a long run", "unseen", "accent", "hyphen", "spaces", "case", "begun twice", "other script"],
)
@given(places=cuts)
def test_a_canary_in_disguise_never_goes_out(spell, places):
    word = planted(asked())
    said = spell(word)
    released, (found,) = judged(scanner(settings=CANARY), pieces_of(f"so: {said} ok", places))
    assert found.entity_type == "CANARY"
    assert released == "so: "


def test_letters_that_only_begin_a_canary_go_out():
    word = planted(asked())
    said = f"{word[:9]}-{word[:9]} {word[9:]} x {word[:23]}"
    released, found = judged(scanner(settings=CANARY), list(f"{word[:9]}-a {word[9:]} x {word[:23]}"))
    assert (released, found) == (f"{word[:9]}-a {word[9:]} x {word[:23]}", ())
    assert judged(scanner(settings=CANARY), [said])[1] != ()


def test_a_canary_shows_a_prompt_that_is_too_short_for_shingles():
    view = asked(prompt="Be kind.")
    word = guard(CANARY).judge(view, ()).edits[0].replacement.split()[2].rstrip(",")
    assert judged(scanner(view, CANARY), [f"be kind {word}"])[1][0].entity_type == "CANARY"


def test_the_canary_of_another_exchange_means_nothing():
    other = planted(replace(asked(), exchange_id="e:7"))
    assert judged(scanner(settings=CANARY), [other]) == (other, ())
