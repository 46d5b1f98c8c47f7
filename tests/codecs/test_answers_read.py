"""Answers that models read, on every wire: the text as redacted whole, the stream one that clients take."""

from __future__ import annotations

from dataclasses import replace

import pytest
from answer_wires import WIRES, grpc_messages, stream_infer_answer
from grpc_calls import infer, is_final
from hypothesis import given, settings
from hypothesis import strategies as st
from read_answers import BADNESS, Heard, judges, reads, snapshot, union_on_whole
from redaction_texts import split
from span_model import ADDRESSES, NAMES
from tritonclient.grpc import service_pb2 as pb

from extproc.domain.limits import LIMITS
from extproc.domain.reading import OnDeadline
from extproc.domain.verdict import Action, Mode, Reason
from extproc.guards._rules import OnFinding
from extproc.wire.grpc_frames import framed

MAIL = "ann@example.com"
words = st.sampled_from(
    [*NAMES, *ADDRESSES, MAIL, "Ann", "walks home", "so be it.", "why?", "x" * 40, "漢字。", "\n"]
)
texts = st.lists(st.tuples(words, st.sampled_from([" ", " ", ". ", ""])), min_size=1, max_size=40).map(
    lambda pairs: "".join(word + space for word, space in pairs)
)
STRICT = snapshot(reads())
every_wire = pytest.mark.parametrize("wire", WIRES, ids=lambda wire: wire.name)
streaming = pytest.mark.parametrize(
    "wire", [one for one in WIRES if one.streams], ids=lambda wire: wire.name
)
LONG = "Please go and ask Ann Smith at 12 Elm Street about that mail to ann@example.com. " * 4


@every_wire
@settings(max_examples=40, deadline=None)
@given(
    text=texts, cuts=st.lists(st.integers(0, 900), max_size=12), chance=st.randoms(use_true_random=False)
)
def test_any_pieces_and_any_delay_give_the_whole_texts_redaction(wire, text, cuts, chance):
    heard = Heard(wire, STRICT)
    heard.play(wire.say(split(text, cuts)), chance)
    assert heard.text() == union_on_whole(text)
    assert heard.record.answer_chars_unread == 0


@streaming
def test_what_an_answer_lets_go_goes_out_at_once(wire):
    heard = Heard(wire, STRICT)
    chunks = wire.say([LONG[at : at + 20] for at in range(0, len(LONG), 20)])
    for data in chunks[:-4]:
        heard.chunk(data)
    assert heard.text(whole=False) == ""
    heard.answer_all()
    shown = heard.text(whole=False)
    assert "[PERSON] at [LOCATION]" in shown
    assert union_on_whole(LONG).startswith(shown)
    for data in chunks[-4:]:
        heard.chunk(data)
    heard.end()
    heard.answer_all()
    assert heard.text() == union_on_whole(LONG)


# --- several requests on one stream ----------------------------------------------------------

GRPC = next(one for one in WIRES if one.name == "stream_infer")


class Several(Heard):
    """Two requests on one stream, and what is answered to each."""

    def __init__(self, *guards):
        asked = b"".join(
            framed(infer("m", "hi", request_id=name, limit=99).SerializeToString()) for name in ("a", "b")
        )
        super().__init__(replace(GRPC, request=asked), snapshot(*guards))

    def said(self, key: int, text: str, *, final: bool = False) -> None:
        self.chunk(stream_infer_answer(text, key=key, final=final))

    def told(self) -> dict[str, tuple[str, str]]:
        """By the client's names: what was said, and the error."""
        found = {"a": ("", ""), "b": ("", "")}
        for message in grpc_messages(self.data):
            one = pb.ModelStreamInferResponse.FromString(message)
            text, error = found[one.infer_response.id]
            said = b"".join(raw[4:] for raw in one.infer_response.raw_output_contents)
            found[one.infer_response.id] = (text + said.decode(), error + one.error_message)
        return found


def test_one_that_is_not_read_is_refused_alone():
    heard = Several(reads())
    heard.said(0, LONG)
    heard.said(1, LONG)
    first, second = heard.waiting
    assert (first.exchange, second.exchange) == (0, 1)
    heard.fail(at=0)
    heard.said(0, LONG, final=True)
    heard.said(1, "", final=True)
    heard.end()
    heard.answer_all()
    told = heard.told()
    assert told["b"] == (union_on_whole(LONG), "")
    assert told["a"][0] == ""
    assert "a model that must read the answer is not available" in told["a"][1]
    assert [(one.exchange, one.reason) for one in heard.book.records()] == [
        (0, Reason.CLASSIFIER_UNAVAILABLE),
        (1, Reason.REDACTED),
    ]


def test_one_that_is_not_read_to_its_end_is_refused_alone():
    heard = Several(reads())
    heard.said(0, "It was Ann Smith.", final=True)
    # Behind the one that waits.
    heard.said(1, "It was Bob Stone.", final=True)
    heard.end()
    assert [one.exchange for one in heard.waiting] == [0]
    heard.fail()
    assert [one.exchange for one in heard.waiting] == [1]
    heard.answer_all()
    told = heard.told()
    assert told["b"] == ("It was [PERSON].", "")
    assert (told["a"][0], bool(told["a"][1])) == ("", True)
    assert [one.exchange for one in heard.book.records()] == [0, 1]


def test_the_record_of_each_waits_for_its_own_shadow():
    heard = Several(reads(mode=Mode.SHADOW))
    heard.said(0, "It was Ann Smith.", final=True)
    heard.said(1, "It was Bob Stone and Li Wei.", final=True)
    assert heard.told() == {"a": ("It was Ann Smith.", ""), "b": ("It was Bob Stone and Li Wei.", "")}
    assert heard.book.records() == []
    heard.answer(1)
    assert [one.exchange for one in heard.book.records()] == [1]
    heard.end()
    heard.answer_all()
    counts = {one.exchange: one.entities[0].count for one in heard.book.records()}
    assert counts == {0: 1, 1: 2}
    assert heard.book.stream.idle


def test_a_finding_refuses_one_alone():
    heard = Several(reads(answer=OnFinding.BLOCK))
    heard.said(0, LONG)
    heard.said(1, "Nothing here. ", final=True)
    heard.said(0, "", final=True)
    heard.end()
    heard.answer_all()
    told = heard.told()
    assert told["b"] == ("Nothing here. ", "")
    assert "withheld" in told["a"][1]


@settings(max_examples=40, deadline=None)
@given(first=texts, second=texts, chance=st.randoms(use_true_random=False))
def test_neighbours_on_a_stream_keep_their_own_text(first, second, chance):
    heard = Several(reads())
    rest = {0: first, 1: second}
    while rest:
        key = chance.choice(sorted(rest))
        size = chance.randrange(1, 60)
        heard.said(key, rest[key][:size], final=size >= len(rest[key]))
        rest[key] = rest[key][size:]
        if not rest[key]:
            del rest[key]
        while heard.waiting and chance.random() < 0.4:
            heard.answer(chance.randrange(len(heard.waiting)))
    heard.end()
    heard.answer_all()
    assert heard.told() == {"a": (union_on_whole(first), ""), "b": (union_on_whole(second), "")}


def test_a_record_waits_for_no_question_that_is_not_asked():
    heard = Several(judges(mode=Mode.SHADOW))
    heard.said(0, f"This first sentence of it speaks of {BADNESS}, which nobody wants. ")
    heard.said(1, LONG[:90])
    # Behind the two questions, the second request first.
    heard.said(1, LONG * 4)
    heard.said(0, LONG)
    heard.said(0, "", final=True)
    heard.said(1, "", final=True)
    heard.end()
    assert [one.exchange for one in heard.waiting] == [0, 1]
    # One finding is enough: what of its answer waits for its turn is not asked any more.
    heard.answer()
    assert [one.exchange for one in heard.book.records()] == [0]
    heard.answer_all()
    assert [one.exchange for one in heard.book.records()] == [0, 1]
    assert heard.book.stream.idle


def test_a_stream_that_breaks_still_asks_for_the_records_of_those_before():
    heard = Several(reads(mode=Mode.SHADOW))
    heard.said(1, LONG * 4)
    heard.said(0, "It was Ann Smith.", final=True)
    assert [one.exchange for one in heard.waiting] == [1, 1]
    heard.chunk(b"no message of gRPC")
    assert [one.exchange for one in heard.book.records()] == [1]
    heard.answer_all()
    assert [one.exchange for one in heard.book.records()] == [1, 0]
    assert heard.book.stream.idle


@pytest.mark.parametrize("final", [True, False])
@pytest.mark.parametrize("first", [True, False])
def test_nothing_of_an_exchange_follows_its_refusal(final, first):
    """At a deadline text of two channels is due; what is found in one of them refuses both."""
    found, plain = f"Write to {MAIL} at once", "Some plain words"
    texts = (found, plain) if first else (plain, found)
    message = pb.ModelStreamInferResponse.FromString(stream_infer_answer(texts[0], final=final)[5:])
    message.infer_response.outputs.add(name="other", datatype="BYTES", shape=[1])
    raw = texts[1].encode()
    message.infer_response.raw_output_contents.append(len(raw).to_bytes(4, "little") + raw)
    heard = Several(reads(answer=OnFinding.BLOCK, on_deadline=OnDeadline.RELEASE_RULES))
    heard.chunk(framed(message.SerializeToString()))
    heard.pass_deadline()
    sent = [pb.ModelStreamInferResponse.FromString(one) for one in grpc_messages(heard.data)]
    assert [bool(one.error_message) for one in sent].count(True) == 1
    assert sent[-1].error_message
    assert is_final(sent[-1])


def test_texts_that_wait_to_be_told_of_are_bounded():
    """A parameter is a text of its own in each message, and none of them waits for the model."""
    heard = Several(reads(mode=Mode.SHADOW))
    message = pb.ModelStreamInferResponse.FromString(stream_infer_answer("a")[5:])
    message.infer_response.parameters["note"].string_param = "Ann Smith walks home"
    several = framed(message.SerializeToString()) * 50
    for _ in range(5):
        heard.chunk(several)
    heard.said(0, "", final=True)
    heard.said(1, "", final=True)
    heard.end()
    heard.answer_all()
    first = heard.book.records()[-1]
    assert (first.exchange, first.degraded, first.action) == (0, True, Action.ALLOW)
    notes = LIMITS.answer_told_texts_max + LIMITS.answer_questions_max
    assert sum(one.count for one in first.entities) in {notes - 1, notes}
    assert heard.book.stream.idle
