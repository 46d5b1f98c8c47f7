"""Writes envoy/compose.yaml: the bootstrap with the places of docker-compose.yaml.

``python tests/support/compose_gateway.py`` writes it anew after a change of envoy/bootstrap.yaml.
"""

from __future__ import annotations

from pathlib import Path

ENVOY = Path(__file__).parents[2] / "envoy"
WORKERS = 2

HEADER = """\
# Envoy of docker-compose.yaml: bootstrap.yaml, which says why each line is there, with other places.
# tests/support/compose_gateway.py writes it: change bootstrap.yaml, run that. A test holds both together.
"""

_ENDPOINT = (
    "        - endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: ${%s_PORT} } } }"
)
_FILTER = "        - endpoint: { address: { pipe: { path: /run/headgate/filter-%d.sock } } }"
_SERVICE = "        - endpoint: { address: { socket_address: { address: triton, port_value: %d } } }"


def compose_text() -> str:
    """The file as it should be."""
    text = (ENVOY / "bootstrap.yaml").read_text(encoding="utf-8")
    sockets = "\n".join(_FILTER % worker for worker in range(WORKERS))
    for old, new in (
        # Reached through the container's published port only.
        (
            "address: { socket_address: { address: 127.0.0.1, port_value: ${LISTEN_PORT} } }",
            "address: { socket_address: { address: 0.0.0.0, port_value: 8080 } }",
        ),
        ("${ADMIN_PORT}", "9901"),
        ("${ACCESS_LOG}", "/dev/stdout"),
        (_ENDPOINT % "EXTPROC", sockets),
        (_ENDPOINT % "TRITON", _SERVICE % 8000),
        (_ENDPOINT % "TRITON_GRPC", _SERVICE % 8001),
        (_ENDPOINT % "OPENAI", _SERVICE % 9000),
        # The container's name is looked up; it may be there later than Envoy.
        ("  - name: triton\n    type: STATIC\n", "  - name: triton\n    type: STRICT_DNS\n"),
        ("  - name: triton_grpc\n    type: STATIC\n", "  - name: triton_grpc\n    type: STRICT_DNS\n"),
        ("  - name: openai\n    type: STATIC\n", "  - name: openai\n    type: STRICT_DNS\n"),
    ):
        start = text.index("admin:")
        head, body = text[:start], text[start:]
        assert body.count(old) == 1, old
        text = head + body.replace(old, new)
    return HEADER + "\n" + text[text.index("admin:") :]


if __name__ == "__main__":
    (ENVOY / "compose.yaml").write_text(compose_text(), encoding="utf-8")
