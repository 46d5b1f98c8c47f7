"""Links and images in an answer that lead to hosts nobody allowed (OWASP LLM05, improper output handling).

A client that shows an image fetches it, and with its address carries out whatever the model was talked into
writing there. See ``_links`` for what counts as a link.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from annotated_types import Len

from extproc.domain.effects import Answer, Effect
from extproc.domain.errors import SettingError
from extproc.domain.judging import ChannelKind, JudgeWatch, OnAnswer, kind_of
from extproc.domain.ports import ALLOWED, ExchangeView, GuardEnv, GuardSpec, Verdict
from extproc.domain.segment import Channel
from extproc.domain.verdict import Mode, Reason, Stage
from extproc.guards._binding import bound_to
from extproc.guards._judged import CANNED, Canned, NoCalls
from extproc.guards._links import Hosts, LinkScanner

REPLACEMENT: Final = "[LINK]"
HOST: Final = re.compile(r"(\*\.)?[a-z0-9-]+(\.[a-z0-9-]+)*")
_MESSAGE: Final = "the answer was withheld: it links to a host that is not allowed"


class OnLink(StrEnum):
    """What happens to a link that is not allowed, or to the answer that has it."""

    REDACT = "redact"
    CUT = "cut"
    REPLACE = "replace"
    FLAG = "flag"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where links may lead: ``example.com``, or ``*.example.com`` for whatever is below it.

    ``arguments``: links in what tools are called with, too, which a tool may need.
    """

    answer: OnLink = OnLink.REDACT
    canned: Canned = CANNED
    hosts: Annotated[tuple[str, ...], Len(0, 1_000)] = ()
    arguments: bool = False

    def __post_init__(self) -> None:
        """Refuse what no host could be.

        Raises:
            SettingError: a host has more than a name, or capital letters.
        """
        for index, host in enumerate(self.hosts):
            if HOST.fullmatch(host) is None:
                raise SettingError(
                    ("hosts", index),
                    "is no host's name",
                    "write it in small letters, as example.com or *.example.com, without a scheme, a port, "
                    "a path or brackets",
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class Links:
    """Lets answers lead nowhere but to the hosts of the list."""

    settings: Settings

    def needs(self, exchange: ExchangeView) -> tuple[Effect, ...]:
        """Nothing."""
        del exchange
        return ()

    def judge(self, exchange: ExchangeView, answers: tuple[Answer, ...]) -> Verdict:
        """Allow: what a caller links to is his own."""
        del exchange, answers
        return ALLOWED

    def scanner(self, exchange: ExchangeView) -> JudgeWatch | None:
        """Watch every text of a model's answer."""
        if exchange.request is None or not exchange.request.operation.asks_a_model:
            return None
        redacts = self.settings.answer is OnLink.REDACT
        return JudgeWatch(
            judge=_LinkJudge(self.settings),
            on_finding=OnAnswer.FLAG if redacts else OnAnswer(self.settings.answer),
            reason=Reason.LINK_FOUND,
            message=_MESSAGE,
            canned=self.settings.canned,
            edits=redacts,
        )


@dataclass(frozen=True, slots=True)
class _LinkJudge:
    settings: Settings

    def begin(self) -> "_LinkJudging":
        """The hosts of the list."""
        return _LinkJudging(self.settings)


class _LinkJudging(NoCalls):
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._hosts = Hosts(settings.hosts)

    def open(self, channel: Channel) -> LinkScanner | None:
        """Every text, but names, and arguments only if the policy wants it."""
        kind = kind_of(channel)
        if kind is ChannelKind.NAME or (kind is ChannelKind.ARGUMENTS and not self._settings.arguments):
            return None
        # What only looks on goes through the whole answer, too.
        ends = self._settings.answer in {OnLink.CUT, OnLink.REPLACE}
        return LinkScanner(self._hosts, replacement=None if ends else REPLACEMENT)


def _build(settings: Settings, env: GuardEnv) -> Links:
    del env
    return Links(settings=settings)


GUARD = GuardSpec(
    name="links",
    stage=Stage.TOOLS,
    owasp="LLM05",
    error_reason=Reason.INTERNAL,
    settings=Settings,
    build=bound_to(Settings, _build),
    mode=Mode.OFF,
)
