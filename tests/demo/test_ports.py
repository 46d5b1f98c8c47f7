from __future__ import annotations

import socket

import pytest

from extproc.demo import ports


def test_ports_differ_and_can_be_listened_on():
    taken = [ports.free_port() for _ in range(50)]
    assert len(set(taken)) == len(taken)
    with socket.create_server(("127.0.0.1", taken[0])) as server:
        assert server.getsockname()[1] == taken[0]


def test_ports_are_not_those_of_outgoing_connections():
    with socket.create_server(("127.0.0.1", 0)) as server:
        assert all(ports.free_port() < server.getsockname()[1] for _ in range(10))


def test_a_port_that_is_listened_on_is_not_free(monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(ports, "_ephemeral_first", lambda: port + 1)
        monkeypatch.setattr(ports, "_FIRST", port)
        with pytest.raises(ports.NoFreePort):
            ports.free_port()


def test_an_unreadable_range_falls_back_to_the_kernels_own(monkeypatch, tmp_path):
    monkeypatch.setattr(ports, "_EPHEMERAL_RANGE", tmp_path / "none")
    assert ports._ephemeral_first() == 32_768
