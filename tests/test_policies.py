"""The joint between policy files, guards and rules."""

import re

import pytest
from exchanges import exchange
from hypothesis import given, settings
from hypothesis import strategies as st
from redaction_texts import documents

from extproc import policies
from extproc.core.channels import ChannelScan, watches_of
from extproc.domain.effects import ModelSpan
from extproc.domain.errors import PolicyError
from extproc.domain.head import RequestHead
from extproc.domain.ports import ALLOWED, ExchangeView, RequestMessage
from extproc.domain.scanning import RuleWatch
from extproc.domain.segment import Operation, Origin, Params, Role, Segment
from extproc.edge.policy_source import PolicySource
from extproc.edge.sealing import new_keys
from extproc.guards._rules import RuleGuard
from extproc.policy.keys import hash_key
from extproc.policy.snapshot import _PEPPER_LABEL
from extproc.redaction.packs import default_automaton
from extproc.redaction.watches import Redactor
from extproc.settings import SettingsError, read_pepper

PEPPER = b"p" * 32
REDACTOR = policies.new_redactor(PEPPER)
TEXT = b"version: 1\ntenants: {a: {policy: p}}\nroutes: {r: {}}\npolicies: {p: {}}\n"


def test_a_loader_makes_the_policy_that_streams_use():
    load = policies.loader("policy.yaml", lambda: PEPPER)
    policy = load(TEXT)
    assert set(policy.on(("r",)).pipelines) == {"a"}
    assert policy.on(("other",)) is policy.refusing
    with pytest.raises(PolicyError, match=r"^policy\.yaml:1:\d+: version: "):
        load(TEXT.replace(b"version: 1", b"version: 9"))


GUARDED = """\
version: 1
tenants: {a: {policy: plain}, b: {policy: mixed}, c: {policy: odd}}
routes: {r: {tenants: {a: narrow}}}
policies:
  plain: {}
  mixed: {guards: {pii: {mode: shadow}, secrets: {operators: {AWS_ACCESS_KEY: "replace:gone"}}}}
  odd: {guards: {pii: {request: allow, operators: {CREDIT_CARD: "mask:4"}}, secrets: {answer: allow}}}
  narrow: {guards: {pii: {entity_types: [IBAN_CODE]}, secrets: {mode: off}}}
"""


def test_no_stream_waits_for_a_plan(monkeypatch):
    """A plan costs up to a second of the event loop: all are made when the policy is loaded."""
    policy = policies.loader("policy.yaml", lambda: PEPPER)(GUARDED.encode())
    monkeypatch.setattr(Redactor, "_make_plan", lambda *_: pytest.fail("a stream had to make a plan"))
    text = Segment(index=0, text="some text", role=Role.USER, origin=Origin.DIRECT, place="line")
    request = RequestMessage(
        key=0,
        operation=Operation.CHAT,
        params=Params(model="m", stream=True),
        segments=(text,),
        inspectable_bytes=9,
    )
    head = RequestHead(method="POST", path="/", headers={})
    view = ExchangeView(exchange_id="x:0", head=head, request=request)
    scanned, degraded = [], []
    for snapshot in (policy.on(()), policy.on(("r",))):
        for guards in snapshot.pipelines.values():
            ruled = tuple(one for one in guards if isinstance(one.guard, RuleGuard))
            assert [one.guard.judge(view, ()) for one in ruled] == [ALLOWED] * len(ruled)
            scan = ChannelScan(watches_of(ruled, view), snapshot.scanner, degraded.append)
            scanned.append(scan.feed("some text", eof=True).released)
    assert scanned == ["some text"] * 6
    assert degraded == []


def test_a_pepper_is_read_with_the_policy_whose_hashes_it_made():
    peppers = [b"o" * 32, b"n" * 32]
    text = (
        "version: 1\ntenants: {{a: {{policy: p, keys: [{{id: k, hash: '{}'}}]}}}}\npolicies: {{p: {{}}}}\n"
    )
    load = policies.loader("policy.yaml", lambda: peppers[0])

    def knows(policy, key="hg_key"):
        head = RequestHead(method="GET", path="/", headers={"x-api-key": (key,)})
        (identity,) = policy.on(()).identity
        view = ExchangeView(exchange_id="x", head=head)
        return identity.guard.judge(view, ()).principal is not None

    assert knows(load(text.format(hash_key(peppers[0], "hg_key")).encode()))
    old = peppers.pop(0)
    assert knows(load(text.format(hash_key(peppers[0], "hg_key")).encode()))
    assert not knows(load(text.format(hash_key(old, "hg_key")).encode()))


def test_the_same_file_under_another_pepper_is_another_policy():
    peppers = [PEPPER, PEPPER, b"q" * 32]
    load = policies.loader("policy.yaml", lambda: peppers.pop(0))
    first, again, other = load(TEXT), load(TEXT), load(TEXT)
    assert first.digest == again.digest == other.digest
    assert first.identity == again.identity != other.identity
    # No key could be looked up under it, and what is printed of a policy does not show it.
    assert ":" in _PEPPER_LABEL
    assert other.pepper_mark == hash_key(b"q" * 32, _PEPPER_LABEL)
    assert other.pepper_mark not in repr(other)


def test_a_pepper_that_comes_after_its_policy_lets_its_keys_in(tmp_path):
    path, pepper = tmp_path / "policy.yaml", tmp_path / "pepper"
    old, new = "o" * 32, "n" * 32
    text = (
        "version: 1\ntenants: {{a: {{policy: p, keys: [{{id: k, hash: '{}'}}]}}}}\npolicies: {{p: {{}}}}\n"
    )
    pepper.write_text(old)
    path.write_text(text.format(hash_key(old.encode(), "hg_key")))
    source = PolicySource(
        path, policies.loader("policy.yaml", lambda: read_pepper(pepper)), beside=(pepper,)
    )

    def knows(key="hg_key"):
        (identity,) = source.on(()).identity
        head = RequestHead(method="GET", path="/", headers={"x-api-key": (key,)})
        return identity.guard.judge(ExchangeView(exchange_id="x", head=head), ()).principal is not None

    def looks():
        source.look()
        source.look()

    looks()
    assert knows()
    path.write_text(text.format(hash_key(new.encode(), "hg_key")))
    looks()
    assert not knows()
    pepper.write_text(new)
    looks()
    assert knows()


def test_a_pepper_that_cannot_be_read_keeps_the_policy_that_runs():
    def unreadable():
        raise SettingsError("pepper: No such file or directory")

    with pytest.raises(PolicyError, match=r"^pepper: No such file"):
        policies.loader("policy.yaml", unreadable)(TEXT)


def test_what_checks_a_policy_shares_no_automaton_with_what_scans():
    """An automaton belongs to one thread; a policy is loaded beside the streams."""
    checking = policies._vocabulary().check.__self__
    assert checking._automaton is not default_automaton()
    assert policies.new_redactor(PEPPER)._automaton is default_automaton()
    keeping = policies._body_redactor()._automaton
    assert keeping not in {default_automaton(), checking._automaton}


@pytest.mark.parametrize(
    "keep", ["redacted", f"sealed, reviewer_key: {new_keys()[1]}"], ids=["redacted", "sealed"]
)
def test_bodies_need_a_folder(keep):
    text = TEXT.replace(b"{p: {}}", b"{p: {bodies: {keep: %s}}}" % keep.encode())
    load = policies.loader("policy.yaml", lambda: PEPPER)
    with pytest.raises(
        PolicyError, match=r"^policy\.yaml:4:\d+: policies\.p\.bodies\.keep: .*--bodies DIR"
    ):
        load(text)
    kept = policies.loader("policy.yaml", lambda: PEPPER, keeps_bodies=True)(text)
    assert set(kept.on(("r",)).bodies) == {"a"}


@pytest.mark.parametrize("mode", ["enforce", "shadow"])
def test_a_head_must_be_one_of_a_model_that_runs(mode):
    guard = f"moderation: {{mode: {mode}, head: toxik}}"
    text = TEXT.replace(b"{p: {}}", b"{p: {guards: {%s}}}" % guard.encode())
    load = policies.loader("policy.yaml", lambda: PEPPER, heads=frozenset({"injection", "toxic"}))
    with pytest.raises(
        PolicyError,
        match=r"^policy\.yaml:4:\d+: policies\.p\.guards\.moderation\.head: is no .*did you mean toxic\?",
    ) as refused:
        load(text)
    assert "--judge-model" in str(refused.value)
    for fine in (text.replace(b"toxik", b"toxic"), text.replace(mode.encode(), b"off"), TEXT):
        assert set(load(fine).on(("r",)).pipelines) == {"a"}
    # Offline nobody knows which there are.
    assert set(policies.loader("policy.yaml", lambda: PEPPER)(text).on(("r",)).pipelines) == {"a"}


def test_a_key_that_cannot_be_sealed_to_is_a_fault(tmp_path):
    path = tmp_path / "policy.yaml"
    bodies = b"{p: {bodies: {keep: sealed, reviewer_key: hgpub_%s}}}" % (b"0" * 64)
    path.write_bytes(TEXT.replace(b"{p: {}}", bodies))
    with pytest.raises(PolicyError, match=r"bodies\.reviewer_key: is a key that nothing can be sealed to"):
        policies.check_policy(path)


# No deadline: the first text builds the automaton's states.
@settings(deadline=None)
@given(documents)
def test_what_is_kept_redacted_holds_nothing_that_redaction_finds(text):
    kept = policies.redact_all(text)
    packs = policies._vocabulary().packs
    watches = [RuleWatch(pack=pack, entity_types=types) for pack, types in packs.items()]
    # What is found once more is what a rule had put there: nothing of it changes.
    assert REDACTOR(watches).feed(kept, eof=True).released == kept
    first = REDACTOR(watches).feed(text, eof=True)
    assert kept == text or first.findings
    assert kept or not text


@given(documents, st.sampled_from(["ann@example.org", "4111 1111 1111 1111", "AK" + "IA" + "Q" * 16]))
@settings(deadline=None)
def test_a_value_among_spaces_is_never_kept(text, value):
    assert value not in policies.redact_all(f"{text}\n {value} \n{text}".replace(value, f" {value} "))


def test_the_hash_operators_key_is_not_the_peppers_own():
    redactor = policies.new_redactor(PEPPER)
    assert redactor._hash_key not in {PEPPER, b""}
    assert redactor._hash_key == policies.new_redactor(PEPPER)._hash_key
    assert redactor._hash_key != policies.new_redactor(b"q" * 32)._hash_key


MODELLED = (
    b"{p: {guards: {pii: {model: {name: names-v1, entity_types: [PERSON]}, operators: {PERSON: hash}}}}}"
)


def test_a_model_that_reads_answers_must_be_there(monkeypatch, tmp_path):
    text = TEXT.replace(b"{p: {}}", MODELLED)
    load = policies.loader("policy.yaml", lambda: PEPPER)
    missing = (
        r"policies\.p\.guards\.pii\.model: names a model that this service does not have; take .* \(none\)"
    )
    with pytest.raises(PolicyError, match=missing):
        load(text)
    path = tmp_path / "policy.yaml"
    path.write_bytes(text)
    with pytest.raises(PolicyError, match=missing):
        policies.check_policy(path)
    monkeypatch.setattr(policies, "SPAN_MODELS", frozenset({"names-v1"}))
    (guard,) = [one.guard for one in load(text).on(("r",)).pipelines["a"] if one.name == "pii"]
    assert guard.model is not None
    assert (guard.model.name, guard.model.entity_types) == ("names-v1", frozenset({"PERSON"}))
    with pytest.raises(PolicyError, match=r"pii\.operators\.LOCATION: is no entity type"):
        load(text.replace(b"PERSON: hash", b"LOCATION: hash"))
    with pytest.raises(PolicyError, match=r"pii\.operators\.PERSON: is an operator that"):
        load(text.replace(b"PERSON: hash", b"PERSON: hide"))


def test_what_a_model_finds_is_replaced_as_the_policy_says(monkeypatch):
    monkeypatch.setattr(policies, "SPAN_MODELS", frozenset({"names-v1"}))
    snapshot = policies.loader("policy.yaml", lambda: PEPPER)(TEXT.replace(b"{p: {}}", MODELLED)).on(("r",))
    watch = next(one.guard for one in snapshot.pipelines["a"] if one.name == "pii").scanner(exchange("hi"))
    scanner = snapshot.scanner.modelled([watch])
    _, (window,) = scanner.feed("It was Ann.", eof=True)
    scan = scanner.answer(window.number, [ModelSpan("PERSON", 7, 10, 0.9)])
    assert re.fullmatch(r"It was \[PERSON:[0-9a-f]{16}\]\.", scan.released)
    assert [one.detector for one in scan.findings] == ["pii/names-v1"]
