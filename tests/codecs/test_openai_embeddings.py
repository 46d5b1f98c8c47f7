"""The session, and the session in a stream."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from doubles import Playbook, bound, budget, granted, policy, watching
from hypothesis import given
from hypothesis import strategies as st

from extproc.codecs.openai_embeddings import CODEC
from extproc.core import commands as cmd
from extproc.domain.errors import PeerError
from extproc.domain.head import RequestHead
from extproc.domain.segment import Operation
from extproc.domain.verdict import Lane, Mode, Reason, Stage

PATH = "/v1/embeddings"
BODY = b'{"model":"m","input":["hi","ho"],"dimensions":2}'
ANSWER = json.dumps(
    {
        "object": "list",
        "data": [{"object": "embedding", "embedding": [0.5, -0.25], "index": at} for at in range(2)],
        "model": "m",
        "usage": {"prompt_tokens": 3, "total_tokens": 3},
    }
).encode()


def head(path: str = PATH, method: str = "POST") -> RequestHead:
    return RequestHead(method=method, path=path)


@pytest.mark.parametrize("path", [f"{PATH}/", "/v1/embedding", "/v1/completions", ""])
def test_every_other_path_is_not_this_codecs(path):
    assert CODEC.accepts(head(path)) is False
    with pytest.raises(PeerError) as caught:
        CODEC.open(head(path))
    assert (caught.value.reason, caught.value.status) == (Reason.PATH_NOT_ALLOWED, 404)


def test_only_post_is_accepted():
    assert [CODEC.accepts(head(method=method)) for method in ("POST", "GET", "post")] == [
        True,
        False,
        False,
    ]


def test_the_request_is_one_of_embeddings():
    (message,) = CODEC.open(head()).read_request(BODY, eof=True)
    assert message.operation is Operation.EMBEDDINGS
    assert [segment.text for segment in message.segments] == ["hi", "ho"]


def answered(*chunks: bytes, mode: Mode = Mode.ENFORCE, kind: str = "application/json") -> Playbook:
    play = Playbook(policy(watching(mode=mode)), codecs=[CODEC])
    play.head(PATH)
    play.body(BODY, end=True)
    play.answer_head(content_type=kind)
    for chunk in chunks[:-1]:
        play.answer(chunk)
    play.answer(chunks[-1], end=True)
    return play


@given(st.lists(st.integers(0, len(ANSWER)), max_size=5), st.sampled_from([Mode.ENFORCE, Mode.SHADOW]))
def test_chunks_mean_nothing_and_no_byte_changes(places, mode):
    cuts = [0, *sorted(places), len(ANSWER)]
    play = answered(*(ANSWER[start:end] for start, end in pairwise(cuts)), mode=mode)
    assert play.sent(Lane.RESPONSE) == ANSWER


def test_text_in_the_answer_is_redacted():
    document = json.loads(ANSWER) | {"model": "hunter2", "hunter2": "so hunter2"}
    sent = json.loads(answered(json.dumps(document).encode()).sent(Lane.RESPONSE))
    assert (sent["model"], sent["[SECRET]"]) == ("[SECRET]", "so [SECRET]")
    assert sent["data"] == document["data"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (ANSWER.replace(b"-0.25", b"-0.25,1"), "application/json"),
        (ANSWER.replace(b"[0.5, -0.25]", b'"hunter2"'), "application/json"),
        (b"data: " + ANSWER + b"\n\n", "text/event-stream"),
    ],
)
def test_an_answer_that_is_none_is_a_refusal(answer, kind):
    play = answered(answer, kind=kind)
    (refused,) = play.of(cmd.Refuse)
    assert refused.refusal.status == 502
    assert json.loads(refused.refusal.body)["error"]["code"] == "upstream_unreadable"


def test_no_limit_is_written_and_the_inputs_are_settled():
    play = Playbook(policy(bound(budget(), name="budget", stage=Stage.BUDGET)), codecs=[CODEC])
    play.head(PATH)
    play.body(BODY, end=True)
    play.effect(0, granted())
    play.answer_head(content_type="application/json")
    play.answer(ANSWER, end=True)
    assert play.effects()[-1].effect.tokens == 3


@given(st.binary(max_size=60))
def test_arbitrary_bytes_never_raise(raw):
    assert answered(raw).stream.done
    play = Playbook(policy(watching()), codecs=[CODEC])
    play.head(PATH)
    play.body(raw, end=True)
    assert play.sent(Lane.REQUEST) == b""
