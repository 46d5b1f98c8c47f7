"""Questions to a model on a server, and the answers that are none."""

from __future__ import annotations

import threading
from dataclasses import replace

import grpc
import numpy as np
import pytest
from certificates import Authority
from kserve_server import Model, serving
from real_parts import eventually

from classifiers.errors import LogitsError, ModelError, ServerError
from classifiers.triton import Rows, ServedModel, Signature, text_rows, token_rows
from classifiers.triton_address import parse_address
from extproc.demo.ports import free_port

SECRET = "a very private text"
TEXT_INPUT = ("text", "BYTES", (-1, 1))
ASKED = Rows(name="text", datatype="BYTES", shape=(1, 1), content=b"\x01\0\0\0a")


def is_there(served):
    try:
        served.look()
    except ServerError:
        return False
    return True


def model_of(rows, **settings):
    return Model(inputs=[TEXT_INPUT], scores=lambda _: np.asarray(rows), **settings)


@pytest.fixture
def serve():
    """Serves one model; gives a client of it."""
    opened = []

    def start(model, *, options=""):
        server = serving({"m": model})
        port = server.__enter__()
        served = ServedModel(parse_address(f"triton://127.0.0.1:{port}/m{options}"))
        opened.append((server, served))
        return served

    yield start
    for server, served in opened:
        served.close()
        server.__exit__(None, None, None)


def test_it_learns_what_the_model_takes(serve):
    served = serve(model_of([[0.5]], max_batch_size=16, outputs=[("label", "BYTES"), ("scores", "FP32")]))
    with pytest.raises(ServerError, match="was not there when it was last looked at"):
        served.infer([ASKED], 1)
    expected = Signature(inputs={"text": ("BYTES", 2)}, output="scores", batch_max=16)
    assert served.look() == served.signature == expected
    assert served.infer([ASKED], 1).tolist() == [[0.5]]


@pytest.mark.parametrize(("size", "batch_max"), [(0, 1), (1, 1), (8, 8), (4096, 32)])
def test_a_batch_is_what_the_model_takes_and_no_more_than_a_deadline_can_wait_for(serve, size, batch_max):
    assert serve(model_of([[0.5]], max_batch_size=size)).look().batch_max == batch_max


def test_logits_are_preferred_among_several_outputs_and_else_none_is_guessed(serve):
    outputs = [("embedding", "FP32"), ("logits", "FP16")]
    assert serve(model_of([[0.5]], outputs=outputs)).look().output == "logits"
    for wrong in ([("a", "FP32"), ("b", "FP32")], [("label", "BYTES")], []):
        with pytest.raises(ModelError, match="it must give one tensor of FP32 or FP16"):
            serve(model_of([[0.5]], outputs=wrong)).look()


def test_a_model_that_is_not_ready_is_not_asked(serve):
    model = model_of([[0.5]])
    served = serve(model)
    served.look()
    model.ready = False
    with pytest.raises(ServerError, match=r"m at 127\.0\.0\.1:[0-9]+ is not ready"):
        served.look()
    with pytest.raises(ServerError, match="was not there"):
        served.infer([ASKED], 1)
    assert model.asked == []
    model.ready = True
    served.look()
    assert served.infer([ASKED], 1).tolist() == [[0.5]]


def test_what_the_server_says_is_not_repeated(serve):
    model = model_of([[0.5]], fails=grpc.StatusCode.INVALID_ARGUMENT)
    served = serve(model)
    signature = served.look()
    with pytest.raises(ServerError) as caught:
        served.infer([text_rows(signature, [SECRET])], 1)
    assert model.asked == [{"text": [SECRET]}]
    assert str(caught.value).endswith("gave INVALID_ARGUMENT")
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_a_model_that_is_not_there_is_told(serve):
    served = serve(model_of([[0.5]]))
    other = ServedModel(replace(served.address, model="other"))
    with pytest.raises(ServerError, match=r"other at .* gave NOT_FOUND"):
        other.look()
    other.close()


def test_a_server_that_is_not_there_is_told_and_found_once_it_is():
    port = free_port()
    served = ServedModel(parse_address(f"triton://127.0.0.1:{port}/m"))
    with pytest.raises(ServerError, match="gave UNAVAILABLE"):
        served.look()
    with serving({"m": model_of([[0.5]])}, port=port):
        assert eventually(lambda: is_there(served), within_s=30)
        assert served.infer([ASKED], 1).tolist() == [[0.5]]
    served.close()


def test_a_server_that_hangs_is_left_at_its_timeout(serve):
    model = model_of([[0.5]], go=threading.Event())
    served = serve(model, options="?timeout_ms=200")
    served.look()
    with pytest.raises(ServerError, match="gave DEADLINE_EXCEEDED"):
        served.infer([ASKED], 1)
    model.go.set()


def test_it_is_not_asked_once_it_is_closed(serve):
    served = serve(model_of([[0.5]]))
    served.look()
    served.close()
    with pytest.raises(ServerError):
        served.infer([ASKED], 1)


# --- answers that are none -------------------------------------------------------------------


def without_content(answer):
    del answer.raw_output_contents[:]


def two_tensors(answer):
    answer.outputs.append(answer.outputs[0])
    answer.raw_output_contents.append(answer.raw_output_contents[0])


def of_doubles(answer):
    answer.outputs[0].datatype = "FP64"


def cut_short(answer):
    answer.raw_output_contents[0] = answer.raw_output_contents[0][:-1]


def another_name(answer):
    answer.outputs[0].name = "other"


def a_huge_shape(answer):
    answer.outputs[0].shape[:] = [1, 2**62]


def a_negative_shape(answer):
    answer.outputs[0].shape[:] = [1, -1]


@pytest.mark.parametrize(
    "spoil",
    [
        without_content,
        two_tensors,
        of_doubles,
        cut_short,
        another_name,
        a_huge_shape,
        a_negative_shape,
    ],
)
def test_an_answer_of_another_form_is_an_error(serve, spoil):
    served = serve(model_of([[0.5, 0.5]], answer=spoil))
    served.look()
    with pytest.raises(LogitsError):
        served.infer([ASKED], 1)


@pytest.mark.parametrize("rows", [[[0.5], [0.5]], [[[0.5]]], 0.5])
def test_an_answer_of_another_number_of_rows_is_an_error(serve, rows):
    served = serve(model_of(rows))
    served.look()
    with pytest.raises(LogitsError, match="one row per window"):
        served.infer([ASKED], 1)


def test_a_model_without_a_batch_gives_one_row(serve):
    served = serve(model_of([0.25, 0.5]))
    served.look()
    assert served.infer([ASKED], 1).tolist() == [[0.25, 0.5]]


# --- what is sent ----------------------------------------------------------------------------


def signature(inputs):
    return Signature(inputs=inputs, output="scores", batch_max=8)


@pytest.mark.parametrize(("rank", "shape"), [(1, (2,)), (2, (2, 1))])
def test_texts_are_bytes_with_their_lengths(rank, shape):
    rows = text_rows(signature({"t": ("BYTES", rank)}), ["a", "ä"])
    assert rows == Rows(name="t", datatype="BYTES", shape=shape, content=b"\x01\0\0\0a\x02\0\0\0\xc3\xa4")


@pytest.mark.parametrize(
    "inputs",
    [{}, {"a": ("BYTES", 1), "b": ("BYTES", 1)}, {"ids": ("INT64", 2)}, {"t": ("BYTES", 3)}],
)
def test_a_model_of_other_inputs_than_one_text_is_refused(inputs):
    with pytest.raises(ModelError, match="where one tensor of BYTES was expected"):
        text_rows(signature(inputs), ["a"])


IDS = np.asarray([[1, 2, 3]])
TENSORS = {"input_ids": IDS, "attention_mask": np.ones_like(IDS), "token_type_ids": np.zeros_like(IDS)}
NEEDED = ("input_ids", "attention_mask")


def test_tokens_are_integers_of_the_size_and_shape_that_the_model_takes():
    inputs = {"input_ids": ("INT32", 1), "attention_mask": ("INT64", 2)}
    assert token_rows(signature(inputs), TENSORS, needed=NEEDED) == [
        Rows(
            name="input_ids", datatype="INT32", shape=(3,), content=np.asarray([1, 2, 3], "<i4").tobytes()
        ),
        Rows(name="attention_mask", datatype="INT64", shape=(1, 3), content=np.ones(3, "<i8").tobytes()),
    ]


@pytest.mark.parametrize(
    "inputs",
    [
        {},
        {"input_ids": ("INT64", 2)},
        {"input_ids": ("INT64", 2), "attention_mask": ("FP32", 2)},
        {"input_ids": ("INT64", 3), "attention_mask": ("INT64", 3)},
        {**dict.fromkeys(NEEDED, ("INT64", 2)), "position_ids": ("INT64", 2)},
    ],
)
def test_a_model_of_other_inputs_than_tokens_is_refused(inputs):
    with pytest.raises(ModelError, match="integers input_ids, attention_mask were expected"):
        token_rows(signature(inputs), TENSORS, needed=NEEDED)


# --- TLS -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def encrypted():
    """A server with a certificate; gives its port and the authority that signed it."""
    authority = Authority()
    leaf = authority.issue(dns=("localhost",))
    credentials = grpc.ssl_server_credentials([(leaf.key, leaf.certificate)])
    with serving({"m": model_of([[0.5]])}, credentials=credentials) as port:
        yield port, authority.pem


def look_at(port, *, scheme="tritons", authorities=None):
    served = ServedModel(parse_address(f"{scheme}://localhost:{port}/m"), authorities=authorities)
    try:
        served.look()
        return served.infer([ASKED], 1).tolist()
    finally:
        served.close()


def test_a_servers_certificate_is_checked(encrypted):
    port, authorities = encrypted
    assert look_at(port, authorities=authorities) == [[0.5]]


@pytest.mark.parametrize("settings", [{"authorities": Authority("other").pem}, {}, {"scheme": "triton"}])
def test_a_server_that_cannot_be_trusted_is_asked_nothing(encrypted, settings):
    with pytest.raises(ServerError, match="gave UNAVAILABLE"):
        look_at(encrypted[0], **settings)
