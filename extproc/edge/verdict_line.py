"""A verdict record as one line of JSON. Pure. Schema: proto/headgate/verdict.proto.

The record's types hold no text by design; here that is enforced on the values. A string goes out only as a
name of a closed set or as a word of an id's charset, without a space and of bounded length. What does not
have its field's form is left out, and its field's name stands in ``withheld``: the verdict itself is never
lost, and a bug elsewhere cannot make the log a copy of the traffic.
"""

from __future__ import annotations

import json
import math
import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from extproc.domain.segment import Operation, Unscanned
from extproc.domain.verdict import Action, Kept, Lane, Mode, Reason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from extproc.domain.verdict import EntityCount, GuardRecord, Record

SCHEMA_VERSION = 1

Value = str | int | float | bool | None | list[str] | list[dict[str, "Value"]]

# Names that a policy, a codec or a rule pack gives, and ids: no space, no @, nothing outside ASCII.
_WORD = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:/\[\]-]{0,127}", re.ASCII)
_DIGEST = re.compile(r"(sha256:)?[0-9a-f]{8,64}", re.ASCII)
_ADDRESS = re.compile(r"[A-Za-z0-9_.:/\[\]%-]{1,128}", re.ASCII)
_ENTITY_TYPE = re.compile(r"[A-Z][A-Z0-9_]{0,63}", re.ASCII)
_OPERATIONS = frozenset(Operation)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# 9999-12-31, the last day that RFC 3339 can write.
_UNIX_MS_MAX = 253_402_300_799_999
_COUNT_MAX = 2**63 - 1
_STATUS_MAX = 999


def line_of(record: Record) -> bytes:
    """The record's line, with its line feed."""
    line = fields_of(record)
    return json.dumps(line, ensure_ascii=True, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def fields_of(record: Record) -> dict[str, Value]:
    """The record's fields, in the schema's order; absent values are None."""
    form = _Form("")
    line: dict[str, Value] = {
        "schema_version": SCHEMA_VERSION,
        **form.instant(record.at_unix_ms),
        "request_id": form.word("request_id", record.request_id),
        "exchange": form.count("exchange", record.exchange),
        "policy_digest": form.matching("policy_digest", record.policy_digest, _DIGEST),
        "tenant": form.word("tenant", record.tenant),
        "key_id": form.word("key_id", record.key_id),
        "codec": form.word("codec", record.codec),
        "operation": form.operation(record.operation),
        "model": form.word("model", record.model),
        "route": form.word("route", record.route),
        "action": form.action(record.action),
        "reason": form.reason(record.reason),
        "guard": form.word("guard", record.guard),
        "status": form.count("status", record.status, most=_STATUS_MAX),
        "verdicts": [_verdict(one, form) for one in record.verdicts],
        "entities": [_entities(one, form) for one in record.entities],
        "degraded": form.flag("degraded", record.degraded),
        "bodies": form.kept(record.bodies),
        "unscanned": form.unscanned(record.unscanned),
        **_amounts(record, form),
        "upstream_host": form.matching("upstream_host", record.upstream_host, _ADDRESS),
        "upstream_status": form.count("upstream_status", record.upstream_status, most=_STATUS_MAX),
        "judge_us": form.count("judge_us", record.judge_us),
        "upstream_first_us": form.count("upstream_first_us", record.upstream_first_us),
        "total_us": form.count("total_us", record.total_us),
    }
    line["withheld"] = sorted(form.withheld)
    return line


def _amounts(record: Record, form: _Form) -> Mapping[str, Value]:
    return {
        "segments_judged": form.count("segments_judged", record.segments_judged),
        "chars_judged": form.count("chars_judged", record.chars_judged),
        "answer_chars_judged": form.count("answer_chars_judged", record.answer_chars_judged),
        "answer_frames": form.count("answer_frames", record.answer_frames),
        "held_chars_max": form.count("held_chars_max", record.held_chars_max),
        "answer_chars_unread": form.count("answer_chars_unread", record.answer_chars_unread),
        "tokens_reserved": form.count_if_any("tokens_reserved", record.tokens_reserved),
        "tokens_settled": form.count_if_any("tokens_settled", record.tokens_settled),
        "tokens_refunded": form.count_if_any("tokens_refunded", record.tokens_refunded),
        "usage_reported": form.flag("usage_reported", record.usage_reported),
        "input_tokens": form.count("input_tokens", record.input_tokens),
        "output_tokens": form.count("output_tokens", record.output_tokens),
        "cost_usd": form.amount_if_any("cost_usd", record.cost_usd),
    }


def _verdict(verdict: GuardRecord, record_form: _Form) -> dict[str, Value]:
    form = record_form.within("verdicts")
    return {
        "guard": form.word("guard", verdict.guard),
        "owasp": form.word("owasp", verdict.owasp),
        "mode": form.mode(verdict.mode),
        "action": form.action(verdict.action),
        "reason": form.reason(verdict.reason),
        "score": form.share("score", verdict.score),
        "threshold": form.share("threshold", verdict.threshold),
        "detector": None if verdict.detector is None else form.word("detector", verdict.detector),
        "windows": form.count_if_any("windows", verdict.windows),
        "degraded": form.flag("degraded", verdict.degraded),
    }


def _entities(entities: EntityCount, record_form: _Form) -> dict[str, Value]:
    form = record_form.within("entities")
    return {
        "lane": form.lane(entities.lane),
        "guard": form.word("guard", entities.guard),
        "mode": form.mode(entities.mode),
        "entity_type": form.matching("entity_type", entities.entity_type, _ENTITY_TYPE),
        "detector": form.word("detector", entities.detector),
        "place": form.word("place", entities.place),
        "count": form.count("count", entities.count),
    }


class _Form:
    """Lets a value through where it has its field's form; else notes the field and gives the empty value.

    The declared types say the same; they are checked because nothing checks them at run time.
    """

    __slots__ = ("_prefix", "withheld")

    def __init__(self, prefix: str, withheld: set[str] | None = None) -> None:
        self._prefix = prefix
        self.withheld: set[str] = set() if withheld is None else withheld

    def within(self, name: str) -> _Form:
        """The same for the fields of a part."""
        return _Form(f"{name}.", self.withheld)

    def _withhold(self, name: str) -> None:
        self.withheld.add(self._prefix + name)

    def matching(self, name: str, value: object, form: re.Pattern[str]) -> str:
        """A string of a form; the empty one stands for absent."""
        if isinstance(value, str) and (not value or form.fullmatch(value)):
            return str(value)
        self._withhold(name)
        return ""

    def word(self, name: str, value: object) -> str:
        """An id or a name."""
        return self.matching(name, value, _WORD)

    def operation(self, value: object) -> str:
        """A name of a known operation."""
        if isinstance(value, str) and (value in _OPERATIONS or not value):
            return str(value)
        self._withhold("operation")
        return ""

    def action(self, value: object) -> str:
        """An action's name; an unknown one counts as a block, the strictest."""
        if isinstance(value, Action):
            return value.name.lower()
        self._withhold("action")
        return Action.BLOCK.name.lower()

    def reason(self, value: object) -> str:
        """A reason's name."""
        return self._member("reason", value, Reason)

    def mode(self, value: object) -> str:
        """A mode's name."""
        return self._member("mode", value, Mode)

    def lane(self, value: object) -> str:
        """A lane's name."""
        return self._member("lane", value, Lane)

    def kept(self, value: object) -> str:
        """Whether text was kept."""
        return self._member("bodies", value, Kept)

    def _member(self, name: str, value: object, kind: type[Reason | Mode | Lane | Kept]) -> str:
        if isinstance(value, kind):
            return value.value
        self._withhold(name)
        return ""

    def count(self, name: str, value: object, *, most: int = _COUNT_MAX) -> int:
        """An integer from 0."""
        if type(value) is int and 0 <= value <= most:
            return value
        self._withhold(name)
        return 0

    def count_if_any(self, name: str, value: object) -> int | None:
        """An integer from 0, or None."""
        return None if value is None else self.count(name, value)

    def share(self, name: str, value: object) -> float | None:
        """A number in [0, 1], or None."""
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1:
            return float(value)
        self._withhold(name)
        return None

    def amount_if_any(self, name: str, value: object) -> float | None:
        """A finite number from 0, or None."""
        if value is None:
            return None
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < math.inf:
            return float(value)
        self._withhold(name)
        return None

    def unscanned(self, value: object) -> list[str]:
        """Names of kinds of content."""
        if isinstance(value, tuple) and all(isinstance(one, Unscanned) for one in value):
            return [str(one) for one in value]
        self._withhold("unscanned")
        return []

    def flag(self, name: str, value: object) -> bool:
        """A truth value."""
        if isinstance(value, bool):
            return value
        self._withhold(name)
        return False

    def instant(self, unix_ms: object) -> Mapping[str, Value]:
        """One instant in both spellings."""
        known_ms = self.count("at_unix_ms", unix_ms, most=_UNIX_MS_MAX)
        told = _EPOCH + timedelta(milliseconds=known_ms)
        ts = told.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return {"ts": ts, "at_unix_ms": known_ms}
