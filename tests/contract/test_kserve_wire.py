"""Our part of KServe's gRPC has the numbers and types of Triton's own client."""

from __future__ import annotations

import pytest
from tritonclient.grpc import model_config_pb2, service_pb2

from classifiers.pb import kserve_wire_pb2 as ours

TRITONS = {
    "ModelQuestion": service_pb2.ModelReadyRequest,
    "ModelReadyResponse": service_pb2.ModelReadyResponse,
    "ModelMetadataResponse": service_pb2.ModelMetadataResponse,
    "ModelConfigResponse": service_pb2.ModelConfigResponse,
    "ModelConfig": model_config_pb2.ModelConfig,
    "ModelInferRequest": service_pb2.ModelInferRequest,
    "ModelInferResponse": service_pb2.ModelInferResponse,
    "RequestedOutput": service_pb2.ModelInferRequest.InferRequestedOutputTensor,
}
TENSORS = (
    service_pb2.ModelMetadataResponse.TensorMetadata,
    service_pb2.ModelInferRequest.InferInputTensor,
    service_pb2.ModelInferResponse.InferOutputTensor,
)


def fields(message):
    return {
        field.name: (field.number, field.type, field.is_repeated) for field in message.DESCRIPTOR.fields
    }


def test_every_message_is_held_against_one_of_tritons():
    assert set(ours.DESCRIPTOR.message_types_by_name) == {*TRITONS, "Tensor"}


@pytest.mark.parametrize(
    ("name", "theirs"), [*TRITONS.items(), *(("Tensor", tensor) for tensor in TENSORS)]
)
def test_its_fields_are_tritons(name, theirs):
    assert fields(getattr(ours, name)).items() <= fields(theirs).items()


@pytest.mark.parametrize("theirs", [service_pb2.ModelMetadataRequest, service_pb2.ModelConfigRequest])
def test_the_other_questions_have_the_same_fields(theirs):
    assert fields(ours.ModelQuestion) == fields(theirs)
