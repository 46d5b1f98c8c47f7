"""API keys: made at random, known by their keyed hash, stored nowhere.

The keys have 192 random bits, so that a fast hash under a secret pepper is enough: there is no dictionary
to try, and a policy file without the pepper does not even show which keys are equal.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from typing import Final

# A prefix that a secret scanner can recognise.
KEY_PREFIX: Final = "hg_"
_KEY_RANDOM_BYTES: Final = 24
_ID_RANDOM_BYTES: Final = 4


def new_key() -> tuple[str, str]:
    """A new API key and a name for it; neither tells anything of the other."""
    key = KEY_PREFIX + secrets.token_hex(_KEY_RANDOM_BYTES)
    return key, f"key-{secrets.token_hex(_ID_RANDOM_BYTES)}"


def hash_key(pepper: bytes, key: str) -> str:
    """HMAC-SHA-256 of a key under the pepper, as 64 hexadecimal digits: what the policy file holds."""
    # A lone surrogate cannot stand in UTF-8, and a strange header must be unknown and not an error.
    return hmac.new(pepper, key.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()
