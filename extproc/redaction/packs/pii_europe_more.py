"""Personal data: identifiers of the Nordic, Benelux, Alpine and other European countries, and of Turkey."""

from __future__ import annotations

from typing import Final

from extproc.redaction.packs._rules import named, number, shape
from extproc.redaction.rules import Boundary, Rule
from extproc.redaction.validators import europe

_DAY_MONTH: Final = r"(?:0[1-9]|[12]\d|3[01])(?:0[1-9]|1[0-2])"

NORDIC: Final[tuple[Rule, ...]] = (
    # A sign for the century and a check character: enough beside any other text.
    shape(
        "FI_PERSONAL_IDENTITY_CODE",
        rf"{_DAY_MONTH}\d{{2}}[\-+A-FU-Y]\d{{3}}[0-9A-FHJ-NPR-Y]",
        validator=europe.hetu,
        left=Boundary.NOT_DIGIT,
        ignore_case=True,
        matches=("010594Y9032", "code is030594W903B."),
        rejects=("111111-111A", "010324A110G", "131052/308T"),
    ),
    shape(
        "SE_PERSONNUMMER",
        r"(?:(?:18|19|20)\d{2}|\d{2})(?:0[1-9]|1[0-2])(?:0[1-9]|[1-8]\d|9[01])[\-+]\d{4}",
        validator=europe.personnummer,
        matches=("871220-2384", "19910924-2397"),
        rejects=("19000309-3393", "19001309-2393"),
    ),
    *number(
        "SE_PERSONNUMMER",
        r"(?:(?:18|19|20)\d{2}|\d{2})(?:0[1-9]|1[0-2])(?:0[1-9]|[1-8]\d|9[01])\d{4}",
        words="personnummer|samordningsnummer|pnr|personal identity|swedish id",
        says="personnummer",
        example="198712202384",
        wrong="198712202385",
        validator=europe.personnummer,
        left=Boundary.NOT_DIGIT,
    ),
    shape(
        "SE_ORGANISATIONSNUMMER",
        r"\d{2}[2-9]\d{3}-\d{4}",
        validator=europe.organisationsnummer,
        matches=("212000-0142", "556703-7485"),
        rejects=("556703-7486",),
    ),
    *number(
        "SE_ORGANISATIONSNUMMER",
        r"\d{10}",
        words="org(?:anisations)?(?:nummer|-?nr)|company identity",
        says="orgnummer",
        example="2120000142",
        wrong="2120000143",
        validator=europe.organisationsnummer,
    ),
    shape(
        "NO_FODSELSNUMMER",
        r"\d{6} \d{5}",
        validator=europe.fodselsnummer,
        matches=("010107 50160",),
        rejects=("010107 50161",),
    ),
    *number(
        "NO_FODSELSNUMMER",
        r"\d{11}",
        words="fødselsnummer|fødselsnr|personnummer|fnr|d-nummer",
        says="fødselsnummer",
        example="01010750160",
        wrong="01010750161",
        validator=europe.fodselsnummer,
    ),
    shape(
        "DK_CPR",
        rf"{_DAY_MONTH}\d{{2}}-\d{{4}}",
        validator=europe.cpr,
        matches=("211062-5629",),
        rejects=("311162-5629", "211362-5629"),
    ),
    *number(
        "DK_CPR",
        rf"{_DAY_MONTH}\d{{6}}",
        words="cpr(?:-?nummer|-?nr)?|personnummer",
        says="CPR",
        example="2110625629",
        wrong="2113625629",
        validator=europe.cpr,
    ),
)

WESTERN: Final[tuple[Rule, ...]] = (
    shape(
        "FR_NIR",
        r"[1-478] ?\d{2} ?(?:0[1-9]|[1-35]\d|4[0-2]) ?(?:\d{2}|2[AB]) ?\d{3} ?\d{3} ?\d{2}",
        validator=europe.nir,
        matches=("185057800608491", "1 85 05 78 006 084 91"),
        rejects=("185057800608492",),
    ),
    named(
        "NL_BSN",
        "bsn|burgerservicenummer|sofi-?nummer",
        r"\d{9}|\d{4}\.\d{2}\.\d{3}",
        validator=europe.bsn,
        matches=("BSN: 111222333", "burgerservicenummer 123456782"),
        rejects=("BSN: 111222334", "111222333"),
    ),
    shape(
        "BE_NATIONAL_NUMBER",
        r"\d{2}\.\d{2}\.\d{2}-\d{3}\.\d{2}",
        validator=europe.be_national,
        matches=("85.07.30-033.28",),
        rejects=("85.07.30-033.29",),
    ),
    named(
        "BE_NATIONAL_NUMBER",
        "rijksregisternummer|registre national|national register|niss|insz",
        r"\d{11}",
        validator=europe.be_national,
        matches=("rijksregisternummer 85073003328",),
        rejects=("rijksregisternummer 85073003329", "85073003328"),
    ),
    named(
        "PT_NIF",
        "nif|contribuinte",
        r"\d{3} ?\d{3} ?\d{3}",
        validator=europe.pt_nif,
        matches=("NIF: 501964843", "NIF 501 964 843"),
        rejects=("NIF: 501964842", "501964843"),
    ),
    shape(
        "IE_PPS",
        r"\d{7}[A-W][A-IW]?",
        validator=europe.pps,
        matches=("1234567T", "1234567FA"),
        rejects=("1234567U", "1234567"),
    ),
    shape(
        "CH_AHV",
        r"756(?:\.\d{4}\.\d{4}\.\d{2}|\d{10})",
        validator=europe.ahv,
        matches=("756.9217.0769.85", "7569217076985"),
        rejects=("756.9217.0769.84",),
    ),
    shape(
        "AT_SVNR",
        rf"[1-9]\d{{3}} {_DAY_MONTH}\d{{2}}",
        validator=europe.at_svnr,
        matches=("1237 010180",),
        rejects=("1238 010180",),
    ),
    named(
        "AT_SVNR",
        "svnr|sv-?nummer|sozialversicherungsnummer",
        r"[1-9]\d{9}",
        validator=europe.at_svnr,
        matches=("SVNR: 1237010180",),
        rejects=("SVNR: 1238010180", "1237010180"),
    ),
    named(
        "FR_SIRET",
        "siret|siren",
        r"\d{3} ?\d{3} ?\d{3}(?: ?\d{5})?",
        matches=("SIRET: 732 829 320 00074", "SIREN 732829320"),
        rejects=("SIRET 73282", "732 829 320 00074"),
    ),
)

EASTERN: Final[tuple[Rule, ...]] = (
    shape(
        "CZ_BIRTH_NUMBER",
        r"\d{6}/\d{4}",
        validator=europe.birth_number,
        matches=("710319/2745", "855512/1234"),
        rejects=("710319/2746",),
    ),
    shape(
        "RO_CNP",
        r"[1-8]\d{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])\d{6}",
        validator=europe.cnp,
        matches=("1630615123457",),
        rejects=("1630615123458",),
    ),
    named(
        "HR_OIB",
        "oib",
        r"\d{11}",
        validator=europe.oib,
        matches=("OIB: 33392005961",),
        rejects=("OIB: 33392005962", "33392005961"),
    ),
    named(
        "BG_EGN",
        "egn|ЕГН|егн",
        r"\d{10}",
        validator=europe.egn,
        matches=("EGN: 7523169263", "ЕГН: 7523169263"),
        rejects=("EGN: 7523169264", "7523169263"),
    ),
    named(
        "GR_AFM",
        "afm|ΑΦΜ|αφμ",
        r"\d{9}",
        validator=europe.afm,
        matches=("AFM: 094259216",),
        rejects=("AFM: 094259217", "094259216"),
    ),
    *number(
        "TR_NATIONAL_ID",
        r"[1-9]\d{10}",
        words="tckn|tc|t\\.c\\.|(?:tc |t\\.c\\. |türk )?kimlik(?: numaras\u0131)?(?: no)?|turkish id",
        says="TC Kimlik No",
        example="10000000146",
        wrong="10000000145",
        validator=europe.tckn,
    ),
    *number(
        "TR_LICENSE_PLATE",
        r"(?:0[1-9]|[1-7]\d|8[01])(?: ?[A-PR-VYZ]{1,3} ?|-[A-PR-VYZ]{1,3}-)\d{2,4}",
        words="plaka(?:s\u0131| numaras\u0131)?|plate|license plate",
        says="plaka",
        example="34 ABC 1234",
        wrong="82 ABC 123",
        ignore_case=True,
    ),
)

RULES: Final[tuple[Rule, ...]] = (*NORDIC, *WESTERN, *EASTERN)
