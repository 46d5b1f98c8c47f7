"""``headgate bodies`` as a reviewer runs it."""

from __future__ import annotations

import json
import stat
from dataclasses import replace

import pytest
from click.testing import CliRunner
from samples import KEYS, REDACTED, SEALED

from extproc.cli import main
from extproc.edge.body_files import BodyFolder, write_file
from extproc.edge.sample_file import content_of
from extproc.edge.sealing import public_key

DAY_MS = 86_400_000


def run(*words):
    done = CliRunner().invoke(main, ["bodies", *map(str, words)])
    return done.exit_code, done.stdout, done.stderr


@pytest.fixture
def put(tmp_path):
    folder = BodyFolder(tmp_path / "bodies")
    folder.make()

    def write(sample, **changes):
        _, content = content_of(replace(sample, **changes))
        write_file(folder.new_file(4_000_000_000_000), content)
        return tmp_path / "bodies"

    return write


@pytest.fixture
def key(tmp_path):
    path = tmp_path / "reviewer.key"
    path.write_text(f"{KEYS[0]}\n")
    return path


def test_a_new_key_is_the_reviewers_alone(tmp_path):
    path = tmp_path / "new.key"
    code, out, err = run("new-key", path)
    assert code == 0
    private = path.read_text().strip()
    assert out == f"{public_key(private)}\n"
    assert err.endswith(f"\nreviewer_key: {public_key(private)}\n")
    assert private not in out + err
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_is_never_written_over(tmp_path):
    path = tmp_path / "new.key"
    path.write_text("the old one")
    code, out, err = run("new-key", path)
    assert (code, out) == (1, "")
    assert "is there already" in err
    assert path.read_text() == "the old one"


def test_a_sample_is_opened_by_its_request_and_exchange(put, key):
    put(SEALED)
    folder = put(SEALED, exchange=1)
    words = ("open", "--bodies", folder, "--key", key)
    code, out, _ = run(*words, SEALED.request_id)
    assert (code, len(out.splitlines())) == (0, 2)
    code, out, _ = run(*words, f"{SEALED.request_id}:1")
    assert json.loads(out)["exchange"] == 1
    assert json.loads(out)["answer"][0]["text"] == "an answer"


def test_text_that_would_command_a_terminal_is_shown(put):
    hostile = replace(REDACTED.answer[0], text="\x1b[2J\u202e\x9b")
    folder = put(REDACTED, answer=(hostile,))
    code, out, _ = run("open", "--bodies", folder, REDACTED.request_id)
    assert code == 0
    assert out.isascii()
    assert "\x1b" not in out
    assert json.loads(out)["answer"][0]["text"] == hostile.text


def test_what_cannot_be_opened_is_told(put, tmp_path):
    folder = put(SEALED)
    assert run("open", "--bodies", folder, "nothing")[:2] == (1, "")
    other = tmp_path / "other.key"
    run("new-key", other)
    for words, why in (((), "--key"), (("--key", other), "another key")):
        code, out, err = run("open", "--bodies", folder, *words, SEALED.request_id)
        assert (code, out) == (1, "")
        assert why in err


def test_purging_deletes_what_is_past_its_lifetime_or_all(put):
    folder = put(REDACTED)
    assert run("purge", "--bodies", folder) == (0, "deleted 0\n", "")
    assert run("purge", "--bodies", folder, "--all") == (0, "deleted 1\n", "")
    assert run("open", "--bodies", folder, REDACTED.request_id)[0] == 1
