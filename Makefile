# Every command runs in the project's own .venv and changes nothing outside of it.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin
ARGS ?=
# Every package is installed by its digest: uv by this file, all others by uv.lock.
UV := --require-hashes --requirement backend/uv.txt
# A command here starts up to a hundred interpreters. Without cached bytecode, each of them compiles
# all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# Twice the cores of a small machine, since a test waits for holds, clocks and browsers part of its
# time. A file stays with one process, because its tests may share an instance that is slow to start;
# long files start first (tests/conftest.py).
TEST_PROCESSES ?= 4

# The migration runner sets the timeouts; small numbers (a status, an attempt) are small integers.
SQUAWK_RULES := require-statement-timeout,require-lock-timeout
SQUAWK_EXCLUDES := --exclude=$(SQUAWK_RULES),prefer-bigint-over-int,prefer-bigint-over-smallint

MIGRATIONS = $(shell find backend/migrations -name '*.sql' ! -name schema.sql)

# Node and npm are installed into .venv as a wheel.
NPM := PATH="$(CURDIR)/$(RUN):$$PATH" npm --prefix frontend --no-update-notifier
FRONTEND_TOOLS := frontend/node_modules/.package-lock.json
API_TYPES := frontend/assets/src/shared/api-types.ts
CURRENCY_TABLE := frontend/assets/src/shared/currency-table.ts
# Descriptions may differ: a reworded docstring changes no type.
WITHOUT_COMMENTS := grep -v '^ *\(/\*\*\|\*\)'
# `make test` without ARGS runs these as well.
ALL_TESTS := $(if $(ARGS),,test-frontend)

.PHONY: help setup up test test-deploy test-clients test-frontend chromium nginx pages screenshots \
  lock check check-frontend api-types currency-table format k8s-check schema bench env load sbom audit

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.synced ## Install everything into .venv, from the lock

$(VENV)/.synced: pyproject.toml uv.lock
	@command -v $(PYTHON) >/dev/null || command -v python3 >/dev/null \
	  || { echo "Python 3.11 is missing: install it, then try again."; exit 1; }
	@echo "Setting up $(VENV) (a minute the first time) …"
# The machine's pip installs uv sooner than a copy of pip in .venv; where it can't, the steps after do.
	@test -x $(RUN)/uv || { python=$$(command -v $(PYTHON) || command -v python3); \
	    $$python -m venv --without-pip $(VENV) \
	    && $$python -m pip --python $(RUN)/python install --disable-pip-version-check $(UV); \
	  } >/dev/null 2>&1 || rm -rf $(VENV)
	@test -x $(RUN)/python || $$(command -v $(PYTHON) || command -v python3) -m venv $(VENV) \
	  || { echo "Could not create $(VENV): install Python's venv module, then try again" \
	    "(Debian: apt install python3-venv)."; exit 1; }
	@test -x $(RUN)/uv || $(RUN)/python -m pip install --quiet --disable-pip-version-check $(UV) \
	  || { echo "Could not install uv: check that PyPI is reachable."; exit 1; }
	@UV_PROJECT_ENVIRONMENT=$(VENV) $(RUN)/uv sync --frozen --inexact --python $(RUN)/python \
	  || { echo "Could not install the locked packages: see the error above, then run make setup."; \
	    exit 1; }
	@touch $@

up: setup ## Run the shop, its services, its stores and a demo here. ARGS="--port 9000"
	@$(RUN)/gittix up $(ARGS)

$(FRONTEND_TOOLS): frontend/package-lock.json | setup
	@echo "Installing the front end's tools …"
	@$(NPM) ci --ignore-scripts --no-audit --no-fund --silent \
	  || { echo "Could not install the front end's tools: check that the npm registry is" \
	    "reachable."; exit 1; }
	@touch $@

test: setup chromium pages $(ALL_TESTS) ## Run the tests on real stores and browsers. ARGS="tests/orders"
	@$(RUN)/pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

test-frontend: $(FRONTEND_TOOLS) ## Run the unit tests of the front end
	@$(NPM) run --silent test

test-deploy: setup chromium nginx pages ## Run the tests of ingress, images, compose and pods
	@$(RUN)/pytest $(or $(ARGS),tests/deploy)

test-clients: setup ## Run Pusher's Go and Java libraries, where installed, against the gateway
	@$(RUN)/pytest -rA $(or $(ARGS),tests/clients)

chromium: setup
	@$(RUN)/python -m tests.shop.chromium

nginx: setup
	@$(RUN)/python -m tests.deploy.nginx

# A test that finds them missing builds them within its own time limit.
pages: setup
	@echo "Building the shop's pages unless they are built (half a minute the first time) …"
	@$(RUN)/python -m backend.embedded.frontend cache .cache/frontend

screenshots: setup chromium ## Write a screenshot of every page to docs/screenshots
	@$(RUN)/python -m tests.shop.screenshots

lock: setup ## Update the lock of the shop's npm packages
	@$(RUN)/python -m backend.embedded.frontend lock

check: setup k8s-check check-frontend ## Check format, lint, types, imports, words, SQL, k8s/
	@$(RUN)/ruff format --check .
	@$(RUN)/ruff check .
	@$(RUN)/mypy
	@$(RUN)/lint-imports
	@$(RUN)/pytest -q tests/test_compose_file.py
	@$(RUN)/squawk --pg-version 18.0 --assume-in-transaction $(SQUAWK_EXCLUDES) $(MIGRATIONS)
	@$(RUN)/python -m backend.embedded.schema --check
	@$(RUN)/python -m tests.style.figures

check-frontend: $(FRONTEND_TOOLS) ## Check types, lint, format and API types of the front end
	@$(NPM) run --silent check
	@diff <($(WITHOUT_COMMENTS) $(API_TYPES)) \
	  <($(RUN)/gittix openapi | $(NPM) run --silent api-types | $(WITHOUT_COMMENTS)) >/dev/null \
	  || { echo "$(API_TYPES) differs from the API: run make api-types."; exit 1; }
	@diff $(CURRENCY_TABLE) <($(RUN)/python -m frontend.currency_table) >/dev/null \
	  || { echo "$(CURRENCY_TABLE) differs from the table: run make currency-table."; exit 1; }

api-types: $(FRONTEND_TOOLS) ## Write the front end's types of the API, from its OpenAPI document
	@$(RUN)/gittix openapi | $(NPM) run --silent api-types >$(API_TYPES).new
	@mv $(API_TYPES).new $(API_TYPES)

currency-table: setup ## Write the front end's table of currencies, from backend/currencies.py
	@$(RUN)/python -m frontend.currency_table >$(CURRENCY_TABLE).new
	@mv $(CURRENCY_TABLE).new $(CURRENCY_TABLE)

format: $(FRONTEND_TOOLS) ## Format the code, Python and TypeScript
	@$(RUN)/ruff format --quiet .
	@$(NPM) run --silent format

k8s-check: setup ## Render k8s/ and check it against schemas and rules
	@$(RUN)/pytest -q tests/k8s $(ARGS)

schema: setup ## Write backend/migrations/schema.sql, the schema that the migrations create
	@$(RUN)/python -m backend.embedded.schema

sbom: setup ## Write the list of packages (CycloneDX) to .cache/sbom, from the locks
	@$(RUN)/python -m tests.dependencies.sbom

audit: setup ## Search the locked packages for known vulnerabilities
	@$(RUN)/python -m tests.dependencies.audit

bench: setup ## Run the benchmarks; JSON in .cache/bench. ARGS="latency holds"
	@$(RUN)/python -m loadtests.bench $(ARGS)

env: ## Create .env, with new secrets, for `docker compose up`
	@test ! -e .env \
	  || { echo ".env exists, and its secrets are in use: move it away to create another."; exit 1; }
	@docker info >/dev/null \
	  || { echo "Docker does not run: install or start it (docs.docker.com/get-docker)."; exit 1; }
	@echo "Building the image (two minutes the first time) …"
	@docker build --quiet --file backend/Dockerfile --tag gittix . >/dev/null
	@(umask 077; docker run --rm --interactive gittix secrets <.env.example >.new.env)
	@mv .new.env .env
	@echo "Created .env. Next: docker compose up"

load: setup ## Run a load test and check its gates. SCENARIO=spike URL=https://…
	@$(RUN)/python -m loadtests $(SCENARIO) $(if $(URL),--url $(URL)) $(ARGS)
