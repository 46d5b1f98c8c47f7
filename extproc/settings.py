"""Settings of one process: from command-line options, then HEADGATE_* variables, then defaults.

What the filter does to traffic is the policy file's; here stands only where things are. Secrets come from
files or from a file's name, so that they are not in a list of processes.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator

from extproc.domain.errors import HeadgateError

if TYPE_CHECKING:
    from collections.abc import Mapping

# HMAC-SHA-256 gains nothing beyond its block of 64 bytes; under 32 characters a pepper could be guessed.
PEPPER_BYTES_MIN: Final = 32
PEPPER_BYTES_MAX: Final = 4_096
_URL_BYTES_MAX: Final = 4_096
_PORT_MAX: Final = 65_535
_REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})
_HOST_PORT: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})")

_log = logging.getLogger(__name__)


class SettingsError(HeadgateError):
    """A setting that cannot be used: names the option, never its value."""


class Settings(BaseModel):
    """Where the parts of one process are."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    policy: Path
    """The policy file (YAML)."""

    pepper_file: Path
    """File with the secret under which API keys are hashed: 32 to 4,096 bytes."""

    redis: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    """URL of the Redis or Valkey that holds the budgets. Secret, because it may hold a password."""

    listen: str = "127.0.0.1:9901"
    """Where Envoy connects, HOST:PORT or unix:PATH. On loopback by default: the protocol has no login."""

    admin: str = "127.0.0.1:9902"
    """Where /healthz and /readyz answer, HOST:PORT. On loopback by default: it tells about the process."""

    verdict_log: Path = Field(default_factory=lambda: Path("verdicts.jsonl"))
    """File that verdict records are appended to (JSONL)."""

    threads: Annotated[int, Field(ge=1, le=64)] = 1
    """Threads of one inference on a CPU. More shorten one answer and take cores from the event loop."""

    inferences: Annotated[int, Field(ge=1, le=64)] = 1
    """Inferences at once, each with ``threads`` threads."""

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> Self:
        """Settings from options by name; None means the default.

        A ``redis`` that begins with ``file:`` names a file that holds the URL.

        Raises:
            SettingsError: An option is unknown, missing or of no use.
        """
        given = {name: value for name, value in options.items() if value is not None}
        redis = given.get("redis")
        if isinstance(redis, str) and redis.startswith("file:"):
            given["redis"] = _read_secret(Path(redis.removeprefix("file:")), _URL_BYTES_MAX).decode(
                "utf-8", "replace"
            )
        try:
            return cls.model_validate(given)
        except ValidationError as error:
            faults = error.errors(include_url=False, include_input=False)
            raise SettingsError("; ".join(_fault(one["loc"], one["msg"]) for one in faults)) from None

    def redis_url(self) -> str:
        """The URL of the ledger's Redis; it may hold a password, so it must not be logged."""
        return self.redis.get_secret_value()

    def pepper(self) -> bytes:
        """The content of ``pepper_file``. Raises SettingsError as ``read_pepper`` does."""
        return read_pepper(self.pepper_file)

    @field_validator("listen")
    @classmethod
    def _listen_address(cls, value: str) -> str:
        if not value.startswith("unix:"):
            split_address(value)
        return value

    @field_validator("admin")
    @classmethod
    def _admin_address(cls, value: str) -> str:
        split_address(value)
        return value

    @field_validator("redis")
    @classmethod
    def _redis_url(cls, value: SecretStr) -> SecretStr:
        try:
            scheme = urlsplit(value.get_secret_value()).scheme
        except ValueError:
            scheme = ""
        if scheme not in _REDIS_SCHEMES:
            raise ValueError(
                "write redis://HOST:PORT/DB, rediss://…, unix:///PATH, or file:PATH with the URL in it"
            )
        return value


def split_address(address: str) -> tuple[str, int]:
    """Host and port of HOST:PORT; the brackets of an IPv6 address are taken off.

    Raises:
        ValueError: It is none, or the port is above 65,535.
    """
    found = _HOST_PORT.fullmatch(address)
    if found is None or int(found["port"]) > _PORT_MAX:
        raise ValueError("write HOST:PORT")
    return found["host"].strip("[]"), int(found["port"])


def read_pepper(path: Path) -> bytes:
    """The secret under which API keys are hashed, without the line break that editors add.

    Warns where others on this machine can read the file; it does not refuse, because Kubernetes mounts
    secrets readable for all within the container.

    Raises:
        SettingsError: It cannot be read, or is shorter than 32 bytes.
    """
    pepper = _read_secret(path, PEPPER_BYTES_MAX)
    if len(pepper) < PEPPER_BYTES_MIN:
        raise SettingsError(
            f"the pepper is too short: {PEPPER_BYTES_MIN} bytes at least, as of `openssl rand -hex 32`"
        )
    return pepper


def _read_secret(path: Path, bytes_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            readable_by_others = os.fstat(file.fileno()).st_mode & stat.S_IROTH
            content = file.read(bytes_max + 1)
    except OSError as error:
        raise SettingsError(f"{path.name}: {error.strerror or 'cannot be read'}") from None
    if len(content) > bytes_max:
        raise SettingsError(f"{path.name}: holds more than {bytes_max} bytes")
    if readable_by_others:
        _log.warning("%s can be read by every user of this machine; chmod 600 it", path.name)
    return content.rstrip(b"\r\n")


def _fault(place: tuple[int | str, ...], message: str) -> str:
    option = "-".join(str(step) for step in place).replace("_", "-")
    return f"--{option}: {message.removeprefix('Value error, ')}"
