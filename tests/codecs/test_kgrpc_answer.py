"""The answers of ModelInfer and ModelStreamInfer: whose they are, their texts and counts, what goes out."""

from __future__ import annotations

import struct

import pytest
from frames import spread
from hypothesis import given
from hypothesis import strategies as st
from tritonclient.grpc import service_pb2 as pb

from extproc.codecs._kgrpc_answer import AnswerReader
from extproc.codecs._kgrpc_parts import DROPPED, Asked
from extproc.domain.errors import PeerError
from extproc.domain.limits import LIMITS
from extproc.domain.ports import ResponseFrame
from extproc.domain.segment import Channel, Delta
from extproc.domain.verdict import Reason
from extproc.wire.protobuf_fields import tagged_bytes, tagged_varint

MODEL = "llm"
TEXT = Channel(0, "text_output")
WITHHELD = "the model server reported an error; its text was withheld"
Output = tuple[str, str, bytes]


def text(value: str, name: str = "text_output") -> Output:
    raw = value.encode()
    return (name, "BYTES", len(raw).to_bytes(4, "little") + raw)


def count(value: int, name: str = "num_output_tokens", kind: str = "UINT32") -> Output:
    return (name, kind, value.to_bytes(4, "little"))


def response(
    *outputs: Output,
    own: str = "own-0",
    final: bool | None = None,
    version: str = "1",
    **parameters: object,
) -> pb.ModelInferResponse:
    made = pb.ModelInferResponse(model_name=MODEL, model_version=version, id=own)
    if final is not None:
        made.parameters["triton_final_response"].bool_param = final
    for name, value in parameters.items():
        kind = {str: "string_param", int: "int64_param", bool: "bool_param"}[type(value)]
        setattr(made.parameters[name], kind, value)
    for name, datatype, raw in outputs:
        made.outputs.add(name=name, datatype=datatype, shape=[1])
        made.raw_output_contents.append(raw)
    return made


def streamed(made: pb.ModelInferResponse | None, error: str = "") -> bytes:
    return pb.ModelStreamInferResponse(infer_response=made, error_message=error).SerializeToString(
        deterministic=True
    )


def asked(key: int = 0, **changes: object) -> Asked:
    return Asked(**{"key": key, "model": MODEL, "client_id": "mine", "sent_id": f"own-{key}", **changes})


def reader(*requests: Asked, stream: bool = True) -> AnswerReader:
    made = AnswerReader(streamed=stream, limits=LIMITS)
    for one in requests or (asked(),):
        made.ask(one)
    return made


def texts_of(frame: ResponseFrame) -> list[str]:
    return [delta.text for delta in frame.deltas]


def told(answers: AnswerReader, frame: ResponseFrame, *texts: str) -> pb.ModelStreamInferResponse:
    written = answers.write(frame, texts or tuple(texts_of(frame)))
    assert written[:1] == b"\x00"
    assert int.from_bytes(written[1:5], "big") == len(written) - 5
    return pb.ModelStreamInferResponse.FromString(written[5:])


def messages(written: bytes) -> list[pb.ModelStreamInferResponse]:
    found = []
    while written:
        end = 5 + int.from_bytes(written[1:5], "big")
        assert written[:1] == b"\x00"
        found.append(pb.ModelStreamInferResponse.FromString(written[5:end]))
        written = written[end:]
    return found


def all_told(answers: AnswerReader, frames: list[ResponseFrame]) -> list[pb.ModelStreamInferResponse]:
    return messages(b"".join(answers.write(frame, tuple(texts_of(frame))) for frame in frames))


def fault_of(answers: AnswerReader, payload: bytes) -> str:
    with pytest.raises(PeerError) as caught:
        answers.read([payload])
    assert (caught.value.reason, caught.value.status) == (Reason.UPSTREAM_UNREADABLE, 502)
    assert "EVIL" not in caught.value.message
    return caught.value.message


# --- the common case -------------------------------------------------------------------------


@given(st.lists(st.text(max_size=300), min_size=1, max_size=6))
def test_responses_go_back_under_the_clients_id_and_are_otherwise_the_same(words):
    """The first one is read whole, the others in a row: to the same effect."""
    answers = reader()
    payloads = [response(text(word), final=False) for word in words]
    frames = answers.read([streamed(one) for one in payloads])
    # A run of one is a frame like any other.
    assert [frame.is_run for frame in frames] == [False, len(words) > 2][: min(len(words), 2)]
    assert [delta for frame in frames for delta in frame.deltas] == [Delta(TEXT, word) for word in words]
    for sent in payloads:
        sent.id = "mine"
    assert [one.infer_response for one in all_told(answers, frames)] == payloads


@given(
    st.lists(st.tuples(st.text(max_size=200), st.text(max_size=200)), min_size=1, max_size=6),
    st.integers(0, 6),
)
def test_a_run_says_what_was_released_as_far_as_that_goes(pairs, count_released):
    answers = reader()
    answers.read([streamed(response(text("first"), final=False))])
    (run,) = answers.read([streamed(response(text(before), final=False)) for before, _ in pairs])
    assert texts_of(run) == [before for before, _ in pairs]
    released = [after for _, after in pairs][:count_released]
    written = messages(answers.write(run, tuple(released)))
    assert [one.infer_response for one in written] == [
        response(text(after), final=False, own="mine") for after in released
    ]


@given(
    st.lists(
        st.one_of(
            st.builds(
                lambda word, own, final: streamed(response(text(word), own=own, final=final)),
                st.text(max_size=140),
                st.sampled_from(["own-0", "own-9"]),
                st.sampled_from([False, None]),
            ),
            st.builds(lambda word: streamed(response(text(word), count(3), final=False)), st.text()),
            st.builds(
                lambda raw: streamed(response(("text_output", "BYTES", raw), final=False)),
                st.binary(max_size=9),
            ),
        ),
        max_size=8,
    ),
    st.booleans(),
)
def test_messages_together_say_what_each_says_alone(payloads, seen_before):
    """Read in rows, one by one, and by readers that have seen none: the same frames, the same bytes."""
    together, singly = (reader(asked(), asked(9)) for _ in range(2))
    if seen_before:
        for one in (together, singly):
            one.read([streamed(response(text("seen"), final=False))])
    try:
        frames = together.read(payloads)
    except PeerError:
        frames = None
    alone, written = [], []
    try:
        for payload in payloads:
            (frame,) = reader(asked(), asked(9)).read([payload])
            (known,) = singly.read([payload])
            assert spread([known]) == spread([frame])
            alone.append(frame)
            written.append(singly.write(known, tuple(texts_of(known))))
    except PeerError:
        assert frames is None
        return
    assert frames is not None
    assert spread(frames) == spread(alone)
    assert b"".join(together.write(one, tuple(texts_of(one))) for one in frames) == b"".join(written)


@given(st.lists(st.tuples(st.text(max_size=200), st.text(max_size=200)), min_size=1, max_size=5))
def test_a_text_gives_way_to_what_was_released(pairs):
    answers = reader()
    frames = answers.read([streamed(response(text(before), count(1), final=False)) for before, _ in pairs])
    for frame, (_, after) in zip(frames, pairs, strict=True):
        expected = response(text(after), count(1), final=False, own="mine")
        assert told(answers, frame, after).infer_response == expected


def test_what_the_client_had_not_asked_for_is_taken_out():
    answers = reader(asked(hidden=frozenset({"num_input_tokens", "num_output_tokens"})))
    payload = streamed(
        response(
            count(7, "num_input_tokens"), text("hi"), count(2), text("stop", "finish_reason"), final=False
        )
    )
    for usage, frame in zip(((7, 2), (0, 2), (0, 2)), answers.read([payload] * 3), strict=True):
        assert frame.usage == usage
        expected = response(text("hi"), text("stop", "finish_reason"), final=False, own="mine")
        assert told(answers, frame).infer_response == expected
        expected = response(text("ho"), text("stop", "finish_reason"), final=False, own="mine")
        assert told(answers, frame, "ho").infer_response == expected


def test_responses_of_several_requests_are_told_apart_whatever_their_ids():
    answers = reader(*(asked(key, client_id=own) for key, own in enumerate(["", "same", "same"])))
    payloads = [
        streamed(response(text(f"{key}"), own=f"own-{key}", final=False)) for key in (2, 0, 1, 0, 2)
    ]
    frames = answers.read(payloads)
    assert [frame.key for frame in frames] == [2, 0, 1, 0, 2]
    assert [told(answers, frame).infer_response.id for frame in frames] == ["same", "", "same", "", "same"]


def test_a_final_response_ends_its_request():
    answers = reader()
    payload = streamed(response(text("end"), final=True))
    (frame,) = answers.read([payload])
    assert (frame.final, frame.error) == (True, False)
    assert "belongs to no request" in fault_of(answers, payload)
    assert answers.open_requests == ()


# --- an end by itself ------------------------------------------------------------------------


@pytest.mark.parametrize("wants_final", [True, False])
def test_an_empty_final_response_is_shown_to_who_asked_for_it(wants_final):
    answers = reader(asked(wants_final=wants_final))
    (frame,) = answers.read([streamed(response(final=True, version=""))])
    assert (frame.final, frame.deltas) == (True, ())
    written = answers.write(frame, ())
    assert bool(written) == wants_final
    if wants_final:
        expected = response(final=True, version="", own="mine")
        assert told(answers, frame).infer_response == expected


def test_a_final_response_of_the_model_without_outputs_is_shown():
    answers = reader()
    (frame,) = answers.read([streamed(response(final=True))])
    assert told(answers, frame).infer_response == response(final=True, own="mine")


@pytest.mark.parametrize("element", [0, 2])
def test_held_text_comes_in_a_response_of_its_own(element):
    answers = reader()
    made = pb.ModelInferResponse(model_name=MODEL, model_version="1", id="own-0")
    made.outputs.add(name="text_output", datatype="BYTES", shape=[3])
    made.raw_output_contents.append(b"\x00\x00\x00\x00" * 3)
    answers.read([streamed(made)])
    answers.read([streamed(response(final=True, version=""))])
    tail = answers.write_tail(0, Channel(element, "text_output"), "ü held")
    seen = pb.ModelStreamInferResponse.FromString(tail[5:]).infer_response
    assert (seen.id, seen.model_name, seen.model_version) == ("mine", MODEL, "1")
    assert seen.parameters["triton_final_response"].bool_param is False
    assert list(seen.outputs[0].shape) == [element + 1]
    assert seen.raw_output_contents[0] == b"\x00\x00\x00\x00" * element + text("ü held")[2]


# --- errors ----------------------------------------------------------------------------------


@pytest.mark.parametrize("client_id", ["", "mine"])
def test_an_error_ends_its_request_and_tells_nothing_of_the_id_that_went_on(client_id):
    answers = reader(asked(client_id=client_id), asked(1))
    beside = pb.ModelInferResponse(id="own-0")
    (frame,) = answers.read([streamed(beside, "[request id: own-0] no such input")])
    own = client_id or "<id_unknown>"
    assert texts_of(frame) == [f"[request id: {own}] no such input"]
    assert (frame.final, frame.error, frame.deltas[0].channel) == (True, True, Channel(0, "error"))
    expected = pb.ModelStreamInferResponse(
        error_message=f"[request id: {own}] no such input",
        infer_response=pb.ModelInferResponse(id=client_id),
    )
    assert told(answers, frame) == expected
    assert [one.key for one in answers.open_requests] == [1]


@pytest.mark.parametrize(("final", "ends"), [(None, True), (True, True), (False, False)])
def test_an_error_that_is_not_the_last_word_does_not_end_its_request(final, ends):
    answers = reader()
    (frame,) = answers.read([streamed(response(final=final, version=""), "broken")])
    assert (frame.error, frame.final) == (True, ends)


@pytest.mark.parametrize("inside", ["/opt/x/model.py", "Traceback", "At:\n here", "model.py"])
def test_an_error_that_shows_the_servers_inside_is_reworded(inside):
    answers = reader()
    (frame,) = answers.read([streamed(pb.ModelInferResponse(id="own-0"), f"failed: {inside}")])
    assert texts_of(frame) == [WITHHELD]
    assert told(answers, frame).error_message == WITHHELD


def test_an_errors_text_gives_way_to_what_was_released():
    answers = reader()
    (frame,) = answers.read([streamed(pb.ModelInferResponse(id="own-0"), "no ann@example.com here")])
    assert told(answers, frame, "no [EMAIL_ADDRESS] here").error_message == "no [EMAIL_ADDRESS] here"


def test_a_decoys_answer_is_the_refusal_whatever_it_says():
    for payload in (
        streamed(pb.ModelInferResponse(id="own-0"), "Request for unknown model"),
        streamed(response(text("EVIL"), final=True)),
    ):
        answers = reader(asked(refused="not you"))
        (frame,) = answers.read([payload])
        assert (frame.deltas, frame.final, frame.usage) == ((), True, None)
        seen = told(answers, frame)
        assert (seen.error_message, seen.infer_response.id) == ("not you", "mine")
        assert seen.infer_response.model_name == MODEL
        assert seen.infer_response.parameters["triton_final_response"].bool_param is True
        assert not seen.infer_response.outputs


def test_a_refusal_within_an_answer_says_whose_it_is():
    answers = reader()
    answers.read([streamed(response(text("some"), final=False))])
    seen = pb.ModelStreamInferResponse.FromString(answers.refusal(0, "withheld")[5:])
    expected = response(final=True, own="mine")
    assert (seen.error_message, seen.infer_response) == ("withheld", expected)


# --- every text ------------------------------------------------------------------------------


def test_texts_of_every_output_and_element_have_channels_of_their_own():
    answers = reader()
    made = response(text("a"), text("b", "reason_text"), final=False)
    made.outputs[0].shape[:] = [2]
    made.raw_output_contents[0] = text("a")[2] + text("c")[2]
    (frame,) = answers.read([streamed(made)])
    assert [(delta.channel.field, delta.text) for delta in frame.deltas] == [
        ("text_output", "a"),
        ("text_output", "c"),
        ("output.once", "reason_text"),
        ("output.*", "b"),
    ]
    assert len({delta.channel for delta in frame.deltas}) == 4
    assert frame.ended == (Channel(0, "output.once"),)
    seen = told(answers, frame, "", "x", "renamed", "y").infer_response
    assert seen.raw_output_contents[0] == text("")[2] + text("x")[2]
    assert (seen.outputs[1].name, seen.raw_output_contents[1]) == ("renamed", text("y")[2])


def test_typed_texts_are_texts_too():
    answers = reader()
    made = pb.ModelInferResponse(model_name=MODEL, id="own-0")
    output = made.outputs.add(name="text_output", datatype="BYTES", shape=[2])
    output.contents.bytes_contents.extend([b"one", b"two"])
    (frame,) = answers.read([streamed(made)])
    assert texts_of(frame) == ["one", "two"]
    seen = told(answers, frame, "one", "[X]" * 60).infer_response
    assert list(seen.outputs[0].contents.bytes_contents) == [b"one", b"[X]" * 60]


def test_parameters_are_texts_too():
    answers = reader()
    (frame,) = answers.read(
        [streamed(response(final=False, note="a note", card=4111111111111111, small=7))]
    )
    assert sorted(texts_of(frame)) == ["4111111111111111", "a note", "card", "note", "small"]
    released = ["[X]" if one in {"a note", "4111111111111111"} else one for one in texts_of(frame)]
    seen = told(answers, frame, *released).infer_response.parameters
    assert {name: one.string_param or one.int64_param for name, one in seen.items() if name[0] != "t"} == {
        "note": "[X]",
        "card": "[X]",
        "small": 7,
    }


@pytest.mark.parametrize("kind", ["INT64", "UINT64"])
def test_numbers_longer_than_quantities_are_judged_like_text(kind):
    answers = reader()
    raw = struct.pack("<qq", 4111111111111111, 5)
    made = response(("sequence_length", kind, raw), final=False)
    made.outputs[0].shape[:] = [2]
    (frame,) = answers.read([streamed(made)])
    assert texts_of(frame) == ["4111111111111111"]
    assert told(answers, frame).infer_response.raw_output_contents[0] == raw
    assert told(answers, frame, "[CARD]").infer_response.raw_output_contents[0] == b"\x00" * 16


def test_outputs_that_spell_the_text_in_numbers_are_dropped():
    answers = reader(asked(hidden=DROPPED))
    outputs = [("output_ids", "INT32", b"\x01\x00\x00\x00"), ("context_logits", "FP32", b"\x00" * 4)]
    (frame,) = answers.read([streamed(response(*outputs, final=False))])
    assert texts_of(frame) == []
    left = told(answers, frame).infer_response
    assert (list(left.outputs), list(left.raw_output_contents)) == ([], [])


def test_numbers_of_quantities_pass():
    answers = reader()
    outputs = [("logits", "FP32", b"\x00" * 4), ("sequence_length", "INT64", struct.pack("<q", 12))]
    (frame,) = answers.read([streamed(response(*outputs, final=False))])
    assert texts_of(frame) == ["logits"]


def test_a_finish_reason_is_a_text_where_it_is_no_word_of_the_list():
    answers = reader()
    known, other = (
        response(text(one, "finish_reason"), final=False) for one in ("stop", "ann@example.com")
    )
    frames = answers.read([streamed(known), streamed(other), streamed(known)])
    assert [texts_of(frame) for frame in frames] == [[], ["ann@example.com"], []]


def test_token_texts_are_taken_out_where_a_guard_watches():
    made = response(text("hi"), text("{'h': -1}", "logprobs"), final=False)
    for hidden, names in ((DROPPED, ["text_output"]), (frozenset(), ["text_output", "logprobs"])):
        answers = reader(asked(hidden=hidden))
        for frame in answers.read([streamed(made)] * 2):
            assert [one.name for one in told(answers, frame).infer_response.outputs] == names


# --- what cannot be vouched for --------------------------------------------------------------

PLAIN = response(text("hi"), final=False).SerializeToString(deterministic=True)


def inner(payload: bytes) -> bytes:
    return tagged_bytes(2, payload)


UNREADABLE = {
    "no response": (b"", "belongs to no request"),
    "an error of nobody": (streamed(None, "broken"), "belongs to no request"),
    "another id": (streamed(response(text("EVIL"), own="own-9")), "belongs to no request"),
    "no id": (streamed(response(text("EVIL"), own="")), "belongs to no request"),
    "another model": (inner(PLAIN.replace(MODEL.encode(), b"bad")), "another model's"),
    "an unknown field": (inner(PLAIN + tagged_bytes(9, b"EVIL")), "unknown field"),
    "an unknown field beside": (inner(PLAIN) + tagged_bytes(3, b"EVIL"), "unknown field"),
    "two responses": (inner(PLAIN) * 2, "a field twice"),
    "a model's name twice": (inner(PLAIN + tagged_bytes(1, MODEL.encode())), "a field twice"),
    "text that is no UTF-8": (
        streamed(response(("text_output", "BYTES", b"\x02\x00\x00\x00\xff\xfe"))),
        "no UTF-8",
    ),
    "a string beyond its end": (
        streamed(response(("text_output", "BYTES", b"\x09\x00\x00\x00EVIL"))),
        "beyond its end",
    ),
    "another string than the shape says": (
        streamed(response(("text_output", "BYTES", b"\x00\x00\x00\x00" * 2))),
        "more strings",
    ),
    "one raw content too many": (inner(PLAIN + tagged_bytes(6, b"EVIL")), "one raw content for each"),
    "a version that is text": (streamed(response(version="EVIL")), "model_version is no number"),
    "an end that is a number": (streamed(response(triton_final_response=1)), "neither true nor false"),
    "an error with outputs": (streamed(response(text("EVIL")), "broken"), "an error has outputs"),
    "a count that is text": (streamed(response(text("EVIL", "num_output_tokens"))), "no whole number"),
    "a negative count": (
        streamed(response(("num_output_tokens", "INT32", b"\xff" * 4))),
        "negative",
    ),
    "a count that is too large": (streamed(response(count(2**31 + 5))), "too large"),
    "an output twice": (streamed(response(text("a"), text("EVIL"))), "that of another"),
    "a parameter twice": (
        inner(
            PLAIN
            + tagged_bytes(
                4, tagged_bytes(1, b"triton_final_response") + tagged_bytes(2, tagged_varint(1, 1))
            )
        ),
        "the name of another",
    ),
}


@pytest.mark.parametrize("seen_before", [False, True])
@pytest.mark.parametrize("name", UNREADABLE)
def test_what_cannot_be_vouched_for_is_refused(name, seen_before):
    payload, message = UNREADABLE[name]
    answers = reader()
    if seen_before:
        answers.read([inner(PLAIN)] * 2)
    assert message in fault_of(answers, payload)


def test_an_output_without_values_has_none_in_the_next_response_either():
    none, some = (
        response(text("hi"), ("cumulative_logprob", "FP32", raw), final=False) for raw in (b"", b"EVIL")
    )
    for made in (none, some):
        made.outputs[1].shape[:] = [0]
    answers = reader()
    answers.read([streamed(none)] * 2)
    assert "another size than its shape says" in fault_of(answers, streamed(some))


def test_output_texts_are_bounded():
    made = response(final=False)
    for number in range(LIMITS.channels_max + 1):
        made.outputs.add(name=f"o{number}", datatype="BYTES", shape=[1])
        made.raw_output_contents.append(text("x")[2])
    assert "more than 64 output texts" in fault_of(reader(), streamed(made))


def test_heads_are_forgotten_with_their_requests():
    answers = AnswerReader(streamed=True, limits=LIMITS)
    for key in range(700):
        answers.ask(asked(key))
        own = f"own-{key}"
        frames = answers.read(
            [streamed(response(text("x"), own=own, final=final)) for final in (False, False, True)]
        )
        assert [frame.final for frame in frames] == [False, False, True]
    assert answers.open_requests == ()
    assert not answers._heads._heads


@given(st.binary(max_size=80), st.integers(0, 120), st.booleans())
def test_noise_raises_nothing_but_peer_error(noise, at, seen_before):
    answers = reader(asked(hidden=frozenset({"num_output_tokens"})))
    payload = streamed(response(text("hi"), count(1), final=False))
    if seen_before:
        answers.read([payload])
    try:
        for frame in answers.read([payload[:at] + noise + payload[at:]]):
            answers.write(frame, tuple(texts_of(frame)))
    except PeerError as error:
        assert error.reason is Reason.UPSTREAM_UNREADABLE  # noqa: PT017 - it need not raise.


@given(st.lists(st.sampled_from([inner(PLAIN), *(one for one, _ in UNREADABLE.values())]), max_size=5))
def test_what_was_seen_before_changes_no_reading(payloads):
    """Each message gives the same bytes, or the same refusal, as it does alone."""
    together = reader(asked(), asked(9))
    for payload in payloads:
        outcomes = []
        for answers in (together, reader(asked(), asked(9))):
            try:
                outcomes.append(
                    [answers.write(one, tuple(texts_of(one))) for one in answers.read([payload])]
                )
            except PeerError as error:
                outcomes.append(error.message)
        if not together.open_requests or len(together.open_requests) < 2:
            return
        assert outcomes[0] == outcomes[1]


# --- unary -----------------------------------------------------------------------------------


def test_a_unary_answer_is_one_final_frame_of_the_clients_own_bytes():
    answers = reader(asked(client_id="7", sent_id="7"), stream=False)
    payload = response(text("hi"), count(1), own="7").SerializeToString(deterministic=True)
    (frame,) = answers.read([payload])
    assert (texts_of(frame), frame.final, frame.usage) == (["hi"], True, (0, 1))
    assert answers.write(frame, ("hi",))[5:] == payload
    seen = pb.ModelInferResponse.FromString(answers.write(frame, ("[X]",))[5:])
    assert seen == response(text("[X]"), count(1), own="7")


def test_a_call_that_fails_ends_what_is_open():
    answers = reader(asked(), asked(1))
    frames = [answers.fail(one, "gone" if not at else "") for at, one in enumerate(answers.open_requests)]
    assert [(one.key, texts_of(one), one.final, one.error) for one in frames] == [
        (0, ["gone"], True, True),
        (1, [], True, True),
    ]
    assert [answers.write(one, tuple(texts_of(one))) for one in frames] == [b"", b""]
