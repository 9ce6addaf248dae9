# The commands of the house. `make demo` and `make test` need Python (3.11 or later) and make, nothing else; tests of
# the console in a browser and of the alert rules also need what `make tools` brings.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LOCK := deploy/requirements-dev.lock
READY := $(VENV)/.ready
UNIT := tests/domain tests/infra tests/consumers tests/deploy tests/tidy

.PHONY: demo test tools check format bench contract lock clean help

help:  ## what there is
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/'

$(READY): $(LOCK) pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "handoff-guard needs Python 3.11 or later: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --disable-pip-version-check --quiet --require-hashes --progress-bar on -r $(LOCK)
	$(BIN)/pip install --disable-pip-version-check --quiet --no-deps --no-build-isolation -e .
	@touch $(READY)

demo: $(READY)  ## the main job, live, on an embedded Kafka and PostgreSQL
	@$(BIN)/handoff-guard demo

test: $(READY) tools  ## everything, on real parts that the suite starts itself
	$(BIN)/pytest

tools: $(READY)  ## Chromium and Prometheus for the tests, on a Debian as root; elsewhere says what is missing
	@$(BIN)/python -m tests.tools

check: $(READY)  ## format, lint, types, import law, unit tests: under a minute
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/pytest -q -m 'not parts and not faults' $(wildcard $(UNIT))

format: $(READY)  ## put the code in form
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: $(READY)  ## ratios against the raw parts, measured in one run
	$(BIN)/python -m bench

contract: $(READY)  ## write docs/asyncapi.yaml and docs/openapi.json from the models
	$(BIN)/python -m infra.wire.asyncapi > docs/asyncapi.yaml
	$(BIN)/python -m consumers.api.document > docs/openapi.json

lock: $(READY)  ## pin what pyproject.toml asks for, with hashes
	$(BIN)/pip install --quiet uv
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate pyproject.toml -o deploy/requirements.lock
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --no-annotate --no-emit-package handoff-guard --extra dev pyproject.toml -o $(LOCK)

clean:  ## remove what make made here
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis build *.egg-info
