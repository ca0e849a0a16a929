# `make run` and `make test` set up everything they need; see README.md.
.PHONY: help run test soak lint format bench clean setup mongo

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 10

setup:
	@scripts/setup.sh

mongo: setup
	@scripts/mongo_server.sh || { [ -z "$$CI" ] && echo "No MongoDB-wire server: the tests that need it are skipped" >&2; }

run: setup  ## Start the server, send it real events, show results, serve until Ctrl-C (ONCE=1: exit after)
	@.venv/bin/python examples/quickstart.py

test: setup mongo  ## Run the tests (under 10 minutes; with CI=true more rounds of the crash tests)
	@.venv/bin/python -m pytest -n 4 --dist worksteal

soak: setup mongo  ## Run the crash tests and fuzzers for many rounds
	@ZARKOV_TEST_ROUNDS=200 .venv/bin/python -m pytest -n 4 --dist worksteal tests/crash tests/property

lint: setup  ## Check style, types and the direction of imports
	@.venv/bin/ruff check . && .venv/bin/ruff format --check . && .venv/bin/mypy && .venv/bin/lint-imports --no-logo

format: setup  ## Format the code
	@.venv/bin/ruff check --fix . ; .venv/bin/ruff format .

bench: setup mongo  ## Measure Zarkov beside floors and peers, and print the table with ratios
	@benchmarks/setup.sh && .venv/bin/python -m benchmarks.run

clean:  ## Remove the environment and caches (never the data)
	@rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
