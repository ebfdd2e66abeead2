PYTHON ?= python3
bin = .venv/bin

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

setup: ## make .venv from requirements.lock and install the members; quick when nothing changed
	@$(PYTHON) .ci/workspace.py setup

check: lint types unit ## what each commit must pass, in less than a minute

test: setup lint types ## everything that needs no more than this machine
	@$(bin)/pytest -n 2 --dist loadfile

unit: setup ## the fast tests alone
	@$(bin)/pytest -q -m "not slow and not postgres" tests/architecture tests/unit

lint: setup ## style and import rules
	@$(bin)/ruff check --quiet && $(bin)/ruff format --quiet --check && $(bin)/lint-imports --no-logo

fmt: setup ## format, and mend what can be mended without thought
	@$(bin)/ruff check --quiet --fix && $(bin)/ruff format --quiet

types: setup ## pyright, strict, tests too
	@$(bin)/pyright

protos: ## generate Python from proto/ again, in place
	@$(bin)/python packages/contracts/hatch_build.py

lock: ## resolve the dependencies and write every requirements.lock
	@$(PYTHON) .ci/workspace.py lock

.PHONY: help setup check test unit lint fmt types protos lock
