# Every command runs in the project's own .venv; nothing global is touched.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PYTHON ?= python3.11
VENV := .venv
RUN := $(VENV)/bin
ARGS ?=
# A command here starts up to a hundred interpreters. Without cached bytecode, each of them compiles
# all that it imports.
unexport PYTHONDONTWRITEBYTECODE
# One test process per core of a small machine. A file stays with one process, because its tests may
# share an instance that is slow to start; long files start first (tests/conftest.py).
TEST_PROCESSES ?= 2

# The migration runner sets the timeouts; small numbers (a status, an attempt) are small integers.
SQUAWK_EXCLUDES := --exclude=require-statement-timeout,require-lock-timeout,prefer-bigint-over-int,prefer-bigint-over-smallint

MIGRATIONS = $(shell find backend/migrations -name '*.sql' ! -name schema.sql)

.PHONY: help setup up test test-deploy chromium nginx screenshots lock check k8s-check schema bench env load

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.synced ## Install everything into .venv, from the lock

$(VENV)/.synced: pyproject.toml uv.lock
	@command -v $(PYTHON) >/dev/null || command -v python3 >/dev/null || { echo "Python 3.11 is needed: install it, then try again."; exit 1; }
	@echo "Setting up $(VENV) (a minute the first time) …"
	@test -x $(RUN)/python || $$(command -v $(PYTHON) || command -v python3) -m venv $(VENV) \
	  || { echo "Could not make $(VENV): install Python's venv module (Debian: apt install python3-venv)."; exit 1; }
	@test -x $(RUN)/uv || $(RUN)/python -m pip install --quiet --disable-pip-version-check 'uv>=0.9' \
	  || { echo "Could not install uv: is PyPI reachable from here?"; exit 1; }
	@UV_PROJECT_ENVIRONMENT=$(VENV) $(RUN)/uv sync --frozen --inexact --python $(RUN)/python \
	  || { echo "Could not install the locked packages: see the lines above, then run make setup again."; exit 1; }
	@touch $@

up: setup ## Run everything here: the shop, Postgres, Redis, Stripe sandbox, services, a demo. ARGS="--port 9000"
	@$(RUN)/gittix up $(ARGS)

test: setup chromium ## Run the tests on real Postgres, Redis, pusher-js and Chromium. ARGS="tests/orders -k cancel"
	@$(RUN)/pytest -n $(TEST_PROCESSES) --dist loadfile --no-loadscope-reorder $(ARGS)

test-deploy: setup chromium nginx ## Run the tests of what is shipped: ingress, images, compose, pods, restarts. ARGS="tests/deploy/test_ingress.py"
	@$(RUN)/pytest $(or $(ARGS),tests/deploy)

chromium: setup
	@$(RUN)/python -m tests.shop.chromium

nginx: setup
	@$(RUN)/python -m tests.deploy.nginx

screenshots: setup chromium ## Take pictures of every page for docs/screenshots
	@$(RUN)/python -m tests.shop.screenshots

lock: setup ## Write the npm packages that the shop asks for into its lock
	@$(RUN)/python -m backend.embedded.frontend lock

check: setup k8s-check ## Format, lint, types, the arrows between packages, containers, migrations, k8s/
	@$(RUN)/ruff format --check .
	@$(RUN)/ruff check .
	@$(RUN)/mypy
	@$(RUN)/lint-imports
	@$(RUN)/pytest -q tests/test_compose_file.py
	@$(RUN)/squawk --pg-version 18.0 --assume-in-transaction $(SQUAWK_EXCLUDES) $(MIGRATIONS)
	@$(RUN)/python -m backend.embedded.schema --check

k8s-check: setup ## Render k8s/ and hold it against schemas, rules and the rest of the repository
	@$(RUN)/pytest -q tests/k8s $(ARGS)

schema: setup ## Write backend/migrations/schema.sql, the schema that the migrations create
	@$(RUN)/python -m backend.embedded.schema

bench: setup ## Measure, each figure beside a floor; JSON under .cache/bench
	@$(RUN)/python -m loadtests.bench $(ARGS)

env: ## Make .env, with secrets of its own, for `docker compose up`
	@test ! -e .env || { echo ".env is there, and its secrets are in use: move it away to make another."; exit 1; }
	@docker info >/dev/null || { echo "Docker is needed, and its daemon running: docs.docker.com/get-docker."; exit 1; }
	@echo "Building the image (two minutes the first time) …"
	@docker build --quiet --file backend/Dockerfile --tag gittix . >/dev/null
	@(umask 077; docker run --rm --interactive gittix secrets <.env.example >.new.env) && mv .new.env .env
	@echo "Made .env. Now: docker compose up"

load: setup ## Load it with shoppers, buyers and sellers, and judge by gates. SCENARIO=spike URL=https://…
	@$(RUN)/python -m loadtests $(SCENARIO) $(if $(URL),--url $(URL)) $(ARGS)
