"""Personal data: identifiers of the United Kingdom, Germany, Italy, Spain and Poland."""

from __future__ import annotations

from typing import Final

from extproc.redaction.packs._rules import named, number, shape
from extproc.redaction.rules import Boundary, Rule
from extproc.redaction.validators import europe

_NINO_PREFIX: Final = (
    "[ACEHJ-MOPRSW-Y][ABCEGHJ-NPR-TW-Z]|B[ABCEHJ-NPR-TW-Z]|G[ACEGHJ-MPR-SW-Z]|K[ABCEGHJ-MPR-TW-Z]"
    "|N[ABCEGHJLMNPRSW-Z]|T[ABCEGHJ-MPR-TW-Z]|Z[ABCEGHJ-NPR-TW-Y]"
)
_POSTCODE: Final = (
    "GIR ?0AA|(?:[A-PR-UWYZ](?:\\d[A-HJKPSTUW]?|\\d{2}|[A-HK-Y]\\d[ABEHMNPRV-Y]?|[A-HK-Y]\\d{2}))"
    " ?\\d[ABD-HJLNP-UW-Z]{2}"
)
_PLATE_UK: Final = (
    "[A-HJ-PR-Y]{2}(?:0[1-9]|[12]\\d|5[1-9]|[67]\\d)[ \\-]?[A-HJ-PR-Z]{3}"
    "|[A-HJ-NPR-TV-Y]\\d{1,3}[ \\-]?[A-HJ-PR-Y][A-HJ-PR-Z]{2}"
    "|[A-HJ-PR-Z]{3}[ \\-]?\\d{1,3}[ \\-]?[A-HJ-NPR-TV-Y]"
)
_ICAO: Final = "[CFGHJ-NPRTV-Z][CFGHJ-NPRTV-Z0-9]{7}\\d"
# 01001 to 99998.
_PLZ: Final = (
    r"01(?:00[1-9]|0[1-9]\d|[1-9]\d\d)|0[2-9]\d{3}|[1-8]\d{4}|9[0-8]\d{3}|99[0-8]\d\d|999[0-8]\d|9999[0-8]"
)
_PASSPORT: Final = "passports?(?: no\\.?)?|travel document"
# The digits of an Italian fiscal code may be written as letters where two people have the same.
_OMO: Final = "[0-9LMNP-V]"

UNITED_KINGDOM: Final[tuple[Rule, ...]] = (
    shape(
        "UK_NHS",
        r"\d{3}[ \-]\d{3}[ \-]\d{4}",
        name="nhs",
        validator=europe.nhs,
        matches=("943 476 5919", "401-023-2137"),
        rejects=("943 476 5918", "943 476 59190"),
    ),
    *number(
        "UK_NHS",
        r"\d{10}",
        words="nhs|national health(?: service)?",
        says="NHS",
        example="0032698674",
        wrong="0032698675",
        validator=europe.nhs,
    ),
    shape(
        "UK_NINO",
        rf"(?:{_NINO_PREFIX}) ?\d{{2}} ?\d{{2}} ?\d{{2}} ?[A-D]",
        ignore_case=True,
        matches=("AA 12 34 56 B", "tw987654a"),
        rejects=("AA 12 34 56 H", "FQ 00 00 00 C", "BG123612A"),
    ),
    *number(
        "UK_PASSPORT",
        r"[A-Z]{2}\d{7}",
        words=f"(?:uk |british )?(?:{_PASSPORT})",
        says="passport",
        example="AB1234567",
        wrong="ABC123456",
        ignore_case=True,
    ),
    shape(
        "UK_DRIVING_LICENCE",
        r"(?:[A-Z]{5}|[A-Z]{4}9|[A-Z]{3}99|[A-Z]{2}999)\d(?:0[1-9]|1[0-2]|5[1-9]|6[0-2])"
        r"(?:0[1-9]|[12]\d|3[01])\d[A-Z9]{2}[A-Z0-9][A-Z]{2}",
        ignore_case=True,
        matches=("MORGA657054SM9IJ",),
        rejects=("MORGA613054SM9IJ", "99999657054SM9IJ"),
    ),
    *number(
        "UK_POSTCODE",
        _POSTCODE,
        words="post ?codes?",
        says="postcode",
        example="EC2A 1NT",
        wrong="QA1 1AA",
        ignore_case=True,
    ),
    *number(
        "UK_VEHICLE_REGISTRATION",
        _PLATE_UK,
        words="(?:car |vehicle )?(?:reg|registration|number plate|plate|vrn)",
        says="registration",
        example="AB51 ABC",
        wrong="IB51 ABC",
        ignore_case=True,
    ),
)

GERMANY: Final[tuple[Rule, ...]] = (
    shape(
        "DE_TAX_ID",
        r"[1-9]\d \d{3} \d{3} \d{3}",
        validator=europe.de_tax_id,
        matches=("12 345 678 903",),
        rejects=("12 345 678 901",),
    ),
    *number(
        "DE_TAX_ID",
        r"[1-9]\d{10}",
        words="steuer-?id(?:entifikationsnummer|nr)?|steueridentifikationsnummer|idnr|tin|tax id",
        says="Steuer-ID",
        example="12345678903",
        wrong="12345678901",
        validator=europe.de_tax_id,
    ),
    shape(
        "DE_TAX_NUMBER",
        r"\d{2,3}/\d{3,4}/\d{4,5}",
        left=Boundary.NOT_WORD,
        right=Boundary.NOT_WORD,
        matches=("123/456/78901", "12/345/6789"),
        rejects=("1/345/6789", "123/456/789"),
        default=False,
    ),
    *number(
        "DE_TAX_NUMBER",
        r"(?:0[1-9]|1[0-6])\d{11}|\d{2,3}/\d{3,4}/\d{4,5}",
        words="steuernummer|steuer-?nr|st\\.?-?nr|tax number",
        says="Steuernummer",
        example="0981508150999",
        wrong="1781508150001",
    )[1:],
    shape(
        "DE_TAX_NUMBER",
        r"(?:0[1-9]|1[0-6])\d{11}",
        name="de-tax-number-run",
        matches=("0281508150123",),
        rejects=("1781508150001",),
        default=False,
    ),
    shape(
        "DE_ID_CARD",
        rf"{_ICAO}|T\d{{8}}",
        validator=europe.icao,
        ignore_case=True,
        matches=("L01X00T44", "T22000129"),
        rejects=("L01X00T47", "C01234567"),
        default=False,
    ),
    named(
        "DE_ID_CARD",
        "(?:personal)?ausweis(?:nummer|nr)?(?: nr)?|identity card|perso",
        rf"{_ICAO}|T\d{{8}}",
        validator=europe.icao,
        matches=("Personalausweis: L01X00T44.", "Ausweis Nr. T22000129"),
        rejects=("Personalausweis: L01X00T47",),
    ),
    *number(
        "DE_PASSPORT",
        _ICAO,
        words="reisepass(?:nummer|nr)?|pass(?:nummer|-?nr)?|passports?",
        says="Reisepass",
        example="C01234565",
        wrong="C01234567",
        validator=europe.icao,
        ignore_case=True,
    ),
    shape(
        "DE_SOCIAL_SECURITY",
        r"\d{6}\d{2}[A-Z]\d{3}",
        validator=europe.de_pension,
        ignore_case=True,
        matches=("15070649C103",),
        rejects=("15070649C100", "15071349C103"),
    ),
    *number(
        "DE_HEALTH_INSURANCE",
        r"[A-Z]\d{9}",
        words="kvnr|krankenversicherten?-?(?:nummer|nr)|versicherten-?(?:nummer|nr)|krankenkasse|egk(?:-nummer)?",
        says="KVNR",
        example="A123456780",
        wrong="A123456787",
        validator=europe.de_health,
        ignore_case=True,
    ),
    shape(
        "DE_VAT_ID",
        r"DE[ .\-]?\d{3}[ .\-]?\d{3}[ .\-]?\d{3}",
        ignore_case=True,
        matches=("DE136695976", "DE 136 695 976"),
        rejects=("DE12345678", "DE1234567890"),
    ),
    *number(
        "DE_LANR",
        r"\d{9}",
        words="lanr|arztnummer|arzt-?nr",
        says="LANR",
        example="123456601",
        wrong="123456901",
        validator=europe.lanr,
    ),
    *number(
        "DE_BSNR",
        r"0[1-9]\d{7}|[1-9]\d{8}",
        words="bsnr|betriebsstättennummer|betriebsstätten-?nr",
        says="BSNR",
        example="021234568",
        wrong="000000000",
    ),
    *number(
        "DE_FUEHRERSCHEIN",
        r"[A-Z]{2}\d{8}[A-Z0-9]",
        words="führerschein(?:nummer|-?nr)?|fahrerlaubnis(?:nummer|-?nr)?",
        says="Führerschein",
        example="BO12345678A",
        wrong="B12345678A",
        ignore_case=True,
    ),
    shape(
        "DE_HANDELSREGISTER",
        r"HR[AB] ?\d{1,6}",
        ignore_case=True,
        matches=("HRB 123456", "HRA12345"),
        rejects=("HRC 12345", "HRB 1234567"),
    ),
    *number(
        "DE_KFZ",
        "[A-ZÄÖÜ]{1,3}[ \\-][A-Z]{1,2}[ \\-]\\d{1,4}[EH]?",
        words="(?:kfz-?)?kennzeichen|kfz",
        says="Kennzeichen",
        example="HH-AB-1234",
        wrong="BAB1234",
        ignore_case=True,
    ),
    *number(
        "DE_PLZ",
        _PLZ,
        words="plz|postleitzahl",
        says="PLZ",
        example="80331",
        wrong="00000",
    ),
)

ITALY: Final[tuple[Rule, ...]] = (
    shape(
        "IT_FISCAL_CODE",
        rf"[A-Z]{{6}}{_OMO}{{2}}[A-EHLMPR-T]{_OMO}{{2}}[A-MZ]{_OMO}{{3}}[A-Z]",
        ignore_case=True,
        matches=("AAAAAA00B11C333Y", "RSSMRA85T10A562S"),
        rejects=("A55AAA00B11C333N", "AAAAAA00F11C333Y"),
    ),
    *number(
        "IT_VAT_CODE",
        r"(?:IT)?\d{5}[ _]?\d{3}[ _]?\d{3}",
        words="p\\.? ?iva|partita iva|piva|vat",
        says="P.IVA",
        example="01333550323",
        wrong="01333550324",
        validator=europe.it_vat,
    ),
    *number(
        "IT_DRIVER_LICENSE",
        r"[A-Z]{2}\d{7}[A-Z]|U1[B-HJ-NPR-UW-Z0-9]{7}[A-Z]",
        words="patente(?: di guida)?|driver'?s? licen[cs]e|licen[cs]e",
        says="patente",
        example="U1K711J11M",
        wrong="990123456B",
        ignore_case=True,
    ),
    *number(
        "IT_IDENTITY_CARD",
        r"[A-Z]{2} ?\d{7}|\d{7}[A-Z]{2}|[A-Z]{2}\d{5}[A-Z]{2}",
        words="carta d['\\u2019]identità|c\\.?i\\.?e?\\.?|identity card",
        says="carta d'identità",
        example="CA12345AA",
        wrong="CAA2345AA",
        ignore_case=True,
    ),
    *number(
        "IT_PASSPORT",
        r"[A-Z]{2}\d{7}",
        words="passaporto",
        says="passaporto",
        example="AA7654321",
        wrong="AAA654321",
        ignore_case=True,
    ),
)

SPAIN_AND_POLAND: Final[tuple[Rule, ...]] = (
    shape(
        "ES_NIF",
        r"\d{7,8}-?[A-HJ-NP-TV-Z]",
        validator=europe.nif,
        ignore_case=True,
        matches=("55555555K", "1111111-G", "12345678z"),
        rejects=("12345678A", "401-023-2138"),
    ),
    shape(
        "ES_NIE",
        r"[XYZ]\d{7}-?[A-HJ-NP-TV-Z]",
        validator=europe.nie,
        ignore_case=True,
        matches=("Z8078221M", "Y8063915-Z"),
        rejects=("Y8063915Q", "W8063915Q"),
    ),
    *number(
        "ES_PASSPORT",
        r"[A-Z]{3}\d{6}",
        words="pasaporte|passports?",
        says="pasaporte",
        example="AAA123456",
        wrong="AA123456",
        ignore_case=True,
    ),
    *number(
        "PL_PESEL",
        r"\d{2}(?:[02468][1-9]|[13579][012])(?:0[1-9]|[12]\d|3[01])\d{5}",
        words="pesel",
        says="PESEL",
        example="44051401458",
        wrong="44051401459",
        validator=europe.pesel,
    ),
    named(
        "PL_NIP",
        "nip",
        r"\d{3}-?\d{3}-?\d{2}-?\d{2}",
        validator=europe.nip,
        matches=("NIP: 856-734-62-15", "NIP 8567346215"),
        rejects=("NIP 8567346216", "8567346215"),
    ),
)

RULES: Final[tuple[Rule, ...]] = (*UNITED_KINGDOM, *GERMANY, *ITALY, *SPAIN_AND_POLAND)
