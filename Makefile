# Developer commands. A stranger needs two: `make demo` and `make test`.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
TRITON := $(VENV)/triton

.PHONY: help demo serve evaluate test lint unit e2e outside lock schema ajv clean

help:  ## what there is
	@grep -E '^[a-z0-9]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(READY)  ## from nothing to answers: base, packages, server, one question each
	$(BIN)/python experts/demo.py

serve: $(READY)  ## the same server, and it stays up
	$(BIN)/python experts/demo.py --serve

evaluate: $(READY)  ## experts against their base on the held-out cases, with intervals
	$(BIN)/python experts/demo.py --pack-only
	HIVE_HOME=.hive $(BIN)/python benchmarks/experts.py --write-manifests

test: lint $(TRITON)/.ready  ## lint, types, import contract, unit, property and end-to-end tests
	$(BIN)/python -m pytest $(if $(MARKS),-m "$(MARKS)")

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports --no-cache
	$(BIN)/mypy

unit: $(READY) $(TRITON)/.ready  ## everything but the real engine
	$(BIN)/python -m pytest -m "not e2e and not gpu and not node and not postgres"

e2e: $(READY)  ## the real engine only
	$(BIN)/python -m pytest tests/e2e

outside: $(READY)  ## the page in headless Chromium; openai's npm package, ajv and TypeScript in Node (both must be there)
	$(BIN)/python -m pytest tests/e2e tests/experts tests/manifest tests/training -m "browser or node"

schema: $(READY)  ## write schemas/ anew from the manifest models
	$(BIN)/python -m hive_expert.manifest.schema --write

AJV := npx --yes ajv-cli@5.0.0
AJV_OPTIONS := --spec=draft7 --strict=true --all-errors -s schemas/expert-manifest.schema.json

ajv:  ## the JSON Schema by ajv in strict mode, on the manifests that ship (needs Node)
	$(AJV) validate $(AJV_OPTIONS) -d "experts/*/manifest.json" -d "tests/vectors/valid/v2-*.json"
	$(AJV) test --invalid $(AJV_OPTIONS) -d tests/vectors/invalid/unknown-key.json

# The lock is installed without resolution; README, "Environment", tells why.
lock: $(READY)  ## resolve requirements/cpu.lock anew
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra cpu --extra train --extra qlora --extra ray --extra dev \
	  --python-version 3.11 --python-platform x86_64-manylinux_2_28 \
	  --override requirements/overrides.txt $(UV_FLAGS) \
	  --no-header --no-annotate -o requirements/cpu.lock

$(READY): requirements/cpu.lock pyproject.toml
	@echo "making $(VENV) (about two minutes, once)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -r requirements/cpu.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

# Beside the environment's packages: vLLM must not see it on the CPU.
$(TRITON)/.ready: requirements/triton.lock | $(READY)
	@echo "fetching Triton for the tests of its kernel (190 MB, once)"
	rm -rf $(TRITON)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-compile \
	  --target $(TRITON) -r requirements/triton.lock
	@touch $@

clean:  ## forget the demo's keys, packages and base model
	rm -rf .hive
