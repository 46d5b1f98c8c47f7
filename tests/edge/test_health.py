"""The health protocol over gRPC, and the probe for people."""

from __future__ import annotations

import asyncio
import socket

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from extproc.edge.admin import AdminServer
from extproc.edge.health import NAMES, Health, is_ready

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


@pytest.mark.parametrize("ready", [True, False])
def test_the_probe_asks_the_admin_endpoint(ready):
    admin = AdminServer(
        host="127.0.0.1",
        port=0,
        ready=lambda: {"serving": True, "redis": ready},
        metrics=lambda _accept: (b"", "text/plain"),
    )
    admin.start()
    try:
        assert is_ready("127.0.0.1", admin.port) is ready
    finally:
        admin.close()


def test_nobody_there_is_not_ready():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert not is_ready("127.0.0.1", taken.getsockname()[1])
