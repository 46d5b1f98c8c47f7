"""Personal data of no country: mail, cards, accounts, addresses of networks, things and wallets.

Entity types and what counts as one follow the public recognizers of Presidio; shapes and checks come
from the standards that ``validators`` names. The bodies are this project's own.
"""

from __future__ import annotations

from typing import Final

from extproc.redaction.packs._rules import named, number, shape
from extproc.redaction.rules import Boundary, Rule
from extproc.redaction.validators import generic

_HEX4 = "[0-9A-Fa-f]{1,4}"
_OCTET = r"\d{1,3}"
_IPV4 = rf"{_OCTET}(?:\.{_OCTET}){{3}}"
_AFTER_GAP = rf"(?:{_HEX4}:){{0,5}}{_IPV4}|{_HEX4}(?::{_HEX4}){{0,6}}"
# Eight groups, or fewer around one gap; the last two may be written as IPv4.
_IPV6: Final = (
    rf"{_HEX4}(?::{_HEX4}){{5}}:(?:{_HEX4}:{_HEX4}|{_IPV4})"
    rf"|{_HEX4}(?::{_HEX4}){{0,6}}::(?:{_AFTER_GAP})?|::(?:{_AFTER_GAP})?"
)
_ADDRESSED: Final = "(?:[A-Za-z_]{1,24}:)?"
_LOCAL = r"[A-Za-z0-9_.%+\-\u00c0-\u04ff]"
_LABEL = r"[A-Za-z0-9\u00c0-\u04ff][A-Za-z0-9\-\u00c0-\u04ff]{0,62}"
_DAY: Final = r"(?:0?[1-9]|[12]\d|3[01])"
_MONTH: Final = r"(?:0?[1-9]|1[0-2])"
_YEAR: Final = r"(?:(?:18|19|20)\d{2})"
_MONTH_NAME: Final = (
    "(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    "|nov(?:ember)?|dec(?:ember)?)"
)
_DATE: Final = (
    rf"{_YEAR}[\-/.]{_MONTH}[\-/.]{_DAY}|{_MONTH}(?:/{_DAY}/|-{_DAY}-|\.{_DAY}\.)(?:{_YEAR}|\d{{2}})"
    rf"|{_DAY}(?:/{_MONTH}/|-{_MONTH}-|\. ?{_MONTH}\. ?)(?:{_YEAR}|\d{{2}})"
)
_WORDY_DATE: Final = (
    rf"{_DAY}(?:st|nd|rd|th)?[ .\-]{{1,2}}(?:of )?{_MONTH_NAME}[ .,\-]{{1,2}}(?:{_YEAR}|\d{{2}})"
    rf"|{_MONTH_NAME}[ .\-]{{1,2}}{_DAY}(?:st|nd|rd|th)?[ ,]{{1,2}}{_YEAR}"
)
_SHORT_DATE: Final = (
    rf"{_MONTH_NAME}-(?:\d{{2}}|{_YEAR})|{_DAY}-{_MONTH_NAME}|{_MONTH}/{_YEAR}|{_MONTH}/{_DAY}"
)
_URL: Final = r"[^\s\"'<>()\[\]{}|\\^`]"
_HOST: Final = r"[^\s\"'<>()\[\]{}|\\^`./:]"
_TOP_LEVEL: Final = (
    "(?:com|org|net|edu|gov|io|ai|dev|app|info|biz|site|online|shop|xyz|me|eu|uk|de|fr|it|es|nl|se|no|dk|fi|ch|at"
    "|be|pl|cz|pt|ie|us|ca|mx|br|ar|cl|au|nz|in|jp|cn|kr|sg|th|ph|za|il|tr|ru)"
)

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
        left=Boundary.NOT_DIGIT,
        validator=generic.card,
        matches=("4111111111111111", "4012-8888-8888-1881", "5555 5555 5555 4444", "371449635398431"),
        rejects=("4111111111111112", "4012-8888 8888-1881", "41111111111111111", "1748503543012"),
    ),
    Rule(
        name="iban",
        entity_type="IBAN_CODE",
        pack="pii",
        body=r"[A-Z]{2}\d{2}(?:[ \-]?[A-Z0-9]){11,30}",
        validator=generic.iban,
        matches=("GB82 WEST 1234 5698 7654 32", "DE89370400440532013000"),
        rejects=("GB82 WEST 1234 5698 7654 33", "DE8937040044053201300", "ZZ89370400440532013000"),
    ),
    Rule(
        name="ipv4",
        entity_type="IP_ADDRESS",
        pack="pii",
        body=rf"{_IPV4}(?:/\d{{1,2}})?",
        left=Boundary.NOT_DOTTED,
        validator=generic.ipv4,
        score=0.6,
        matches=("192.168.0.1", "10.0.0.0/8.", "255.255.255.255"),
        rejects=("192.168.0", "256.1.1.1", "1.2.3.4567"),
    ),
    # A colon beside an address would be of a longer, broken one: so a word with its colon before it, and
    # colons after it, are of the match.
    Rule(
        name="ipv6",
        entity_type="IP_ADDRESS",
        pack="pii",
        body=rf"{_ADDRESSED}(?:{_IPV6})(?:%[A-Za-z0-9]{{1,15}})?(?:/\d{{1,3}})?:{{0,3}}",
        left=Boundary.NOT_GROUPED,
        right=Boundary.NOT_GROUPED,
        validator=generic.ipv6_ended,
        needs="0123456789",
        score=0.6,
        matches=(
            *("2345:425:2CA1::23b5", "fe80::1%eth0/64", "::ffff:10.0.0.1.", "fe80::a.", "fe80::a: down"),
            *("addr:fe80::a",),
        ),
        rejects=(
            *("12:30:45", "::", "std::vector", "684D:1111:222:3333:4444:5555:77", "add::bad"),
            *("2001::25de::cade", "2001::db8::1", "text2001:db8::a", "12345:db8::a"),
        ),
    ),
    # What ends in one to three digits could go on as IPv4 in its last groups: so are dots after it.
    Rule(
        name="ipv6-short",
        entity_type="IP_ADDRESS",
        pack="pii",
        body=rf"{_ADDRESSED}(?:{_IPV6})[.:]{{0,3}}",
        left=Boundary.NOT_GROUPED,
        right=Boundary.NOT_ADDRESSED,
        validator=generic.ipv6_open,
        needs="0123456789",
        score=0.6,
        matches=("2001:db8::8a2e:370:734", "::1", "fe80::1", "to fe80::1.", "fe80::1: down", "src:fe80::1"),
        rejects=("::ffff:256.0.0.1", "::ffff:192.168.1", "2001:db8::256.1.1.1", "12:30:45", "::"),
    ),
    # The address that stands for any; code is full of these.
    Rule(
        name="ipv6-unspecified",
        entity_type="IP_ADDRESS",
        pack="pii",
        body="::",
        left=Boundary.NOT_GROUPED,
        right=Boundary.NOT_GROUPED,
        score=0.3,
        default=False,
        matches=("src=:: dst=::", "Unspecified ::"),
        rejects=(":::", "std::vector", "a:: b"),
    ),
    Rule(
        name="mac",
        entity_type="MAC_ADDRESS",
        pack="pii",
        body=r"[0-9A-Fa-f]{2}(?:[:\-][0-9A-Fa-f]{2}){5}|[0-9A-Fa-f]{4}(?:\.[0-9A-Fa-f]{4}){2}",
        left=Boundary.NOT_DASHED,
        right=Boundary.NOT_DASHED,
        validator=generic.mac,
        score=0.6,
        matches=("00:1A:2B:3C:4D:5E", "00-1A-2B-3C-4D-5E", "0012.3456.789a"),
        rejects=("00:1A:2B:3C:4D", "FF:FF:FF:FF:FF:FF", "10:2F:33-AC-29-C3", "1234.5678.9012"),
    ),
    Rule(
        name="bitcoin",
        entity_type="CRYPTO",
        pack="pii",
        body="[13][1-9A-HJ-NP-Za-km-z]{25,34}|(?:bc1[ac-hj-np-z02-9]{11,71}|BC1[AC-HJ-NP-Z02-9]{11,71})",
        validator=generic.bitcoin,
        matches=(
            "16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyZ",
            "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq",
        ),
        rejects=("16Yeky6GMjeNkAiNcBY7ZhrLoMSgg1BoyY", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdp"),
    ),
    shape(
        "CRYPTO",
        "0x[0-9a-f]{40}",
        name="ethereum",
        ignore_case=True,
        matches=("0x" + "52908400098527886E0F7030069857D2E4169EE7",),
        rejects=("0x52908400098527886E0F7030069857D2E4169EE", "52908400098527886E0F7030069857D2E4169EE7"),
    ),
    named(
        "CREDIT_CARD",
        "(?:(?:credit|debit|maestro|bank)[ _\\-]?)?card",
        r"(?:5[0678]|6[37])\d{10}",
        validator=generic.card_beside,
        matches=("card number is 675984103431",),
        rejects=("card number is 675984103432", "675984103431"),
    ),
    # A day beside a word for birth; any other day is ordinary text.
    named(
        "DATE_OF_BIRTH",
        "dob|d\\.o\\.b\\.?|date of birth|birth[ _\\-]?da(?:te|y)|born(?: on)?|geburtsdatum|geboren am"
        "|geb\\.|fecha de nacimiento|nacid[oa] el|date de naissance|née? le|data di nascita|nat[oa] il"
        "|data de nascimento",
        rf"{_DATE}|{_WORDY_DATE}",
        matches=(
            "DOB: 02/03/1984",
            "date of birth. It's 6/24/1991",
            "born on 4 July 1976",
            "Geburtsdatum: 04.07.1976",
            '"birth_date": "1984-02-03"',
        ),
        rejects=("born in 1984", "Today is 02/03/1984", "dob unknown"),
    ),
    shape(
        "DATE_TIME",
        rf"(?:{_DATE}|{_WORDY_DATE}|{_SHORT_DATE})"
        r"(?:[T ]\d{1,2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(?:Z|[+\-]\d{2}:?\d{2})?)?",
        ignore_case=True,
        matches=("Today is 5-20-2021", "2021-05-21T14:30:00Z", "21.5.21", "May-21", "5-May-2021"),
        rejects=("2024-13-15T14:30:00Z", "2024-12-32", "1.2.3.4.5"),
        default=False,
    ),
    *number(
        "VEHICLE_VIN",
        "[A-HJ-NPR-Z0-9]{17}",
        words="vin|vehicle identification|chassis|fahrgestellnummer",
        says="VIN",
        example="1M8GDM9AXKP042788",
        wrong="1M8GDM9A1KP042788",
        validator=generic.vin,
    ),
    *number(
        "IMEI",
        r"\d{2}-?\d{6}-?\d{6}-?\d",
        words="imei",
        says="IMEI",
        example="490154203237518",
        wrong="490154203237519",
        validator=generic.imei,
    ),
    named(
        "BIC_CODE",
        "bic|swift(?:/bic)?|bic/swift",
        "[A-Z]{4}[A-Z]{2}[A-Z0-9]{2}(?:[A-Z0-9]{3})?",
        matches=("BIC: DEUTDEFF", "SWIFT code: NEDSZAJJXXX"),
        rejects=("BIC: DEUT", "DEUTDEFF"),
    ),
    shape(
        "URL",
        rf"(?:https?|ftp)://{_HOST}{{1,63}}[.:/]{_URL}*"
        rf"|(?:www\.)?(?:[a-z0-9][a-z0-9\-]{{0,40}}\.){{1,4}}{_TOP_LEVEL}(?:/{_URL}*)?",
        right=Boundary.NONE,
        left=Boundary.NOT_HOST,
        ignore_case=True,
        matches=("https://www.example.com/a?b=1", "microsoft.com", "www.example.co.uk"),
        rejects=("hello.world", "www.microsoft", "a@b"),
        default=False,
    ),
    shape(
        "UUID",
        "[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
        ignore_case=True,
        matches=("550e8400-e29b-41d4-a716-446655440000",),
        rejects=("550e8400-e29b-01d4-a716-446655440000", "550e8400-e29b-41d4-a716"),
        default=False,
    ),
)
