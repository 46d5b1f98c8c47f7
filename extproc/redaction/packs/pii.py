"""Personal data: shapes of values that name or reach a person.

Entity types and what counts as one follow the public recognizers of Presidio; shapes and checks come
from the standards that ``validators`` names. The bodies are this project's own.
"""

from __future__ import annotations

from typing import Final

from extproc.redaction import validators
from extproc.redaction.rules import Boundary, Rule

_HEX4 = "[0-9A-Fa-f]{1,4}"
_OCTET = r"\d{1,3}"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_AFTER_GAP = rf"(?:{_HEX4}:){{0,5}}{_IPV4}|{_HEX4}(?::{_HEX4}){{0,6}}"
_LOCAL = r"[A-Za-z0-9_.%+\-\u00c0-\u04ff]"
_LABEL = r"[A-Za-z0-9\u00c0-\u04ff][A-Za-z0-9\-\u00c0-\u04ff]{0,62}"

RULES: Final[tuple[Rule, ...]] = (
    # The end stays open: once a domain of letters has begun, whatever continues it belongs to it.
    Rule(
        name="email",
        entity_type="EMAIL_ADDRESS",
        pack="pii",
        body=rf"{_LOCAL}{{1,64}}@(?:{_LABEL}\.){{1,4}}"
        r"(?:[A-Za-z]{2}|xn-)[A-Za-z0-9\-]*(?:\.[A-Za-z0-9\-]+)*",
        left=Boundary.NOT_LOCAL,
        right=Boundary.NONE,
        matches=(
            "bob@example.com",
            "write to first.last+tag@mail.example.co.uk.",
            "a@xn--d1acufc.xn--p1ai",
        ),
        rejects=("info@example.", "@example.com", "hello-world here", "a@b.c"),
    ),
    Rule(
        name="card",
        entity_type="CREDIT_CARD",
        pack="pii",
        # 13 to 19 digits, whole or in the groups that are printed: 4-4-4-4, 4-4-4-4-3, 4-6-5, 4-6-4.
        body=r"[1-6]\d{3}(?:[ \-]?\d{4}[ \-]?\d{4}[ \-]?\d{1,4}(?:[ \-]?\d{1,3})?"
        r"|[ \-]?\d{6}[ \-]?\d{4,5})",
        left=Boundary.NOT_DASHED,
        validator=validators.card,
        matches=("4111111111111111", "4012-8888-8888-1881", "5555 5555 5555 4444", "371449635398431"),
        rejects=("4111111111111112", "4012-8888 8888-1881", "41111111111111111", "1748503543012"),
    ),
    Rule(
        name="iban",
        entity_type="IBAN_CODE",
        pack="pii",
        body=r"[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]){11,30}",
        validator=validators.iban,
        matches=("GB82 WEST 1234 5698 7654 32", "DE89370400440532013000"),
        rejects=("GB82 WEST 1234 5698 7654 33", "DE8937040044053201300", "ZZ89370400440532013000"),
    ),
    Rule(
        name="ssn",
        entity_type="US_SSN",
        pack="pii",
        body=r"\d{3}[ .\-]\d{2}[ .\-]\d{4}",
        left=Boundary.NOT_DASHED,
        right=Boundary.NOT_DASHED,
        validator=validators.ssn,
        score=0.85,
        matches=("219-09-9999", "ssn 219 09 9998."),
        rejects=("000-12-3456", "666-12-3456", "219-00-9999", "219-09.9999", "219-09-99990"),
    ),
    Rule(
        name="itin",
        entity_type="US_ITIN",
        pack="pii",
        body=r"9\d{2}[ \-](?:5\d|6[0-5]|7\d|8[0-8]|9[0-24-9])[ \-]\d{4}",
        left=Boundary.NOT_DASHED,
        right=Boundary.NOT_DASHED,
        score=0.5,
        matches=("911-70-1234",),
        rejects=("911-89-1234", "811-70-1234"),
    ),
    Rule(
        name="phone-international",
        entity_type="PHONE_NUMBER",
        pack="pii",
        body=r"(?:\+|00)[1-9]\d{0,2}(?:[ .\-]?\(\d{1,4}\))?(?:[ .\-]{0,2}\d){6,13}",
        left=Boundary.NOT_WORD,
        validator=validators.phone,
        score=0.75,
        matches=("+44 20 7946 0958", "+1 (415) 555-2671", "0049 30 123456", "+4915112345678"),
        rejects=("+12", "+1 2 3", "+0123456789"),
    ),
    # With spaces alone an NHS number is likelier, with dots, dashes or brackets a phone is.
    Rule(
        name="phone-us",
        entity_type="PHONE_NUMBER",
        pack="pii",
        body=r"(?:1[ .\-])?(?:\([2-9]\d{2}\)[ \-]?|[2-9]\d{2}[.\-])[2-9]\d{2}[ .\-]\d{4}",
        left=Boundary.NOT_DASHED,
        right=Boundary.NOT_DASHED,
        validator=validators.phone,
        score=0.75,
        matches=("(415) 555-2671", "415-555-2671", "1-415-555-2671", "415.555.2671"),
        rejects=("115-555-2671", "415-155-2671", "415-555-26711", "4155552671"),
    ),
    Rule(
        name="nhs",
        entity_type="UK_NHS",
        pack="pii",
        body=r"\d{3}[ \-]\d{3}[ \-]\d{4}",
        left=Boundary.NOT_DASHED,
        right=Boundary.NOT_DASHED,
        validator=validators.nhs,
        score=0.85,
        matches=("943 476 5919", "401-023-2137"),
        rejects=("943 476 5918", "943 476 59190"),
    ),
    Rule(
        name="phone-us-spaced",
        entity_type="PHONE_NUMBER",
        pack="pii",
        body=r"(?:1[ \-])?[2-9]\d{2} [2-9]\d{2}[ \-]\d{4}",
        left=Boundary.NOT_DASHED,
        right=Boundary.NOT_DASHED,
        validator=validators.phone,
        score=0.6,
        matches=("415 555 2670", "1 415 555-2671"),
        rejects=("115 555 2671", "415 155 2671"),
    ),
    Rule(
        name="ipv4",
        entity_type="IP_ADDRESS",
        pack="pii",
        body=rf"{_IPV4}(?:/\d{{1,2}})?",
        left=Boundary.NOT_DOTTED,
        validator=validators.ipv4,
        score=0.6,
        matches=("192.168.0.1", "10.0.0.0/8.", "255.255.255.255"),
        rejects=("192.168.0", "256.1.1.1", "1.2.3.4567"),
    ),
    Rule(
        name="ipv6",
        entity_type="IP_ADDRESS",
        pack="pii",
        # Eight groups, or fewer around one gap; the last two may be written as IPv4.
        body=rf"(?:{_HEX4}(?::{_HEX4}){{5}}:(?:{_HEX4}:{_HEX4}|{_IPV4})"
        rf"|{_HEX4}(?::{_HEX4}){{0,6}}::(?:{_AFTER_GAP})?|::(?:{_AFTER_GAP}))"
        r"(?:%[A-Za-z0-9]{1,15})?(?:/\d{1,3})?",
        validator=validators.ipv6,
        needs="0123456789",
        score=0.6,
        matches=("2001:db8::8a2e:370:7334", "::1", "fe80::1", "2345:425:2CA1::23b5", "fe80::1%eth0/64"),
        rejects=("12:30:45", "::", "std::vector", "684D:1111:222:3333:4444:5555:77", "add::bad"),
    ),
    Rule(
        name="mac",
        entity_type="MAC_ADDRESS",
        pack="pii",
        body=r"[0-9A-Fa-f]{2}(?:[:\-][0-9A-Fa-f]{2}){5}",
        left=Boundary.NOT_DASHED,
        right=Boundary.NOT_DASHED,
        validator=validators.mac,
        score=0.6,
        matches=("00:1A:2B:3C:4D:5E", "00-1A-2B-3C-4D-5E"),
        rejects=("00:1A:2B:3C:4D", "FF:FF:FF:FF:FF:FF", "10:2F:33-AC-29-C3"),
    ),
    Rule(
        name="bitcoin",
        entity_type="CRYPTO",
        pack="pii",
        body="[13][1-9A-HJ-NP-Za-km-z]{25,34}|(?:bc1[ac-hj-np-z02-9]{11,71}|BC1[AC-HJ-NP-Z02-9]{11,71})",
        validator=validators.bitcoin,
        matches=(
            "16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ",
            "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
        ),
        rejects=("16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyY", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp"),
    ),
)
