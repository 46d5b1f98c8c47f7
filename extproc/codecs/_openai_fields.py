"""Reads the members of an OpenAI request that are no conversation: limits, flags, sampling, names.

What the codec knows is checked for its type. Whatever it does not know is named to the schema guard, which
refuses what no policy allows, and its strings are segments all the same.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, assert_never

from extproc.domain.errors import PeerError
from extproc.domain.verdict import Reason
from extproc.wire.strict_json import Array, Constant, Number, Object, Text, locate

if TYPE_CHECKING:
    from collections.abc import Collection

    from extproc.wire.strict_json import Member, Value

MODEL: Final = "model"
STREAM: Final = "stream"
STREAM_OPTIONS: Final = "stream_options"
INCLUDE_USAGE: Final = "include_usage"
MAX_TOKENS: Final = "max_tokens"
MAX_COMPLETION_TOKENS: Final = "max_completion_tokens"

MULTIPLIERS: Final = frozenset({"n", "best_of", "beam_width", "num_return_sequences"})
# Switched off they say nothing; switched on they are a parameter that the schema guard judges.
OFF_BY_DEFAULT: Final = frozenset(
    {"echo", "logit_bias", "logprobs", "prompt_logprobs", "store", "top_logprobs", "use_beam_search"}
)
# What cannot be inspected (media, tokens, text that stands elsewhere), changes how text is made of the
# messages, or gives the answer a second time where nobody scans it.
REFUSED: Final = frozenset(
    {
        "add_generation_prompt",
        "add_special_tokens",
        "cache_salt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "kv_transfer_params",
        "logits_processors",
        "lora_path",
        "lora_weights",
        "media_io_kwargs",
        "previous_response_id",
        "priority",
        "prompt_embeds",
        "prompt_token_ids",
        "request_id",
        "return_prompt_text",
        "return_token_ids",
        "return_tokens_as_token_ids",
        "timeout",
        "vllm_xargs",
        "web_search_options",
    }
)
# Sampling parameters that clients send as null for nothing said. Any other name with null is text.
SAMPLING: Final = frozenset(
    {
        *("temperature", "top_p", "top_k", "min_p", "presence_penalty", "frequency_penalty", "seed"),
        *("repetition_penalty", "length_penalty", "min_tokens", "ignore_eos", "stop", "stop_token_ids"),
        *("skip_special_tokens", "spaces_between_special_tokens", "include_stop_str_in_output"),
    }
)
# Names that a fault may repeat, whatever the wire.
NAMED: Final = REFUSED | MULTIPLIERS | OFF_BY_DEFAULT
MEDIA_PREFIXES: Final = ("audio", "file", "image", "input_", "mm_", "multi_modal", "video")
_REFUSED_PREFIXES: Final = (*MEDIA_PREFIXES, "sequence_", "shared_memory_", "triton_")

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,63}")
_COUNT_MAX: Final = 2**31 - 1
_MODEL_CHARS_MAX: Final = 256


class Fields:
    """Checks of members, with faults that say where.

    ``named`` are names that a fault may repeat; any other may be the caller's own text.
    """

    def __init__(self, body: bytes, named: Collection[str]) -> None:
        self._body = body
        self._named = named

    def says_nothing(self, member: Member) -> bool:
        """Whether a member of the request is null.

        Raises:
            PeerError: its name is none that a parameter has, or is refused whatever its value is.
        """
        if _NAME.fullmatch(member.name) is None:
            raise self.fault(member, "has a name that no parameter has")
        if self.absent(member.value):
            return True
        if member.name in REFUSED or member.name.startswith(_REFUSED_PREFIXES):
            raise self.fault(member, "is not allowed", reason=Reason.PARAMETER_NOT_ALLOWED)
        return False

    def absent(self, value: Value) -> bool:
        """Whether a value is null, which every backend takes for nothing said."""
        return isinstance(value, Constant) and value.value is None

    def unsaid(self, member: Member, known: Collection[str]) -> bool:
        """Whether a member is null, and its key one of the schema: any other key would still be text."""
        return self.absent(member.value) and member.name in known

    def text(self, member: Member) -> Text:
        """A string."""
        if not isinstance(member.value, Text):
            raise self.fault(member, "must be a string")
        return member.value

    def one_of(self, member: Member, allowed: Collection[str]) -> str:
        """A string of a closed vocabulary."""
        text = self.text(member).value
        if text not in allowed:
            raise self.fault(member, f"must be one of {', '.join(sorted(allowed))}")
        return text

    def flag(self, member: Member) -> bool:
        """True or false."""
        value = member.value
        if not isinstance(value, Constant) or value.value is None:
            raise self.fault(member, "must be true or false")
        return value.value

    def count(self, member: Member) -> int:
        """A whole number from 1."""
        number = member.value.value if isinstance(member.value, Number) else None
        if not isinstance(number, int) or not 1 <= number <= _COUNT_MAX:
            raise self.fault(member, f"must be an integer from 1 to {_COUNT_MAX}")
        return number

    def items(self, member: Member) -> tuple[Value, ...]:
        """An array."""
        if not isinstance(member.value, Array):
            raise self.fault(member, "must be an array")
        return member.value.items

    def object(self, member: Member) -> Object:
        """An object."""
        return self.object_at(member.value, member.name)

    def object_at(self, value: Value, what: str) -> Object:
        """An object that stands in an array or a member; ``what`` is a name of the schema."""
        if not isinstance(value, Object):
            raise self.fault_at(value.start, what, "must be an object")
        return value

    def model(self, member: Member) -> str:
        """The model's name."""
        name = self.text(member).value
        if not 1 <= len(name) <= _MODEL_CHARS_MAX:
            raise self.fault(member, f"must have 1 to {_MODEL_CHARS_MAX} characters")
        return name

    def plain(self, member: Member) -> str | int | float | bool | None:
        """A parameter's value for the schema guard; arrays and objects as their own JSON text."""
        match member.value:
            case Text(value=value):
                return value
            case Number(value=number):
                return number
            case Constant(value=flag):
                return flag
            case Array(start=start, end=end) | Object(start=start, end=end):
                return self._body[start:end].decode()
            case never:
                assert_never(never)

    def usage_asked(self, member: Member) -> bool:
        """What ``stream_options`` says about token counts."""
        asked = False
        for option in self.object(member).members.values():
            if option.name not in {INCLUDE_USAGE, "continuous_usage_stats", "include_obfuscation"}:
                raise self.fault(member, "has a member that is not allowed")
            if not self.absent(option.value) and self.flag(option) and option.name == INCLUDE_USAGE:
                asked = True
        return asked

    def fault(self, member: Member, what: str, *, reason: Reason = Reason.BODY_INVALID) -> PeerError:
        """Names a field of the schema, and of any other only its place."""
        subject = member.name if member.name in self._named else "a parameter"
        return self.fault_at(member.start, subject, what, reason=reason)

    def fault_at(
        self, position: int, subject: str, what: str, *, reason: Reason = Reason.BODY_INVALID
    ) -> PeerError:
        """A fault at a byte of the body."""
        return PeerError(reason, f"{subject} {what}; at {locate(self._body, position)}")


def is_off(value: Value) -> bool:
    """Whether a switch is off, or a number or a collection says none."""
    match value:
        case Constant(value=flag):
            return not flag
        case Number(value=number):
            return number == 0
        case Array(items=items):
            return not items
        case Object(members=members):
            return not members
        case Text():
            return False
        case never:
            assert_never(never)
