# `make test` and `make demo` do all their own set-up in .venv.
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11; do \
	"$$p" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
BIN := .venv/bin

.PHONY: help test demo lint format types bench docs kills cluster databases faults soak pythons wheel lock install-check clean

help: ## list what there is
	@grep -hE '^[a-z-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 12

.venv/installed: pyproject.toml
	@test -n "$(PYTHON)" || { echo "Hookline needs Python 3.11, 3.12 or 3.13 on PATH." >&2; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "No venv module: on Debian, apt-get install python3-venv." >&2; exit 1; }
	@echo "Setting up .venv with $$($(PYTHON) --version) (once)…"
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	@# setuptools calls folders that hold only data packages that are not listed; the wheel test says what is shipped.
	@PYTHONWARNINGS=ignore $(BIN)/pip install --quiet --disable-pip-version-check -e '.[demo,speed]' --group dev
	@touch $@

test: .venv/installed ## all tests
	@$(BIN)/pytest -n auto --dist loadfile

demo: .venv/installed ## start the daemon on examples/quickstart, send it real samples, show what arrived
	@$(BIN)/hookline demo

lint: .venv/installed ## style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: .venv/installed ## mend style
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

# Type checking goes through an alias, so that a file has one identity (hookline.rules.x, not rules.x).
types: .venv/installed ## types
	@mkdir -p build/alias/hookline && ln -sfn "$$PWD"/daemon "$$PWD"/plugins "$$PWD"/rules build/alias/hookline/
	@$(BIN)/mypy

bench: .venv/installed ## figures, printed beside the machine's own floor
	@$(BIN)/python -m tests.bench

kills: .venv/installed ## the long form of the kill test: a thousand kills
	@HOOKLINE_KILLS=1000 $(BIN)/pytest tests/acceptance/test_kill.py

cluster: .venv/installed ## the long form of the cluster's faults: five minutes of kills, freezes and cuts, then a verdict
	@HOOKLINE_CLUSTER_SECONDS=$${HOOKLINE_CLUSTER_SECONDS:-300} $(BIN)/pytest tests/cluster

# All tests with a database in them, by the names of their files and parameters.
SHARED := postgres or races or database or migrate or shared_secrets or nodes
databases: .venv/installed ## the tests of the shared store on PostgreSQL 13, 14, 16, 17 and 18; the machine's own is 15 or so
	@.ci/databases
	@for folder in .postgres/*/native/bin; do $$folder/postgres --version; HOOKLINE_POSTGRES=$$folder $(BIN)/pytest -q -n auto \
		--dist loadfile tests/contract tests/integration tests/cluster/test_store_races.py -k "$(SHARED)" || exit 1; done

faults: .venv/installed ## the long form of the disk's faults: each call on the store's files fails once, 300 power cuts
	@HOOKLINE_FAULTS=1 $(BIN)/pytest -n auto tests/integration/test_store_disk_faults.py

soak: .venv/installed ## ten minutes of steady load with failures, reloads and kills: nothing lost, nothing grows
	@HOOKLINE_SOAK_SECONDS=600 $(BIN)/pytest -s tests/acceptance/test_soak.py

pythons: .venv/installed ## set up every other Python at hand, for the acceptance tests
	@.ci/pythons

docs: .venv/installed ## write docs/commands.md, docs/sources/, docs/api.md and docs/openapi.json from the code
	@$(BIN)/python tests/reference.py
	@$(BIN)/python tests/source_pages.py
	@$(BIN)/python tests/api_pages.py

wheel: .venv/installed ## build dist/hookline-*.whl, the same bytes for the same commit
	@mkdir -p build && rm -rf build/lib build/bdist.* dist
	@SOURCE_DATE_EPOCH=$$(git log -1 --format=%ct 2>/dev/null || echo 1767225600) PYTHONWARNINGS=ignore \
		$(BIN)/python -m build --wheel --no-isolation --outdir dist . >build/wheel.log 2>&1 || { cat build/wheel.log >&2; exit 1; }
	@ls dist/*.whl

lock: .venv/installed ## write requirements.lock anew: exact versions with hashes, for what is deployed
	@$(BIN)/uv pip compile pyproject.toml --extra speed --extra postgres --generate-hashes --universal --python-version 3.11 \
		--no-header --quiet --upgrade --output-file requirements.lock

install-check: wheel ## install as docs/install.md says, into an empty virtual environment, and use it
	@.ci/install

clean: ## remove what was built and set up
	@rm -rf .venv .pythons .postgres build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
