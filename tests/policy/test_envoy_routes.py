from pathlib import Path

import pytest

from extproc.demo.assets import asset
from extproc.demo.bootstrap import Bootstrap, render
from extproc.domain.errors import PolicyError
from extproc.policy.envoy_routes import check_routes, routes_of

ENVOY = """
static: &route
  typed_per_filter_config:
    any:
      grpc_initial_metadata: [{key: other, value: not this}, {key: x-headgate-route, value: one}]
---
again: &circle
  here: *circle
  there:
  - {key: x-headgate-route, value: two, append: true}
  - {key: x-headgate-route, value: one}
  - {key: x-headgate-route}
  - {key: [x-headgate-route], value: none}
"""
POLICY = "version: 1\nroutes:\n  one: {}\n  two: {}\npolicies: {a: {}}\n"


def written(tmp_path, text):
    path = tmp_path / "envoy.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_every_route_is_found_once_in_the_order_of_the_file(tmp_path):
    assert routes_of(written(tmp_path, ENVOY)) == ("one", "two")


def test_our_own_configuration_names_its_routes(tmp_path):
    text = render(
        Bootstrap(listen_port=1, admin_port=2, extproc_port=3, triton_port=4, access_log=Path("log"))
    )
    assert {"generate", "read_only"} <= set(routes_of(written(tmp_path, text)))


def test_a_template_is_read_as_it_stands(tmp_path):
    text = asset("envoy/bootstrap.yaml").read_text()
    assert {"generate", "read_only"} <= set(routes_of(written(tmp_path, text)))
    named = "a: {key: x-headgate-route, value: ${TEAM}-chat, port: ${PORT}}"
    assert routes_of(written(tmp_path, named)) == ("${TEAM}-chat",)


@pytest.mark.parametrize("text", ["a: [", "\x00", "a: b: c", "[" * 5_000])
def test_what_is_no_yaml_is_said(tmp_path, text):
    with pytest.raises(PolicyError, match="this is not YAML"):
        routes_of(written(tmp_path, text))


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(PolicyError, match=r"/envoy\.yaml: No such file or directory$"):
        routes_of(tmp_path / "envoy.yaml")


def test_routes_that_agree_pass(policies):
    check_routes(policies.parse(POLICY), ["two", "one"])


def test_a_policy_without_routes_goes_with_any(policies):
    check_routes(policies.parse("version: 1\npolicies: {a: {}}"), ["any"])


def test_each_route_that_only_one_side_names_is_a_fault(policies):
    with pytest.raises(PolicyError) as caught:
        check_routes(policies.parse(POLICY), ["one", "twoo", "\x1b[31m"])
    unprintable, missing, unknown = str(caught.value).splitlines()
    assert "\x1b" not in unprintable
    assert missing == (
        "policy.yaml:2:1: routes: does not name Envoy's route twoo, which is refused therefore; "
        "add `twoo: {}` for each tenant's own policy"
    )
    assert unknown == (
        "policy.yaml:4:3: routes.two: is no route that Envoy's configuration names; did you mean twoo?"
    )
