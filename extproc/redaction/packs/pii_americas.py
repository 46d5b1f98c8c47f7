"""Personal data: identifiers of the United States, Canada and Latin America."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.redaction.packs._rules import named, number, shape
from extproc.redaction.validators import americas

if TYPE_CHECKING:
    from extproc.redaction.rules import Rule

_SSN: Final = "ssns?|social security|soc\\.? sec\\.?|social"
_ITIN_GROUP: Final = r"(?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])"
_ITIN: Final = rf"9\d{{2}}[ \-]?{_ITIN_GROUP}[ \-]?\d{{4}}"
# No S, L, O, I, B, Z among the letters of a Medicare beneficiary's number.
_MBI_LETTER: Final = "[AC-HJKMNP-RT-Y]"
_MBI_EITHER: Final = "[AC-HJKMNP-RT-Y0-9]"
_MBI: Final = rf"[1-9]{_MBI_LETTER}{_MBI_EITHER}\d-?{_MBI_LETTER}{_MBI_EITHER}\d-?{_MBI_LETTER}{{2}}\d{{2}}"
_POSTAL: Final = r"[ABCEGHJ-NPRSTVXY]\d[ABCEGHJ-NPRSTV-Z]{gap}\d[ABCEGHJ-NPRSTV-Z]\d"
_LICENSE: Final = "(?:driver'?s?|driving|drivers)[ _\\-]?(?:licen[cs]es?|lic\\.?)|licen[cs]e|dl"

UNITED_STATES: Final[tuple[Rule, ...]] = (
    shape(
        "US_ITIN",
        rf"9\d{{2}}[ \-]{_ITIN_GROUP}[ \-]\d{{4}}",
        name="itin",
        score=0.5,
        matches=("911-70-1234",),
        rejects=("911-89-1234", "811-70-1234"),
    ),
    shape(
        "US_ITIN",
        _ITIN,
        name="itin-run",
        matches=("911701234", "911-701234"),
        rejects=("911891234", "9117012345"),
        default=False,
    ),
    named(
        "US_ITIN",
        "itin|individual taxpayer(?: identification)?|tax(?:payer)?",
        _ITIN,
        matches=("ITIN: 911701234",),
        rejects=("ITIN: 911891234",),
    ),
    shape(
        "US_SSN",
        r"\d{3}[ .\-]\d{2}[ .\-]\d{4}",
        name="ssn",
        validator=americas.ssn,
        matches=("219-09-9999", "ssn 219 09 9998."),
        rejects=("000-12-3456", "666-12-3456", "219-00-9999", "219-09.9999", "219-09-99990"),
    ),
    shape(
        "US_SSN",
        r"\d{5}-?\d{4}|\d{3}-\d{6}",
        name="ssn-run",
        validator=americas.ssn_run,
        matches=("078051121", "07805-1121", "078-051121"),
        rejects=("078051120", "666051121", "0780511201"),
        default=False,
    ),
    named(
        "US_SSN",
        _SSN,
        r"\d{9}|\d{5}-\d{4}|\d{3}-\d{6}",
        validator=americas.ssn_run,
        matches=("SSN: 078051121", '"ssn": "078051121"', "social security number is 078051121"),
        rejects=("SSN: 078051120", "SSN 12"),
    ),
    *number(
        "US_PASSPORT",
        r"[A-Z]\d{8}|\d{9}",
        words="(?:us |u\\.s\\. |american )?(?:travel )?(?:passports?|document)",
        says="passport",
        example="A12803456",
        wrong="AB2803456",
    ),
    *number(
        "US_BANK_NUMBER",
        r"\d{8,17}",
        words="(?:bank |checking |savings |current |deposit )?(?:accounts?|acct|acc)\\.?|a/c|iban",
        says="account",
        example="945456787654",
        wrong="1234567",
    ),
    *number(
        "US_DRIVER_LICENSE",
        r"[A-Z]\d{3,14}|[A-Z]{2}\d{3,7}[A-Z]?|\d{7,9}[A-Z]{0,2}|\d{2}[A-Z]{3}\d{5,6}|\d{10,14}|\d{3}[A-Z]{2}\d{4}",
        words=_LICENSE,
        says="driver's license",
        example="H12234567",
        wrong="C12T345672",
    ),
    shape(
        "ABA_ROUTING_NUMBER",
        r"[0123678]\d{3}-\d{4}-\d",
        name="aba",
        validator=americas.aba,
        matches=("3222-7162-7", "0711-0130-7"),
        rejects=("1234-0000-0", "3222-7162-8"),
    ),
    *number(
        "ABA_ROUTING_NUMBER",
        r"[0123678]\d{8}",
        words="(?:aba |bank )?routing|aba|rtn|transit|ach",
        says="routing",
        example="121000358",
        wrong="121000359",
        validator=americas.aba,
    ),
    *number(
        "US_NPI",
        r"[12]\d{9}|[12]\d{3}[ \-]\d{3}[ \-]\d{3}",
        words="npi|national provider|provider",
        says="NPI",
        example="1245319599",
        wrong="1245319598",
        validator=americas.npi,
    ),
    shape(
        "US_MBI",
        _MBI,
        ignore_case=True,
        matches=("1EG4-TE5-MK73", "1EG4TE5MK73"),
        rejects=("1SG4-TE5-MK73", "1EG4TE5MK7", "12G4-TE5-MK73"),
    ),
    *number(
        "MEDICAL_LICENSE",
        r"[A-HJ-MPR-UX][A-Z9]\d{7}",
        words="dea|(?:medical |physician )?(?:certificate|licen[cs]e|registration)",
        says="DEA",
        example="BB1388568",
        wrong="BB1388567",
        validator=americas.dea,
        ignore_case=True,
    ),
    named(
        "US_EIN",
        "ein|fein|employer identification|federal tax",
        r"\d{2}-?\d{7}",
        matches=("EIN: 12-3456789", "EIN 123456789"),
        rejects=("12-3456789", "EIN 12-345678"),
    ),
    named(
        "US_HEALTH_INSURANCE_MEMBER_ID",
        "(?:member|subscriber|beneficiary|insurance|policy|medicaid|group)[ _\\-]?(?:id|no|number|#)",
        r"[A-Z]{1,5}-?\d[A-Z0-9]{4,13}|\d{6,14}",
        matches=("member id: XYZ123456789", "Subscriber # W12345678"),
        rejects=("member id: none", "XYZ123456789"),
    ),
    named(
        "US_HEALTHCARE_CLAIM",
        "(?:medical |healthcare )?claims?|prior auth(?:orization)?|pre-?auth(?:orization)?|prescription|rx"
        "|medical record|mrn",
        r"(?:CLM|PA|RX|MRN)?-?\d{6,15}",
        matches=("claim number: CLM-1234567", "MRN: 00123456"),
        rejects=("claim 12345", "CLM-1234567"),
    ),
)

CANADA: Final[tuple[Rule, ...]] = (
    shape(
        "CA_SIN",
        r"[1-79]\d{2}[ \-]\d{3}[ \-]\d{3}",
        validator=americas.sin,
        matches=("130 692 544", "347-677-452"),
        rejects=("130 692 545", "046-454 286", "812 345 678"),
    ),
    *number(
        "CA_SIN",
        r"[1-79]\d{8}",
        words="sin|nas|social insurance|assurance sociale",
        says="SIN",
        example="130692544",
        wrong="130692545",
        validator=americas.sin,
    ),
    *number(
        "CA_POSTAL_CODE",
        _POSTAL.format(gap=" ?"),
        words="postal|code postal|postcode",
        says="postal",
        example="K1A 0A1",
        wrong="D1A 1A1",
        ignore_case=True,
    ),
)

LATIN_AMERICA: Final[tuple[Rule, ...]] = (
    shape(
        "BR_CPF",
        r"\d{3}\.\d{3}\.\d{3}-\d{2}",
        validator=americas.cpf,
        matches=("111.444.777-35",),
        rejects=("111.444.777-36", "000.000.000-00"),
    ),
    named(
        "BR_CPF",
        "cpf(?:/mf)?|cadastro de pessoas? físicas?",
        r"\d{9}-?\d{2}",
        validator=americas.cpf,
        matches=("CPF: 11144477735",),
        rejects=("CPF: 11144477736", "11144477735"),
    ),
    shape(
        "BR_CNPJ",
        r"\d{2}\.\d{3}\.\d{3}/\d{4}-\d{2}",
        validator=americas.cnpj,
        matches=("11.222.333/0001-81",),
        rejects=("11.222.333/0001-82",),
    ),
    named(
        "BR_CNPJ",
        "cnpj",
        r"\d{14}",
        validator=americas.cnpj,
        matches=("CNPJ 11222333000181",),
        rejects=("CNPJ 11222333000182", "11222333000181"),
    ),
    shape(
        "MX_CURP",
        r"[A-Z][AEIOUX][A-Z]{2}\d{6}[HMX][A-Z]{2}[B-DF-HJ-NP-TV-Z]{3}[A-Z0-9]\d",
        validator=americas.curp,
        ignore_case=True,
        matches=("HEGG560427MVZRRL04",),
        rejects=("HEGG560427MVZRRL05", "HEGG561427MVZRRL04"),
    ),
    *number(
        "MX_RFC",
        r"[A-ZÑ&]{4}[ \-]?\d{6}[ \-]?[A-Z0-9]{2}[0-9A]",
        words="rfc|registro federal(?: de contribuyentes)?",
        says="RFC",
        example="GODE561231GR8",
        wrong="GODE561331GR8",
        validator=americas.rfc,
    ),
    shape(
        "CL_RUT",
        r"\d{1,2}\.\d{3}\.\d{3}-[\dKk]",
        validator=americas.rut,
        matches=("12.345.678-5",),
        rejects=("12.345.678-6",),
    ),
    named(
        "CL_RUT",
        "rut|run",
        r"\d{7,8}-[\dK]",
        validator=americas.rut,
        matches=("RUT: 12345678-5",),
        rejects=("RUT: 12345678-6", "12345678-5"),
    ),
    shape(
        "AR_CUIT",
        r"(?:2[03457]|3[034])-\d{8}-\d",
        validator=americas.cuit,
        matches=("20-12345678-6",),
        rejects=("20-12345678-5",),
    ),
    named(
        "AR_CUIT",
        "cui[tl]",
        r"(?:2[03457]|3[034])\d{9}",
        validator=americas.cuit,
        matches=("CUIT 20123456786",),
        rejects=("CUIT 20123456785", "20123456786"),
    ),
    named(
        "AR_DNI",
        "dni|documento nacional de identidad",
        r"\d{1,2}\.\d{3}\.\d{3}|\d{7,8}",
        matches=("DNI: 12.345.678", "DNI 12345678"),
        rejects=("DNI: 123", "12.345.678"),
    ),
)

RULES: Final[tuple[Rule, ...]] = (*UNITED_STATES, *CANADA, *LATIN_AMERICA)
