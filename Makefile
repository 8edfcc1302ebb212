# Every target works from a fresh clone: it makes .venv first, from the hash-locked requirements.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.DEFAULT_GOAL := help
.PHONY: help demo dev test test-fast check check-alerts observed trace-processes lint format lock setup clean ci faults bench-runtime bench-headline
.PHONY: images compose-faults upgrade-test wheel sbom licences audit

help: ## Show what can be run
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-14s %s\n", $$1, $$2}'

setup: $(STAMP) ## Make .venv with everything in it

$(STAMP): requirements/all.txt requirements/uv.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	  || { echo "Hocket needs Python 3.11 to 3.13, and $(PYTHON) is not: run make PYTHON=python3.11 ..."; exit 1; }
	@echo "Making .venv ..."
	@$(PYTHON) -m venv .venv || { echo "python -m venv failed: on Debian and Ubuntu, install python3-venv"; exit 1; }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/all.txt
	@$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $(STAMP)

demo: $(STAMP) ## See it work: a broker, all services, two documents, two answers, everything stopped
	@$(BIN)/hocket demo

dev: $(STAMP) ## Run the broker and all services on this machine until Ctrl-C
	@$(BIN)/hocket dev

# Tests that need the broker or whole services run one after the other, each tier in a process of its own.
test: $(STAMP) ## Run all tests
	$(BIN)/pytest -n 2 --dist loadgroup $(ARGS)

test-fast: $(STAMP) ## Run the tests that need no broker
	$(BIN)/pytest -n 2 --dist loadgroup -m "not kafka and not e2e and not slow" $(ARGS)

faults: $(STAMP) ## Break the worker runtime in every way, long form, and count what it cost (ARGS="--tasks 20000")
	$(BIN)/python -m bench.runtime_faults $(ARGS)

bench-runtime: $(STAMP) ## What the worker runtime can carry and what it costs; conditions and ratios
	$(BIN)/python -m bench.runtime_flight $(ARGS)
	$(BIN)/python -m bench.runtime_overhead $(ARGS)
	$(BIN)/python -m bench.runtime_priority $(ARGS)

bench-headline: $(STAMP) ## What a request costs and how long it takes beside a frontier monolith, on a simulated provider
	$(BIN)/python -m bench.headline $(ARGS)

images: ## Build the image of every service, by docker compose
	HOCKET_REVISION=$$(git rev-parse HEAD) docker compose build

compose-faults: $(STAMP) ## Kill every container of a running compose stack under load, and count the answers
	$(BIN)/python -m bench.compose_faults $(ARGS)

upgrade-test: $(STAMP) ## An older version and this one side by side, under load, there and back (ARGS="--old COMMIT")
	$(BIN)/python -m bench.upgrade $(ARGS)

wheel: $(STAMP) ## Build the wheel into dist/
	$(BIN)/uv build --quiet --wheel --out-dir dist

# What is shipped, in an environment of its own, and the tools that look at it in another.
SUPPLY := .venv/supply
TOOLS := $(SUPPLY)/tools/bin
SHIPPED := $(SUPPLY)/shipped/bin/python
$(SUPPLY)/.installed: $(STAMP) requirements/supply.txt
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(SUPPLY)/tools
	@$(BIN)/uv pip install --quiet --python $(TOOLS)/python --require-hashes -r requirements/supply.txt
	@$(BIN)/uv venv --quiet --clear --python $(BIN)/python $(SUPPLY)/shipped
	@$(BIN)/uv pip install --quiet --python $(SHIPPED) --constraint requirements/all.txt --extra services -r pyproject.toml
	@touch $@

sbom: $(SUPPLY)/.installed ## Write dist/sbom.cdx.json: everything the images carry from Python, CycloneDX
	@mkdir -p dist
	$(TOOLS)/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible -o dist/sbom.cdx.json $(SHIPPED)

licences: $(SUPPLY)/.installed ## Write dist/licences.md, and fail at a licence that may not be shipped
	@mkdir -p dist
	$(TOOLS)/pip-licenses --python $(SHIPPED) --from=mixed --order=license --format=markdown --output-file=dist/licences.md
	@printf '\n' | cat - docs/licences.md >> dist/licences.md
	$(TOOLS)/pip-licenses --python $(SHIPPED) --from=mixed --partial-match --fail-on="AGPL;Affero;SSPL;BUSL;UNKNOWN" >/dev/null

audit: $(SUPPLY)/.installed ## Ask the advisory database about everything that is shipped (exit 3: it could not be asked)
	@$(BIN)/python -m tests.support.audit $(TOOLS)/pip-audit --progress-spinner off $(AUDIT) \
	  --path $$($(SHIPPED) -c 'import sysconfig; print(sysconfig.get_path("purelib"))')

lint: $(STAMP) ## Format, lint and types, without changing anything
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

check: lint ## All that a change must pass beside the tests: lint, import contracts, self-checks of the tree
	$(BIN)/lint-imports
	$(BIN)/pytest -q tests/repo

check-alerts: $(STAMP) ## Test the alert rules with promtool (Debian and Ubuntu: apt-get install prometheus)
	@command -v promtool >/dev/null || { echo "promtool is missing: apt-get install prometheus, or Prometheus' release"; exit 1; }
	$(BIN)/pytest -q tests/repo/test_alerts.py

observed: $(STAMP) ## Cause each alert on a running stack, and ask a real Prometheus every dashboard query (5 minutes)
	$(BIN)/python -m bench.observed $(ARGS)

trace-processes: $(STAMP) ## One request's trace over six processes by a real OTLP receiver, and with a worker killed
	$(BIN)/pytest -q -s tests/e2e/traces_over_processes.py

format: $(STAMP) ## Format the code and mend what ruff can mend
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

ci: ## What continuous integration runs
	@.ci/run

lock: $(STAMP) ## Resolve the requirements anew
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --extra all --group dev pyproject.toml --output-file requirements/all.txt
	$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	  --group supply --output-file requirements/supply.txt

clean: ## Remove .venv and all caches of this checkout; downloads and kept data stay
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
