"""An annotation on its way to Envoy, as Envoy's own messages read it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from envoy.service.ext_proc.v3.external_processor_pb2 import ProcessingResponse
from google.protobuf.json_format import MessageToDict

from extproc.core import commands as cmd
from extproc.domain.head import HeaderEdits
from extproc.domain.ports import WireRefusal
from extproc.domain.segment import Unscanned
from extproc.domain.verdict import Action, Lane, Reason
from extproc.edge.translate import annotated, reply_bytes

ANNOTATION = cmd.Annotate(
    action=Action.REDACT,
    reason=Reason.PII_FOUND,
    guard="pii",
    tenant="acme",
    key_id="acme-1",
    model="m",
    policy_digest="0" * 64,
    degraded=True,
    input_tokens=3,
    output_tokens=70_000,
    route="generate",
    unscanned=(Unscanned.AUDIO, Unscanned.IMAGE),
    cost_usd=0.25,
)
REPLIES = (
    cmd.ReplyHeaders(Lane.REQUEST, HeaderEdits(remove=("authorization",))),
    cmd.ReplyHeaders(Lane.RESPONSE, HeaderEdits()),
    cmd.ReplyBody(Lane.RESPONSE, b"hello", end_stream=False),
    cmd.ReplyBody(Lane.RESPONSE, b"", end_stream=True),
    cmd.ReplyTrailers(Lane.RESPONSE),
    cmd.Refuse(WireRefusal(status=403, headers=(), body=b"no"), Reason.PII_FOUND),
)


@pytest.mark.parametrize("reply", REPLIES, ids=lambda reply: type(reply).__name__)
def test_a_reply_keeps_what_it_says_and_says_more(reply):
    plain = ProcessingResponse.FromString(reply_bytes(reply))
    noted = ProcessingResponse.FromString(annotated(reply_bytes(reply), ANNOTATION))
    assert MessageToDict(noted.dynamic_metadata) == {
        "headgate": {
            "action": "redact",
            "reason": "pii_found",
            "guard": "pii",
            "tenant": "acme",
            "key_id": "acme-1",
            "model": "m",
            "policy_digest": "0" * 64,
            "degraded": True,
            "input_tokens": 3.0,
            "output_tokens": 70_000.0,
            "route": "generate",
            "unscanned": "audio,image",
            "cost_usd": 0.25,
        }
    }
    noted.ClearField("dynamic_metadata")
    assert noted == plain


def test_without_a_price_there_is_no_cost():
    noted = ProcessingResponse.FromString(annotated(b"", replace(ANNOTATION, cost_usd=None)))
    assert "cost_usd" not in MessageToDict(noted.dynamic_metadata)["headgate"]


def test_an_annotation_is_no_reply():
    with pytest.raises(ValueError, match="not a reply"):
        reply_bytes(ANNOTATION)
