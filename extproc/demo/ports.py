"""Free TCP ports on loopback."""

from __future__ import annotations

import random
import socket
from pathlib import Path

LOOPBACK = "127.0.0.1"

_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_EPHEMERAL_FIRST_DEFAULT = 32_768
# Above what well-known servers listen on.
_FIRST = 20_000
_TRIES_MAX = 200

# Handed out by this process, so that two parts never get one port before either listens.
_taken: set[int] = set()


class NoFreePort(Exception):  # noqa: N818 - reads as what it says.
    """No port could be had."""


def free_port() -> int:
    """A port that nothing listens on, below the range from which outgoing connections take theirs.

    Another process may still take it before the part listens; the caller starts over then.

    Raises:
        NoFreePort: after a bounded number of tries.
    """
    last = _ephemeral_first() - 1
    chance = random.SystemRandom()
    for _ in range(_TRIES_MAX):
        port = chance.randint(min(_FIRST, last), last)
        if port not in _taken and _can_listen(port):
            _taken.add(port)
            return port
    raise NoFreePort("no free port was found on the loopback interface")


def _can_listen(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def _ephemeral_first() -> int:
    try:
        return int(_EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _EPHEMERAL_FIRST_DEFAULT
