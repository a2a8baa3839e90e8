# Everything is done with these. `make` alone says what there is.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/installed
LOCKED := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header

.PHONY: help install check format test soak demo serve migrate schema migrations bench lock clean

help: ## what can be made
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

install: $(INSTALLED) ## a virtual environment in .venv, with everything that the tests need

$(INSTALLED): requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Deskwire needs Python 3.11 or newer; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 1; }
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@touch $(INSTALLED)

check: install ## format, lint, types, layers, committed schema
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .
	$(BIN)/lint-imports
	@$(BIN)/python -m deskwire schema | diff -u schema/schema.graphql - || { echo "schema/schema.graphql is stale; run: make schema"; exit 1; }

format: install ## rewrite the code as the checks want it
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: install ## all tests, on SQLite and on a PostgreSQL that they start themselves
	$(BIN)/python -m pytest -n auto

soak: install ## clients write and listen while servers, Redis and PostgreSQL are killed, for 20 minutes; tests.soak --help
	$(BIN)/python -m tests.soak

demo: install ## migrate, fill a demonstration account, serve on http://127.0.0.1:8000
	$(BIN)/python -m deskwire migrate
	$(BIN)/python -m deskwire seed
	@echo
	@echo "Open http://127.0.0.1:8000 (Ctrl-C stops)"
	@echo
	$(BIN)/python -m deskwire serve --host 127.0.0.1 --port 8000

serve: install ## serve, as the environment says
	$(BIN)/python -m deskwire serve

migrate: install ## bring the database up to date
	$(BIN)/python -m deskwire migrate

schema: install ## write schema/schema.graphql
	$(BIN)/python -m deskwire schema > schema/schema.graphql

bench: install ## the measurements, at a small size
	$(BIN)/python -m bench

lock: install ## write requirements.lock again, from pyproject.toml, and of it what runs in production
	$(BIN)/uv pip compile --extra dev $(LOCKED) pyproject.toml -o requirements.lock
	$(BIN)/uv pip compile $(LOCKED) --constraints requirements.lock pyproject.toml -o requirements-runtime.lock

clean: ## remove what was made, with the database under var/
	rm -rf .venv var
