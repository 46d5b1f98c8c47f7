import logging
from pathlib import Path

import pytest

from extproc.settings import Settings, SettingsError, read_pepper, split_address

PASSWORD = "hunter" + "2-secret"
NEEDED = {"policy": Path("policy.yaml"), "pepper_file": Path("pepper")}


def options(**given):
    return Settings.from_options({**NEEDED, **given})


@pytest.fixture
def secret(tmp_path):
    def write(content: bytes, mode: int = 0o600) -> Path:
        path = tmp_path / "secret"
        path.write_bytes(content)
        path.chmod(mode)
        return path

    return write


def test_defaults_are_on_loopback():
    settings = options()
    assert settings.listen == "127.0.0.1:9901"
    assert settings.admin == "127.0.0.1:9902"
    assert settings.redis_url() == "redis://127.0.0.1:6379/0"
    assert settings.verdict_log == Path("verdicts.jsonl")
    assert (settings.threads, settings.inferences) == (1, 1)


def test_an_option_that_is_none_is_not_given():
    assert options(listen=None, threads=None) == options()


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::1]:9901", "headgate.svc:65535", "unix:/run/h.sock"])
def test_addresses_that_can_be_listened_on(address):
    assert options(listen=address).listen == address


@pytest.mark.parametrize(
    "address", ["", "9901", "host:", ":9901", "host:65536", "host:http", "a b:1", "::1:1"]
)
def test_addresses_that_cannot(address):
    with pytest.raises(SettingsError, match="--listen: write HOST:PORT"):
        options(listen=address)


def test_an_address_has_a_host_and_a_port():
    assert split_address("[::1]:9901") == ("::1", 9901)
    assert split_address("localhost:0") == ("localhost", 0)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"redis": f"http://:{PASSWORD}@host"}, "--redis: write redis://HOST:PORT/DB"),
        ({"redis": f"redis://[:{PASSWORD}@host"}, "--redis: write redis://HOST:PORT/DB"),
        ({"threads": 0}, "--threads: "),
        ({"threads": PASSWORD}, "--threads: "),
        ({"unknown_option": PASSWORD}, "--unknown-option: "),
        ({"policy": None}, "--policy: "),
    ],
)
def test_a_fault_names_the_option_and_never_its_value(given, says):
    with pytest.raises(SettingsError) as caught:
        options(**given)
    assert str(caught.value).startswith(says)
    assert PASSWORD not in str(caught.value)


def test_a_password_is_in_no_repr():
    settings = options(redis=f"rediss://user:{PASSWORD}@host:6380/1")
    assert settings.redis_url() == f"rediss://user:{PASSWORD}@host:6380/1"
    assert PASSWORD not in f"{settings!r} {settings} {settings.model_dump()}"


def test_the_url_of_redis_can_stand_in_a_file(secret):
    path = secret(f"redis://:{PASSWORD}@host\n".encode())
    assert options(redis=f"file:{path}").redis_url() == f"redis://:{PASSWORD}@host"


def test_a_file_that_is_not_there_is_named_without_its_folder(tmp_path):
    with pytest.raises(SettingsError) as caught:
        options(redis=f"file:{tmp_path}/nothing")
    assert str(caught.value) == "nothing: No such file or directory"


class TestPepper:
    def test_line_breaks_of_editors_are_not_part_of_it(self, secret):
        assert read_pepper(secret(b"p" * 32 + b"\r\n")) == b"p" * 32

    def test_it_is_read_from_its_file(self, secret):
        assert options(pepper_file=secret(b"q" * 40)).pepper() == b"q" * 40

    @pytest.mark.parametrize("content", [b"", b"p" * 31, b"p" * 31 + b"\n"])
    def test_too_short_is_refused(self, secret, content):
        with pytest.raises(SettingsError, match="32 bytes at least"):
            read_pepper(secret(content))

    def test_too_long_is_refused(self, secret):
        assert len(read_pepper(secret(b"p" * 4096))) == 4096
        with pytest.raises(SettingsError, match="holds more than 4096 bytes"):
            read_pepper(secret(b"p" * 4097))

    @pytest.mark.parametrize(("mode", "warnings"), [(0o600, 0), (0o640, 0), (0o644, 1)])
    def test_one_that_everybody_can_read_is_warned_about(self, secret, caplog, mode, warnings):
        with caplog.at_level(logging.WARNING):
            read_pepper(secret(b"p" * 32, mode))
        assert len(caplog.records) == warnings
        assert "p" * 32 not in caplog.text
