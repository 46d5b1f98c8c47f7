import json
from dataclasses import fields, replace

import pytest
from samples import KEYS, REDACTED, SEALED

from extproc.domain.bodies import Sample
from extproc.edge.sample_file import SampleFileError, content_of, find_samples, read_sample
from extproc.edge.sealing import new_keys

DAY_MS = 86_400_000
FACTS = {"format", "keep", "request_id", "exchange", "at_unix_ms", "expires_unix_ms", "policy_digest"}


def content(sample):
    return content_of(sample)[1]


def test_a_redacted_sample_is_read_without_a_key():
    read = read_sample(content(REDACTED), None)
    assert read["request"] == [
        {"role": "user", "origin": "direct", "place": "text_input", "text": "mail [EMAIL_ADDRESS]\u2028"}
    ]
    assert read["answer"] == [{"choice": 0, "field": "text_output", "text": "an answer"}]
    assert set(read) == FACTS | {"request", "answer"}


def test_what_is_kept_redacted_is_written_through_redaction_or_not_at_all():
    upper = read_sample(content(replace(REDACTED, redact=str.upper)), None)
    assert upper["answer"][0]["text"] == "AN ANSWER"
    assert upper["request"][0]["text"].startswith("MAIL ")
    bare = {one.name: getattr(REDACTED, one.name) for one in fields(REDACTED) if one.name != "redact"}
    assert read_sample(content(Sample(**bare)), None)["answer"][0]["text"] == ""


def test_its_lifetime_begins_with_the_end_of_the_exchange():
    expires_unix_ms, written = content_of(replace(REDACTED, lifetime_days=3))
    assert expires_unix_ms == REDACTED.at_unix_ms + 3 * DAY_MS
    assert read_sample(written, None)["expires_unix_ms"] == expires_unix_ms


def test_a_sealed_sample_shows_no_text_and_opens_with_its_key_alone():
    written = content(SEALED)
    assert b"answer" not in written
    assert b"mail" not in written
    first = json.loads(written.splitlines()[0])
    assert set(first) == FACTS | {"reviewer_key"}
    assert read_sample(written, KEYS[0])["answer"] == [
        {"choice": 0, "field": "text_output", "text": "an answer"}
    ]
    with pytest.raises(SampleFileError, match="--key"):
        read_sample(written, None)
    with pytest.raises(SampleFileError, match="another key"):
        read_sample(written, new_keys()[0])
    with pytest.raises(SampleFileError, match="private key"):
        read_sample(written, KEYS[1])


def test_sealed_text_cannot_be_passed_off_as_another_exchanges():
    written = content(SEALED)
    forged = written.replace(SEALED.request_id.encode(), b"1" * len(SEALED.request_id))
    assert forged != written
    with pytest.raises(SampleFileError, match="changed"):
        read_sample(forged, KEYS[0])


def test_a_file_is_two_lines_of_ascii_whatever_the_text():
    for sample in (REDACTED, SEALED):
        written = content(sample)
        assert written.isascii()
        assert written.count(b"\n") == 2


DEEP = b"[" * 100_000


@pytest.mark.parametrize("torn", [b"", b"{}\n{}\n", b"[1]\n", b"\xff", DEEP])
def test_what_is_no_sample_is_told(torn):
    with pytest.raises(SampleFileError):
        read_sample(torn, None)


@pytest.mark.parametrize(
    "second",
    [DEEP, b'{"request":[],"answer":[],"request_id":"forged"}', b'{"answer":[]}', b"{}", b"[]"],
)
def test_the_second_line_holds_text_and_no_facts(second):
    first, _, _ = content(REDACTED).partition(b"\n")
    with pytest.raises(SampleFileError, match="torn"):
        read_sample(first + b"\n" + second + b"\n", None)
    whole = read_sample(first + b'\n{"request":[],"answer":[]}\n', None)
    assert whole == {**json.loads(first), "request": [], "answer": []}


def test_a_torn_sample_is_told():
    for sample in (REDACTED, SEALED):
        written = content(sample)
        with pytest.raises(SampleFileError, match=r"torn|changed"):
            read_sample(written[:-20], KEYS[0])


def test_samples_are_found_by_request_and_exchange(tmp_path):
    files = []
    for number in (0, 1):
        for request_id in ("a", "b"):
            files.append(tmp_path / f"{request_id}{number}")
            files[-1].write_bytes(content(replace(REDACTED, request_id=request_id, exchange=number)))
    files += [tmp_path / "gone", tmp_path / "other"]
    files[-1].write_bytes(b"no sample\n")

    def found(*words):
        return [read_sample(one, None)["exchange"] for one in find_samples(files, *words)]

    assert found("a") == [0, 1]
    assert found("b", "1") == [1]
    assert found("c") == []


def test_parts_are_redacted_by_themselves_and_joined():
    kept = replace(REDACTED.request[0], text="a12b 3412", seams=(2, 7))
    sample = replace(
        REDACTED, request=(kept,), redact=lambda text: text.replace("12", "#").replace("34", "+")
    )
    assert json.loads(content_of(sample)[1].splitlines()[1])["request"][0]["text"] == "a#b +#"
    glued = replace(kept, text="a1212", seams=(3,))
    alone = replace(sample, request=(glued,), redact=lambda text: "#" if text in {"a12", "12"} else text)
    assert json.loads(content_of(alone)[1].splitlines()[1])["request"][0]["text"] == "##"
