"""What roles and origins leave to be judged; and that codecs keep to what is said of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import pytest

from extproc import codecs
from extproc.domain.errors import PolicyError
from extproc.domain.head import RequestHead
from extproc.domain.segment import Origin, Role
from extproc.policy.narrowing import judges_nothing, occurs

GOLDEN = Path(__file__).parents[1] / "golden" / "codecs"
SAMPLES = {
    f"{path.parent.name}/{path.stem}": json.loads(path.read_text()) for path in GOLDEN.glob("*/*.json")
}


@dataclass(frozen=True)
class Narrowed:
    roles: tuple[Role, ...] = ()
    origins: tuple[Origin, ...] = ()


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_every_part_that_a_codec_finds_is_one_that_occurs(name):
    sample = SAMPLES[name]
    headers = {key: (value,) for key, value in sample.get("request_headers", {}).items()}
    head = RequestHead(method=sample["method"], path=sample["path"], headers=headers)
    codec = codecs.codec_for(codecs.discover(), head)
    assert codec is not None
    body = sample["request"].encode(sample.get("encoding", "utf-8"))
    for message in codec.open(head).read_request(body, eof=True):
        assert all(occurs(one.role, one.origin) for one in message.segments)


@pytest.mark.parametrize("role", Role)
def test_every_role_alone_has_parts(role):
    assert not judges_nothing(Narrowed(roles=(role,)))


@pytest.mark.parametrize("origin", Origin)
def test_every_origin_alone_has_parts(origin):
    assert not judges_nothing(Narrowed(origins=(origin,)))


@pytest.mark.parametrize(
    ("roles", "origins", "nothing"),
    [
        ((), (), False),
        ((Role.ASSISTANT,), (Origin.TOOL_RESULT,), True),
        ((Role.TOOL,), (Origin.DIRECT, Origin.DOCUMENT), True),
        ((Role.TOOL, Role.USER), (Origin.DIRECT,), False),
        ((Role.USER,), (Origin.DOCUMENT,), False),
    ],
)
def test_pairs_that_never_meet_judge_nothing(roles, origins, nothing):
    assert judges_nothing(Narrowed(roles, origins)) is nothing


def test_a_policy_whose_guard_would_judge_nothing_does_not_load(policies):
    text = "version: 1\npolicies:\n  a:\n    guards:\n      injection:\n        roles: [assistant]\n"
    policies.parse(text)
    with pytest.raises(PolicyError) as caught:
        policies.parse(text + "        origins: [tool_result]\n")
    assert str(caught.value) == (
        "policy.yaml:7:9: policies.a.guards.injection.origins: never goes with these roles, so that "
        "nothing would be judged; write tool_result or tool_description for the role tool, direct or "
        "document for others"
    )
