"""Redis's password from a file, read anew for every connection: a rotated one needs no restart."""

from __future__ import annotations

from typing import TYPE_CHECKING

from redis.credentials import CredentialProvider

if TYPE_CHECKING:
    from collections.abc import Callable


class FilePassword(CredentialProvider):
    """Logs in with what ``read`` gives at that moment. Where ``read`` raises there is no connection."""

    def __init__(self, user: str | None, read: Callable[[], bytes]) -> None:
        self._user = user
        self._read = read

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        """User and password, or the password alone."""
        password = self._read().decode("utf-8")
        return (password,) if self._user is None else (self._user, password)
