"""A password that is rotated while the ledger runs, on a real Valkey."""

from __future__ import annotations

import asyncio
from functools import partial

import redis
from certificates import replace

from extproc.domain.limits import LIMITS
from extproc.edge.ledger import ACL_RIGHTS, Ledger
from extproc.edge.redis_login import FilePassword
from extproc.settings import read_redis_password


def test_a_rotated_password_is_taken_with_the_next_connection(own_valkey, tmp_path):
    valkey = own_valkey()
    path = tmp_path / "password"
    replace(path, b"first\n")
    address = valkey.url.removeprefix("redis://")

    def allow(*passwords: str) -> None:
        words = " ".join(f">{one}" for one in passwords)
        with redis.Redis.from_url(valkey.url) as root:
            root.execute_command(f"ACL SETUSER filter resetpass {words} on {ACL_RIGHTS}")
            root.client_kill_filter(user="filter")

    async def test() -> None:
        login = FilePassword("filter", partial(read_redis_password, path))
        ledger = Ledger(f"redis://{address}", limits=LIMITS, login=login)
        try:
            allow("first")
            assert await ledger.ready()
            allow("second")
            assert not await ledger.ready()
            replace(path, b"second")
            assert await ledger.ready()
            path.unlink()
            allow("third")
            assert not await ledger.ready()
        finally:
            await ledger.close()

    asyncio.run(asyncio.wait_for(test(), 30))


def test_a_password_without_a_user_is_the_default_users():
    assert FilePassword(None, lambda: b"secret").get_credentials() == ("secret",)
