"""What the guards that find by rules share: one pack over the request's segments and the answer."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, auto
from typing import Final, assert_never

from extproc.domain.effects import Answer, Effect
from extproc.domain.ports import ALLOWED, ExchangeView, Verdict
from extproc.domain.pseudonym import Pseudonym
from extproc.domain.reading import SpanModel
from extproc.domain.scanning import RuleFinder, RuleWatch
from extproc.domain.segment import Segment, SegmentEdit
from extproc.domain.verdict import Action, Finding, Lane, LocatedFinding, Reason
from extproc.redaction.operators import PSEUDONYM
from extproc.redaction.pseudonyms import token_of

REFUSED_STATUS = 403
# Places named in one message: enough to find them, and short.
_PLACES_NAMED_MAX: Final = 3
# Whatever else is hashed with the same key.
_KEY_LABEL: Final = "operator:pseudonym:"


class OnFinding(StrEnum):
    """What happens to a lane in which something was found."""

    REDACT = auto()
    BLOCK = auto()
    ALLOW = auto()


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleGuard:
    """Applies one pack of rules.

    ``found`` is the reason of a block, ``what`` its noun in the message to the client. ``key_hash`` is
    keyed itself and makes the key of a stream's pseudonyms. ``model`` reads answers beside the rules.
    """

    pack: str
    found: Reason
    what: str
    request: OnFinding
    answer: OnFinding
    entity_types: frozenset[str]
    operators: Mapping[str, str]
    find: RuleFinder
    key_hash: Callable[[str], str]
    model: SpanModel | None = None

    @property
    def watch(self) -> RuleWatch:
        """The rules, whatever follows from what they find."""
        return self._watch(OnFinding.REDACT)

    def needs(self, exchange: ExchangeView) -> tuple[Effect, ...]:
        """Nothing: rules are synchronous."""
        del exchange
        return ()

    def judge(self, exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        """Redact or refuse what the rules find in the request."""
        del answers
        if exchange.request is None or self.request is OnFinding.ALLOW:
            return ALLOWED
        watch = self._watch(self.request)
        findings: list[LocatedFinding] = []
        edits: list[SegmentEdit] = []
        pseudonyms: dict[str, Pseudonym] = {}
        key = self._pseudonym_key(exchange)
        for segment in exchange.request.segments:
            for finding, replacement in self._found_in(segment, watch):
                findings.append(LocatedFinding(lane=Lane.REQUEST, place=segment.place, finding=finding))
                pseudonym = self._pseudonym(key, segment, finding)
                if pseudonym is not None:
                    pseudonyms[pseudonym.token] = pseudonym
                edits.append(
                    SegmentEdit(
                        segment_index=segment.index,
                        start=finding.start,
                        end=finding.end,
                        replacement=replacement if pseudonym is None else pseudonym.token,
                    )
                )
        return self._verdict(tuple(findings), tuple(edits), tuple(pseudonyms.values()))

    def _pseudonym_key(self, exchange: ExchangeView) -> bytes:
        """The key of the stream's tokens, which says nothing about another stream's; empty for none."""
        if self.request is not OnFinding.REDACT or PSEUDONYM not in self.operators.values():
            return b""
        return bytes.fromhex(self.key_hash(_KEY_LABEL + exchange.stream_id))

    def _pseudonym(self, key: bytes, segment: Segment, finding: Finding) -> Pseudonym | None:
        """What stands for a finding before the model and is turned back; None where nothing is."""
        entity_type = finding.entity_type
        if not key or self.operators.get(entity_type) != PSEUDONYM:
            return None
        value = segment.text[finding.start : finding.end]
        token = token_of(key, entity_type, value)
        return None if token is None else Pseudonym(token=token, value=value, entity_type=entity_type)

    def scanner(self, exchange: ExchangeView) -> RuleWatch | None:
        """The same rules for the answer, and the model where a model has written it."""
        if self.answer is OnFinding.ALLOW:
            return None
        watch = self._watch(self.answer)
        asks = exchange.request is not None and exchange.request.operation.asks_a_model
        return replace(watch, model=self.model) if self.model is not None and asks else watch

    def _found_in(self, segment: Segment, watch: RuleWatch) -> Iterable[tuple[Finding, str]]:
        """What stands in a segment, whichever way a server joins its parts."""
        found = self.find(segment.text, watch)
        if not segment.seams:
            return found
        apart = [
            (replace(one, start=segment.place_of(one.start), end=segment.place_of(one.end)), replacement)
            for one, replacement in self.find(segment.apart, watch)
        ]
        return dict.fromkeys([*found, *apart])

    def _verdict(
        self,
        findings: tuple[LocatedFinding, ...],
        edits: tuple[SegmentEdit, ...],
        pseudonyms: tuple[Pseudonym, ...],
    ) -> Verdict:
        if not findings:
            return ALLOWED
        match self.request:
            case OnFinding.REDACT:
                return Verdict(
                    action=Action.REDACT,
                    reason=Reason.REDACTED,
                    findings=findings,
                    edits=edits,
                    pseudonyms=pseudonyms,
                )
            case OnFinding.BLOCK:
                return Verdict(
                    action=Action.BLOCK,
                    reason=self.found,
                    status=REFUSED_STATUS,
                    message=f"{self.what} found in {_places(findings)}: remove it and send again",
                    findings=findings,
                )
            case OnFinding.ALLOW:
                return ALLOWED
            case _:
                assert_never(self.request)

    def _watch(self, action: OnFinding) -> RuleWatch:
        block = action is OnFinding.BLOCK
        return RuleWatch(
            pack=self.pack,
            entity_types=self.entity_types,
            operators=self.operators,
            block=block,
            reason=self.found if block else Reason.REDACTED,
        )


def _places(findings: tuple[LocatedFinding, ...]) -> str:
    places = sorted({located.place for located in findings})
    more = " and elsewhere" if len(places) > _PLACES_NAMED_MAX else ""
    return ", ".join(places[:_PLACES_NAMED_MAX]) + more
