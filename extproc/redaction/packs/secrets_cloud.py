"""Secrets: clouds, infrastructure and what watches over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.redaction.packs._tokens import DASHED, HEX, SHORT, assigned, key, open_token
from extproc.redaction.rules import Boundary, Rule

if TYPE_CHECKING:
    from collections.abc import Sequence

_SEPARATED: Final = r"[_\-. ]?"
_SEPARATOR: Final = r"[\"']?[ \t]{0,3}(?:[:=]|:=|=>)[ \t]{0,3}"


def _hex(name: str, entity_type: str, prefix: str, length: int, *, parts: Sequence[str]) -> Rule:
    """A prefix and hexadecimal digits."""
    body = rf"{prefix}[0-9a-fA-F]{{{length},}}"
    return open_token(name, entity_type, body, example=key(*parts, tail=length, alphabet=HEX))


RULES: Final[tuple[Rule, ...]] = (
    Rule(
        name="aws-access-key-id",
        entity_type="AWS_ACCESS_KEY",
        pack="secrets",
        body="(?:A3T[A-Z0-9]|AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}",
        matches=(key("AK", "IA", "ABCDEFGH23456789"),),
        rejects=(key("AK", "IA", "ABCDEFGH2345678"), key("AK", "IB", tail=16)),
    ),
    Rule(
        name="aws-secret-access-key",
        entity_type="AWS_SECRET_KEY",
        pack="secrets",
        naming=rf"(?:(?:aws{_SEPARATED})?(?:secret{_SEPARATED})?access{_SEPARATED}key"
        rf"|aws{_SEPARATED}(?:secret{_SEPARATED})?key){_SEPARATOR}[\"']?",
        body=r"[A-Za-z0-9/+=]{40}",
        right=Boundary.NONE,
        ignore_case=True,
        matches=(
            key("aws_secret_access_key = ", tail=40),
            key('AWS_SECRET_KEY: "', tail=40),
            key('"SecretAccessKey": "', tail=40),
        ),
        rejects=(key("aws_secret_access_key = ", tail=7), key("secret ", tail=40)),
    ),
    open_token(
        "aws-bedrock-key", "AWS_BEDROCK_KEY", r"ABSK[A-Za-z0-9+/]{60,}=*", example=key("AB", "SK", tail=110)
    ),
    open_token(
        "google-api-key", "GOOGLE_API_KEY", rf"AIza{DASHED}{{35,}}", example=key("AI", "za", tail=35)
    ),
    open_token(
        "google-oauth",
        "GOOGLE_OAUTH",
        rf"(?:ya29\.|GOCSPX-){DASHED}{{20,}}",
        example=key("GOC", "SPX-", tail=28),
    ),
    *assigned(
        "azure-storage-key",
        "AZURE_STORAGE_KEY",
        "account_?key|shared_?access_?key|storage_?key",
        r"[A-Za-z0-9+/]{40,}=*",
        says="AccountKey",
        example=key(tail=86) + "==",
    ),
    # The signature is the secret of a shared access signature; what it signs may be read.
    Rule(
        name="azure-sas",
        entity_type="AZURE_SAS_TOKEN",
        pack="secrets",
        naming=r"[?&](?:amp;)?sig=",
        body=r"[A-Za-z0-9%+/]{20,}=*",
        left=Boundary.NONE,
        right=Boundary.NONE,
        matches=(
            key("https://acme.blob.core.windows.net/a?sv=2024-01-01&se=2030-01-01&", "sig=", tail=44),
        ),
        rejects=("?sig=none", key("config=", tail=44)),
    ),
    open_token(
        "azure-client-secret",
        "AZURE_CLIENT_SECRET",
        r"[A-Za-z0-9_~.]{3}\dQ~[A-Za-z0-9_~.\-]{31,}",
        example=key("abc8", "Q~", tail=34),
    ),
    _hex("digitalocean-token", "DIGITALOCEAN_TOKEN", "do[opr]_v1_", 32, parts=("do", "p_v1_")),
    open_token(
        "alibaba-key", "ALIBABA_ACCESS_KEY", rf"LTAI{SHORT}{{16,}}", example=key("LT", "AI", tail=20)
    ),
    *assigned(
        "cloudflare-key",
        "CLOUDFLARE_KEY",
        "cloudflare",
        rf"{DASHED}{{37,}}",
        says="CLOUDFLARE_API_TOKEN",
        example=key(tail=40),
    ),
    open_token(
        "fly-token",
        "FLY_TOKEN",
        r"(?:fo1_[\w\-]{30,}|fm[12][ar]?_[A-Za-z0-9+/]{60,}=*)",
        example=key("fo", "1_", tail=43),
    ),
    open_token(
        "databricks-token",
        "DATABRICKS_TOKEN",
        r"dapi[0-9a-f]{32,}(?:-\d+)?",
        example=key("da", "pi", tail=32, alphabet=HEX),
    ),
    open_token(
        "vault-token", "VAULT_TOKEN", rf"hv[sbr]\.{DASHED}{{24,}}", example=key("hv", "s.", tail=90)
    ),
    open_token(
        "terraform-token",
        "TERRAFORM_TOKEN",
        rf"atlasv1\.{DASHED}{{40,}}",
        example=key("atlas", "v1.", tail=60),
    ),
    _hex("pulumi-token", "PULUMI_TOKEN", "pul-", 40, parts=("pu", "l-")),
    open_token(
        "doppler-token",
        "DOPPLER_TOKEN",
        rf"dp\.(?:pt|st|ct|sa|scim|audit)\.[a-z0-9_.\-]{{0,24}}{SHORT}{{40,}}",
        example=key("dp.", "pt.", tail=43),
    ),
    open_token(
        "openshift-token",
        "OPENSHIFT_TOKEN",
        rf"sha256~{DASHED}{{40,}}",
        example=key("sha", "256~", tail=43),
    ),
    open_token(
        "planetscale-token",
        "PLANETSCALE_TOKEN",
        r"pscale_(?:tkn|oauth|pw)_[\w=.\-]{32,}",
        example=key("psc", "ale_tkn_", tail=43),
    ),
    open_token(
        "dynatrace-token",
        "DYNATRACE_TOKEN",
        rf"dt0[a-z]\d\d\.{SHORT}{{24}}\.{SHORT}{{40,}}",
        example=key("dt0", "c01.", "ABCDEFGHIJKLMNOPQRSTUVWX.", tail=64),
    ),
    *assigned(
        "datadog-key",
        "DATADOG_KEY",
        "datadog|dd_(?:api|app)",
        "[a-f0-9]{32,40}",
        says="DD_API_KEY",
        example=key(tail=32, alphabet=HEX),
    ),
    open_token(
        "new-relic-key",
        "NEW_RELIC_KEY",
        rf"NR(?:AK|II|JS|RA|BR)-{DASHED}{{19,}}",
        example=key("NR", "AK-", tail=27),
    ),
    open_token(
        "grafana-token",
        "GRAFANA_TOKEN",
        r"gl(?:c_[A-Za-z0-9+/]{32,}=*|sa_[A-Za-z0-9]{32}_[0-9A-Fa-f]{8})",
        example=key("gl", "c_", tail=60),
    ),
    open_token(
        "sentry-token",
        "SENTRY_TOKEN",
        r"sntry[su]_[A-Za-z0-9+/=_]{40,}",
        example=key("snt", "ryu_", tail=64, alphabet=HEX),
    ),
    open_token(
        "sentry-dsn",
        "SENTRY_DSN",
        r"[0-9a-f]{32}@(?:o\d{1,20}\.ingest\.(?:[a-z]{2}\.)?)?sentry\.io(?:/\d+)?",
        example=key(tail=32, alphabet=HEX) + "@o1.ingest." + "sentry.io/5",
    ),
    open_token(
        "age-key",
        "AGE_SECRET_KEY",
        r"AGE-SECRET-KEY-1[A-Z0-9]{40,}",
        example=key("AGE-SEC", "RET-KEY-1", tail=0) + "QPZRY9X8GF2TVDW0" * 4,
    ),
    open_token(
        "1password-token",
        "ONEPASSWORD_TOKEN",
        r"ops_eyJ[A-Za-z0-9+/]{60,}=*",
        example=key("op", "s_ey", "J", tail=250),
    ),
)
