import logging
from pathlib import Path

import pytest

from extproc.settings import Settings, SettingsError, read_pepper, split_address

PASSWORD = "hunter" + "2-secret"
NEEDED = {"policy": Path("policy.yaml"), "pepper_file": Path("pepper")}
TLS = {
    "tls_cert": Path("cert.pem"),
    "tls_key": Path("key.pem"),
    "tls_client_ca": Path("ca.pem"),
    "tls_client_name": "spiffe://mesh.example/envoy",
}


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
    assert settings.admin == "127.0.0.1:9981"
    assert settings.redis_url() == "redis://127.0.0.1:6379/0"
    assert settings.verdict_log == Path("verdicts.jsonl")
    assert (settings.threads, settings.inferences) == (1, 1)


def test_an_option_that_is_none_is_not_given():
    assert options(listen=None, threads=None) == options()


@pytest.mark.parametrize("address", ["0.0.0.0:1", "[::]:9901", "headgate.svc:65535", "10.0.0.1:1"])
def test_a_network_needs_tls_or_a_word_that_it_does_not(address):
    with pytest.raises(SettingsError, match="--listen: without TLS, whoever reaches this address"):
        options(listen=address)
    assert options(listen=address, insecure_listen=True).listen == address
    assert options(listen=address, **TLS).listen == address


@pytest.mark.parametrize(
    "address", ["127.0.0.1:1", "[::1]:9901", "localhost:2", "127.8.0.1:3", "unix:/run/h"]
)
def test_addresses_of_this_machine_need_none(address):
    assert options(listen=address).listen == address


@pytest.mark.parametrize("address", ["unix:", "unix:relative", "unix:/", f"unix:/run/{'x' * 101}"])
def test_sockets_that_cannot_be_listened_on(address):
    with pytest.raises(SettingsError, match="--listen: write HOST:PORT, or unix:"):
        options(listen=address)


@pytest.mark.parametrize("admin", ["0.0.0.0:9981", "[::]:9981", "10.0.0.7:9981", "headgate:9981"])
def test_the_admin_port_is_not_for_networks_unless_that_is_said(admin):
    with pytest.raises(SettingsError, match=r"^--admin: whoever reaches this address"):
        options(admin=admin)
    assert options(admin=admin, insecure_admin=True).admin == admin


@pytest.mark.parametrize("admin", ["127.0.0.1:9981", "127.0.0.2:9981", "[::1]:9981", "localhost:9981"])
def test_the_admin_port_may_be_on_loopback(admin):
    assert options(admin=admin).admin == admin


@pytest.mark.parametrize("missing", ["tls_cert", "tls_key", "tls_client_ca", "tls_client_name"])
def test_tls_is_whole_or_not_at_all(missing):
    with pytest.raises(SettingsError, match="go together or not at all"):
        options(**{**TLS, missing: None})
    assert options().tls_files is None


@pytest.mark.parametrize(
    "name",
    ["", "*.example", "spiffe://", "spiffe://td", "https://x/y", "Envoy.example", "a b", "a..b", "a" * 64],
)
def test_client_names_that_no_certificate_has(name):
    with pytest.raises(SettingsError, match="--tls-client-name: write spiffe://"):
        options(**{**TLS, "tls_client_name": name})


@pytest.mark.parametrize("name", ["envoy", "envoy.mesh.example", "spiffe://cluster.local/ns/a/sa/b"])
def test_client_names(name):
    assert options(**{**TLS, "tls_client_name": name}).tls_client_name == name


def test_each_worker_has_its_own_places():
    settings = options(
        workers=3, listen="127.0.0.1:100", admin="[::1]:200", verdict_log=Path("/log/v.jsonl")
    )
    places = [(one.listen, one.admin, str(one.verdict_log), one.workers) for one in settings.each]
    assert places == [
        ("127.0.0.1:100", "[::1]:200", "/log/v-0.jsonl", 1),
        ("127.0.0.1:101", "[::1]:201", "/log/v-1.jsonl", 1),
        ("127.0.0.1:102", "[::1]:202", "/log/v-2.jsonl", 1),
    ]
    assert options(workers=2, listen="unix:/run/h.sock").each[1].listen == "unix:/run/h-1.sock"


def test_one_worker_has_the_places_as_they_are():
    settings = options()
    assert settings.each == (settings,)


@pytest.mark.parametrize(
    "places",
    [
        {"listen": "127.0.0.1:9901", "admin": "127.0.0.1:9902"},
        {"listen": "127.0.0.1:65535"},
        {"admin": "127.0.0.1:65535"},
        {"listen": "127.0.0.1:0"},
    ],
)
def test_workers_ports_must_not_meet(places):
    with pytest.raises(SettingsError, match="with 2 workers each takes as many ports"):
        options(workers=2, **places)


@pytest.mark.parametrize("workers", [1, 2])
def test_one_port_cannot_be_both_ends(workers):
    with pytest.raises(SettingsError, match=r"^--listen and --admin have the same port$"):
        options(workers=workers, listen="127.0.0.1:9901", admin="127.0.0.1:9901")


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("redis://user:pass@cache.example:6380/1?x=y", "cache.example:6380"),
        ("redis://cache.example", "cache.example"),
        ("unix:///run/redis.sock", "/run/redis.sock"),
    ],
)
def test_the_place_of_redis_can_be_logged(url, place):
    assert options(redis=url).redis_place == place


def test_redis_with_a_certificate_authority_and_a_password_from_files():
    settings = options(
        redis="rediss://filter@cache.example:6380/1?x=y",
        redis_ca=Path("/etc/ca s.pem"),
        redis_password_file=Path("password"),
    )
    assert settings.redis_url() == "rediss://cache.example:6380/1?x=y&ssl_ca_certs=/etc/ca%20s.pem"
    assert settings.redis_user == "filter"


@pytest.mark.parametrize(
    "log", ["bodies/verdicts.jsonl", "bodies/deep/verdicts.jsonl", "x/../bodies/v.jsonl"]
)
def test_bodies_and_verdicts_are_apart(log):
    with pytest.raises(
        SettingsError, match="--bodies: give bodies a folder that the verdict log is not in"
    ):
        options(bodies=Path("bodies"), verdict_log=Path(log))
    assert options(bodies=Path("bodies"), verdict_log=Path("log/verdicts.jsonl")).bodies == Path("bodies")


def test_workers_keep_bodies_in_one_folder_each_its_own_part():
    settings = options(bodies=Path("bodies"), workers=2)
    assert [(one.bodies, one.worker) for one in settings.each] == [(Path("bodies"), 0), (Path("bodies"), 1)]


@pytest.mark.parametrize("name", ["judge_tokenizer", "judge_ca"])
def test_what_belongs_to_a_judge_model_needs_one(name):
    with pytest.raises(SettingsError, match="belong to a --judge-model"):
        options(**{name: Path("place")})
    settings = options(judge_model="triton://host:8001/toxicity", **{name: Path("place")})
    assert getattr(settings, name) == Path("place")


def test_redis_options_that_contradict_each_other():
    with pytest.raises(SettingsError, match="--redis-ca: only a rediss:// URL"):
        options(redis_ca=Path("ca.pem"))
    with pytest.raises(SettingsError, match="the URL has a password already") as refused:
        options(redis=f"redis://a:{PASSWORD}@b/0", redis_password_file=Path("password"))
    assert PASSWORD not in str(refused.value)


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
