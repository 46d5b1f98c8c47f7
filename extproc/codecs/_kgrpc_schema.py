"""The messages of KServe's gRPC service as far as they are read: their fields and how often each may stand.

Source: Triton's ``grpc_service.proto``. A field that is not here is refused where it comes.
"""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from extproc.wire.protobuf_fields import Rule, Schema, WireType

if TYPE_CHECKING:
    from collections.abc import Mapping

_BYTES: Final = WireType.LENGTH
_INTEGER: Final = WireType.VARINT


def _schema(name: str, fields: Mapping[int, tuple[WireType, Rule]]) -> Schema:
    return Schema(name, MappingProxyType(fields))


# ModelInferRequest, and where ModelInferResponse has the same numbers.
MODEL_NAME: Final = 1
MODEL_VERSION: Final = 2
ID: Final = 3
PARAMETERS: Final = 4
INPUTS: Final = 5
OUTPUTS: Final = 6
RAW_INPUTS: Final = 7
RESPONSE_OUTPUTS: Final = 5
RAW_OUTPUTS: Final = 6

# A tensor of either message.
NAME: Final = 1
DATATYPE: Final = 2
SHAPE: Final = 3
TENSOR_PARAMETERS: Final = 4
CONTENTS: Final = 5

# InferRequestedOutputTensor.
OUTPUT_PARAMETERS: Final = 2

# A map's entry, and InferParameter.
KEY: Final = 1
VALUE: Final = 2
BOOL_PARAM: Final = 1
INT64_PARAM: Final = 2
STRING_PARAM: Final = 3
DOUBLE_PARAM: Final = 4
UINT64_PARAM: Final = 5

# ModelStreamInferResponse.
ERROR_MESSAGE: Final = 1
INFER_RESPONSE: Final = 2

BYTES_CONTENTS: Final = 8
CONTENTS_OF: Final[Mapping[str, int]] = MappingProxyType(
    {
        "BOOL": 1,
        "INT8": 2,
        "INT16": 2,
        "INT32": 2,
        "INT64": 3,
        "UINT8": 4,
        "UINT16": 4,
        "UINT32": 4,
        "UINT64": 5,
        "FP32": 6,
        "FP64": 7,
        "BYTES": BYTES_CONTENTS,
    }
)
"""The field of InferTensorContents in which a datatype stands; half floats have none, and must come raw."""

REQUEST: Final = _schema(
    "the request",
    {
        MODEL_NAME: (_BYTES, Rule.ONE),
        MODEL_VERSION: (_BYTES, Rule.ONE),
        ID: (_BYTES, Rule.ONE),
        PARAMETERS: (_BYTES, Rule.MANY),
        INPUTS: (_BYTES, Rule.MANY),
        OUTPUTS: (_BYTES, Rule.MANY),
        RAW_INPUTS: (_BYTES, Rule.MANY),
    },
)
RESPONSE: Final = _schema(
    "the response",
    {
        MODEL_NAME: (_BYTES, Rule.ONE),
        MODEL_VERSION: (_BYTES, Rule.ONE),
        ID: (_BYTES, Rule.ONE),
        PARAMETERS: (_BYTES, Rule.MANY),
        RESPONSE_OUTPUTS: (_BYTES, Rule.MANY),
        RAW_OUTPUTS: (_BYTES, Rule.MANY),
    },
)
STREAM_RESPONSE: Final = _schema(
    "the response", {ERROR_MESSAGE: (_BYTES, Rule.ONE), INFER_RESPONSE: (_BYTES, Rule.ONE)}
)
TENSOR: Final = _schema(
    "a tensor",
    {
        NAME: (_BYTES, Rule.ONE),
        DATATYPE: (_BYTES, Rule.ONE),
        SHAPE: (_INTEGER, Rule.MANY),
        TENSOR_PARAMETERS: (_BYTES, Rule.MANY),
        CONTENTS: (_BYTES, Rule.ONE),
    },
)
CONTENTS_MESSAGE: Final = _schema(
    "a tensor's contents",
    {
        **dict.fromkeys((1, 2, 3, 4, 5), (_INTEGER, Rule.MANY)),
        6: (WireType.FIXED32, Rule.MANY),
        7: (WireType.FIXED64, Rule.MANY),
        BYTES_CONTENTS: (_BYTES, Rule.MANY),
    },
)
REQUESTED_OUTPUT: Final = _schema(
    "a requested output", {NAME: (_BYTES, Rule.ONE), OUTPUT_PARAMETERS: (_BYTES, Rule.MANY)}
)
MAP_ENTRY: Final = _schema("a parameter", {KEY: (_BYTES, Rule.ONE), VALUE: (_BYTES, Rule.ONE)})
PARAMETER: Final = _schema(
    "a parameter",
    {
        BOOL_PARAM: (_INTEGER, Rule.ONE_OF),
        INT64_PARAM: (_INTEGER, Rule.ONE_OF),
        STRING_PARAM: (_BYTES, Rule.ONE_OF),
        DOUBLE_PARAM: (WireType.FIXED64, Rule.ONE_OF),
        UINT64_PARAM: (_INTEGER, Rule.ONE_OF),
    },
)
# ModelReadyRequest, ModelMetadataRequest and ModelConfigRequest alike.
MODEL_QUESTION: Final = _schema("the request", {1: (_BYTES, Rule.ONE), 2: (_BYTES, Rule.ONE)})
HEALTH_QUESTION: Final = _schema("the request", {1: (_BYTES, Rule.ONE)})
NO_QUESTION: Final = _schema("the request", {})
