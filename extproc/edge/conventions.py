"""Names of metrics, spans and attributes, pinned to one version of the OpenTelemetry conventions.

The GenAI conventions are still in development and on their way to a repository of their own, in which
``gen_ai.client.token.usage`` is to become several metrics: a change of names is a change of this module.
What they have no name for is ``headgate.*``. Never used: the attributes that carry text
(``gen_ai.input.messages`` and its like).
"""

from __future__ import annotations

from typing import Final

SEMCONV_VERSION: Final = "1.44.0"
SCHEMA_URL: Final = f"https://opentelemetry.io/schemas/{SEMCONV_VERSION}"

# --- attributes ------------------------------------------------------------------------------

OPERATION_NAME: Final = "gen_ai.operation.name"
PROVIDER_NAME: Final = "gen_ai.provider.name"
REQUEST_MODEL: Final = "gen_ai.request.model"
TOKEN_TYPE: Final = "gen_ai.token.type"  # noqa: S105 - a kind of token to count, not a credential.
USAGE_INPUT_TOKENS: Final = "gen_ai.usage.input_tokens"
USAGE_OUTPUT_TOKENS: Final = "gen_ai.usage.output_tokens"
TIME_TO_FIRST_CHUNK: Final = "gen_ai.response.time_to_first_chunk"
ERROR_TYPE: Final = "error.type"

# The conventions list no such provider; other values are allowed.
PROVIDER: Final = "nvidia.triton"
INPUT: Final = "input"
OUTPUT: Final = "output"

# --- metrics: names as Prometheus has them (dots become underscores, a unit becomes a suffix) ---

METRIC_TOKEN_USAGE: Final = "gen_ai.client.token.usage"  # noqa: S105 - as above.
METRIC_OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
METRIC_TIME_TO_FIRST_CHUNK: Final = "gen_ai.client.operation.time_to_first_chunk"

# Boundaries as the conventions advise them; three more for models that think before they speak.
TOKEN_BUCKETS: Final = tuple(4.0**power for power in range(14))
DURATION_BUCKETS: Final = tuple(0.01 * 2**power for power in range(14))
# fmt: off
FIRST_CHUNK_BUCKETS: Final = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.12, 0.14, 0.16, 0.18, 0.2, 0.25, 0.3, 0.35, 0.4,
    0.45, 0.5, 0.75, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0,
)
# fmt: on


def prometheus_name(name: str, unit: str = "") -> str:
    """A convention's name as Prometheus spells it; ``unit`` is the suffix, such as ``seconds``."""
    plain = name.replace(".", "_")
    return f"{plain}_{unit}" if unit else plain
