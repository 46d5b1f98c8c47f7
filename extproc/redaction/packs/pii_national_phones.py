"""Personal data: phone numbers of one country, for policies that name its type.

By default ``PHONE_NUMBER`` finds them too; so none of these counts where a policy names no types. Where it
names both, the country's type is what is said. Sources: the national numbering plans (ICASA, NTC, BTK).
"""

from __future__ import annotations

from typing import Final

from extproc.redaction.packs._rules import shape
from extproc.redaction.rules import Boundary, Rule

_ZA_CODE: Final = r"(?:\+|00)27[ \-]?(?:\(0\)[ \-]?)?"
_ZA_REST: Final = r"[ \-]?\d{3}[ \-]?\d{4}"
_GAP: Final = r"[ .\-]?"


def _phone(
    entity_type: str, body: str, *, matches: tuple[str, ...], rejects: tuple[str, ...], name: str = ""
) -> Rule:
    # A bracket parts a number from the letters before it.
    left = Boundary.NONE if body.startswith(r"\(") else Boundary.NOT_DASHED
    return shape(entity_type, body, name=name, left=left, default=False, matches=matches, rejects=rejects)


RULES: Final[tuple[Rule, ...]] = (
    _phone(
        "ZA_MOBILE_NUMBER",
        rf"(?:{_ZA_CODE}|0|\(0)(?:[67]\d|8[1-5])\)?{_ZA_REST}",
        matches=("+27632118258", "063 211 8258", "0825609352", "+27 (0)82-560-9352", "(082) 560 9352"),
        rejects=("011 262 5500", "0800 123 456", "+14155550132", "1234567890", "8082 560 9352"),
    ),
    # Of a place or of any; the shared and free ones are written in groups of three.
    _phone(
        "ZA_TELEPHONE_NUMBER",
        rf"(?:{_ZA_CODE}|0)(?:[1-5]\d|80|86|87){_ZA_REST}|0(?:80|86)\d[ \-]?\d{{3}}[ \-]?\d{{3}}",
        matches=("011 262 5500", "0219871234", "+27 11 262-5500", "0800 123 456", "0860 123 456"),
        rejects=("082 560 9352", "+27632118258", "1234567890", "-011 262 5500"),
    ),
    _phone(
        "ZA_TELEPHONE_NUMBER",
        rf"\(0(?:[1-5]\d|80|86|87)\){_ZA_REST}",
        name="za-telephone-number-bracketed",
        matches=("(011) 390-9872", "H(011)3909872", "Landline (011) 262-5500 on file."),
        rejects=("(082) 560 9352", "(011) 390-98721"),
    ),
    _phone(
        "PH_MOBILE_NUMBER",
        r"(?:(?:\+|00)63[ \-]?\(?|0[ \-]?\(?)9\d{2}\)?[ \-]?\d{3}[ \-]?\d{4}",
        matches=("+63 917 123 4567", "+639171234567", "+63 (917) 123-4567", "0 (917) 123 4567"),
        rejects=("9171234567", "917-123-4567", "0917123456", "15091712345678"),
    ),
    _phone(
        "TR_PHONE_NUMBER",
        rf"(?:(?:\+|00)90{_GAP}|0{_GAP})?(?:\([2-5]\d{{2}}\)|[2-5]\d{{2}})"
        rf"{_GAP}\d{{3}}{_GAP}\d{{2}}{_GAP}\d{{2}}",
        matches=("+90 (532) 123 45 67", "05321234567", "0-532-123-45-67", "532.123.45.67", "2121234567"),
        rejects=("532123456", "53212345678", "1234567890", "6123456789", "15053212345678"),
    ),
)
