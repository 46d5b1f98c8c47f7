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


texts = st.text(st.sampled_from("aAbc .,\u200bé\n"), max_size=60) | st.text(max_size=30)


def test_words_are_compared_without_case_width_and_what_does_not_show():
    assert [word.text for word in words_in("The \uff34\uff28\uff25 t\u200bhe: straße\u00ad-STRASSE_1")] == [
        "the",
        "the",
        "the",
        "strasse",
        "strasse_1",
    ]
    assert normal("\u200b") == ""


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


def test_nothing_is_held_after_a_finding_or_a_drop():
    scanner = Pair()
    scanner.feed("a b c")
    assert (scanner.held_chars, scanner.feed("a b").released) == (0, "a b")
    scanner = Pair()
    scanner.feed("a ")
    assert scanner.held_chars == 2
    scanner.drop()
    assert scanner.held_chars == 0
