PYTHON ?= python3

help: ## this list
	@grep -E '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12
setup: ## make .venv from requirements.lock and install the members; fast when nothing changed
	@$(PYTHON) .ci/workspace.py setup
lock: ## resolve dependencies again and write every requirements.lock
	@$(PYTHON) .ci/workspace.py lock
protos: ## generate Python from proto/ in place
	@.venv/bin/python packages/contracts/hatch_build.py

.PHONY: help setup lock protos
