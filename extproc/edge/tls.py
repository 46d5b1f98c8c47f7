"""Mutual TLS between Envoy and the filter: who may ask, and certificates that are taken anew when rotated.

gRPC asks for the certificates at every handshake. They are read again when one of the files changed, and
taken only if they fit together: in the middle of a rotation the old ones go on. TLS 1.2 is the least that
gRPC offers.
"""

from __future__ import annotations

import logging
import ssl
import stat
import threading
from typing import TYPE_CHECKING, Final

import grpc

from extproc.domain.errors import HeadgateError
from extproc.domain.limits import LIMITS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path
    from typing import TypeAlias

    from extproc.edge.listen import TlsFiles

    # What gRPC tells of a peer: several values per property.
    PeerProperties: TypeAlias = Mapping[str, Iterable[bytes]]
    _Signature: TypeAlias = tuple[tuple[int, int, int, int], ...]

LOG = logging.getLogger("headgate.tls")

SPIFFE: Final = "spiffe://"
# Set by gRPC from a certificate that it has verified. An X.509-SVID has exactly one URI, and a certificate
# with several has no SPIFFE identity.
_SPIFFE_PROPERTY: Final = "peer_spiffe_id"
_DNS_PROPERTY: Final = "peer_dns"


class TlsError(HeadgateError):
    """The certificates cannot be used; names the file, never its content."""


class ServerTls:
    """The credentials of a server whose files may change.

    Raises:
        TlsError: the files cannot be used as they are: a service never begins without.
    """

    def __init__(self, files: TlsFiles) -> None:
        self._files = files
        self._lock = threading.Lock()
        self._signature, self._configuration = _load(files)
        self._refused: _Signature | None = None
        if files.key.stat().st_mode & stat.S_IROTH:
            LOG.warning("%s can be read by every user of this machine; chmod 600 it", files.key.name)

    def credentials(self) -> grpc.ServerCredentials:
        """For ``add_secure_port``: who has no certificate of those authorities gets no connection."""
        return grpc.dynamic_ssl_server_credentials(
            self._configuration,
            self.fetch,  # type: ignore[arg-type]  # None means no change; the stubs do not know it.
            require_client_authentication=True,
        )

    def fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """The certificates from this handshake on, where they changed. From any thread; never raises."""
        with self._lock:
            try:
                signature = _signature(self._files)
            except OSError as error:
                LOG.warning("certificates cannot be read, the old ones stay: %s", error.strerror)
                return None
            if signature in (self._signature, self._refused):
                return None
            return self._configuration if self._taken(signature) else None

    def _taken(self, signature: _Signature) -> bool:
        try:
            self._signature, self._configuration = _load(self._files)
        except TlsError as error:
            self._refused = signature
            LOG.warning("the new certificates are not taken, the old ones stay: %s", error)
            return False
        self._refused = None
        LOG.info("certificates taken anew")
        return True


def peer_check(name: str) -> Callable[[PeerProperties], bool]:
    """Whether a peer has a name: a SPIFFE id, or a DNS name of its certificate. Exactly, no wildcards."""
    wanted = name.encode()
    from_uri = name.startswith(SPIFFE)

    def check(properties: PeerProperties) -> bool:
        if from_uri:
            return list(properties.get(_SPIFFE_PROPERTY, ())) == [wanted]
        return wanted in list(properties.get(_DNS_PROPERTY, ()))

    return check


def anyone(_properties: PeerProperties) -> bool:
    """The check where there is no TLS: whoever reaches the address may ask."""
    return True


def _signature(files: TlsFiles) -> _Signature:
    found = [path.stat() for path in files.all]
    return tuple((one.st_dev, one.st_ino, one.st_mtime_ns, one.st_size) for one in found)


def _load(files: TlsFiles) -> tuple[_Signature, grpc.ServerCertificateConfiguration]:
    try:
        signature = _signature(files)
        certificate, key, authorities = (_read(path) for path in files.all)
        _check(files, authorities)
        if _signature(files) != signature:
            raise TlsError("the files changed while they were read")
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        raise TlsError(f"{where}{error.strerror or 'cannot be read'}") from None
    pair = [(key, certificate)]
    return signature, grpc.ssl_server_certificate_configuration(pair, root_certificates=authorities)


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(LIMITS.tls_file_bytes_max + 1)
    if len(content) > LIMITS.tls_file_bytes_max:
        raise TlsError(f"{path.name}: holds more than {LIMITS.tls_file_bytes_max} bytes")
    return content


def _check(files: TlsFiles, authorities: bytes) -> None:
    """Have OpenSSL read what gRPC would only find unusable at the first handshake."""
    trial = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        # An encrypted key would ask for its password on the terminal.
        trial.load_cert_chain(files.certificate, files.key, password=lambda: b"")
    except ssl.SSLError as error:
        why = error.reason or "unreadable"
        raise TlsError(f"{files.certificate.name} and {files.key.name}: no pair ({why})") from None
    try:
        trial.load_verify_locations(cadata=authorities.decode("ascii", "replace"))
    except (ssl.SSLError, ValueError):
        raise TlsError(f"{files.client_authorities.name}: holds no certificate authority (PEM)") from None
