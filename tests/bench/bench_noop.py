"""An ext_proc service that does nothing, of the same kind as ours: PORT.

grpc.aio on uvloop, full duplex; each message is answered at once and unchanged. What it costs is what any
filter of this kind costs before it does any work.
"""

from __future__ import annotations

import asyncio
import sys

import grpc
import uvloop

from extproc.edge.health import Health
from extproc.edge.translate import METHOD
from extproc.pb.extproc_wire_pb2 import ProcessingRequest, ProcessingResponse


def _constant(field: str) -> bytes:
    reply = ProcessingResponse()
    getattr(reply, field).SetInParent()
    return reply.SerializeToString()


_CONSTANT = {
    name: _constant(name)
    for name in ("request_headers", "response_headers", "request_trailers", "response_trailers")
}


def _reply(message: ProcessingRequest) -> bytes:
    kind = message.WhichOneof("request")
    if kind in _CONSTANT:
        return _CONSTANT[kind]
    body = getattr(message, kind)
    reply = ProcessingResponse()
    streamed = getattr(reply, kind).response.body_mutation.streamed_response
    streamed.body = body.body
    streamed.end_of_stream = body.end_of_stream
    return reply.SerializeToString()


async def process(_requests: object, context: grpc.aio.ServicerContext) -> None:
    while isinstance(message := await context.read(), ProcessingRequest):
        await context.write(_reply(message))


async def serve(port: int) -> None:
    server = grpc.aio.server()
    service, _, method = METHOD.strip("/").partition("/")
    handler = grpc.stream_stream_rpc_method_handler(
        process, request_deserializer=ProcessingRequest.FromString, response_serializer=None
    )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    health = Health()
    await health.add_to(server)
    await health.set(serving=True)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
