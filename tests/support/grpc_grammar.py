"""Requests of KServe's ModelInfer and ModelStreamInfer by gRPC, tensors typed and raw, valid and not quite.

Messages are written field by field, so that fields can repeat, come in any order or in pieces, and have
numbers and wire types that none has.
"""

from __future__ import annotations

import gzip
import random
import struct
import zlib
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from agreement_cases import Case
from echo_triton import INPUTS, model_of
from generate_grammar import NAMES
from infer_grammar import packed, value_of
from json_grammar import INTEGERS, TEXTS, Value

from extproc.domain.segment import Backend

UNARY: Final = "/inference.GRPCInferenceService/ModelInfer"
STREAM: Final = "/inference.GRPCInferenceService/ModelStreamInfer"
_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
_MODEL, _VERSION, _ID, _PARAMETERS, _INPUTS, _OUTPUTS, _RAW = range(1, 8)
_NAME, _DATATYPE, _SHAPE, _TENSOR_PARAMETERS, _CONTENTS = range(1, 6)
_KEY, _VALUE = 1, 2
_BOOL, _INT64, _STRING, _DOUBLE, _UINT64 = range(1, 6)
_CONTENTS_OF: Final = {"BOOL": 1, "INT32": 2, "UINT8": 4, "UINT64": 5, "FP32": 6, "STRING": 8}
_MASK: Final = 2**64 - 1
_BAD_TEXT: Final = (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"a\x00b", b"", b"EVIL")
_SETTINGS: Final = ("max_tokens", "temperature", "stop", "n", "seed", "note")
_COUNTS: Final = (1, 2, 5, 5, 5, 5, 5, 5, 9_000, 4111111111111111, 2**64 - 1)
_SHARED: Final = ("shared_memory_region", "shared_memory_byte_size", "binary_data_size", "binary_data")


@dataclass
class Message:
    """A message: numbers, wire types and what they hold."""

    fields: list[tuple[int, int, Held]] = field(default_factory=list)

    def text(self, number: int, value: str) -> None:
        """Add a string."""
        self.fields.append((number, _LENGTH, value.encode()))

    def add(self, number: int, value: Held) -> None:
        """Add a number, bytes, or a message."""
        self.fields.append((number, _VARINT if isinstance(value, int) else _LENGTH, value))


Held: TypeAlias = "int | bytes | Message"


@dataclass(frozen=True)
class GrpcGrammar:
    """One request to an echo model; on a stream it is the only one."""

    name: str
    path: str

    def case(self, rng: random.Random) -> Case:
        """A request, valid or not quite."""
        backend = rng.choice((Backend.VLLM, Backend.TENSORRTLLM, Backend.LLMAPI, Backend.NONE))
        payload = payload_of(backend, rng)
        headers = {"content-type": "application/grpc", "te": "trailers"}
        return Case(
            path=self.path,
            body=_framed(payload, headers, rng),
            backend=backend,
            headers=headers,
            flattened=False,
            renamed=self.path == STREAM,
        )


def payload_of(backend: Backend, rng: random.Random, *, ids: Sequence[str] = ()) -> bytes:
    """A request without its frame, valid or not quite; called by one of ``ids``, where there are any."""
    message = _request(backend, rng)
    if ids:
        message.fields = [held for held in message.fields if held[0] != _ID]
        message.text(_ID, rng.choice(ids))
    for _ in range(rng.choice((0, 0, 0, 1, 1, 2))):
        _disturb(message, rng)
    payload = _encoded(message, rng)
    return _damaged(payload, rng) if rng.random() < 0.1 else payload


def _request(backend: Backend, rng: random.Random) -> Message:
    """A request that the backend takes."""
    message = Message()
    message.text(_MODEL, model_of(backend))
    if rng.random() < 0.2:
        message.text(_VERSION, "1")
    if rng.random() < 0.3:
        message.text(_ID, rng.choice(("7", "request-1", "EVIL", "0f8fad5b-d9cb-469f-a165-70867728950e")))
    for name in rng.sample(
        ("max_tokens", "temperature", "stop", "n", "seed", "note"), rng.choice((0, 0, 2))
    ):
        message.add(_PARAMETERS, _parameter(name, rng))
    raw = rng.random() < 0.5
    share = rng.random()
    batch = rng.choice((1, 1, 1, 2)) if backend is Backend.TENSORRTLLM else None
    pieces = []
    for name, (datatype, dimension) in INPUTS[backend].items():
        if name != "text_input" and rng.random() > share * 0.6:
            continue
        count = dimension if dimension > 0 else rng.choice((1, 1, 2, 3))
        value = value_of(name, datatype, rng)
        values = [value] * (count * (batch or 1))
        tensor = Message()
        tensor.text(_NAME, name)
        tensor.text(_DATATYPE, "BYTES" if datatype == "STRING" else datatype)
        shape = [count] if batch is None else [batch, count]
        _numbers(tensor, _SHAPE, shape, rng)
        bytes_of = packed(datatype, values)
        if bytes_of is None:
            continue
        if raw:
            pieces.append(bytes_of)
        else:
            tensor.add(_CONTENTS, _contents(datatype, values, rng))
        message.add(_INPUTS, tensor)
    if rng.random() < 0.2:
        wanted = Message()
        wanted.text(_NAME, "echo")
        message.add(_OUTPUTS, wanted)
    for piece in pieces:
        message.add(_RAW, piece)
    return message


def _parameter(name: str, rng: random.Random) -> Message:
    held = Message()
    match name:
        case "max_tokens" | "n" | "seed":
            kind = rng.choice((_INT64, _INT64, _UINT64))
            held.add(
                kind, rng.choice((1, 2, 5, 9_000, 4111111111111111, _MASK)) if rng.random() < 0.3 else 5
            )
        case "temperature":
            held.fields.append((_DOUBLE, _FIXED64, struct.pack("<d", rng.choice((0.5, 1, 4.5)))))
        case _:
            held.add(_STRING, rng.choice(TEXTS).encode())
    entry = Message()
    entry.text(_KEY, name)
    entry.add(_VALUE, held)
    return entry


def _contents(datatype: str, values: list[Value], rng: random.Random) -> Message:
    contents = Message()
    number = _CONTENTS_OF[datatype]
    if datatype == "STRING":
        for value in values:
            contents.add(number, str(value).encode())
    elif datatype == "FP32":
        packed_values = packed(datatype, values) or b""
        if rng.random() < 0.7:
            contents.add(number, packed_values)
        else:
            contents.fields += [
                (number, _FIXED32, packed_values[at : at + 4]) for at in range(0, len(packed_values), 4)
            ]
    else:
        _numbers(contents, number, [int(value) for value in values if isinstance(value, int)], rng)
    return contents


def _numbers(message: Message, number: int, values: list[int], rng: random.Random) -> None:
    """Packed into one field, or each in one of its own, or some so and some so."""
    if rng.random() < 0.7:
        message.add(number, b"".join(_varint(value) for value in values))
    else:
        for value in values:
            message.add(number, value)


# --- damage ----------------------------------------------------------------------------------


def _messages(message: Message) -> list[Message]:
    inner = [held for _, _, held in message.fields if isinstance(held, Message)]
    return [message, *(one for held in inner for one in _messages(held))]


def _disturb(root: Message, rng: random.Random) -> None:
    """Change one thing of a message."""
    target = rng.choice(_messages(root))
    if target.fields and rng.random() < 0.6:
        _disturb_field(target.fields, rng.randrange(len(target.fields)), rng)
        return
    match rng.randrange(5):
        case 0:
            rng.shuffle(target.fields)
        case 1:
            target.fields.append((rng.choice((8, 9, 15, 16, 1000, 2**29 - 1)), _LENGTH, b"EVIL"))
        case 2:
            target.fields.append((rng.randint(1, 8), rng.randrange(8), _scalar(rng)))
        case 3:
            held = Message()
            held.add(rng.randint(1, 5), _scalar(rng))
            entry = Message()
            entry.text(_KEY, rng.choice((*NAMES, *_SHARED)))
            entry.add(_VALUE, held)
            target.add(rng.choice((_PARAMETERS, _TENSOR_PARAMETERS)), entry)
        case _:
            root.add(_RAW, rng.choice((b"", b"\x04\x00\x00\x00EVIL", b"\x01", b"\x05\x00\x00\x00")))


def _disturb_field(fields: list[tuple[int, int, Held]], at: int, rng: random.Random) -> None:
    number, kind, held = fields[at]
    match rng.randrange(5):
        case 0:
            fields.insert(rng.randint(0, len(fields)), (number, kind, deepcopy(held)))
        case 1:
            # A twin with another value: the last of two wins, or they merge.
            fields.insert(rng.randint(0, len(fields)), (number, kind, _other(held, rng)))
        case 2:
            del fields[at]
        case 3 if isinstance(held, Message) and held.fields:
            # In two pieces, which merge.
            cut = rng.randrange(len(held.fields))
            parts = (Message(held.fields[:cut]), Message(held.fields[cut:]))
            fields[at : at + 1] = [(number, _LENGTH, part) for part in parts]
        case _:
            fields[at] = (number, kind, _other(held, rng))


def _other(held: Held, rng: random.Random) -> Held:
    match held:
        case int():
            return rng.choice(INTEGERS) & _MASK
        case bytes():
            return rng.choice((*_BAD_TEXT, rng.choice(NAMES).encode(), rng.choice(TEXTS).encode()))
        case Message():
            return Message([(number, kind, _other(inner, rng)) for number, kind, inner in held.fields])


def _scalar(rng: random.Random) -> Held:
    return rng.choice((0, 1, 5, 9_000, 2**32 + 5, _MASK, *_BAD_TEXT, rng.choice(TEXTS).encode()))


def _damaged(payload: bytes, rng: random.Random) -> bytes:
    low, high = sorted((rng.randint(0, len(payload)), rng.randint(0, len(payload))))
    return rng.choice(
        (
            payload[:low],
            payload[:low] + bytes([rng.randrange(256)]) + payload[low + 1 :],
            payload[:low] + rng.randbytes(2) + payload[low:],
            payload[:low] + payload[high:],
            payload + payload,
            payload + b"\x00",
        )
    )


# --- bytes -----------------------------------------------------------------------------------


def _varint(value: int, *, overlong: bool = False) -> bytes:
    value &= _MASK
    spelled = bytearray()
    while value > 0x7F:
        spelled.append(value & 0x7F | 0x80)
        value >>= 7
    spelled.append(value)
    if overlong and len(spelled) < 9:
        spelled[-1] |= 0x80
        spelled.append(0)
    return bytes(spelled)


def _encoded(message: Message, rng: random.Random) -> bytes:
    written = b""
    for number, kind, held in message.fields:
        overlong = rng.random() < 0.01
        written += _varint(number << 3 | kind, overlong=overlong)
        match held:
            case int():
                written += _varint(held, overlong=overlong)
            case bytes():
                written += (_varint(len(held), overlong=overlong) if kind == _LENGTH else b"") + held
            case Message():
                inner = _encoded(held, rng)
                written += _varint(len(inner), overlong=overlong) + inner
    return written


def _framed(payload: bytes, headers: dict[str, str], rng: random.Random) -> bytes:
    flag, content = 0, payload
    chance = rng.random()
    if chance < 0.1:
        headers["grpc-encoding"] = "gzip"
        flag, content = 1, gzip.compress(payload)
    elif chance < 0.13:
        headers["grpc-encoding"] = "deflate"
        flag, content = 1, zlib.compress(payload)
    elif chance < 0.16:
        flag = rng.choice((1, 2, 255))
    length = len(content) + (rng.choice((-1, 1, 2**31)) if rng.random() < 0.02 else 0)
    framed = bytes([flag]) + struct.pack(">I", max(length, 0) & 0xFFFFFFFF) + content
    return framed + framed if rng.random() < 0.02 else framed
