"""What would happen to one request, guard by guard: offline, without Redis, Envoy or a model server.

It drives the service's own core, codecs, guards and rules, and looks on at the seams; only what lies
outside the process is made up. So it cannot come to another decision than the service, except where the
tenant's budget is spent or something is out of order. What it tells holds no text of request or answer,
but for the answer that the client would get, where that is asked for.
"""
