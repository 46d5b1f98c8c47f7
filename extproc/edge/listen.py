"""Where the filter listens: a port or a UNIX socket per worker, as one endpoint each in Envoy's cluster."""

from __future__ import annotations

import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from extproc.domain.errors import HeadgateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    import grpc

UNIX: Final = "unix:"
# Envoy shares a user or a group with the filter; nobody else may ask it or stand in for it.
_SOCKET_MODE: Final = 0o660
_SOCKET_UMASK: Final = 0o777 & ~_SOCKET_MODE
_PROBE_TIMEOUT_S: Final = 1.0


class ListenError(HeadgateError):
    """The address cannot be listened on; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFiles:
    """PEM files: this service's certificate chain and key, and the authorities that sign Envoy's."""

    certificate: Path
    key: Path
    client_authorities: Path

    @property
    def all(self) -> tuple[Path, Path, Path]:
        """The three."""
        return self.certificate, self.key, self.client_authorities


def numbered(path: Path, worker: int) -> Path:
    """The path of one worker's own file or socket: ``a/b.c`` becomes ``a/b-0.c``."""
    return path.with_name(f"{path.stem}-{worker}{path.suffix}")


def address_of(address: str, worker: int) -> str:
    """One worker's address: the port plus its number, or the socket's path with its number."""
    if address.startswith(UNIX):
        return f"{UNIX}{numbered(Path(address.removeprefix(UNIX)), worker)}"
    host, _, port = address.rpartition(":")
    return f"{host}:{int(port) + worker}"


def envoy_endpoints(addresses: Sequence[str]) -> str:
    """The ``lb_endpoints`` of Envoy's cluster for these addresses, as YAML."""
    return "lb_endpoints:\n" + "".join(f"- {_endpoint(address)}\n" for address in addresses)


def _endpoint(address: str) -> str:
    if address.startswith(UNIX):
        return f'{{ endpoint: {{ address: {{ pipe: {{ path: "{address.removeprefix(UNIX)}" }} }} }} }}'
    host, _, port = address.rpartition(":")
    host = host.strip("[]")
    return (
        f'{{ endpoint: {{ address: {{ socket_address: {{ address: "{host}", port_value: {port} }} }} }} }}'
    )


def open_port(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials | None) -> None:
    """Have ``server`` listen on HOST:PORT or unix:PATH, with TLS where there are credentials.

    A socket that a dead process left is removed first; one that is listened on is not. Ours is readable
    and writable for owner and group only, from its first moment on: this changes the umask for that moment,
    so that no other thread may make files meanwhile. gRPC removes it when the server stops.

    Raises:
        ListenError: it cannot.
    """
    if address.startswith(UNIX):
        _remove_stale(Path(address.removeprefix(UNIX)))
    else:
        _try_port(address)
    before = os.umask(_SOCKET_UMASK) if address.startswith(UNIX) else None
    try:
        if credentials is None:
            server.add_insecure_port(address)
        else:
            server.add_secure_port(address, credentials)
    except RuntimeError:
        raise ListenError(f"cannot listen on {address}: is it in use, or not ours to take?") from None
    finally:
        if before is not None:
            os.umask(before)


def _try_port(address: str) -> None:
    """Bind the port and let it go: gRPC would tell a failure to the terminal, in its own words."""
    host, _, port = address.rpartition(":")
    why = ""
    try:
        found = socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM)
    except OSError as error:
        raise ListenError(f"cannot listen on {address}: {error.strerror}") from None
    for family, kind, protocol, _name, place in found:
        with socket.socket(family, kind, protocol) as probe:
            # As gRPC does, so that connections of a process before are not in the way.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(place)
            except OSError as error:
                why = error.strerror or "it cannot be bound"
            else:
                # One address of a name is enough, as it is for gRPC.
                return
    raise ListenError(f"cannot listen on {address}: {why}")


def _remove_stale(path: Path) -> None:
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    except OSError as error:
        raise ListenError(f"cannot listen on {path}: {error.strerror}") from None
    if not stat.S_ISSOCK(mode):
        raise ListenError(f"cannot listen on {path}: something that is no socket stands there")
    if _answers(path):
        raise ListenError(f"cannot listen on {path}: another process does")
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ListenError(f"cannot remove the stale socket {path}: {error.strerror}") from None


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_TIMEOUT_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return False
        except OSError:
            # Full, slow, or not ours to ask: somebody's all the same.
            return True
        return True
