"""Secrets of no issuer: signed tokens, private keys, credentials in headers and addresses, passwords."""

from __future__ import annotations

from typing import Final

from extproc.redaction.packs._tokens import ALNUM, DASHED, key, open_token
from extproc.redaction.rules import Boundary, Rule
from extproc.redaction.validators import secrecy

_SEPARATED: Final = r"[_\-. ]?"
_SIGN: Final = r"(?::=|=>|[:=])"


def _run(ends: str) -> str:
    r"""Characters but blanks, quotes and ``ends``; backslashes only with what they escape.

    So a value in JSON within JSON leaves the ``\"`` behind it whole, three levels deep.
    """
    return rf"(?:[^\s\"'\\{ends}]|\\{{1,7}}[^\s\"'\\])"


def _password(
    name: str, sign: str, body: str, *, matches: tuple[str, ...], rejects: tuple[str, ...]
) -> Rule:
    """What is assigned to a word for a password by one of its signs."""
    return Rule(
        name=name,
        entity_type="PASSWORD",
        pack="secrets",
        naming=rf"(?:pass(?:word|wd|phrase)|pwd|(?:api|access|secret|private|auth|encryption){_SEPARATED}"
        rf"(?:key|token)|client{_SEPARATED}secret|secret|token)[\"']?[ \t]{{0,3}}{sign}",
        body=body,
        left=Boundary.NONE,
        right=Boundary.NONE,
        ignore_case=True,
        score=0.7,
        matches=matches,
        rejects=rejects,
    )


RULES: Final[tuple[Rule, ...]] = (
    # Two parts suffice: a token whose signature is cut off still names its subject.
    open_token(
        "jwt",
        "JWT",
        rf"eyJ{DASHED}{{10,200}}\.eyJ{DASHED}{{4,}}(?:\.{DASHED}+)*",
        example=key("ey", "J", ALNUM[:17], ".ey", "J", ALNUM[:30], ".", tail=43),
    ),
    # From the header on, line by line: a key whose end never comes must not leak.
    Rule(
        name="pem-private-key",
        entity_type="PRIVATE_KEY",
        pack="secrets",
        body=r"-----BEGIN [A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[ \t]{0,8}(?:\\r)?(?:\r?\n|\\n)[ \t]{0,8}"
        r"(?:(?:Proc-Type|DEK-Info|Version|Comment):[^\n\\]*|[A-Za-z0-9+/=]+)?"
        r"| [A-Za-z0-9+/=]{32,})*"
        r"(?:[ \t]{0,8}-----END [A-Z0-9 ]{0,24}PRIVATE KEY(?: BLOCK)?-----)?",
        left=Boundary.NONE,
        right=Boundary.NONE,
        matches=(
            "-----BEGIN RSA PRIV" + "ATE KEY-----\nMIIEow\nIBAAK\n-----END RSA PRIV" + "ATE KEY-----",
            "-----BEGIN PRIV" + "ATE KEY-----\nMIIEow",
        ),
        rejects=("-----BEGIN PUBLIC KEY-----\nMIIEow\n-----END PUBLIC KEY-----",),
    ),
    Rule(
        name="bearer-token",
        entity_type="BEARER_TOKEN",
        pack="secrets",
        # A digit early on tells a token from prose.
        naming=r"bearer[ \t]{1,3}",
        body=r"(?:[A-Za-z_\-.~+/]{0,7}\d[A-Za-z0-9_\-.~+/]{12,}"
        r"|[A-Za-z_\-.~+/]{8,48}\d[A-Za-z0-9_\-.~+/]{4,})=*",
        right=Boundary.NONE,
        ignore_case=True,
        score=0.8,
        matches=(key("Authorization: Bearer ", tail=20),),
        rejects=("the bearer of good news", "Bearer abc1", "bearer responsibilities"),
    ),
    Rule(
        name="connection-string",
        entity_type="CONNECTION_STRING",
        pack="secrets",
        body=r"(?:https?|ftp|postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|rediss?|amqps?|mssql|nats"
        r"|smtps?|ldaps?|clickhouse)(?:\+[a-z0-9]{1,16})?://"
        rf"[^\s:/@\"'<>]{{0,64}}:[^\s/@\"'<>]{{1,128}}@{_run('<>')}*",
        right=Boundary.NONE,
        ignore_case=True,
        matches=(
            "postgres" + "://app:s3cret@db.internal:5432/app",
            "use redis" + "://:pw@cache/0 now",
        ),
        rejects=("https://example.com:8080/path", "postgres://db.internal/app", "a://b:c@d"),
    ),
    # With `=` anything is a value; with `:` prose is likely, so quotes or a digit are asked for.
    _password(
        "password-assignment",
        r"(?:=|:=|=>)[ \t]{0,3}[\"']?",
        rf"{_run(',;=>')}{{6,}}",
        matches=("password=" + "hunter2x", "DB_PASSWORD=" + "correcthorse"),
        rejects=("token=", 'password = ""', "pwd", "password="),
    ),
    _password(
        "password-quoted",
        rf"{_SIGN}[ \t]{{0,3}}[\"']",
        rf"{_run('')}{{6,}}",
        matches=(
            "api_key: '" + ALNUM[:12],
            '"client_secret": "' + ALNUM[:12],
            'api_key = "' + ALNUM[:9] + '==.a,b;c>d"',
        ),
        rejects=("password: required", "password: ''", "password: 'five5'"),
    ),
    # A string of JSON goes on behind a quote that is escaped.
    _password(
        "password-string",
        rf"{_SIGN}[ \t]{{0,3}}\"",
        rf"{_run('')}{{0,48}}(?:\\\\){{0,3}}\\\"(?:{_run('')}|(?:\\\\){{0,3}}\\\")*",
        matches=('"password": "a' + '\\"b1c2d3"', 'secret: "' + ALNUM[:9] + '\\\\\\"b1"'),
        rejects=('"password": ""', '"password": "five5"', 'password: "a\\\\", "b"'),
    ),
    _password(
        "password-digit",
        r":[ \t]{0,3}",
        rf"[^\s\"',;0-9]{{5,48}}\d{_run(',;')}*|[^\s\"',;0-9]{{0,4}}\d{_run(',;')}{{5,}}",
        matches=("Password: " + "hunter22",),
        rejects=("password: required", "the secret: nothing", "password: none1"),
    ),
    Rule(
        name="basic-credentials",
        entity_type="BASIC_AUTH",
        pack="secrets",
        naming=r"(?:authorization[\"']?[ \t]{0,3}[:=][ \t]{0,3}[\"']?|-H[ \t]{1,3}[\"']?)?basic[ \t]{1,3}",
        body=r"[A-Za-z0-9+/]{8,256}={0,2}",
        validator=secrecy.basic_credentials,
        ignore_case=True,
        matches=(
            "Authorization: Basic " + "dXNlcjpwYXNz" + "d29yZA==",
            "basic " + "QWxhZGRpbjpvcGVuU2VzYW1l",
        ),
        rejects=("basic knowledge", "Basic Training", "the basic requirements are"),
    ),
    # A word for a key beside something drawn at random, whoever issued it.
    Rule(
        name="random-value-named",
        entity_type="HIGH_ENTROPY_SECRET",
        pack="secrets",
        naming=r"(?:api|app|access|auth|secret|private|encryption|signing|license|session"
        r"|consumer|client|account|master|service|webhook|refresh|storage|shared)"
        rf"{_SEPARATED}(?:key|token|secret|id|credentials?)"
        r"(?:[ \t]?(?:is|:|=|:=|=>)|[\"'][ \t]?[:=])[ \t]{0,3}[\"'`]?",
        body=r"[A-Za-z0-9_\-+/.~]{16,128}={0,2}",
        left=Boundary.NONE,
        right=Boundary.NOT_DASHED,
        validator=secrecy.random_value,
        ignore_case=True,
        score=0.7,
        matches=(
            "api key is " + ALNUM[3:23] + "Zq",
            "client_id: " + "0oa8f3k2" + "Lm9XpQ7rT5d7",
            '"storage-key": "' + ALNUM[:40],
        ),
        rejects=(
            "api key is required-by-the-service",
            "access token = 1234567890123456",
            "session id: aaaaaaaaaaaaaaaa111",
        ),
    ),
)
