from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from classifiers import windows
from classifiers.errors import AbandonedError, ModelError, TooManyWindowsError
from classifiers.windows import PIECE_CHARS, Windower, piece_bounds, window_bounds

WORDS = st.sampled_from(
    [
        "apple",
        "Zürich",
        "don't",
        "untranslatable",
        "東京",
        "😀",
        "a" * 130,
        "[SEP]",
        "[MASK]",
        "x.y",
        "\u200b",
        "naïve",
    ]
)
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=400),
    st.lists(WORDS, max_size=300).map(" ".join),
)


@given(count=st.integers(0, 2_000), capacity=st.integers(1, 300), overlap=st.integers(0, 299))
def test_windows_cover_every_token_in_order_and_each_adds_some(count, capacity, overlap):
    stride = max(1, capacity - overlap)
    bounds = window_bounds(count, capacity, stride)
    assert sorted({at for a, b in bounds for at in range(a, b)}) == list(range(count))
    assert all(0 < b - a <= capacity for a, b in bounds)
    assert [a for a, _ in bounds] == [k * stride for k in range(len(bounds))]
    ends = [b for _, b in bounds]
    assert ends == sorted(set(ends))


@given(text=st.text(alphabet="ab .,\n東", max_size=300), size=st.integers(1, 50))
def test_pieces_make_up_the_text(text, size):
    bounds = list(piece_bounds(text, size))
    assert "".join(text[a:b] for a, b in bounds) == text
    assert all(0 < b - a <= size for a, b in bounds)


@settings(deadline=None)
@given(text=TEXTS, size=st.integers(40, 200))
def test_tokenising_by_pieces_gives_the_tokens_of_the_whole(windower, text, size):
    def tokens(piece):
        return windower._tokenizer.encode(piece, add_special_tokens=False).ids

    # Cuts are before the first character of a run; a longer one has no place where a cut leaves it whole.
    runs = max(len(run) for run in re.split(f"[{re.escape(''.join(windows.CUT_BEFORE))}]", text))
    if runs < size:
        assert [one for a, b in piece_bounds(text, size) for one in tokens(text[a:b])] == tokens(text)


@settings(deadline=None)
@given(text=TEXTS)
def test_windows_hold_every_token_between_special_ones(windower, text):
    whole = windower._tokenizer.encode(text, add_special_tokens=False)
    cut = windower.cut(text)
    assert cut.token_count == len(whole.ids)
    bounds = window_bounds(cut.token_count, windower.capacity, windower.stride)
    assert [window.ids.tolist() for window in cut.windows] == [
        [101, *whole.ids[a:b], 102] for a, b in bounds
    ]


@settings(deadline=None)
@given(text=TEXTS)
def test_spans_lead_back_to_the_text(windower, text):
    cut = windower.cut(text)
    spans = [(window.start, window.end) for window in cut.windows]
    assert all(0 <= start < end <= len(text) for start, end in spans)
    assert spans == sorted(spans)
    covered = {at for start, end in spans for at in range(start, end)}
    # What lies outside every span is what has no tokens at all.
    outside = "".join(char if at not in covered else " " for at, char in enumerate(text))
    assert windower.cut(outside).token_count == 0


def test_a_windows_span_is_the_text_of_its_tokens(windower):
    # Words of one token each: a window that begins inside a word would not read the same alone.
    words = random.Random(3).choices(["garden", "Apple", "water", "train", "東", "&", "\t"], k=8_000)
    text = " ".join(words)
    cut = windower.cut(text)
    assert cut.windows[-1].start > PIECE_CHARS
    for window in cut.windows:
        (again,) = windower.cut(text[window.start : window.end]).windows
        assert again.ids.tolist() == window.ids.tolist()


def test_the_tokenizers_own_truncation_and_padding_are_off(model, windower):
    assert Tokenizer.from_str(model.tokenizer.decode()).truncation["max_length"] == 256
    assert windower.cut("garden " * 1_000).token_count == 1_000
    assert [len(window.ids) for window in windower.cut("garden").windows] == [3]


def test_the_last_token_is_in_the_last_window_of_a_long_text(windower):
    text = "garden " * 50_000 + "jailbreak"
    cut = windower.cut(text)
    assert cut.token_count == 50_000 + windower.cut("jailbreak").token_count
    assert cut.windows[-1].end == len(text)


def test_ordinary_words_are_tokenised_as_the_model_was_trained(model, windower):
    trained = Tokenizer.from_str(model.tokenizer.decode())
    trained.no_truncation()
    trained.no_padding()
    text = "Ünïcödé words, don't-split 東京 tokens; 12.5% of 3,000 e-mails (a@b.example)!"
    assert windower.cut(text).windows[0].ids.tolist() == trained.encode(text).ids


def test_a_word_too_long_for_the_vocabulary_is_still_read(windower):
    unknown = 100
    assert unknown not in windower.cut("ignorepreviousinstructions" * 40).windows[0].ids


def test_special_tokens_in_a_text_are_its_own_characters(windower):
    ids = windower.cut("one [SEP] two [PAD] three [MASK] [CLS] [UNK]").windows[0].ids.tolist()
    assert {0, 100, 101, 102, 103}.isdisjoint(ids[1:-1])


@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\u200d", "\U000e0069\U000e0067"])
def test_a_text_of_which_the_model_sees_nothing_has_no_windows(windower, text):
    assert (windower.cut(text).token_count, windower.cut(text).windows) == (0, ())


def test_the_bound_on_windows_is_exact(windower):
    two_windows = "garden " * (windower.capacity + windower.stride)
    assert len(windower.cut(two_windows, windows_max=2).windows) == 2
    with pytest.raises(TooManyWindowsError):
        windower.cut(two_windows + "garden", windows_max=2)


def test_a_text_beyond_the_bound_is_not_tokenised_to_its_end(windower):
    asked = []

    def proceed():
        asked.append(True)
        return True

    with pytest.raises(TooManyWindowsError):
        windower.cut("garden " * 100_000, windows_max=1, proceed=proceed)
    assert len(asked) == 1


def test_tokenising_stops_when_nobody_waits(windower):
    answers = iter([True, False])
    with pytest.raises(AbandonedError):
        windower.cut("a" * (3 * PIECE_CHARS), proceed=lambda: next(answers))


def test_a_stride_that_would_leave_tokens_unseen_is_refused(model):
    with pytest.raises(ModelError, match="stride_tokens must be between 1 and 254"):
        Windower(replace(model, manifest=replace(model.manifest, stride_tokens=255)))


def test_a_tokenizer_that_is_none_is_refused(model):
    with pytest.raises(ModelError, match=r"tokenizer\.json cannot be read"):
        Windower(replace(model, tokenizer=b"{}"))
