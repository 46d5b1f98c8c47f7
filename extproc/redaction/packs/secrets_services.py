"""Secrets: payment, shops, mail and messages."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from extproc.redaction.packs._tokens import DASHED, HEX, SHORT, assigned, key, open_token

if TYPE_CHECKING:
    from extproc.redaction.rules import Rule

_UUID: Final = "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"

PAYMENT: Final[tuple[Rule, ...]] = (
    open_token(
        "stripe-key",
        "STRIPE_KEY",
        rf"(?:[sr]k_(?:live|test|prod)|whsec)_{SHORT}{{10,}}",
        example=key("sk", "_live_", tail=24),
    ),
    open_token(
        "square-token",
        "SQUARE_TOKEN",
        rf"(?:EAAA|sq0[a-z]{{3}}-){DASHED}{{22,}}",
        example=key("sq0", "atp-", tail=24),
    ),
    open_token(
        "braintree-token",
        "BRAINTREE_TOKEN",
        r"access_token\$(?:production|sandbox)\$[0-9a-z]{16}\$[0-9a-f]{32}",
        example=key("access_to", "ken$production$abcdefgh12345678$", tail=32, alphabet=HEX),
    ),
    *assigned(
        "paypal-secret",
        "PAYPAL_SECRET",
        "paypal|braintree",
        rf"{DASHED}{{32,}}",
        says="PAYPAL_CLIENT_SECRET",
        example=key(tail=64),
    ),
    open_token(
        "adyen-key",
        "ADYEN_KEY",
        r"AQE[a-z]h[A-Za-z0-9+/]{60,}={0,2}(?:-[A-Za-z0-9+/=\-]+)*",
        example=key("AQ", "Eyh", tail=80),
    ),
    open_token(
        "flutterwave-key",
        "FLUTTERWAVE_KEY",
        r"FLW(?:SECK|PUBK)(?:_TEST)?-[a-zA-Z0-9]{12,}(?:-X)?",
        example=key("FLW", "SECK_TEST-", tail=32),
    ),
    open_token(
        "plaid-token",
        "PLAID_TOKEN",
        rf"access-(?:sandbox|development|production)-{_UUID}",
        example="access-sand" + "box-550e8400-e29b-41d4-a716-446655440000",
    ),
    open_token(
        "shippo-token",
        "SHIPPO_TOKEN",
        r"shippo_(?:live|test)_[a-fA-F0-9]{40,}",
        example=key("ship", "po_live_", tail=40, alphabet=HEX),
    ),
    open_token("easypost-key", "EASYPOST_KEY", rf"EZ[AT]K{SHORT}{{54,}}", example=key("EZ", "AK", tail=54)),
    open_token(
        "shopify-token",
        "SHOPIFY_TOKEN",
        r"shp(?:at|ca|pa|ss|tka)_[a-fA-F0-9]{32,}",
        example=key("shp", "at_", tail=32, alphabet=HEX),
    ),
)

MESSAGES: Final[tuple[Rule, ...]] = (
    open_token(
        "slack-token",
        "SLACK_TOKEN",
        r"(?:xox[abeoprs]|xapp|xoxe\.xox[bp])-[A-Za-z0-9\-]{8,}",
        example=key("xo", "xb-", tail=24),
    ),
    open_token(
        "slack-webhook",
        "SLACK_WEBHOOK",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{20,}",
        example=key("hooks.sl", "ack.com/services/", tail=44),
    ),
    open_token(
        "discord-webhook",
        "DISCORD_WEBHOOK",
        rf"discord(?:app)?\.com/api/(?:v\d{{1,2}}/)?webhooks/\d{{15,22}}/{DASHED}{{40,}}",
        example=key("disc", "ord.com/api/webhooks/123456789012345678/", tail=68),
    ),
    open_token(
        "discord-token",
        "DISCORD_TOKEN",
        rf"[MNO][A-Za-z\d]{{23,27}}\.[\w\-]{{6,7}}\.{DASHED}{{27,}}",
        example=key("M", "TIzNDU2Nzg5MDEyMzQ1Njc4", "9.", "GaBcDe.", tail=38),
    ),
    open_token(
        "teams-webhook",
        "TEAMS_WEBHOOK",
        r"webhook\.office\.com/webhookb2/[A-Za-z0-9@\-/]{40,}",
        example=key("web", "hook.office.com/webhookb2/", tail=80),
    ),
    open_token(
        "telegram-token",
        "TELEGRAM_TOKEN",
        rf"\d{{8,10}}:A[A-Z]{DASHED}{{32,}}",
        example=key("123456789:", "AA", tail=33),
    ),
    open_token(
        "sendgrid-key",
        "SENDGRID_API_KEY",
        rf"SG\.{DASHED}{{16,64}}\.{DASHED}{{16,}}",
        example=key("S", "G.", "a1B2c3D4e5F6g7H8i9J0k1.", tail=43),
    ),
    open_token(
        "mailgun-key",
        "MAILGUN_KEY",
        r"(?:key|pubkey)-[a-f0-9]{32}|[a-f0-9]{32}-[a-f0-9]{8}-[a-f0-9]{8}",
        example=key("ke", "y-", tail=32, alphabet=HEX),
    ),
    open_token(
        "mailchimp-key",
        "MAILCHIMP_KEY",
        r"[a-f0-9]{32}-us\d{1,2}",
        example=key(tail=32, alphabet=HEX) + "-us" + "12",
    ),
    open_token(
        "brevo-key",
        "BREVO_KEY",
        r"xkeysib-[a-f0-9]{64}-[A-Za-z0-9]{16}",
        example=key("xkey", "sib-", HEX[:64], "-", tail=16),
    ),
    open_token(
        "twilio-key",
        "TWILIO_KEY",
        r"(?:SK|AC)[0-9a-fA-F]{32}",
        example=key("S", "K", tail=32, alphabet=HEX),
    ),
    *assigned(
        "twilio-auth-token",
        "TWILIO_AUTH_TOKEN",
        "twilio",
        "[0-9a-f]{32}",
        says="TWILIO_AUTH_TOKEN",
        example=key(tail=32, alphabet=HEX),
    ),
    open_token(
        "facebook-token", "FACEBOOK_TOKEN", rf"EAA[A-Z]{SHORT}{{60,}}", example=key("EA", "AC", tail=110)
    ),
    open_token(
        "okta-token",
        "OKTA_TOKEN",
        rf"00{DASHED}{{40,}}",
        naming="SSWS ",
        example=key("SS", "WS 00", tail=40),
    ),
)

RULES: Final[tuple[Rule, ...]] = (*PAYMENT, *MESSAGES)
