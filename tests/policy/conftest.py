import re
from types import SimpleNamespace

import pytest

from extproc.domain.errors import PolicyError
from extproc.guards import guard_specs
from extproc.policy.loading import RuleVocabulary, parse_policy


def check(watch):
    for operator in watch.operators.values():
        if operator not in {"redact", "hash"}:
            raise PolicyError("write redact or hash")


RULES = RuleVocabulary(
    packs={
        "pii": frozenset({"EMAIL_ADDRESS", "PHONE_NUMBER"}),
        "secrets": frozenset({"PRIVATE_KEY"}),
    },
    check=check,
)


@pytest.fixture(scope="session")
def policies():
    """``parse`` a text, or get the ``fault`` lines of one that does not check."""
    specs = guard_specs()

    def parse(text):
        return parse_policy(text, specs, RULES, source="policy.yaml")

    def faults(text):
        with pytest.raises(PolicyError) as caught:
            parse(text)
        # Columns have tests of their own.
        return re.sub(r"^(policy\.yaml:\d+):\d+: ", r"\1: ", str(caught.value), flags=re.MULTILINE)

    return SimpleNamespace(parse=parse, faults=faults, specs=specs, rules=RULES)
