PYTHON ?= python3
bin = .venv/bin

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 13

setup: ## make .venv from requirements.lock and install the members; quick when nothing changed
	@$(PYTHON) .ci/workspace.py setup

up: setup ## run everything on this machine until Ctrl-C; prints addresses and a key
	@$(bin)/headrace up

demo: setup ## a real job through the whole platform, with a service killed in the middle
	@$(PYTHON) .ci/workspace.py model
	@$(bin)/python -m examples.licence_audit.demo

chaos: setup ## 300 runs while each process is killed with -9; SEED= and RUNS= and KILLS= as you like
	@$(bin)/python -m tests.chaos.campaign $(if $(RUNS),--runs $(RUNS)) \
		$(if $(KILLS),--kills $(KILLS)) $(if $(SEED),--seed $(SEED))

sim: setup ## headrace-sim: the engine under faults; SEEDS=20000 campaigns, or SEED=n again, cut down
	@$(bin)/python -m tests.simulation $(if $(SEED),--seed $(SEED)) $(if $(SEEDS),--seeds $(SEEDS)) \
		$(if $(FIRST),--first $(FIRST))

check: lint types unit ## what each commit must pass, in less than a minute

test: setup lint types ## everything that needs no more than this machine
	@$(bin)/pytest -n 2 --dist loadfile

unit: setup ## the fast tests alone
	@$(bin)/pytest -q -n 2 -m "not slow and not postgres" tests/architecture tests/unit

lint: setup ## style and import rules
	@$(bin)/ruff check --quiet && $(bin)/ruff format --quiet --check && $(bin)/lint-imports --no-logo

fmt: setup ## format, and mend what can be mended without thought
	@$(bin)/ruff check --quiet --fix && $(bin)/ruff format --quiet

types: setup ## pyright, strict, tests too
	@$(bin)/pyright --project pyproject.toml --threads 2

bench-quick: setup ## the figures of a few minutes, into build/bench/quick.json
	@$(bin)/python -m bench.headrace.quick $(if $(BASE),--base $(BASE))

bench-core: setup ## CPU-µs of turns and folds, memory of sleeping runs, into build/bench/core.json
	@$(bin)/python -m bench.headrace.core

bench: bench-core bench-quick ## every figure of docs/performance.md

reference: setup ## write docs/flows/reference.md from the model
	@$(bin)/python -m tests.support.language_reference

protos: ## generate Python from proto/ again, in place
	@$(bin)/python packages/contracts/hatch_build.py

lock: ## resolve the dependencies and write every requirements.lock
	@$(PYTHON) .ci/workspace.py lock

.PHONY: help setup up demo chaos sim check test unit lint fmt types bench bench-core bench-quick reference protos lock
