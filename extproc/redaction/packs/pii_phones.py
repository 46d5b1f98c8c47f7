"""Personal data: phone numbers: international, of North America, with a trunk prefix, and by a word.

No library of numbering plans: it would be asked for every run of digits. What a plan would refuse is
redacted all the same where it is written as numbers are.
"""

from __future__ import annotations

from typing import Final

from extproc.redaction.packs._rules import naming as naming_of
from extproc.redaction.rules import Boundary, Rule
from extproc.redaction.validators import generic

_WORDS: Final = (
    "(?:my )?(?:tele)?phones?|tel|telef[oó]n[oe]?|telefax|fax|mobiles?|mobil|cell(?:phone)?s?"
    "|cep(?: no)?|whatsapp"
    "|call(?: me)?(?: back)?(?: on| at)?|text(?: me)?(?: on| at)?"
    "|reach (?:me|us|him|her|them)(?: on| at)?"
    "|handy(?:nummer)?|rufnummer|landline|hotline|helpline|contact|celular|móvil|portable|numero"
)
_DIGITS: Final = r"\+?\(?\d(?:[ .\-/()]{0,2}\d){6,14}"


def _phone(  # noqa: PLR0913  what a rule has
    name: str,
    body: str,
    *,
    matches: tuple[str, ...],
    rejects: tuple[str, ...],
    score: float = 0.75,
    left: Boundary = Boundary.NOT_DASHED,
    right: Boundary = Boundary.NOT_DASHED,
    national: bool = False,
    default: bool = True,
    ignore_case: bool = False,
    naming: str = "",
) -> Rule:
    return Rule(
        name=name,
        entity_type="PHONE_NUMBER",
        pack="pii",
        body=body,
        naming=naming,
        left=left,
        right=right,
        validator=generic.national_phone if national else generic.phone,
        score=score,
        default=default,
        ignore_case=ignore_case,
        matches=matches,
        rejects=rejects,
    )


RULES: Final[tuple[Rule, ...]] = (
    _phone(
        "phone-international",
        r"(?:\+|00)[1-9]\d{0,2}(?:[ .\-]?\(\d{1,4}\))?(?:[ .\-]{0,2}\d){6,13}",
        left=Boundary.NOT_WORD,
        right=Boundary.NOT_WORD,
        matches=("+44 20 7946 0958", "+1 (415) 555-2671", "0049 30 123456", "+4915112345678"),
        rejects=("+12", "+1 2 3", "+0123456789"),
    ),
    _phone(
        "phone-us",
        r"(?:1[ .\-])?(?:\([2-9]\d{2}\)[ \-]?|[2-9]\d{2}[.\-])[2-9]\d{2}[ .\-]\d{4}",
        matches=("(415) 555-2671", "415-555-2671", "1-415-555-2671", "415.555.2671"),
        rejects=("115-555-2671", "415-155-2671", "415-555-26711", "4155552671"),
    ),
    _phone(
        "phone-us-spaced",
        r"(?:1[ \-])?[2-9]\d{2} [2-9]\d{2}[ \-]\d{4}",
        score=0.6,
        matches=("415 555 2670", "1 415 555-2671"),
        rejects=("115 555 2671", "415 155 2671"),
    ),
    # Trunk prefix 0 and two groups or more: most of Europe, Asia, Africa and Oceania.
    _phone(
        "phone-national",
        r"0\d{1,4}(?:[ .\-]\d{2,4}){2,4}|0\d{1,3}-\d{6,8}|0 \(?\d{3}\)? \d{3} ?\d{2} ?\d{2}",
        national=True,
        score=0.6,
        matches=("020 7946 0958", "01.84.17.61.18", "090-1234-5678", "07700 063 966", "09-7625400"),
        rejects=("01.02.2003", "00 11 22", "0123456789"),
    ),
    _phone(
        "phone-bracketed",
        r"\(0?\d{1,4}\)[ ]?\d{3,4}[ \-]?\d{3,5}",
        left=Boundary.NOT_WORD,
        score=0.6,
        matches=("(37) 788-063", "(64) 3591-3246", "(011) 390-9872", "(021)4471234"),
        rejects=("(37) 788", "f(37) 788-063"),
    ),
    # Mobile numbers that have no trunk prefix, without separators: order numbers look the same.
    _phone(
        "phone-run",
        r"1[3-9]\d{9}|0[1-9]\d{8,9}|5\d{2}[ \-]?\d{3}[ \-]?\d{2}[ \-]?\d{2}",
        score=0.3,
        default=False,
        matches=("13812345678", "532 123 45 67", "05321234567"),
        rejects=("12345", "1234567890123"),
    ),
    # Not after a dot: "j.cell.2020.01.001" is a paper.
    _phone(
        "phone-named",
        _DIGITS,
        naming=naming_of(_WORDS),
        left=Boundary.NOT_DOTTED,
        score=0.9,
        ignore_case=True,
        matches=(
            "call me on 9472 7916",
            "Tel: 450 0840",
            "phone number is 13812345678",
            "Fax (37) 788-063",
        ),
        rejects=("call 112", "phone 12345", "contact us at once"),
    ),
    # "…office", "…fax": as address books print them.
    Rule(
        name="phone-labelled",
        entity_type="PHONE_NUMBER",
        pack="pii",
        body=_DIGITS + r"[ \t]?[\-(]?[ \t]?(?:office|fax|mobile|cell|landline)",
        left=Boundary.NOT_DASHED,
        validator=generic.phone,
        score=0.6,
        ignore_case=True,
        matches=("781 1704 office", "3660170548-Fax"),
        rejects=("2 mobile", "12345 office"),
    ),
)
