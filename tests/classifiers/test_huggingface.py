"""A directory as Hugging Face's tools leave it, with a model that is made here."""

from __future__ import annotations

import hashlib
import json
import pickle

import pytest
from tiny_classifier import LABELS, WORDS, graph, table_of, write_directory
from tokenizers import Tokenizer, models, pre_tokenizers, processors, trainers

from classifiers.classifier import Classifier
from classifiers.errors import ModelError
from classifiers.huggingface import head_name, heads_of, read_directory
from classifiers.model import Activation
from classifiers.registry import load_operator
from classifiers.runtimes import RuntimeOptions, discover
from classifiers.windows import Windower


def opened(place, head):
    model = load_operator(place)
    return Classifier(model, discover()["onnx"].open(model, RuntimeOptions()), head=head)


def edit(folder, **changes):
    file = folder / "config.json"
    settings = {**json.loads(file.read_text(encoding="utf-8")), **changes}
    kept = {name: value for name, value in settings.items() if value is not None}
    file.write_text(json.dumps(kept), encoding="utf-8")


@pytest.fixture
def folder(tmp_path):
    return write_directory(tmp_path / "house-toxicity")


def test_its_labels_are_heads_that_score_their_own_words(folder):
    model = load_operator(folder)
    assert list(model.manifest.heads) == ["toxic", "spam_ads"]
    texts = ["the garden library", "what Rubbish", "a casino garden"]
    assert [one.score > 0.9 for one in opened(folder, "toxic").score(texts)] == [False, True, False]
    assert [one.score > 0.9 for one in opened(folder, "spam_ads").score(texts)] == [False, False, True]


def test_every_word_of_a_long_text_is_judged(folder):
    toxic = opened(folder, "toxic")
    for at in (0, 61, 62, 100, 299):
        words = ["garden"] * 300
        words[at] = "rubbish"
        (score,) = toxic.score([" ".join(words)])
        assert score.score > 0.9, at
        assert score.window_count > 4


def byte_pairs():
    """A tokenizer as RoBERTa's and ModernBERT's are: of bytes, with special tokens of other names."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    special = ["<s>", "<pad>", "</s>"]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(["the garden and the library"] * 20, trainer)
    made.post_processor = processors.RobertaProcessing(("</s>", 2), ("<s>", 0))
    return made


def test_bytes_in_pairs_are_all_in_a_window_and_special_tokens_are_the_models_own(folder):
    made = byte_pairs()
    made.save(str(folder / "tokenizer.json"))
    windower = Windower(load_operator(folder))
    text = "the garden </s> <s> \U0001f600 h\u00e4 " * 900
    cut = windower.cut(text)
    covered = bytearray(len(text))
    for window in cut.windows:
        covered[window.start : window.end] = b"\x01" * (window.end - window.start)
        assert (window.ids[0], window.ids[-1]) == (0, 2)
        assert not {0, 1, 2} & set(window.ids[1:-1].tolist())
    assert covered == b"\x01" * len(text)


def test_its_id_is_its_name_and_a_digest_of_all_that_was_read(folder):
    model = load_operator(folder)
    assert model.manifest.weights is not None
    assert model.manifest.weights.sha256 == hashlib.sha256(model.weights).hexdigest()
    name, _, digest = model.id.partition(":")
    assert (name, len(digest)) == ("house-toxicity", 12)
    edit(folder, id2label={"0": "other", "1": "more"})
    relabelled = load_operator(folder)
    assert relabelled.id != model.id
    (folder / "tokenizer_config.json").write_text('{"model_max_length": 32}', encoding="utf-8")
    assert load_operator(folder).id not in {model.id, relabelled.id}


def test_odd_names_of_folders_stay_out_of_the_id(tmp_path):
    folder = write_directory(tmp_path / "häß lich @v1")
    assert load_operator(folder).id.partition(":")[0] == "h-lich-v1"


@pytest.mark.parametrize(
    ("kind", "labels", "activation"),
    [
        ("multi_label_classification", 2, Activation.SIGMOID),
        ("single_label_classification", 2, Activation.SOFTMAX),
        ("single_label_classification", 1, Activation.SIGMOID),
        (None, 2, Activation.SOFTMAX),
        (None, 1, Activation.SIGMOID),
    ],
)
def test_one_or_several_labels_hold_as_config_says(tmp_path, kind, labels, activation):
    words = {word: column for word, column in WORDS.items() if column is None or column < labels}
    folder = write_directory(tmp_path, labels=LABELS[:labels], words=words, config={"problem_type": kind})
    assert {head.activation for head in load_operator(folder).manifest.heads.values()} == {activation}


def test_a_regression_is_no_classifier(folder):
    edit(folder, problem_type="regression")
    with pytest.raises(ModelError, match="problem_type must be single_label_classification or"):
        load_operator(folder)


def test_softmax_scores_of_a_text_add_up_to_one(folder):
    edit(folder, problem_type="single_label_classification")
    scores = [opened(folder, head).score(["rubbish"])[0].score for head in ("toxic", "spam_ads")]
    assert sum(scores) == pytest.approx(1)
    assert scores[0] > 0.9


def test_a_column_too_many_is_found_at_the_start(folder):
    edit(folder, id2label={"0": "toxic"})
    with pytest.raises(ModelError, match="check that weights, tokenizer and heads belong together"):
        opened(folder, "toxic")


# --- which weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["onnx/model.onnx", "model_quantized.onnx", "onnx/model_int8.onnx"])
def test_an_export_is_found_wherever_the_tools_put_it(tmp_path, name):
    folder = write_directory(tmp_path / "one", weights=name)
    assert load_operator(folder).manifest.weights.name == name


def test_of_several_exports_the_plain_one_is_taken(folder):
    (folder / "model_quantized.onnx").write_bytes(b"other")
    assert load_operator(folder).manifest.weights.name == "model.onnx"


def test_one_of_several_may_be_named(folder):
    (folder / "onnx").mkdir()
    other = folder / "onnx" / "model_O2.onnx"
    other.write_bytes(graph(table_of(WORDS, 2)))
    model = load_operator(other)
    assert model.manifest.weights.name == "onnx/model_O2.onnx"
    assert model.id.startswith("house-toxicity:")


def test_several_without_a_plain_one_are_named(tmp_path):
    folder = write_directory(tmp_path, weights="onnx/model_int8.onnx")
    (folder / "onnx" / "model_fp16.onnx").write_bytes(b"")
    with pytest.raises(ModelError, match=r"several exports \(onnx/model_fp16.onnx, onnx/model_int8.onnx\)"):
        load_operator(folder)


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_weights_of_pytorch_are_not_opened_and_the_way_out_is_told(tmp_path, name):
    folder = write_directory(tmp_path, weights=None)
    (folder / name).write_bytes(pickle.dumps("never read"))
    with pytest.raises(ModelError, match="which is not opened") as caught:
        load_operator(folder)
    assert name in str(caught.value)
    assert f"optimum-cli export onnx --model {folder} --task text-classification" in str(caught.value)


def test_weights_in_a_second_file_are_refused(folder):
    (folder / "model.onnx_data").write_bytes(b"")
    with pytest.raises(ModelError, match=r"keeps its weights in model\.onnx_data"):
        load_operator(folder)


def test_a_model_of_dynamic_quantisation_gets_one_window_at_a_time(folder):
    assert load_operator(folder).manifest.row_independent
    weights = folder / "model.onnx"
    weights.write_bytes(weights.read_bytes() + b"DynamicQuantizeLinear")
    assert not load_operator(folder).manifest.row_independent


def test_inputs_that_cannot_be_fed_are_named(tmp_path):
    names = ("input_ids", "attention_mask", "position_ids", "past_key_values.0.key")
    folder = write_directory(tmp_path, inputs=names)
    with pytest.raises(ModelError, match=r"; past_key_values\.0\.key, position_ids cannot be fed"):
        opened(folder, "toxic")


def test_token_types_are_fed(tmp_path):
    folder = write_directory(tmp_path, inputs=("input_ids", "attention_mask", "token_type_ids"))
    assert opened(folder, "toxic").score(["rubbish"])[0].score > 0.9


def test_an_export_of_fixed_length_is_found_at_the_start(tmp_path):
    folder = write_directory(tmp_path, sequence=16)
    with pytest.raises(ModelError, match="its first run failed"):
        opened(folder, "toxic")


# --- config.json and the tokenizer -----------------------------------------------------------


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_what_is_missing_is_named_with_what_writes_it(folder, name):
    (folder / name).unlink()
    with pytest.raises(ModelError, match="save_pretrained") as caught:
        load_operator(folder)
    assert name in str(caught.value)


def test_what_is_no_directory_is_told(tmp_path):
    with pytest.raises(ModelError, match=r"is no manifest \(\.toml\), no directory and no \.onnx file"):
        load_operator(tmp_path / "missing")


@pytest.mark.parametrize("content", ["[]", "{", "[" * 100_000])
def test_a_config_that_is_no_object_is_refused(folder, content):
    (folder / "config.json").write_text(content, encoding="utf-8")
    with pytest.raises(ModelError, match="is no JSON object"):
        load_operator(folder)


@pytest.mark.parametrize("labels", [{}, [], {"1": "a"}, {"0": "a", "2": "b"}, {"0": 7}, "toxic"])
def test_labels_of_no_use_are_refused(folder, labels):
    edit(folder, id2label=labels)
    with pytest.raises(ModelError, match="id2label must"):
        load_operator(folder)


def test_labels_that_are_not_written_are_the_two_that_hugging_face_means(folder):
    edit(folder, id2label=None)
    assert list(load_operator(folder).manifest.heads) == ["label_0", "label_1"]


def test_labels_are_named_as_a_policy_can_name_them():
    labels = ["Toxic", "hate/Threatening", "S1: Violént", "有害", "a" * 100]
    names = list(heads_of(labels, Activation.SIGMOID, where="here"))
    assert names == ["toxic", "hate_threatening", "s1_violent", "label_3", "a" * 64]
    with pytest.raises(ModelError, match="here: two labels are both called not_ok here"):
        heads_of(["not ok", "not-ok"], Activation.SIGMOID, where="here")
    assert head_name("!?") == ""


@pytest.mark.parametrize(
    ("config", "longest", "window_tokens"),
    [
        ({}, None, 64),
        ({}, 10**30, 64),
        ({}, 48, 48),
        ({"max_position_embeddings": 8192}, None, 512),
        ({"max_position_embeddings": None}, 100, 100),
        ({"max_position_embeddings": None, "n_positions": 40}, None, 40),
        ({"max_position_embeddings": 66, "model_type": "xlm-roberta", "pad_token_id": 1}, None, 64),
    ],
)
def test_a_window_is_what_the_model_has_positions_for(folder, config, longest, window_tokens):
    edit(folder, **config)
    if longest is not None:
        (folder / "tokenizer_config.json").write_text(json.dumps({"model_max_length": longest}))
    manifest = load_operator(folder).manifest
    assert manifest.window_tokens == window_tokens
    assert 0 < manifest.stride_tokens < window_tokens - 2


@pytest.mark.parametrize(
    ("config", "what"),
    [
        ({"max_position_embeddings": None}, "write there how many tokens the model can read at once"),
        ({"max_position_embeddings": 15}, "reads fewer than 16 tokens"),
    ],
)
def test_a_model_of_no_known_length_is_refused(folder, config, what):
    edit(folder, **config)
    with pytest.raises(ModelError, match=what):
        load_operator(folder)


def test_the_padding_token_is_configs(folder):
    edit(folder, pad_token_id=3)
    assert opened(folder, "toxic")._windower.pad_id == 3


def test_a_servers_model_needs_no_weights(tmp_path):
    model = read_directory(write_directory(tmp_path, weights=None), weights=False)
    assert (model.weights, model.manifest.weights) == (b"", None)
    served = model.served_as("triton/m", Activation.NONE)
    assert served.id == "triton/m"
    assert {head.activation for head in served.manifest.heads.values()} == {Activation.NONE}
    kept = model.served_as("triton/m", None).manifest.heads
    assert kept == model.manifest.heads
