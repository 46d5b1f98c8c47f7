"""Secrets: keys, tokens and passwords.

The prefixes and lengths are facts that the issuers publish; gitleaks' rule file (MIT) was read for them.
The bodies are this project's own and mostly wider: a token that was cut or grew longer is still one.
Where a value has a known prefix the end stays open, so that a truncated or longer one leaves nothing.
Key-shaped examples are put together at import: nothing in this file is in the shape of a key.
"""

from __future__ import annotations

from typing import Final

from extproc.redaction.rules import Boundary, Rule

_ALNUM = "0123456789abcdefghijABCDEFGHIJ0123456789abcdefghijABCDEFGHIJ0123456789abcdefghij"


def _key(*parts: str, tail: int) -> str:
    return "".join(parts) + _ALNUM[:tail]


def _open_token(name: str, entity_type: str, body: str, *, example: str, left: Boundary) -> Rule:
    """A token known by its prefix, extended as far as its alphabet goes."""
    return Rule(
        name=name,
        entity_type=entity_type,
        pack="secrets",
        body=body,
        left=left,
        right=Boundary.NONE,
        matches=(example, f"key: {example}."),
        rejects=(example[:8], f"x{example}"),
    )


_SHORT = r"[A-Za-z0-9]"
_DASHED = r"[A-Za-z0-9_\-]"
_SEPARATOR = r"[\"']?[ \t]{0,3}(?:[:=]|:=|=>)[ \t]{0,3}"
_SEPARATED = r"[_\-. ]?"

RULES: Final[tuple[Rule, ...]] = (
    Rule(
        name="aws-access-key-id",
        entity_type="AWS_ACCESS_KEY",
        pack="secrets",
        body="(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}",
        matches=(_key("AK", "IA", "ABCDEFGH23456789", tail=0),),
        rejects=(_key("AK", "IA", "ABCDEFGH2345678", tail=0), _key("AK", "IB", tail=16)),
    ),
    Rule(
        name="aws-secret-access-key",
        entity_type="AWS_SECRET_KEY",
        pack="secrets",
        body=rf"aws{_SEPARATED}(?:secret{_SEPARATED})?(?:access{_SEPARATED})?key"
        rf"{_SEPARATOR}[\"']?[A-Za-z0-9/+=]{{40}}",
        right=Boundary.NONE,
        ignore_case=True,
        matches=(_key("aws_secret_access_key = ", tail=40), _key('AWS_SECRET_KEY: "', tail=40)),
        rejects=(_key("aws_secret_access_key = ", tail=7), _key("secret ", tail=40)),
    ),
    _open_token(
        "github-token",
        "GITHUB_TOKEN",
        rf"gh[pousr]_{_SHORT}{{20,}}|github_pat_\w{{22,}}",
        example=_key("gh", "p_", tail=36),
        left=Boundary.NOT_WORD,
    ),
    _open_token(
        "gitlab-token",
        "GITLAB_TOKEN",
        rf"gl(?:pat|dt|rt|cbt|ptt|soat)-{_DASHED}{{20,}}(?:\.{_DASHED}+)*",
        example=_key("gl", "pat-", tail=20),
        left=Boundary.NOT_WORD,
    ),
    _open_token(
        "slack-token",
        "SLACK_TOKEN",
        r"(?:xox[abeoprs]|xapp|xoxe\.xox[bp])-[A-Za-z0-9\-]{10,}",
        example=_key("xo", "xb-", tail=24),
        left=Boundary.NOT_WORD,
    ),
    _open_token(
        "slack-webhook",
        "SLACK_WEBHOOK",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{20,}",
        example=_key("hooks.sl", "ack.com/services/", tail=44),
        left=Boundary.NOT_WORD,
    ),
    _open_token(
        "stripe-key",
        "STRIPE_KEY",
        rf"(?:[sr]k_(?:live|test|prod)|whsec)_{_SHORT}{{10,}}",
        example=_key("sk", "_live_", tail=24),
        left=Boundary.NOT_WORD,
    ),
    _open_token(
        "google-api-key",
        "GOOGLE_API_KEY",
        rf"AIza{_DASHED}{{35,}}",
        example=_key("AI", "za", tail=35),
        left=Boundary.NOT_WORD,
    ),
    _open_token(
        "anthropic-key",
        "ANTHROPIC_API_KEY",
        rf"sk-ant-{_DASHED}{{20,}}",
        example=_key("sk", "-ant-api03-", tail=80),
        left=Boundary.NOT_WORD,
    ),
    _open_token(
        "openai-key",
        "OPENAI_API_KEY",
        rf"sk-(?:(?:proj|svcacct|admin)-{_DASHED}{{20,}}|{_SHORT}{{20,}}{_DASHED}*)",
        example=_key("sk", "-proj-", tail=60),
        left=Boundary.NOT_WORD,
    ),
    _open_token(
        "huggingface-token",
        "HUGGINGFACE_TOKEN",
        rf"(?:hf|api_org)_{_SHORT}{{30,}}",
        example=_key("h", "f_", tail=34),
        left=Boundary.NOT_WORD,
    ),
    _open_token(
        "npm-token",
        "NPM_TOKEN",
        rf"npm_{_SHORT}{{36,}}",
        example=_key("np", "m_", tail=36),
        left=Boundary.NOT_WORD,
    ),
    _open_token(
        "pypi-token",
        "PYPI_TOKEN",
        rf"pypi-AgE{_DASHED}{{30,}}",
        example=_key("py", "pi-AgE", tail=50),
        left=Boundary.NOT_WORD,
    ),
    _open_token(
        "sendgrid-key",
        "SENDGRID_API_KEY",
        rf"SG\.{_DASHED}{{16,64}}\.{_DASHED}{{16,}}",
        example=_key("S", "G.", _ALNUM[:22], ".", tail=43),
        left=Boundary.NOT_WORD,
    ),
    # Two parts suffice: a token whose signature is cut off still names its subject.
    _open_token(
        "jwt",
        "JWT",
        rf"eyJ{_DASHED}{{10,200}}\.eyJ{_DASHED}{{4,}}(?:\.{_DASHED}+)*",
        example=_key("ey", "J", _ALNUM[:17], ".ey", "J", _ALNUM[:30], ".", tail=43),
        left=Boundary.NOT_WORD,
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
        body=r"bearer[ \t]{1,3}(?:[A-Za-z_\-.~+/]{0,7}\d[A-Za-z0-9_\-.~+/]{12,}"
        r"|[A-Za-z_\-.~+/]{8,48}\d[A-Za-z0-9_\-.~+/]{4,})=*",
        right=Boundary.NONE,
        ignore_case=True,
        score=0.8,
        matches=(_key("Authorization: Bearer ", tail=20),),
        rejects=("the bearer of good news", "Bearer abc1", "bearer responsibilities"),
    ),
    Rule(
        name="connection-string",
        entity_type="CONNECTION_STRING",
        pack="secrets",
        body=r"(?:https?|ftp|postgres(?:ql)?|mysql|mariadb|mongodb(?:\+srv)?|rediss?|amqps?|mssql|nats"
        r"|smtps?|ldaps?|clickhouse)(?:\+[a-z0-9]{1,16})?://"
        r"[^\s:/@\"'<>]{0,64}:[^\s/@\"'<>]{1,128}@[^\s\"'<>]*",
        right=Boundary.NONE,
        ignore_case=True,
        matches=(
            "postgres" + "://app:s3cret@db.internal:5432/app",
            "use redis" + "://:pw@cache/0 now",
        ),
        rejects=("https://example.com:8080/path", "postgres://db.internal/app", "a://b:c@d"),
    ),
    # With `=` anything is a value; with `:` prose is likely, so quotes or a digit are asked for.
    Rule(
        name="password-assignment",
        entity_type="PASSWORD",
        pack="secrets",
        body=rf"(?:pass(?:word|wd|phrase)|pwd|(?:api|access|secret|private|auth|encryption){_SEPARATED}"
        rf"(?:key|token)|client{_SEPARATED}secret|secret|token)[\"']?[ \t]{{0,3}}"
        r"(?:(?:=|:=|=>)[ \t]{0,3}[\"']?[^\s\"',;=>]{6,}"
        r"|:[ \t]{0,3}(?:[\"'][^\s\"']{6,}"
        r"|[^\s\"',;0-9]{5,48}\d[^\s\"',;]*|[^\s\"',;0-9]{0,4}\d[^\s\"',;]{5,}))",
        left=Boundary.NONE,
        right=Boundary.NONE,
        ignore_case=True,
        score=0.7,
        matches=(
            "password=" + "hunter2x",
            "DB_PASSWORD=" + "correcthorse",
            "api_key: '" + _ALNUM[:12],
            '"client_secret": "' + _ALNUM[:12],
            "Password: " + "hunter22",
        ),
        rejects=("password: required", "the secret: nothing", "token=", 'password = ""', "pwd"),
    ),
)
