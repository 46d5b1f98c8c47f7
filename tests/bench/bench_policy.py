"""The policies that are measured."""

from __future__ import annotations

_HEAD = """\
version: 1
tenants:
  bench:
    policy: measured
    keys: [{id: bench-1, hash: "${BENCH_HASH}"}]
policies:
  measured:
    guards:
"""
TENANT = "bench"
# Identity, and the answer's text: nothing is asked of Redis or the classifier.
OUTPUT_ONLY = (
    _HEAD
    + """\
      schema: {models: ["*"], output_tokens_max: 4096}
      budget: {mode: "off"}
      injection: {mode: "off"}
      pii: {request: allow}
      secrets: {request: allow}
"""
)
EVERYTHING = (
    _HEAD
    + """\
      schema: {models: ["*"], output_tokens_max: 4096}
      budget: {limits: [{window: minute, tokens: 1000000000}]}
"""
)
