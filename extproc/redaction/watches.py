"""Joins what guards want watched to the engine: one automaton for all, a plan per set of watches."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

from extproc.domain.errors import PolicyError
from extproc.domain.scanning import REPLACE
from extproc.domain.verdict import Finding
from extproc.redaction.engine import Plan, RuleScanner, Scan
from extproc.redaction.escaped import EscapedScanner
from extproc.redaction.model_spans import ModelledScanner
from extproc.redaction.operators import (
    PSEUDONYM,
    REDACT,
    Hash,
    Mask,
    Operator,
    Pseudonymise,
    Replace,
    replacement,
)
from extproc.redaction.rules import RuleError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from extproc.domain.scanning import RuleWatch, ScanEach
    from extproc.redaction.automaton import Automaton

_PLANS_MAX: Final = 256
_MASK: Final = re.compile(r"mask:([0-9]{1,2})")
# It may stand in a string of JSON, where nothing would escape it.
_REPLACE: Final = re.compile(r"replace:([^\"\\\x00-\x1f]{0,64})")


def default_mask(automaton: Automaton) -> int:
    """The bit set of the rules that count where nothing is named."""
    return sum(1 << number for number, rule in enumerate(automaton.rules) if rule.default)


class Redactor:
    """Makes scanners and finds in whole texts, by name of pack, entity type and operator.

    Args:
        automaton: The rules.
        hash_key: The key of the ``hash`` operator.
    """

    def __init__(self, automaton: Automaton, *, hash_key: bytes) -> None:
        self._automaton = automaton
        self._hash_key = hash_key
        self._pack_of = {rule.name: rule.pack for rule in automaton.rules}
        self._defaults = default_mask(automaton)
        self._plans: dict[tuple[object, ...], Plan] = {}

    def __call__(self, watches: Sequence[RuleWatch]) -> PackScanner:
        """A scanner for one channel, over the union of the watches' rules."""
        return PackScanner(EscapedScanner(RuleScanner.of(self._plan(watches))), self._pack_of)

    def modelled(self, watches: Sequence[RuleWatch]) -> ModelledScanner:
        """The same, joined with the spans of the model that one of the watches names."""
        (named,) = [watch for watch in watches if watch.model is not None]
        if named.model is None:
            raise AssertionError("a watch without a model")
        operators = {name: self._operator(text) for name, text in named.operators.items()}
        return ModelledScanner(
            self(watches),
            detector=f"{named.pack}/{named.model.name}",
            entity_types=named.model.entity_types,
            replacement=lambda entity_type, value: replacement(
                operators.get(entity_type, REDACT), entity_type, value
            ),
        )

    def find(self, text: str, watch: RuleWatch) -> tuple[tuple[Finding, str], ...]:
        """What one watch finds in a whole text, each with what takes its place."""
        scan = EscapedScanner(RuleScanner.of(self._plan((watch,)))).feed(text, eof=True)
        named = (_in_pack(finding, self._pack_of) for finding in scan.findings)
        return tuple(zip(named, scan.replacements, strict=True))

    def check(self, watch: RuleWatch) -> None:
        """Make the watch's plan now.

        Raises:
            PolicyError: an unknown pack, entity type or operator.
        """
        self._plan((watch,))

    def _plan(self, watches: Sequence[RuleWatch]) -> Plan:
        key = tuple(
            (watch.pack, watch.entity_types, tuple(sorted(watch.operators.items()))) for watch in watches
        )
        plan = self._plans.get(key)
        if plan is None:
            if len(self._plans) >= _PLANS_MAX:
                self._plans.clear()
            plan = self._plans[key] = self._make_plan(watches)
        return plan

    def _make_plan(self, watches: Sequence[RuleWatch]) -> Plan:
        mask = 0
        operators: dict[str, Operator] = {}
        for watch in watches:
            try:
                chosen = self._automaton.mask(watch.entity_types or None, [watch.pack])
            except KeyError as error:
                raise PolicyError(f"no rule has the entity type or pack {error.args[0]}") from None
            mask |= chosen if watch.entity_types else chosen & self._defaults
            for entity_type, text in watch.operators.items():
                operators[entity_type] = self._operator(text)
        try:
            return Plan(self._automaton, mask=mask, operators=operators)
        except RuleError as error:
            raise PolicyError(str(error)) from None

    def _operator(self, text: str) -> Operator:
        if text == "redact":
            return REDACT
        if text == PSEUDONYM:
            return Pseudonymise()
        if text == "hash":
            return Hash(key=self._hash_key)
        masked = _MASK.fullmatch(text)
        if masked is not None:
            return Mask(keep_last=int(masked[1]))
        replaced = _REPLACE.fullmatch(text)
        if replaced is not None:
            return Replace(text=replaced[1])
        if text.startswith(REPLACE):
            raise PolicyError(f"{REPLACE}TEXT has up to 64 characters, none of them a quote or a backslash")
        raise PolicyError("an operator is one of redact, hash, pseudonym, mask:N (0 to 99), replace:TEXT")


class PackScanner:
    """A rule scanner whose findings name their rule as ``pack/rule``."""

    __slots__ = ("_pack_of", "_scanner")

    def __init__(self, scanner: EscapedScanner, pack_of: dict[str, str]) -> None:
        self._scanner = scanner
        self._pack_of = pack_of

    def feed(self, text: str, *, eof: bool = False) -> Scan:
        """Take more text; with ``eof`` everything is decided and released."""
        scan = self._scanner.feed(text, eof=eof)
        if not scan.findings:
            return scan
        findings = tuple(_in_pack(finding, self._pack_of) for finding in scan.findings)
        return Scan(scan.released, findings, scan.replacements)

    def feed_each(self, texts: Sequence[str]) -> ScanEach:
        """The same as feeding them one by one, none of them the last."""
        scan = self._scanner.feed_each(texts)
        if not scan.findings:
            return scan
        findings = [(number, _in_pack(finding, self._pack_of)) for number, finding in scan.findings]
        return scan._replace(findings=findings)

    @property
    def held_chars(self) -> int:
        """Code points that wait for more text."""
        return self._scanner.held_chars

    @property
    def decided_chars(self) -> int:
        """Code points from the beginning of which it is known whether they are of a finding."""
        return self._scanner.decided_chars

    def drop(self) -> None:
        """Forget what is held."""
        self._scanner.drop()


def _in_pack(finding: Finding, pack_of: dict[str, str]) -> Finding:
    return Finding(
        entity_type=finding.entity_type,
        start=finding.start,
        end=finding.end,
        score=finding.score,
        detector=f"{pack_of[finding.detector]}/{finding.detector}",
    )
