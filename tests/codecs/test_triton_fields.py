from __future__ import annotations

import pytest

from extproc.codecs import _triton_fields as fields
from extproc.codecs._triton_fields import Kind
from extproc.domain.segment import Backend, Unscanned


@pytest.mark.parametrize(
    ("name", "kind", "sampling_name"),
    [
        ("text_input", Kind.PROMPT, "text_input"),
        ("decoder_text_input", Kind.PROMPT, "decoder_text_input"),
        ("sampling_parameters", Kind.SAMPLING, "sampling_parameters"),
        ("max_tokens", Kind.LIMIT, "max_tokens"),
        ("sampling_param_max_tokens", Kind.LIMIT, "sampling_param_max_tokens"),
        ("request_output_len", Kind.LIMIT, "request_output_len"),
        ("n", Kind.MULTIPLIER, "n"),
        ("sampling_param_best_of", Kind.MULTIPLIER, "best_of"),
        ("temperature", Kind.PARAMETER, "temperature"),
        ("sampling_param_temperature", Kind.PARAMETER, "temperature"),
        ("lora_name", Kind.PARAMETER, "lora_name"),
        ("streaming", Kind.FLAG, "streaming"),
        ("return_logprobs", Kind.FLAG_OFF, "return_logprobs"),
        ("image", Kind.UNSCANNED, "image"),
        ("image_url", Kind.ADDRESS, "image_url"),
        ("image_frames", Kind.REFUSED, "image_frames"),
        ("lora_path", Kind.REFUSED, "lora_path"),
        ("shared_memory_region", Kind.REFUSED, "shared_memory_region"),
        # A prefix makes no other field of one that is no sampling field.
        ("sampling_param_text_input", Kind.REFUSED, "sampling_param_text_input"),
        ("sampling_param_sequence_id", Kind.REFUSED, "sampling_param_sequence_id"),
        ("", Kind.PARAMETER, ""),
        ("sampling_param_", Kind.PARAMETER, ""),
    ],
)
def test_a_name_means_one_thing(name: str, kind: Kind, sampling_name: str):
    meaning = fields.meaning_of(name)
    assert (meaning.kind, meaning.sampling_name) == (kind, sampling_name)


def test_content_says_of_which_kind_it_is():
    for name in fields.KNOWN_NAMES:
        meaning = fields.meaning_of(name)
        content = meaning.kind in {Kind.UNSCANNED, Kind.ADDRESS}
        assert (meaning.unscanned is not None) == content
    assert fields.meaning_of("input_ids").unscanned is Unscanned.TOKEN_IDS
    assert fields.meaning_of("video_url").unscanned is Unscanned.VIDEO


def test_every_backend_is_known_and_its_limit_is_one():
    assert set(fields.FIELDS_OF) == set(Backend)
    limits = {known.limit for known in fields.FIELDS_OF.values() if known.limit is not None}
    assert limits <= fields.LIMITS_OF_OUTPUT
    assert all(fields.meaning_of(name).kind is Kind.LIMIT for name in fields.LIMITS_OF_OUTPUT)
    assert fields.FIELDS_OF[Backend.NONE] == fields.BackendFields()


@pytest.mark.parametrize("backend", Backend)
def test_what_asks_for_counts_is_a_flag(backend: Backend):
    flags = fields.FIELDS_OF[backend].usage_flags
    assert all(fields.meaning_of(name).kind is Kind.FLAG for name in flags)
    assert all(name.startswith("return_") for name in flags)
