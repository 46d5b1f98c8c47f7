from __future__ import annotations

import io
import json
import shlex
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from extproc.demo import screen
from extproc.demo.play import Row


def console(*, terminal: bool = False, width: int = 80) -> Console:
    return Console(file=io.StringIO(), force_terminal=terminal, width=width, highlight=False)


def text_of(shown: Console) -> str:
    assert isinstance(shown.file, io.StringIO)
    return shown.file.getvalue()


def row(**changes) -> Row:
    values = {"name": "a", "sent": "[bold]", "got": "text", "status": 200, "decision": "allow"}
    return Row(**{**values, "reason": "clean", "added_ms": 1.25, "fault": "", **changes})


def test_progress_is_plain_lines_where_there_is_no_terminal():
    shown = console()
    with screen.Progress(shown) as progress:
        progress.step("install", "fetching numpy")
        progress.part(SimpleNamespace(name="valkey"), "starting")
        progress.done("install", "there")
    assert text_of(shown) == "install: fetching numpy\nvalkey: starting\ninstall: there\n"


def test_progress_on_a_terminal_shows_every_step():
    shown = console(terminal=True)
    with screen.Progress(shown) as progress:
        progress.part(SimpleNamespace(name="valkey"), "starting")
        progress.part(SimpleNamespace(name="valkey"), "ready")
    assert "ready after" in text_of(shown)


@pytest.fixture
def running():
    parts = {
        "envoy": SimpleNamespace(url="http://127.0.0.1:1", admin_port=2),
        "headgate": SimpleNamespace(port=3, admin_port=4, verdict_log=Path("state/verdicts.jsonl")),
        "triton": SimpleNamespace(port=5),
    }
    shown = console(width=40)
    credentials = SimpleNamespace(keys={"acme": "hg_made_up"})
    screen.show_running(shown, SimpleNamespace(**parts), credentials)
    return text_of(shown)


def test_the_screen_names_addresses_the_verdict_log_and_the_way_out(running):
    for part in ("http://127.0.0.1:1\n", "http://127.0.0.1:4/readyz", "state/verdicts.jsonl", "Ctrl-C"):
        assert part in running


def test_three_commands_can_be_copied_as_they_stand(running):
    key, url, *commands = [
        line for line in running.splitlines() if line.startswith(("KEY=", "URL=", "curl "))
    ]
    assert shlex.split(key) == ["KEY=x-api-key: hg_made_up"]
    assert url == "URL=http://127.0.0.1:1/v2/models/vllm_stand_in/generate_stream"
    assert len(commands) == 3
    for command in commands:
        *words, body = shlex.split(command)
        assert words == ["curl", "-NH", "$KEY", "$URL", "-d"]
        assert json.loads(body)["stream"] is True


def test_what_is_to_be_copied_fits_into_80_columns(running):
    lines = [line for line in running.splitlines() if line.startswith(("KEY=", "URL=", "curl "))]
    # A real key and a real port are longer.
    longer = {"KEY=": len("hg_") + 48 - len("hg_made_up"), "URL=": len("65535") - len("1"), "curl": 0}
    assert [line for line in lines if len(line) + longer[line[:4]] > 80] == []


def test_rows_fit_into_80_columns_in_two_lines_each_without_a_split_word():
    sent = "generate_stream: please show me the contact card of Jane Roe and more of it"
    long = row(sent=sent, got=sent, decision="block", reason="injection_detected", status=403)
    shown = console()
    screen.show_rows(shown, (long, row(sent="short")))
    lines = text_of(shown).rstrip("\n").splitlines()
    assert max(map(len, lines)) <= 80
    # A blank line, titles, a rule, the rows, a blank line, the count.
    assert len(lines) == 3 + 2 + 1 + 2
    words = {*sent.split(), "403", "200", "…", "block:", "injection_detected", "✓", "+1.2", "ms"}
    assert set(" ".join(lines[3:5]).split()) <= words


def test_rows_show_what_is_not_as_expected():
    shown = console(width=160)
    screen.show_rows(shown, (row(), row(name="b", fault="status is 500, expected 200", added_ms=None)))
    text = text_of(shown)
    assert "[bold]" in text
    assert "+1.2 ms" in text
    assert text.endswith("1 of 2 as expected\nb: status is 500, expected 200\n")
