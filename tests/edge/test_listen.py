"""Addresses of workers, and sockets as they lie in the file system."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from pathlib import Path

import grpc
import pytest
import yaml

from extproc.edge.listen import ListenError, address_of, envoy_endpoints, numbered, open_port


@pytest.mark.parametrize(
    ("address", "worker", "expected"),
    [
        ("127.0.0.1:9901", 0, "127.0.0.1:9901"),
        ("127.0.0.1:9901", 3, "127.0.0.1:9904"),
        ("[::1]:9901", 1, "[::1]:9902"),
        ("unix:/run/headgate/filter.sock", 0, "unix:/run/headgate/filter-0.sock"),
        ("unix:/run/headgate/filter", 2, "unix:/run/headgate/filter-2"),
    ],
)
def test_each_worker_has_an_address(address, worker, expected):
    assert address_of(address, worker) == expected


def test_each_worker_has_a_file():
    assert numbered(Path("/var/log/verdicts.jsonl"), 1) == Path("/var/log/verdicts-1.jsonl")


def test_endpoints_are_written_as_envoy_reads_them():
    text = envoy_endpoints(["unix:/run/h-0.sock", "[::1]:9902", "10.0.0.1:1"])
    addresses = [one["endpoint"]["address"] for one in yaml.safe_load(text)["lb_endpoints"]]
    assert addresses == [
        {"pipe": {"path": "/run/h-0.sock"}},
        {"socket_address": {"address": "::1", "port_value": 9902}},
        {"socket_address": {"address": "10.0.0.1", "port_value": 1}},
    ]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "filter.sock"


def opened(address: str) -> None:
    async def main() -> None:
        server = grpc.aio.server()
        try:
            open_port(server, address, None)
            await server.start()
        finally:
            await server.stop(0)

    asyncio.run(main())


def listening(path: Path) -> socket.socket:
    one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    one.bind(str(path))
    one.listen()
    return one


def test_a_socket_is_for_owner_and_group_and_goes_with_the_server(path):
    async def main() -> None:
        umask = os.umask(0o022)
        try:
            server = grpc.aio.server()
            open_port(server, f"unix:{path}", None)
            assert stat.S_IMODE(path.stat().st_mode) == 0o660
            assert os.umask(0o022) == 0o022
        finally:
            os.umask(umask)
        await server.start()
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            await asyncio.wait_for(channel.channel_ready(), 10)
        await server.stop(0)
        assert not path.exists()

    asyncio.run(main())


def test_a_stale_socket_is_removed(path):
    listening(path).close()
    assert path.is_socket()
    opened(f"unix:{path}")


def test_a_socket_that_somebody_listens_on_is_left_alone(path):
    with listening(path) as other:
        with pytest.raises(ListenError, match="another process does"):
            opened(f"unix:{path}")
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(str(path))
            other.accept()[0].close()


@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_what_is_no_socket_is_left_alone(kind, path, tmp_path):
    match kind:
        case "file":
            path.write_text("dear to somebody")
        case "folder":
            path.mkdir()
        case "link":
            listening(tmp_path / "elsewhere").close()
            path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(ListenError, match="no socket stands there"):
        opened(f"unix:{path}")
    assert path.exists()


def test_a_port_in_use_is_an_error_that_names_it(capfd):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(ListenError, match=f"^cannot listen on {address}: Address already in use$"):
            opened(address)
    # gRPC would have written there by itself, before us.
    assert capfd.readouterr().err == ""


def test_a_host_that_is_none_is_an_error():
    with pytest.raises(ListenError, match=r"cannot listen on nowhere\.invalid:1: "):
        opened("nowhere.invalid:1")


def test_a_folder_that_is_missing_is_an_error(tmp_path):
    with pytest.raises(ListenError, match="cannot listen on"):
        opened(f"unix:{tmp_path}/missing/filter.sock")
