import pytest
from hypothesis import given
from hypothesis import strategies as st

from extproc.explain.endpoints import framed, is_grpc


@pytest.mark.parametrize(
    ("path", "grpc"),
    [
        ("/inference.GRPCInferenceService/ModelInfer", True),
        ("/inference.GRPCInferenceService/", False),
        ("/v2/models/m.n/infer", False),
        ("/v1/models", False),
        ("/v1.0/models", False),
    ],
)
def test_a_method_of_grpc_is_known_by_its_path(path, grpc):
    assert is_grpc(path) is grpc


@given(st.binary(max_size=40).filter(lambda one: one[:1] > b"\1"))
def test_a_message_alone_gets_its_frame(message):
    frame = b"\0" + len(message).to_bytes(4) + message
    assert framed(message) == frame
    # What stands in frames stays as it is.
    assert framed(frame) == frame
    assert framed(frame + frame) == frame + frame


def test_an_empty_message_has_a_frame_too():
    assert framed(b"") == bytes(5)
