"""Sealing text to a reviewer's public key, so that the service that sealed it cannot read it again.

HPKE (RFC 9180) in base mode, with X25519, HKDF-SHA256 and ChaCha20-Poly1305: each sealing has a key of its
own, which only the private key finds again. Keys are text with a prefix, so that neither is taken for the
other: ``hgpub_`` and ``hgprv_``, then 64 hexadecimal digits.
"""

from __future__ import annotations

import re
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from extproc.domain.errors import HeadgateError

_PUBLIC: Final = re.compile(r"hgpub_([0-9a-f]{64})")
_PRIVATE: Final = re.compile(r"hgprv_([0-9a-f]{64})")
_SUITE: Final = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)


class SealError(HeadgateError):
    """A key is none, or not the one that text was sealed to."""


def new_keys() -> tuple[str, str]:
    """A new pair: the private key for the reviewer's file, the public one for the policy."""
    private = X25519PrivateKey.generate()
    return f"hgprv_{private.private_bytes_raw().hex()}", _public(private)


def public_key(private_key: str) -> str:
    """The public key of a private one. Raises SealError where it is none."""
    return _public(_private(private_key))


def can_seal_to(public_key: str) -> bool:
    """Whether the key is one: a few points of the curve are not."""
    try:
        seal(b"", public_key, b"")
    except SealError:
        return False
    return True


def seal(plain: bytes, public_key: str, about: bytes) -> bytes:
    """Encrypt to a public key; ``about`` is not in it, and must be the same to open it.

    Raises:
        SealError: The key is none.
    """
    found = _PUBLIC.fullmatch(public_key)
    if found is None:
        raise SealError("this is not a reviewer's public key")
    try:
        return _SUITE.encrypt(plain, X25519PublicKey.from_public_bytes(bytes.fromhex(found[1])), info=about)
    except ValueError:
        raise SealError("nothing can be sealed to this key") from None


def unseal(sealed: bytes, private_key: str, about: bytes) -> bytes:
    """What was sealed to the private key's public one, about the same.

    Raises:
        SealError: The key is none or another one, or what was sealed has been changed.
    """
    try:
        return _SUITE.decrypt(sealed, _private(private_key), info=about)
    except (InvalidTag, ValueError):
        raise SealError("it was sealed to another key, or changed since") from None


def _private(text: str) -> X25519PrivateKey:
    found = _PRIVATE.fullmatch(text)
    if found is None:
        raise SealError("this is not a reviewer's private key")
    return X25519PrivateKey.from_private_bytes(bytes.fromhex(found[1]))


def _public(private: X25519PrivateKey) -> str:
    return f"hgpub_{private.public_key().public_bytes_raw().hex()}"
