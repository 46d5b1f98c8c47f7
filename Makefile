# Everything a newcomer needs. Each environment is made once, from a hash-pinned lock, and kept until its
# lock changes.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-builtin-rules

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.headgate-installed

# Written for people; pip's own settings (an index of your own, say) come from its usual places.
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help demo play test check format types unit e2e fuzz agreement exactness mutants pipe proto bench lock secrets clean

help: ## Show this
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/\1|\2/p' Makefile | while IFS='|' read -r name what; do printf '  make %-9s %s\n' "$$name" "$$what"; done

demo: $(STAMP) ## Run the filter between a real Envoy and a real Triton, and stay up
	@$(BIN)/headgate demo

play: $(STAMP) ## Send a fixed set of requests through it and print what became of each
	@$(BIN)/headgate demo --once

test: check unit e2e ## Formatting, types, unit, property and end-to-end tests

check: format types

format: $(STAMP)
	@echo '== formatting and lint'
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .

types: $(STAMP)
	@echo '== types'
	@$(BIN)/mypy --no-error-summary extproc classifiers tests/support

unit: $(STAMP)
	@echo '== unit and property tests'
	@# As many at once as there are cores; these must name their cases alike.
	@PYTHONHASHSEED=0 $(BIN)/python -m pytest -q -n auto -m 'not e2e and not gpu and not slow'

e2e: $(STAMP)
	@echo '== end-to-end tests: a real Envoy, Triton and Valkey'
	@$(BIN)/python -m extproc.demo.install
	@$(BIN)/python -m pytest -q -m 'e2e and not gpu and not slow'

fuzz: $(STAMP) ## The property tests with new examples each time, and the long fuzz runs: about 15 minutes
	@$(BIN)/python -m pytest -q -m 'not e2e and not gpu' --hypothesis-profile=explore

agreement: $(STAMP) ## The long differential fuzz against the real Triton (AGREEMENT='--seed 7'): about 1 minute a wire
	@$(BIN)/python -m extproc.demo.install
	@$(BIN)/python tests/fuzz/agreement_run.py $(AGREEMENT)

exactness: $(STAMP) ## Ten million documents cut at random through the redaction engine (EXACTNESS='--documents 200000')
	@$(BIN)/python tests/fuzz/redaction_run.py $(EXACTNESS)

mutants: $(STAMP) ## Seed bugs into the redaction engine, one by one: which do the fast tests notice? (MUTANTS='--only kernel')
	@$(BIN)/python tests/fuzz/redaction_mutants.py $(MUTANTS)

bench: $(STAMP) ## Measure the filter beside Envoy alone (BENCH='--write' puts the figures into the README)
	@$(BIN)/python tests/bench/bench_run.py $(BENCH)

pipe: $(STAMP) ## Send 100 MB and 1 GB through headgate redact: speed and memory (PIPE='--mb 10'): 10 minutes
	@$(BIN)/python tests/bench/bench_pipe.py $(PIPE)

$(STAMP): requirements/dev.lock pyproject.toml requirements/make-env hatch_build.py extproc/redaction/_kernel.c
	@requirements/make-env $(VENV) requirements/dev.lock
	@touch $@

proto: $(STAMP) ## Write the generated protobuf modules anew
	@$(BIN)/python proto/generate.py

lock: ## Write the hash-pinned locks anew (UPGRADE=1: with the newest versions)
	@requirements/make-locks $(if $(UPGRADE),--upgrade)

secrets: ## Make what docker-compose.yaml mounts as secrets; keeps what is there
	@requirements/make-secrets

clean: ## Remove the environments and whatever the demo and the tests wrote
	@rm -rf $(VENV) .headgate .hypothesis .mypy_cache .pytest_cache .ruff_cache build dist extproc/redaction/_kernel.abi3.so
	@find extproc classifiers proto tests -name __pycache__ -prune -exec rm -rf {} +
