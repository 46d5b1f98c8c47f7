"""The JSON document within the string ``sampling_parameters``, as generate, infer and gRPC all carry it.

vllm_backend reads it with Python's parser, and where it stands looks for sampling fields nowhere else.
Every string in it and every number longer than quantities are is text to be scanned; keys must be names.
What is no sampling field (a prompt, an image, a file) is refused.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final, assert_never

from extproc.codecs import _triton_fields as fields
from extproc.codecs._triton_fields import Kind
from extproc.domain.errors import PeerError
from extproc.domain.verdict import Reason
from extproc.wire.json_leaves import leaves_of
from extproc.wire.splice import Splice, insert_members, splice
from extproc.wire.strict_json import (
    Array,
    Constant,
    Number,
    Object,
    Text,
    keys_of,
    locate,
    parse,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from extproc.domain.limits import Limits
    from extproc.wire.strict_json import Member, Value

# Keys below a field: names of fields, numbers of tokens, names in a JSON schema.
_INNER_KEY: Final = re.compile(r"[A-Za-z0-9_$.-]{0,64}")
_TEXTUAL: Final = frozenset({Kind.FLAG, Kind.FLAG_OFF, Kind.PARAMETER, Kind.MULTIPLIER})


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplingDocument:
    """What was read. Spans of ``texts`` are bytes of ``document``.

    ``limit`` is its limit of output tokens; ``choices_count`` the product of what multiplies the answer's
    cost; ``sampling`` the other fields by the name that policies know, arrays and objects as JSON text.
    """

    document: bytes
    root: Object
    limit: int | None
    choices_count: int
    sampling: Mapping[str, str | int | float | bool]
    texts: tuple[Text, ...]


def read_sampling(text: str, *, beside: Collection[str] = (), limits: Limits) -> SamplingDocument:
    """Read the document.

    Args:
        text: What the string holds.
        beside: Names, as policies know them, of the sampling fields that stand outside of it.
        limits: The bounds of a document.

    Raises:
        PeerError: it is no JSON object, is ambiguous, or holds what is no sampling field.
    """
    document = text.encode()
    try:
        root = parse(document, limits=limits)
    except PeerError as error:
        raise PeerError(error.reason, f"in {fields.SAMPLING}: {error.message}") from None
    if not isinstance(root, Object):
        raise PeerError(Reason.BODY_INVALID, f"{fields.SAMPLING} must hold a JSON object")
    limit: int | None = None
    choices_count = 1
    sampling: dict[str, str | int | float | bool] = {}
    texts: list[Text] = []
    for name, member in root.members.items():
        meaning = fields.meaning_of(name)
        if name == fields.MAX_TOKENS:
            limit = _count(document, member)
            continue
        if meaning.kind not in _TEXTUAL:
            raise _fault(document, member, "is not allowed", reason=Reason.PARAMETER_NOT_ALLOWED)
        if fields.FIELD_NAME.fullmatch(name) is None:
            raise _fault(document, member, "has a name that no parameter has")
        if meaning.sampling_name in beside or meaning.sampling_name in sampling:
            raise _fault(document, member, f"stands beside {fields.SAMPLING} too")
        if meaning.kind is Kind.MULTIPLIER:
            choices_count *= _count(document, member)
        if not all(map(_INNER_KEY.fullmatch, keys_of(member.value))):
            raise _fault(document, member, "has a key that is not a name")
        sampling[meaning.sampling_name] = _plain(document, member)
        texts += leaves_of(document, member.value, limits=limits)
    return SamplingDocument(
        document=document,
        root=root,
        limit=limit,
        choices_count=choices_count,
        sampling=MappingProxyType(sampling),
        texts=tuple(texts),
    )


def write_sampling(
    read: SamplingDocument, edits: Iterable[Splice], *, cap: int | None, inject: bool
) -> str | None:
    """What the string must hold instead; None where it stays as it is.

    Args:
        read: The document.
        edits: Of its texts.
        cap: What its limit is lowered to.
        inject: Whether the cap must stand in it where it has no limit: the backend honours no other.
    """
    splices = [*edits]
    standing = read.root.members.get(fields.MAX_TOKENS)
    if cap is not None and standing is not None:
        splices += lowered(standing.value, cap)
    elif cap is not None and inject:
        splices.append(insert_members(read.root, [(fields.MAX_TOKENS, b"%d" % cap)]))
    return splice(read.document, splices).decode() if splices else None


def whole_number(value: Value) -> int | None:
    """A limit or a multiplier: an integer from 1 to ``COUNT_MAX``, by itself or in an array; else None."""
    if isinstance(value, Array) and len(value.items) == 1:
        value = value.items[0]
    number = value.value if isinstance(value, Number) else None
    return number if isinstance(number, int) and 1 <= number <= fields.COUNT_MAX else None


def lowered(value: Value, cap: int) -> list[Splice]:
    """The edit that lowers a limit which stands above the cap."""
    if isinstance(value, Array) and len(value.items) == 1:
        value = value.items[0]
    if not isinstance(value, Number) or value.value <= cap:
        return []
    return [Splice(value.start, value.end, b"%d" % cap)]


def _count(document: bytes, member: Member) -> int:
    number = None if isinstance(member.value, Array) else whole_number(member.value)
    if number is None:
        raise _fault(document, member, f"must be an integer from 1 to {fields.COUNT_MAX}")
    return number


def _plain(document: bytes, member: Member) -> str | int | float | bool:
    match member.value:
        case Text(value=value):
            return value
        case Number(value=number):
            return number
        case Constant(value=flag):
            if flag is None:
                raise _fault(document, member, "must not be null")
            return flag
        case Array(start=start, end=end) | Object(start=start, end=end):
            return document[start:end].decode()
        case never:
            assert_never(never)


def _fault(
    document: bytes, member: Member, what: str, *, reason: Reason = Reason.BODY_INVALID
) -> PeerError:
    subject = member.name if member.name in fields.KNOWN_NAMES else "a parameter"
    where = locate(document, member.start)
    return PeerError(reason, f"{fields.SAMPLING}: {subject} {what}; at {where}")
