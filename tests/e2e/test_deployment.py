"""Several workers on sockets, workers that die and drain, and certificates: behind the real Envoy."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from certificates import Authority, Leaf, replace
from live_traffic import ROOMY, STREAM, Planted, Reading, Seen, ask, body_of, noted, plant, serves, text_of
from many_workers import SeveralWorkers, cluster_states, endpoints, with_cluster
from real_parts import Gateway, GatewayMaker, StandIn, eventually

from extproc.demo.assets import asset
from extproc.demo.parts import Valkey
from extproc.demo.process import PartFailed

WORDS = [f" w{number}" for number in range(60)]
SLOWLY = ", one word every 20 ms"


@pytest.fixture(scope="module")
def maker(
    tmp_path_factory: pytest.TempPathFactory, stand_in: StandIn, valkey: Valkey
) -> Iterator[GatewayMaker]:
    maker = GatewayMaker(tmp_path_factory, stand_in.port, valkey.url)
    yield maker
    maker.close()


# --- workers on sockets ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def several(maker: GatewayMaker, tmp_path_factory: pytest.TempPathFactory) -> Gateway:
    """Three workers with a notice as in production; every test leaves all three serving."""
    sockets = tmp_path_factory.mktemp("sockets")
    addresses = [f"unix:{sockets}/h-{worker}.sock" for worker in range(SeveralWorkers.workers)]
    return maker(
        policy=ROOMY,
        tenants=("acme",),
        headgate_type=SeveralWorkers,
        options=("--listen", f"unix:{sockets}/h.sock"),
        variables={"HEADGATE_DRAIN_NOTICE_MS": "2500"},
        edit=with_cluster(endpoints(addresses)),
        concurrency=2,
    )


def workers_of(gateway: Gateway) -> SeveralWorkers:
    assert isinstance(gateway.headgate, SeveralWorkers)
    return gateway.headgate


def judged_by(gateway: Gateway) -> dict[str, int]:
    """Which worker wrote the record of each request, by request id."""
    found = {}
    for worker in range(SeveralWorkers.workers):
        log = gateway.headgate.verdict_log.with_name(f"verdicts-{worker}.jsonl")
        for line in log.read_text(encoding="utf-8").split("\n")[:-1]:
            found[json.loads(line)["request_id"]] = worker
    return found


def all_healthy(gateway: Gateway) -> bool:
    states = cluster_states(httpx.get(f"http://127.0.0.1:{gateway.envoy.admin_port}/clusters").text)
    return len(states) == SeveralWorkers.workers and set(states.values()) == {"healthy"}


def is_whole(seen: Seen, question: Planted) -> bool:
    return (seen.status, seen.cut, text_of(seen.body)) == (200, False, question.redacted)


def slow_question(stand_in: StandIn) -> Planted:
    return plant(stand_in, before=WORDS, after=WORDS)


class SlowStreams:
    """Answers of some seconds, read side by side."""

    def __init__(self, gateway: Gateway, stand_in: StandIn, count: int) -> None:
        self.questions = [slow_question(stand_in) for _ in range(count)]
        self._gateway = gateway
        self._begun = threading.Barrier(count + 1)
        self._pool = ThreadPoolExecutor(count)
        self._reading: list[Future[Seen]] = [self._pool.submit(self._read, one) for one in self.questions]
        self._begun.wait(60)

    def _read(self, question: Planted) -> Seen:
        body = body_of(question.prompt + SLOWLY)
        with self._gateway.client() as client, client.stream("POST", STREAM, json=body) as response:
            reading = Reading(response)
            reading.until(events=1)
            self._begun.wait(60)
            return reading.rest()

    def first(self) -> Seen:
        """The one that ends first."""
        done, _ = wait(self._reading, 60, FIRST_COMPLETED)
        return done.pop().result()

    def ended(self) -> list[Seen]:
        seen = [one.result(60) for one in self._reading]
        self._pool.shutdown()
        return seen


def test_every_worker_takes_its_share(several: Gateway, stand_in: StandIn):
    ids = []
    for _ in range(12):
        question = plant(stand_in)
        seen = ask(several, question.prompt)
        assert is_whole(seen, question)
        ids.append(seen.request_id)
    assert eventually(lambda: set(ids) <= set(judged_by(several)))
    judged = judged_by(several)
    assert set(Counter(judged[one] for one in ids)) == {0, 1, 2}


def test_sockets_are_for_owner_and_group_only(several: Gateway):
    command = [str(word) for word in workers_of(several).command()]
    listen = Path(command[len(command) - command[::-1].index("--listen")].removeprefix("unix:"))
    modes = {path.name: oct(path.stat().st_mode & 0o777) for path in listen.parent.iterdir()}
    assert modes == {f"h-{worker}.sock": "0o660" for worker in range(3)}


def test_a_worker_killed_cuts_its_streams_and_no_others(several: Gateway, stand_in: StandIn):
    streams = SlowStreams(several, stand_in, 9)
    dead = workers_of(several).signal_worker(1, signal.SIGKILL)
    seen = streams.ended()
    # Its connection is known to be broken: what comes now goes to the others, without an error.
    for _ in range(12):
        question = plant(stand_in)
        assert is_whole(ask(several, question.prompt), question)

    judged = judged_by(several)
    pairs = list(zip(streams.questions, seen, strict=True))
    for question, one in pairs:
        assert (one.status, is_whole(one, question)) == (200, not one.cut)
        assert question.redacted.startswith(text_of(one.body))
        assert (one.request_id in judged) is not one.cut
        assert judged.get(one.request_id) != 1
    assert set(Counter(one.cut for one in seen)) == {True, False}
    assert workers_of(several).comes_back(1, instead_of=dead)
    assert eventually(lambda: all_healthy(several))
    serves(several, stand_in)


def test_a_worker_that_is_gone_is_passed_over_also_before_a_health_check(
    maker: GatewayMaker, stand_in: StandIn, tmp_path: Path
):
    places = endpoints([f"unix:{tmp_path}/h-{worker}.sock" for worker in range(SeveralWorkers.workers)])

    def change(cluster: dict[str, object]) -> None:
        places(cluster)
        del cluster["health_checks"]

    gateway = maker(
        policy=ROOMY,
        tenants=("acme",),
        headgate_type=SeveralWorkers,
        options=("--listen", f"unix:{tmp_path}/h.sock"),
        edit=with_cluster(change),
    )
    serves(gateway, stand_in)
    streams = SlowStreams(gateway, stand_in, 3)
    dead = workers_of(gateway).signal_worker(0, signal.SIGKILL)
    assert streams.first().cut
    asked = 0
    while not workers_of(gateway).is_ready(0):
        question = plant(stand_in)
        assert is_whole(ask(gateway, question.prompt), question)
        asked += 1
    assert asked > SeveralWorkers.workers
    streams.ended()
    assert workers_of(gateway).comes_back(0, instead_of=dead)
    retried = httpx.get(
        f"http://127.0.0.1:{gateway.envoy.admin_port}/stats?filter=^cluster.extproc.upstream_rq_retry$"
    )
    assert int(retried.text.split(":")[1]) > 0


class Load:
    """Asks without pause, short and long answers, until told to stop."""

    def __init__(self, gateway: Gateway, stand_in: StandIn, clients: int) -> None:
        self.whole = 0
        self.wrong: list[tuple[int, bool]] = []
        self._gateway, self._stand_in = gateway, stand_in
        self._stop = threading.Event()
        self._pool = ThreadPoolExecutor(clients)
        self._clients = [self._pool.submit(self._ask_on, number) for number in range(clients)]

    def _ask_on(self, number: int) -> None:
        while not self._stop.is_set():
            slow = number % 2 == 0
            question = plant(self._stand_in, before=WORDS if slow else WORDS[:3])
            try:
                seen = ask(self._gateway, question.prompt + (SLOWLY if slow else ""))
            except httpx.TransportError:
                self.wrong.append((0, True))
                continue
            if is_whole(seen, question):
                self.whole += 1
            else:
                self.wrong.append((seen.status, seen.cut))

    def end(self) -> None:
        self._stop.set()
        for one in self._clients:
            one.result(60)
        self._pool.shutdown()


def test_workers_replaced_one_by_one_under_load_lose_no_stream(several: Gateway, stand_in: StandIn):
    load = Load(several, stand_in, clients=6)
    try:
        for worker in range(SeveralWorkers.workers):
            leaving = workers_of(several).signal_worker(worker, signal.SIGTERM)
            assert workers_of(several).comes_back(worker, instead_of=leaving)
            assert eventually(lambda: all_healthy(several), within_s=20)
    finally:
        load.end()
    assert (load.wrong, load.whole > 20) == ([], True)
    log = several.headgate.log_path.read_text(encoding="utf-8")
    assert "streams still run" not in log


def test_a_drained_service_ends_its_streams_and_then_itself(maker: GatewayMaker, stand_in: StandIn):
    gateway = maker(policy=ROOMY, tenants=("acme",), variables={"HEADGATE_DRAIN_NOTICE_MS": "2500"})
    streams = SlowStreams(gateway, stand_in, 4)
    pid = gateway.headgate.pid
    assert pid is not None
    os.kill(pid, signal.SIGTERM)

    def readiness() -> int:
        return httpx.get(f"http://127.0.0.1:{gateway.headgate.admin_port}/readyz").status_code

    assert eventually(lambda: readiness() == 503)
    # Still within the notice: Envoy has not heard yet, so it is taken.
    question = plant(stand_in)
    assert is_whole(ask(gateway, question.prompt), question)
    assert all(is_whole(one, asked) for one, asked in zip(streams.ended(), streams.questions, strict=True))
    assert eventually(lambda: gateway.headgate.pid is None, within_s=20)
    with pytest.raises(PartFailed, match="ended with exit code 0"):
        gateway.headgate.check()


# --- certificates ----------------------------------------------------------------------------

ENVOY = "spiffe://mesh.example/ns/gateways/sa/envoy"
OURS = "spiffe://mesh.example/ns/headgate/sa/headgate"


@dataclass(frozen=True)
class Trust:
    """The files of both sides."""

    folder: Path
    authority: Authority

    def issue(self, side: str, *, uri: str, authority: Authority | None = None) -> Leaf:
        """Give a side a new certificate, as a rotation does."""
        leaf = (authority or self.authority).issue(uri=(uri,))
        leaf.write(self.folder, side)
        return leaf

    def trust(self, *authorities: Authority) -> None:
        """Both sides trust these."""
        for name in ("clients-ca.pem", "headgate-ca.pem"):
            replace(self.folder / name, b"".join(one.pem for one in authorities))

    @property
    def options(self) -> tuple[str, ...]:
        files = {
            "--tls-cert": "ours.pem",
            "--tls-key": "ours.key",
            "--tls-client-ca": "clients-ca.pem",
        }
        words = [word for name, file in files.items() for word in (name, str(self.folder / file))]
        return (*words, "--tls-client-name", ENVOY)

    def edit(self, text: str) -> str:
        """Envoy's side, from the fragment that operators paste."""
        fragment = asset("envoy/fragment.yaml").read_text()
        for name in ("client", "ca"):
            fragment = fragment.replace(
                f"/etc/envoy/headgate-{name}.yaml", f"{self.folder}/sds-{name}.yaml"
            )
        pieces = yaml.safe_load(fragment.replace("/etc/envoy/tls", str(self.folder)))
        for name in ("client", "ca"):
            (self.folder / f"sds-{name}.yaml").write_text(yaml.safe_dump(pieces[f"headgate_{name}"]))

        def change(cluster: dict[str, object]) -> None:
            cluster["transport_socket"] = pieces["transport_socket"]
            # A connection per stream, so that every stream shows which certificates hold by now.
            options = cluster["typed_extension_protocol_options"]
            assert isinstance(options, dict)
            (protocol,) = options.values()
            protocol["common_http_protocol_options"] = {"max_requests_per_connection": 1}
            for check in cluster["health_checks"]:  # type: ignore[attr-defined]  # YAML
                check["reuse_connection"] = False

        return with_cluster(change, top={"node": pieces["node"]})(text)


@pytest.fixture
def trust(tmp_path: Path) -> Trust:
    trust = Trust(tmp_path, Authority())
    trust.issue("ours", uri=OURS)
    trust.issue("client", uri=ENVOY)
    trust.trust(trust.authority)
    return trust


def tls_gateway(maker: GatewayMaker, trust: Trust) -> Gateway:
    gateway = maker(policy=ROOMY, tenants=("acme",), options=trust.options, edit=trust.edit)
    # The first health check may come before Envoy has read its certificates.
    assert eventually(gateway.envoy.finds_filter)
    return gateway


def is_refused(gateway: Gateway, stand_in: StandIn) -> bool:
    """Whether a question is an error and does not reach the model."""
    question = plant(stand_in)
    seen = ask(gateway, question.prompt)
    return (seen.status, bool(seen.error), noted(stand_in, "received", question.name)) == (500, True, [])


def test_the_right_certificate_is_accepted_and_wrong_ones_are_not(
    maker: GatewayMaker, stand_in: StandIn, trust: Trust
):
    gateway = tls_gateway(maker, trust)
    question = plant(stand_in)
    assert is_whole(ask(gateway, question.prompt), question)

    # Another name of the same authority: it connects, and every stream is refused.
    trust.issue("client", uri=ENVOY + "-of-somebody-else")
    assert eventually(lambda: is_refused(gateway, stand_in))
    assert is_refused(gateway, stand_in)
    log = gateway.headgate.log_path
    assert "the client certificate has another name" in log.read_text(encoding="utf-8")

    # The right one again, without a restart of anybody.
    trust.issue("client", uri=ENVOY)
    serves(gateway, stand_in)

    # The right name of another authority: no connection.
    trust.issue("client", uri=ENVOY, authority=Authority())
    assert eventually(lambda: is_refused(gateway, stand_in))
    assert is_refused(gateway, stand_in)
    trust.issue("client", uri=ENVOY)
    serves(gateway, stand_in)

    # A filter that is not the one that Envoy was told of gets no prompt.
    trust.issue("ours", uri=OURS + "-of-somebody-else")
    assert eventually(lambda: is_refused(gateway, stand_in))
    assert is_refused(gateway, stand_in)


def test_rotated_certificates_and_authorities_are_taken_under_load(
    maker: GatewayMaker, stand_in: StandIn, trust: Trust
):
    gateway = tls_gateway(maker, trust)
    successor = Authority("successor")
    load = Load(gateway, stand_in, clients=2)
    try:
        # As one rotates an authority: trust both, move both sides over, trust the new one alone.
        trust.trust(trust.authority, successor)
        settled(load)
        trust.issue("ours", uri=OURS, authority=successor)
        trust.issue("client", uri=ENVOY, authority=successor)
        settled(load)
        trust.trust(successor)
        settled(load)
    finally:
        load.end()
    assert (load.wrong, load.whole > 5) == ([], True)
    # The old one is worth nothing any more.
    trust.issue("client", uri=ENVOY)
    assert eventually(lambda: is_refused(gateway, stand_in))


def settled(load: Load) -> None:
    """Wait until both clients have been served some more times."""
    before = load.whole
    assert eventually(lambda: load.whole >= before + 10 or load.wrong, within_s=60)


def test_without_tls_nobody_is_answered_on_a_tls_port(maker: GatewayMaker, stand_in: StandIn, trust: Trust):
    gateway = maker(policy=ROOMY, tenants=("acme",), options=trust.options)
    assert is_refused(gateway, stand_in)


# --- starting --------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["port", "policy"])
def test_workers_that_cannot_start_end_with_their_reason(how: str, tmp_path: Path, valkey: Valkey):
    pepper = tmp_path / "pepper"
    pepper.touch(mode=0o600)
    pepper.write_text("p" * 40)
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "version: 1\npolicies: {standard: {guards: {}}}\n" if how == "port" else "version: 2\n"
    )
    part = SeveralWorkers(
        tmp_path,
        policy=policy,
        pepper=pepper,
        redis_url=valkey.url,
        verdict_log=tmp_path / "verdicts.jsonl",
        options=("--listen", f"unix:{tmp_path}/missing/h.sock"),
    )
    part.start()
    assert eventually(lambda: part.pid is None, within_s=60)
    log = part.log_path.read_text(encoding="utf-8")
    assert "refused to start; its own message stands above" in log
    assert ("cannot listen on" in log) is (how == "port")
    # It has ended by itself, which is what was asserted; stopping only tidies up.
    with contextlib.suppress(Exception):
        part.stop()
