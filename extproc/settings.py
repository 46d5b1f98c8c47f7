"""Settings of one process: from command-line options, then HEADGATE_* variables, then defaults.

What the filter does to traffic is the policy file's; here stands only where things are. Secrets come from
files or from a file's name, so that they are not in a list of processes.
"""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Self
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)

from extproc.domain.errors import HeadgateError
from extproc.domain.limits import LIMITS
from extproc.edge.listen import UNIX, TlsFiles, address_of, numbered

if TYPE_CHECKING:
    from collections.abc import Mapping

# HMAC-SHA-256 gains nothing beyond its block of 64 bytes; under 32 characters a pepper could be guessed.
PEPPER_BYTES_MIN: Final = 32
PEPPER_BYTES_MAX: Final = 4_096
_URL_BYTES_MAX: Final = 4_096
_PORT_MAX: Final = 65_535
_REDIS_SCHEMES: Final = frozenset({"redis", "rediss", "unix"})
_REDIS_TLS: Final = "rediss"
# As RFC 5280 has it in a certificate: a SPIFFE id, or a DNS name without wildcards.
_CLIENT_NAME: Final = re.compile(
    r"spiffe://[a-z0-9._-]{1,255}(/[A-Za-z0-9._-]+)+|(?=.{1,253}$)[a-z0-9-]{1,63}(\.[a-z0-9-]{1,63})*"
)
_HOST_PORT: Final = re.compile(r"(?P<host>\[[0-9a-fA-F:.]+\]|[A-Za-z0-9.-]+):(?P<port>[0-9]{1,5})")

LOG = logging.getLogger("headgate.settings")


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

    redis_ca: Path | None = None
    """Authorities of a ``rediss://`` server's certificate (PEM); the system's own unless given."""

    redis_password_file: Path | None = None
    """File with Redis's password, read anew for every connection."""

    listen: str = "127.0.0.1:9901"
    """Where Envoy connects, HOST:PORT or unix:PATH. On loopback by default: the protocol has no login."""

    insecure_listen: bool = False
    """Whether whoever reaches ``listen`` over a network may ask, unencrypted."""

    tls_cert: Path | None = None
    tls_key: Path | None = None
    """This service's certificate chain and key (PEM)."""

    tls_client_ca: Path | None = None
    """Authorities that sign Envoy's certificate (PEM)."""

    tls_client_name: str | None = None
    """The SPIFFE id or DNS name that Envoy's certificate must have."""

    admin: str = "127.0.0.1:9981"
    """Where /healthz, /readyz and /metrics answer, HOST:PORT. On loopback by default: it names tenants."""

    insecure_admin: bool = False
    """Whether whoever reaches ``admin`` over a network may read it."""

    workers: Annotated[int, Field(ge=1, le=LIMITS.workers_max)] = 1
    """Processes, each with its own endpoint, admin port and verdict log; see ``of_worker``."""

    drain_notice_ms: Annotated[int, Field(ge=0, le=60_000)] = LIMITS.drain_notice_ms
    """How long after SIGTERM new streams are still taken, while health says that they should not come."""

    verdict_log: Path = Field(default_factory=lambda: Path("verdicts.jsonl"))
    """File that verdict records are appended to (JSONL)."""

    bodies: Path | None = None
    """Folder for what a policy keeps of prompts and answers; without one no policy may keep any."""

    worker: Annotated[int, Field(ge=0, lt=LIMITS.workers_max)] = 0
    """Which of several workers this is: in ``bodies`` each has a folder of its own."""

    trust_traceparent: bool = False
    """Whether a mesh's tracing makes requests' ``traceparent`` and no client, so that its traces go on."""

    judge_model: Annotated[str, Field(min_length=1)] | None = None
    """A classifier of the operator's own: manifest, directory, ONNX file or ``triton://`` address."""

    judge_tokenizer: Path | None = None
    """Directory with tokenizer and labels of a judge model that is on a server and takes token ids."""

    judge_ca: Path | None = None
    """Authorities of a ``tritons://`` server's certificate (PEM); the gRPC library's own unless given."""

    judge_calls: Annotated[int, Field(ge=1, le=64)] = 8
    """Questions to a judge model's server at once; each keeps a thread waiting."""

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

    def of_worker(self, worker: int) -> Self:
        """The settings of one of several workers: ports, socket and verdict log with its number."""
        host, port = split_address(self.admin)
        return self.model_copy(
            update={
                "listen": address_of(self.listen, worker),
                "admin": f"{f'[{host}]' if ':' in host else host}:{port + worker}",
                "verdict_log": numbered(self.verdict_log, worker),
                "worker": worker,
                "workers": 1,
            }
        )

    @property
    def each(self) -> tuple[Self, ...]:
        """The settings of every worker; these, where there is one."""
        return (self,) if self.workers == 1 else tuple(self.of_worker(one) for one in range(self.workers))

    @property
    def tls_files(self) -> TlsFiles | None:
        """The certificates; None where there is no TLS."""
        if self.tls_cert is None or self.tls_key is None or self.tls_client_ca is None:
            return None
        return TlsFiles(certificate=self.tls_cert, key=self.tls_key, client_authorities=self.tls_client_ca)

    def redis_url(self) -> str:
        """The URL of the ledger's Redis; it may hold a password, so it must not be logged.

        Without its user where the password comes from a file: see ``redis_user``.
        """
        url = self.redis.get_secret_value()
        if self.redis_password_file is not None:
            parts = urlsplit(url)
            url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        if self.redis_ca is not None:
            url += f"{'&' if urlsplit(url).query else '?'}ssl_ca_certs={quote(str(self.redis_ca))}"
        return url

    @property
    def redis_place(self) -> str:
        """Where the ledger's Redis is, without user and password: to be logged."""
        parts = urlsplit(self.redis.get_secret_value())
        return parts.path if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]

    @property
    def redis_user(self) -> str | None:
        """The user that the URL names."""
        return urlsplit(self.redis.get_secret_value()).username

    def pepper(self) -> bytes:
        """The content of ``pepper_file``. Raises SettingsError as ``read_pepper`` does."""
        return read_pepper(self.pepper_file)

    @field_validator("listen")
    @classmethod
    def _listen_address(cls, value: str) -> str:
        if not value.startswith(UNIX):
            split_address(value)
            return value
        path = Path(value.removeprefix(UNIX))
        longest = numbered(path, LIMITS.workers_max) if path.name else path
        bytes_max = LIMITS.socket_path_bytes_max
        if not path.is_absolute() or not path.name or len(os.fsencode(longest)) > bytes_max:
            raise ValueError(f"write HOST:PORT, or unix: and an absolute path of at most {bytes_max} bytes")
        return value

    @field_validator("tls_client_name")
    @classmethod
    def _client_name(cls, value: str | None) -> str | None:
        if value is not None and not _CLIENT_NAME.fullmatch(value):
            raise ValueError("write spiffe://TRUST-DOMAIN/PATH, or a DNS name in lower case")
        return value

    @model_validator(mode="after")
    def _tls_is_whole(self) -> Self:
        given = (self.tls_cert, self.tls_key, self.tls_client_ca, self.tls_client_name)
        if any(one is not None for one in given) and None in given:
            # Without the name, whoever has any certificate of that authority could ask: all of a mesh.
            raise ValueError(
                "--tls-cert, --tls-key, --tls-client-ca and --tls-client-name go together or not at all"
            )
        if self.tls_files is None and not self.insecure_listen and not _is_local(self.listen):
            raise ValueError(
                "--listen: without TLS, whoever reaches this address could read prompts and ask the "
                "filter; give --tls-cert and its companions, listen on loopback or unix:PATH, or say "
                "--insecure-listen where something else guards the way, such as a mesh's own mTLS"
            )
        return self

    @model_validator(mode="after")
    def _admin_is_local(self) -> Self:
        if not self.insecure_admin and not _is_local(self.admin):
            raise ValueError(
                "--admin: whoever reaches this address could read tenants' names and what they use; listen "
                "on loopback, or say --insecure-admin where only probes and Prometheus reach it"
            )
        return self

    @model_validator(mode="after")
    def _bodies_are_apart(self) -> Self:
        if self.bodies is not None:
            log, bodies = self.verdict_log.resolve(), self.bodies.resolve()
            if bodies == log.parent or bodies in log.parents:
                # Who may read verdicts may not read bodies: folders are what an operator gives rights on.
                raise ValueError("--bodies: give bodies a folder that the verdict log is not in")
        return self

    @model_validator(mode="after")
    def _ports_are_apart(self) -> Self:
        first = [split_address(one)[1] for one in (self.admin, self.listen) if not one.startswith(UNIX)]
        ports = [port + worker for port in first for worker in range(self.workers)]
        fixed = [port for port in ports if port]  # 0 picks a free one.
        if len(first) == 2 and first[0] == first[1] != 0:  # noqa: PLR2004 - admin's and listen's.
            raise ValueError("--listen and --admin have the same port")
        if max(ports) > _PORT_MAX or len(set(fixed)) < len(fixed) or (self.workers > 1 and 0 in first):
            raise ValueError(
                f"--listen and --admin: with {self.workers} workers each takes as many ports from its "
                "own on, which must not meet"
            )
        return self

    @model_validator(mode="after")
    def _redis_fits(self) -> Self:
        parts = urlsplit(self.redis.get_secret_value())
        if self.redis_ca is not None and parts.scheme != _REDIS_TLS:
            raise ValueError("--redis-ca: only a rediss:// URL has a certificate to check")
        if self.redis_password_file is not None and parts.password is not None:
            raise ValueError("--redis-password-file: the URL has a password already")
        return self

    @model_validator(mode="after")
    def _judge_is_whole(self) -> Self:
        if self.judge_model is None and (self.judge_tokenizer is not None or self.judge_ca is not None):
            raise ValueError("--judge-tokenizer and --judge-ca belong to a --judge-model")
        return self

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


def _is_local(address: str) -> bool:
    """Whether only this machine can reach it."""
    if address.startswith(UNIX):
        return True
    host, _ = split_address(address)
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


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


def read_redis_password(path: Path) -> bytes:
    """Redis's password, without a line break at its end. Raises SettingsError."""
    return _read_secret(path, _URL_BYTES_MAX)


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
        LOG.warning("%s can be read by every user of this machine; chmod 600 it", path.name)
    return content.rstrip(b"\r\n")


def _fault(place: tuple[int | str, ...], message: str) -> str:
    said = message.removeprefix("Value error, ")
    if not place:
        return said
    option = "-".join(str(step) for step in place).replace("_", "-")
    return f"--{option}: {said}"
