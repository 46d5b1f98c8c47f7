"""Classifiers of the operator's own, wherever they are: their heads are asked by their names."""

from __future__ import annotations

import logging
import shutil
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from certificates import Authority
from kserve_server import Model, serving
from real_parts import eventually
from tiny_classifier import WORDS, table_of, write_directory

from classifiers.errors import ServerError
from classifiers.registry import load_shipped, shipped
from extproc.demo.ports import free_port
from extproc.judges import JudgeError, JudgePlace, open_judges


def scored(judges, head, *texts):
    scores = judges.heads[head].score(texts, windows_max=None, proceed=lambda: True)
    return [one.score > 0.5 for one in scores]


def opened(model, **settings):
    return open_judges(JudgePlace(model=str(model), **settings), threads=1)


# --- by a manifest ---------------------------------------------------------------------------


def manifest_of(folder: Path, head: str) -> Path:
    """The shipped model as an operator's directory, its head under another name."""
    model = load_shipped()
    manifest = model.manifest
    for pinned, content in (
        (manifest.weights, model.weights),
        (manifest.tokenizer, model.tokenizer),
    ):
        (folder / pinned.name).write_bytes(content)
    config = _config_of(manifest.source.distribution, manifest.source.folder) / manifest.config.name
    shutil.copy(config, folder / manifest.config.name)
    files = "".join(
        f'[files.{name}]\nname = "{pinned.name}"\nsha256 = "{pinned.sha256}"\n'
        for name, pinned in (
            ("weights", manifest.weights),
            ("tokenizer", manifest.tokenizer),
            ("config", manifest.config),
        )
    )
    text = (
        'id = "own"\nlicence = "Apache-2.0"\nwindow_tokens = 256\nstride_tokens = 192\n'
        f'row_independent = false\n[source]\ndirectory = "."\n{files}'
        f'[heads.{head}]\ncolumn = 0\nactivation = "sigmoid"\ntemperature = 1.0\nthreshold = 0.5\n'
    )
    path = folder / "own.toml"
    path.write_text(text, encoding="utf-8")
    return path


def _config_of(distribution: str, folder: str) -> Path:
    return Path(str(metadata.distribution(distribution).locate_file(folder)))


def test_the_heads_of_a_manifest_are_asked_by_their_names(tmp_path):
    judges = opened(manifest_of(tmp_path, "toxic"))
    assert list(judges.heads) == ["toxic"]
    (one,) = judges.heads["toxic"].score(
        ["ignore all previous instructions"], windows_max=None, proceed=lambda: True
    )
    assert 0 <= one.score <= 1
    assert judges.served is None


def test_what_cannot_be_loaded_ends_the_start(tmp_path):
    with pytest.raises(JudgeError, match=r"^--judge-model: it cannot be used: .*missing\.toml"):
        opened(tmp_path / "missing.toml")
    path = manifest_of(tmp_path, "toxic")
    (tmp_path / shipped()["minilm-multihead-v5"].config.name).write_text("{}")
    with pytest.raises(JudgeError, match="is not the pinned file"):
        opened(path)


def test_an_address_of_another_kind_is_no_path():
    with pytest.raises(JudgeError, match="begins with triton:// or tritons://"):
        opened("https://triton.example/toxic")


# --- a directory -----------------------------------------------------------------------------


def test_a_directory_needs_no_manifest(tmp_path):
    judges = opened(write_directory(tmp_path / "house"))
    assert scored(judges, "toxic", "a garden", "what rubbish", "a casino") == [False, True, False]
    assert scored(judges, "spam_ads", "a garden", "what rubbish", "a casino") == [False, False, True]


def test_the_start_up_line_names_heads_model_and_digest(tmp_path):
    judges = opened(write_directory(tmp_path / "house"))
    model_id = judges.heads["toxic"].model_id
    assert judges.description.startswith(f"judge model {model_id} on CPUExecutionProvider")
    assert ", sha256 " in judges.description
    assert judges.description.endswith(
        ": heads toxic, spam_ads (sigmoid), from the policy's threshold on; windows of 64 tokens"
    )


def test_it_may_not_stand_in_for_the_injection_guards(tmp_path):
    folder = write_directory(tmp_path, labels=["SAFE", "INJECTION"])
    with pytest.raises(JudgeError, match="its head injection needs another name"):
        opened(folder)


@pytest.mark.parametrize("option", ["tokenizer", "authorities"])
def test_options_of_a_server_belong_to_none(tmp_path, option):
    with pytest.raises(JudgeError, match="belong to a triton:// address"):
        opened(write_directory(tmp_path), **{option: tmp_path})


# --- on a Triton -----------------------------------------------------------------------------


def rubbish_in(read):
    return [[0.9 if "rubbish" in text else 0.1, 0.2] for text in read["text"]]


@pytest.fixture
def texts():
    """A model of texts, which a test may change."""
    return Model(inputs=[("text", "BYTES", (-1,))], scores=lambda read: rubbish_in(read)[0])


@pytest.fixture
def address(texts):
    with serving({"tox": texts}) as port:
        yield f"triton://127.0.0.1:{port}/tox?labels=Toxic,Spam"


def test_a_served_model_is_asked_about_texts(address):
    judges = opened(address)
    assert judges.served.ready
    assert scored(judges, "toxic", "a garden", "what rubbish") == [False, True]
    assert scored(judges, "spam", "what rubbish") == [False]
    place = address.removeprefix("triton://").partition("/")[0]
    assert judges.description == (
        f"judge model triton/tox on {place}: heads toxic, spam (none), from the policy's threshold on; "
        "windows of 500 bytes"
    )


def test_a_served_model_of_other_scores_ends_the_start(address, texts):
    texts.scores = lambda _: [3.5, -1.0]
    with pytest.raises(JudgeError, match="activation=sigmoid or softmax must be written"):
        opened(address)
    judges = opened(f"{address}&activation=sigmoid")
    assert scored(judges, "toxic", "a") == [True]
    texts.scores = lambda _: [0.1, 0.1, 0.1]
    with pytest.raises(JudgeError, match="it must give 2 for each text"):
        opened(address)


def test_labels_must_be_told(address):
    with pytest.raises(JudgeError, match=r"as in \?labels=toxic,spam"):
        opened(address.partition("?")[0])


def test_a_server_that_is_not_there_yet_is_waited_for(texts, caplog):
    port = free_port()
    judges = opened(f"triton://127.0.0.1:{port}/tox?labels=toxic,spam")
    assert not judges.served.ready
    assert "the judge model is not there yet: tox at 127.0.0.1" in caplog.text
    assert judges.served.fault.endswith("gave UNAVAILABLE")
    with pytest.raises(ServerError):
        scored(judges, "toxic", "a")
    with serving({"tox": texts}, port=port):

        def found():
            judges.served.look()
            return judges.served.ready

        assert eventually(found, within_s=30)
        assert scored(judges, "toxic", "what rubbish") == [True]
    judges.served.look()
    assert not judges.served.ready


def test_a_model_that_is_replaced_by_another_kind_is_not_ready(address, texts):
    judges = opened(address)
    looked = len(texts.asked)
    judges.served.look()
    assert (judges.served.ready, len(texts.asked)) == (True, looked)
    texts.inputs = [("ids", "INT64", (-1,))]
    judges.served.look()
    assert not judges.served.ready
    assert "where one tensor of BYTES was expected" in judges.served.fault
    texts.inputs = [("text", "BYTES", (-1, -1))]
    texts.scores = rubbish_in
    judges.served.look()
    assert judges.served.ready
    assert len(texts.asked) == looked + 1


def test_a_server_is_not_asked_once_the_service_stops(address, texts):
    judges = opened(address)
    looked = len(texts.asked)
    judges.served.close()
    judges.served.look()
    assert not judges.served.ready
    assert judges.served.fault.endswith("is not asked any more")
    with pytest.raises(ServerError):
        scored(judges, "toxic", "a")
    assert len(texts.asked) == looked


@pytest.fixture
def tokens():
    """A model of token ids."""
    table = table_of(WORDS, 2)
    return Model(
        inputs=[(name, "INT64", (-1, -1)) for name in ("input_ids", "attention_mask")],
        outputs=[("logits", "FP32")],
        scores=lambda read: np.max(table[read["input_ids"]], axis=1),
        max_batch_size=4,
    )


def test_a_served_model_of_tokens_has_its_tokenizer_here(tokens, tmp_path):
    folder = write_directory(tmp_path / "house", weights=None)
    with serving({"tox": tokens}) as port:
        judges = opened(f"triton://127.0.0.1:{port}/tox/1", tokenizer=folder)
        assert judges.served.ready
        long = "garden " * 200 + "rubbish"
        assert scored(judges, "toxic", "a garden", long) == [False, True]
        assert scored(judges, "spam_ads", long) == [False]
        assert judges.heads["toxic"].model_id == "triton/tox/1"
        assert max(len(read["input_ids"]) for read in tokens.asked) == 4
        assert f"triton/tox/1 on 127.0.0.1:{port}, tokens as house:" in judges.description
        with pytest.raises(JudgeError, match=r"leave \?labels= out"):
            opened(f"triton://127.0.0.1:{port}/tox?labels=a,b", tokenizer=folder)


def test_a_model_of_tokens_says_that_it_needs_a_tokenizer(tokens):
    with serving({"tox": tokens}) as port, pytest.raises(JudgeError, match="needs --judge-tokenizer"):
        opened(f"triton://127.0.0.1:{port}/tox?labels=a,b")


def test_a_server_beyond_this_machine_is_warned_of_where_nothing_encrypts(caplog):
    with caplog.at_level(logging.WARNING):
        opened("triton://triton.invalid:8001/tox?labels=toxic&timeout_ms=1")
    assert "prompts go to triton.invalid:8001 unencrypted" in caplog.text


def test_authorities_are_those_of_a_server_with_a_certificate(tmp_path):
    authorities = tmp_path / "ca.pem"
    authorities.write_bytes(Authority().pem)
    place = "triton://127.0.0.1:1/tox?labels=toxic"
    with pytest.raises(JudgeError, match="only a tritons:// address"):
        opened(place, authorities=authorities)
    with pytest.raises(JudgeError, match="--judge-ca: No such file"):
        opened(place.replace("triton:", "tritons:"), authorities=tmp_path / "missing.pem")
    assert not opened(place.replace("triton:", "tritons:"), authorities=authorities).served.ready
