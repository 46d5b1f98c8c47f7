from __future__ import annotations

from extproc.codecs import codec_for, discover
from extproc.codecs.read_only import ReadOnlyCodec
from extproc.domain.head import RequestHead

READY = RequestHead(method="GET", path="/v2/health/ready")


def test_every_module_that_is_no_part_is_a_codec():
    assert [codec.name for codec in discover()] == [
        "anthropic_messages",
        "kserve_grpc",
        "kserve_grpc_read_only",
        "kserve_infer",
        "openai_chat",
        "openai_completions",
        "openai_embeddings",
        "openai_models",
        "openai_responses",
        "triton_admin",
        "triton_generate",
        "triton_read_only",
    ]


def test_the_one_codec_that_accepts_is_chosen():
    chosen = codec_for(discover(), READY)
    assert chosen is not None
    assert chosen.name == "triton_read_only"


def test_no_codec_and_two_codecs_are_both_refused():
    assert codec_for(discover(), RequestHead(method="POST", path="/v2/health/ready")) is None
    assert codec_for([ReadOnlyCodec(), ReadOnlyCodec(name="twin")], READY) is None
