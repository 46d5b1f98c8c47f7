"""Personal data: identifiers of Africa and Israel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.redaction.packs._rules import named, number, shape
from extproc.redaction.validators import asia_pacific as checks

if TYPE_CHECKING:
    from extproc.redaction.rules import Rule

_DATE: Final = r"\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
_PASSPORT: Final = "passports?(?: no\\.?)?|travel document"

RULES: Final[tuple[Rule, ...]] = (
    *number(
        "IL_ID",
        r"\d{9}",
        words="teudat zehut|israeli id|תעודת זהות|ת\\.ז\\.?",
        says="Teudat Zehut",
        example="123456782",
        wrong="123456783",
        validator=checks.israel_id,
    ),
    shape(
        "ZA_ID_NUMBER",
        rf"{_DATE}\d{{4}}[0-2][89]\d",
        validator=checks.za_id,
        matches=("8001015009087",),
        rejects=("8001015009086", "9913326789285"),
    ),
    *number(
        "ZA_TRAFFIC_REGISTER_NUMBER",
        r"\d{13}",
        words="traffic register|trn",
        says="traffic register",
        example="1234567890123",
        wrong="8001015009087",
        validator=checks.not_za_id,
    )[1:],
    *number(
        "ZA_VAT_NUMBER",
        r"4\d{9}",
        words="vat(?: registration)?",
        says="VAT",
        example="4020269678",
        wrong="3020269678",
    ),
    *number(
        "ZA_INCOME_TAX_NUMBER",
        r"[01239]\d{9}",
        words="(?:sars |income )?tax(?: reference)?",
        says="tax reference",
        example="2987654321",
        wrong="4987654321",
    ),
    shape(
        "ZA_COMPANY_REGISTRATION",
        r"(?:19|20)\d{2}/\d{6}/\d{2}|(?:CK|NR|[KTWBMN])\d{4}/\d{6}",
        matches=("2009/199240/23", "CK2001/123456"),
        rejects=("99/199240/23", "2009/19924/23"),
    ),
    *number(
        "ZA_PASSPORT",
        r"[ADMT]\d{8}",
        words=_PASSPORT,
        says="passport",
        example="A34855903",
        wrong="B34855903",
    ),
    *number(
        "ZA_DRIVER_LICENSE",
        r"\d{6,10}[A-Z][A-Z0-9]{1,4}",
        words="driv(?:ing|er'?s?) licen[cs]e|enatis licen[cs]e|licen[cs]e",
        says="driving licence",
        example="60390002CGBV",
        wrong="60390002",
    ),
    *number(
        "ZA_LICENSE_PLATE",
        r"[A-Z]{2,4} ?\d{2,4} ?[A-Z]{0,4} ?(?:GP|ZN|WP|EC|NC|FS|LP|MP|NW)|\d{2,3} ?[A-Z]{2,3} ?EC",
        words="licen[cs]e plate|number plate|plate|registration",
        says="plate",
        example="DK 28 LF GP",
        wrong="DK 28 LF XX",
    ),
    named(
        "NG_NIN",
        "nin|national identification",
        r"\d{11}",
        matches=("NIN: 12345678901",),
        rejects=("12345678901", "NIN: 1234567890"),
    ),
    *number(
        "NG_VEHICLE_REGISTRATION",
        r"[A-Z]{3}[ \-]?\d{3}[A-Z]{2}",
        words="plate|vehicle|registration",
        says="plate",
        example="ABJ-123XY",
        wrong="AB-1234CD",
        ignore_case=True,
    ),
)
