"""The health protocol over gRPC, and the probe for people."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.edge.admin import AdminServer
from extproc.edge.health import NAMES, Health, ReadyLog, is_ready, missing_parts

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def run(test) -> None:
    async def main() -> None:
        health = Health()
        server = grpc.aio.server()
        await health.add_to(server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
                await asyncio.wait_for(test(health, health_pb2_grpc.HealthStub(channel)), 20)
        finally:
            await server.stop(0)

    asyncio.run(main())


async def statuses(stub) -> set[int]:
    answers = [await stub.Check(health_pb2.HealthCheckRequest(service=name)) for name in NAMES]
    return {answer.status for answer in answers}


def test_the_filter_goes_by_its_envoy_name_and_by_none():
    assert NAMES == ("envoy.service.ext_proc.v3.ExternalProcessor", "")


def test_it_says_what_it_is_told():
    async def test(health, stub):
        await health.set(serving=True)
        assert await statuses(stub) == {SERVING}
        await health.set(serving=False)
        assert await statuses(stub) == {NOT_SERVING}
        await health.set(serving=True)
        assert await statuses(stub) == {SERVING}

    run(test)


def test_until_told_it_does_not_say_serving():
    async def test(_health, stub):
        assert await statuses(stub) == {NOT_SERVING}

    run(test)


def test_another_service_is_unknown():
    async def test(health, stub):
        await health.set(serving=True)
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await stub.Check(health_pb2.HealthCheckRequest(service="else"))
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND

    run(test)


def test_a_watcher_hears_of_changes_only():
    async def test(health, stub):
        await health.set(serving=True)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=NAMES[0]))
        assert (await watch.read()).status == SERVING
        await health.set(serving=True)
        await health.set(serving=False)
        assert (await watch.read()).status == NOT_SERVING
        watch.cancel()

    run(test)


@contextlib.contextmanager
def admin_port(parts):
    admin = AdminServer(
        host="127.0.0.1", port=0, ready=lambda: parts, metrics=lambda _accept: (b"", "text/plain")
    )
    admin.start()
    try:
        yield admin.port
    finally:
        admin.close()


@pytest.mark.parametrize("ready", [True, False])
def test_the_probe_asks_the_admin_endpoint_and_names_what_is_missing(ready):
    with admin_port({"serving": True, "redis": ready, "classifier": True}) as port:
        assert is_ready("127.0.0.1", port) is ready
        assert missing_parts("127.0.0.1", port) == (() if ready else ("redis",))


def test_what_is_not_our_endpoint_is_no_answer():
    with admin_port({"alive": True}) as port:
        assert missing_parts("127.0.0.1", port) == ("no answer",)


def test_nobody_there_is_not_ready():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert not is_ready("127.0.0.1", port)
        assert missing_parts("127.0.0.1", port) == ("no answer",)


def test_the_log_names_what_is_not_ready_once_and_on_every_change(caplog):
    caplog.set_level(logging.INFO, "headgate.ready")
    log = ReadyLog({"redis": "start it"})
    gone = {"redis": "place: refused"}
    for redis, classifier in ((True, True), (False, True), (False, True), (False, False), (True, True)):
        log.look({"redis": redis, "classifier": classifier}, why={} if redis else gone)
    assert [(one.levelname, one.getMessage()) for one in caplog.records] == [
        ("WARNING", "not ready: redis (place: refused); start it"),
        ("WARNING", "not ready: redis (place: refused); start it"),
        ("WARNING", "not ready: classifier"),
        ("INFO", "every part is ready again"),
    ]
