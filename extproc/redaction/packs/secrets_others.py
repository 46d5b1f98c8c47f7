"""Secrets: issuers that mark their tokens and of whom there is one rule each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.redaction.packs._tokens import ALNUM, DASHED, HEX, SHORT, key, open_token

if TYPE_CHECKING:
    from extproc.redaction.rules import Rule

RULES: Final[tuple[Rule, ...]] = (
    open_token(
        "1password-secret-key",
        "ONEPASSWORD_SECRET_KEY",
        r"A3-[A-Z0-9]{6}-(?:[A-Z0-9]{11}|[A-Z0-9]{6}-[A-Z0-9]{5})(?:-[A-Z0-9]{5}){3}",
        example="A3-" + "ABC123-DEF456-GHI78-JKL90-MNO12-PQR34",
    ),
    open_token(
        "adobe-client-secret",
        "ADOBE_CLIENT_SECRET",
        r"p8e-[A-Za-z0-9]{32,}",
        example=key("p8", "e-", tail=32),
    ),
    open_token(
        "authress-access-key",
        "AUTHRESS_ACCESS_KEY",
        r"(?:sc|ext|scauth|authress)_[A-Za-z0-9]{5,30}\.[A-Za-z0-9]{4,6}\.acc[_\-][A-Za-z0-9\-]{10,32}\."
        r"[A-Za-z0-9+/_=\-]{30,}",
        example=key("sc_", ALNUM[:8], ".", ALNUM[:5], ".acc_", ALNUM[:12], ".", tail=43),
    ),
    open_token(
        "aws-bedrock-short-key",
        "AWS_BEDROCK_KEY",
        r"bedrock-api-key-[A-Za-z0-9+/]{20,}=*",
        example=key("bedrock-", "api-key-", tail=60),
    ),
    open_token(
        "clickhouse-cloud-key",
        "CLICKHOUSE_CLOUD_KEY",
        rf"4b1d{SHORT}{{38,}}",
        example=key("4b", "1d", tail=38),
    ),
    open_token(
        "cloudflare-origin-key",
        "CLOUDFLARE_ORIGIN_KEY",
        r"v1\.0-[a-f0-9]{24}-[a-f0-9]{100,}",
        example=key("v1", ".0-", HEX[:24], "-", tail=146, alphabet=HEX),
    ),
    open_token(
        "duffel-token",
        "DUFFEL_TOKEN",
        r"duffel_(?:test|live)_[A-Za-z0-9_\-=]{40,}",
        example=key("duf", "fel_live_", tail=43),
    ),
    open_token(
        "facebook-app-token",
        "FACEBOOK_TOKEN",
        rf"\d{{15,16}}[|%]{DASHED}{{27,}}",
        example=key("123456789012345", "|", tail=27),
    ),
    open_token(
        "frameio-token", "FRAMEIO_TOKEN", r"fio-u-[A-Za-z0-9\-_=]{60,}", example=key("fi", "o-u-", tail=64)
    ),
    open_token(
        "gitlab-session",
        "GITLAB_SESSION",
        "[0-9a-z]{32,}",
        naming="_gitlab_session=",
        example=key("_gitlab_", "session=", tail=32, alphabet=HEX),
    ),
    open_token(
        "grafana-key",
        "GRAFANA_TOKEN",
        r"eyJrIjoi[A-Za-z0-9+/]{60,}=*",
        example=key("eyJ", "rIjoi", tail=80),
    ),
    open_token(
        "harness-token",
        "HARNESS_TOKEN",
        rf"(?:pat|sat)\.{DASHED}{{22}}\.{SHORT}{{24}}\.{SHORT}{{20,}}",
        example=key("pa", "t.", "a1B2c3D4e5F6g7H8i9J0k1.", "0123456789abcdef01234567.", tail=20),
    ),
    open_token("heroku-key", "HEROKU_KEY", rf"HRKU-AA{DASHED}{{50,}}", example=key("HR", "KU-AA", tail=58)),
    open_token(
        "infracost-token", "INFRACOST_TOKEN", rf"ico-{SHORT}{{32,}}", example=key("ic", "o-", tail=32)
    ),
    open_token(
        "intra42-secret",
        "INTRA42_SECRET",
        r"s-s4t2(?:ud|af)-[a-f0-9]{60,}",
        example=key("s-s4", "t2ud-", tail=64, alphabet=HEX),
    ),
    open_token(
        "maxmind-key",
        "MAXMIND_KEY",
        rf"{SHORT}{{6}}_{SHORT}{{29}}_mmk",
        example=key("abc123_", tail=29) + "_m" + "mk",
    ),
    open_token(
        "octopus-key",
        "OCTOPUS_KEY",
        r"API-[A-Z0-9]{25,}",
        example="AP" + "I-" + "A1B2C3D4E5F6G7H8I9J0K1L2M3",
    ),
    open_token("prefect-token", "PREFECT_TOKEN", rf"pnu_{SHORT}{{36,}}", example=key("pn", "u_", tail=36)),
    open_token(
        "readme-token",
        "README_TOKEN",
        r"rdme_[a-z0-9]{60,}",
        example=key("rd", "me_", tail=70, alphabet=HEX),
    ),
    open_token(
        "scalingo-token", "SCALINGO_TOKEN", rf"tk-us-{DASHED}{{40,}}", example=key("tk", "-us-", tail=48)
    ),
    open_token(
        "settlemint-token",
        "SETTLEMINT_TOKEN",
        rf"sm_[aps]at_{SHORT}{{16,}}",
        example=key("sm", "_pat_", tail=16),
    ),
    open_token(
        "sourcegraph-token",
        "SOURCEGRAPH_TOKEN",
        r"sgp_(?:(?:[a-fA-F0-9]{16}|local)_)?[a-fA-F0-9]{40,}",
        example=key("sg", "p_", tail=40, alphabet=HEX),
    ),
)
