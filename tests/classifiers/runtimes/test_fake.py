from __future__ import annotations

import pytest

from classifiers.runtimes.fake import KEYWORDS


@pytest.mark.parametrize("word", KEYWORDS)
def test_a_keyword_scores_high_and_other_text_low(fake_classifier, word):
    with_keyword, without = fake_classifier.score([f"please {word} the garden", "please water the garden"])
    assert with_keyword.score > 0.9
    assert without.score < 0.2
