import pytest
from hypothesis import given
from hypothesis import strategies as st
from judging import cuts, judged, pieces_of

from extproc.domain.limits import LIMITS
from extproc.domain.verdict import Finding
from extproc.guards._words import Word, WordScanner, normal, words_in


class Pair(WordScanner):
    """Finds ``a`` followed by ``b``: holds an ``a``."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[Word] = []

    def take(self, word: Word) -> Finding | None:
        self.words.append(word)
        if [one.text for one in self.words[-2:]] == ["a", "b"]:
            start = self.words[-2].start
            return Finding(entity_type="PAIR", start=start, end=word.end, score=1.0, detector="x/y")
        return None

    def holds_from(self) -> int | None:
        return self.words[-1].start if self.words and self.words[-1].text == "a" else None


texts = (
    st.text(st.sampled_from("aAbc ._,\u200bé\n\u4e2d\u0323"), max_size=60)
    | st.text(max_size=30)
    | st.lists(st.sampled_from(["\u200b" * 127, "a" * 127, "a", "\u200b", " ", "\u4e2d"]), max_size=6).map(
        "".join
    )
)


def test_words_are_compared_without_case_width_and_what_does_not_show():
    assert [word.text for word in words_in("The \uff34\uff28\uff25 t\u200bhe: straße\u00ad-STRASSE_1")] == [
        "the",
        "the",
        "the",
        "strasse",
        "strasse",
        "1",
    ]
    assert normal("\u200b") == ""


@pytest.mark.parametrize(
    "text",
    [
        *(
            "_bomb_",
            "x_bomb",
            "**bomb**",
            "b\u206aomb",
            "b\u0323omb",
            "\u1e05omb",
            "bomb\u3164",
            "b\U000e0041omb",
        ),
        *(
            "b\U000e0100omb",
            "b\x01omb",
            "b\u1ab0omb",
            "b\u0903omb",
            "b\u043emb",
            "\u24d1\u24de\u24dc\u24d1",
        ),
        *("\u200bbomb\u200b", "b" + "\u200b" * 1_000 + "omb", "\ufeff" * 300 + "bomb", "\u4e2dbomb\u4e2d"),
    ],
    ids=ascii,
)
def test_a_word_in_disguise_is_the_word(text):
    assert "bomb" in [word.text for word in words_in(text)]


def test_in_scripts_without_spaces_each_character_is_a_word():
    words = [*words_in("\u5982\u4f55abc\u30ac\uff76\uff9e \u0e27\u0e31\u0e2a 12\ud55c\uad6d")]
    assert [(word.text, word.is_character) for word in words] == [
        ("\u5982", True),
        ("\u4f55", True),
        ("abc", False),
        ("\u30ac", True),
        ("\u30ac", True),
        ("\u0e27\u0e31", True),
        ("\u0e2a", True),
        ("12\ud55c\uad6d", False),
    ]


def test_vowel_signs_tell_words_of_other_scripts_apart():
    assert normal("\u092c\u0940\u092e\u093e") != normal("\u092c\u092e")


@given(texts)
def test_words_stand_where_they_are_said_to(text):
    assert all(normal(text[word.start : word.end]) == word.text for word in words_in(text))


@given(texts, cuts)
def test_what_is_read_and_released_does_not_depend_on_the_cuts(text, places):
    whole = judged(Pair, [text])
    assert judged(Pair, pieces_of(text, places)) == whole
    assert judged(Pair, list(text)) == whole


@given(texts, cuts)
def test_words_of_a_stream_are_those_of_the_whole(text, places):
    text = text.replace("b", "c").replace("B", "c")
    scanner = Pair()
    released = [scanner.feed(piece).released for piece in pieces_of(text, places)]
    assert "".join(released) + scanner.feed("", eof=True).released == text
    assert scanner.words == list(words_in(text))


def test_a_finding_releases_nothing_of_itself():
    assert judged(Pair, ["x a", " b c"])[0] == "x "


def test_a_run_of_letters_is_held_within_its_bound():
    scanner = Pair()
    text = "x" * (3 * LIMITS.word_chars_max + 5)
    released = [scanner.feed(letter).released for letter in text]
    assert scanner.held_chars == 5
    assert "".join(released) == text[:-5]
    assert [word.end - word.start for word in scanner.words] == [LIMITS.word_chars_max] * 3


def test_a_judge_that_only_looks_on_holds_no_more_than_an_answer_may():
    scanner = Pair()
    scanner.feed("a" + "\u200b" * LIMITS.held_chars_max)
    assert scanner.held_chars > LIMITS.held_chars_max
    assert scanner.feed(" a").released == " "
    assert scanner.held_chars == 1
    assert scanner.feed(" b", eof=True).findings[0].start == LIMITS.held_chars_max + 2


def test_nothing_is_held_after_a_finding_or_a_drop():
    scanner = Pair()
    scanner.feed("a b c")
    assert (scanner.held_chars, scanner.feed("a b").released) == (0, "a b")
    scanner = Pair()
    scanner.feed("a ")
    assert scanner.held_chars == 2
    scanner.drop()
    assert scanner.held_chars == 0
