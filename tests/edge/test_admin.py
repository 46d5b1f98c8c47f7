from __future__ import annotations

import contextlib
import http.client
import json
import urllib.error
import urllib.request

import pytest

from extproc.edge.admin import AdminServer


@pytest.fixture
def parts():
    return {"redis": True, "classifier": True}


@pytest.fixture
def server(parts):
    admin = AdminServer(
        host="127.0.0.1",
        port=0,
        ready=lambda: parts,
        metrics=lambda accept: (f"# for {accept}".encode(), "text/plain; version=1"),
    )
    admin.start()
    yield admin
    admin.close()


def get(server, path):
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


def urllib_status(server, path) -> int:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
        return answer.status


def test_alive_while_it_lives(server):
    assert get(server, "/healthz") == (200, {"alive": True})


def test_ready_when_every_part_is(server, parts):
    assert get(server, "/readyz") == (200, parts)


def test_not_ready_names_the_part(server, parts):
    parts["redis"] = False
    assert get(server, "/readyz") == (503, {"redis": False, "classifier": True})


def test_other_paths_are_not_there(server):
    paths = ["/healthz", "/readyz", "/metrics"]
    assert get(server, "/metrics/../secret") == (404, {"paths": paths})
    assert all(200 <= urllib_status(server, path) < 300 for path in paths)


def test_metrics_come_in_the_format_that_is_asked_for(server):
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=5)) as connection:
        connection.request("GET", "/metrics", headers={"accept": "application/x"})
        answer = connection.getresponse()
        assert (answer.status, answer.headers["content-type"]) == (200, "text/plain; version=1")
        assert answer.read() == b"# for application/x"
