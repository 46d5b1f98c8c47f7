"""Mutual TLS over a real gRPC connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
from pathlib import Path

import grpc
import pytest
from certificates import Authority, Leaf, replace
from cryptography import x509

from extproc.domain.limits import LIMITS
from extproc.edge.listen import TlsFiles
from extproc.edge.tls import ServerTls, TlsError, peer_check

ENVOY = "spiffe://mesh.example/ns/gateways/sa/envoy"
OURS = "headgate.example"


@pytest.fixture
def authority():
    return Authority()


@pytest.fixture
def files(tmp_path: Path, authority: Authority) -> TlsFiles:
    certificate, key = authority.issue(dns=(OURS,)).write(tmp_path, "ours")
    bundle = tmp_path / "clients.pem"
    replace(bundle, authority.pem)
    return TlsFiles(certificate=certificate, key=key, client_authorities=bundle)


def channel(port: int, authority: Authority, leaf: Leaf | None) -> grpc.aio.Channel:
    credentials = grpc.ssl_channel_credentials(
        authority.pem, leaf.key if leaf else None, leaf.certificate if leaf else None
    )
    options = (("grpc.ssl_target_name_override", OURS),)
    return grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options=options)


class Server:
    """Tells what it may of its peer."""

    def __init__(self, tls: ServerTls) -> None:
        self._tls = tls
        self.seen: list[dict[str, list[bytes]]] = []

    async def __aenter__(self):
        self._server = grpc.aio.server()
        handler = grpc.unary_unary_rpc_method_handler(self._tell)
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test", {"tell": handler}),)
        )
        self.port = self._server.add_secure_port("127.0.0.1:0", self._tls.credentials())
        await self._server.start()
        return self

    async def __aexit__(self, *_exc):
        await self._server.stop(0)

    async def _tell(self, _request, context):
        self.seen.append({key: list(values) for key, values in context.auth_context().items()})
        return b"heard"

    async def asked_by(self, authority: Authority, leaf: Leaf | None) -> grpc.StatusCode:
        async with channel(self.port, authority, leaf) as one:
            try:
                await one.unary_unary("/test/tell")(b"", timeout=10)
            except grpc.aio.AioRpcError as error:
                return error.code()
        return grpc.StatusCode.OK


def serial_shown(port: int, authority: Authority, leaf: Leaf, folder: Path) -> tuple[int, str | None]:
    """The serial number of the certificate that the server shows, and the TLS version."""
    certificate, key = leaf.write(folder, "probe")
    context = ssl.create_default_context(cadata=authority.pem.decode())
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2"])

    with (
        socket.create_connection(("127.0.0.1", port), 10) as plain,
        context.wrap_socket(plain, server_hostname=OURS) as connection,
    ):
        shown = connection.getpeercert(binary_form=True)
        assert shown is not None
        return x509.load_der_x509_certificate(shown).serial_number, connection.version()


def run(test) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


@pytest.mark.parametrize(
    ("names", "wanted", "admitted"),
    [
        ({"uri": (ENVOY,)}, ENVOY, True),
        ({"uri": (ENVOY + "-other",)}, ENVOY, False),
        # Two URIs are no SPIFFE identity.
        ({"uri": (ENVOY, "spiffe://mesh.example/ns/else")}, ENVOY, False),
        ({"dns": (ENVOY.removeprefix("spiffe://"),)}, ENVOY, False),
        ({"dns": ("envoy.example",)}, "envoy.example", True),
        ({"dns": ("other.example", "envoy.example")}, "envoy.example", True),
        ({"dns": ("*.example",)}, "envoy.example", False),
        ({"dns": ("envoy.example.org",)}, "envoy.example", False),
        ({"uri": ("https://envoy.example",)}, "envoy.example", False),
        ({}, "envoy.example", False),
    ],
)
def test_a_peer_is_known_by_the_names_in_its_certificate(names, wanted, admitted, authority, files):
    async def test():
        async with Server(ServerTls(files)) as server:
            leaf = authority.issue(**names)
            assert await server.asked_by(authority, leaf) is grpc.StatusCode.OK
            assert peer_check(wanted)(server.seen[0]) is admitted

    run(test)


@pytest.mark.parametrize("wanted", [ENVOY, "envoy.example", "leaf"])
def test_a_peer_without_a_certificate_has_no_name(wanted):
    assert not peer_check(wanted)({})
    assert not peer_check(wanted)({"x509_common_name": [b"leaf"]})


def test_without_a_certificate_of_the_authority_there_is_no_connection(authority, files):
    async def test():
        async with Server(ServerTls(files)) as server:
            stranger = Authority("test authority").issue(uri=(ENVOY,))
            assert await server.asked_by(authority, stranger) is grpc.StatusCode.UNAVAILABLE
            assert await server.asked_by(authority, None) is grpc.StatusCode.UNAVAILABLE
            async with grpc.aio.insecure_channel(f"127.0.0.1:{server.port}") as plain:
                with pytest.raises(grpc.aio.AioRpcError) as refused:
                    await plain.unary_unary("/test/tell")(b"", timeout=10)
            assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
            assert server.seen == []

    run(test)


def test_rotated_certificates_and_authorities_are_taken(authority, files, tmp_path):
    async def test():
        async with Server(ServerTls(files)) as server:
            client = authority.issue(uri=(ENVOY,))
            before, version = await asyncio.to_thread(
                serial_shown, server.port, authority, client, tmp_path
            )
            assert version in {"TLSv1.2", "TLSv1.3"}
            new = authority.issue(dns=(OURS,))
            new.write(tmp_path, "ours")
            shown, _ = await asyncio.to_thread(serial_shown, server.port, authority, client, tmp_path)
            assert (shown, shown != before) == (new.serial, True)

            successor = Authority("successor")
            assert await server.asked_by(authority, successor.issue(uri=(ENVOY,))) is not grpc.StatusCode.OK
            replace(files.client_authorities, successor.pem)
            assert await server.asked_by(authority, successor.issue(uri=(ENVOY,))) is grpc.StatusCode.OK
            assert await server.asked_by(authority, client) is not grpc.StatusCode.OK

    run(test)


def test_in_the_middle_of_a_rotation_the_old_ones_stay(authority, files, tmp_path, caplog):
    async def test():
        async with Server(ServerTls(files)) as server:
            client = authority.issue(uri=(ENVOY,))
            new = authority.issue(dns=(OURS,))
            replace(files.certificate, new.certificate)
            assert await server.asked_by(authority, client) is grpc.StatusCode.OK
            assert "ours.pem and ours.key: no pair" in caplog.text
            replace(files.key, new.key)
            shown, _ = await asyncio.to_thread(serial_shown, server.port, authority, client, tmp_path)
            assert shown == new.serial
            files.key.unlink()
            assert await server.asked_by(authority, client) is grpc.StatusCode.OK

    run(test)


def test_what_cannot_be_used_is_said_at_the_start(authority, files, tmp_path):
    ServerTls(files)
    good = files.key.read_bytes()
    replace(files.key, authority.issue(dns=(OURS,)).key)
    with pytest.raises(TlsError, match=r"ours\.pem and ours\.key: no pair"):
        ServerTls(files)
    replace(files.key, b"no key")
    with pytest.raises(TlsError, match=r"ours\.pem and ours\.key: no pair"):
        ServerTls(files)
    replace(files.key, good)
    for content in (b"", b"not PEM"):
        replace(files.client_authorities, content)
        with pytest.raises(TlsError, match=r"clients\.pem: holds no certificate authority"):
            ServerTls(files)
    replace(files.client_authorities, b"x" * (LIMITS.tls_file_bytes_max + 1))
    with pytest.raises(TlsError, match="holds more than"):
        ServerTls(files)
    files.client_authorities.unlink()
    with pytest.raises(TlsError, match="No such file"):
        ServerTls(files)


def test_an_unchanged_file_is_not_read_again(files):
    tls = ServerTls(files)
    assert tls.fetch() is None
    replace(files.certificate, files.certificate.read_bytes())
    assert tls.fetch() is not None
    assert tls.fetch() is None
