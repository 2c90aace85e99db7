# Everything starts from a python3 of 3.11 or newer: `make demo PYTHON=/path/to/python3.13` for another.
# ARGS goes to pytest: `make test ARGS="tests/unit -x"`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --quiet --quiet --disable-pip-version-check
ARGS ?=
# Processes that tests run in, each with databases of its own.
WORKERS ?= 2
# For `make faults`: how long on each database, and the seed that repeats a run.
MINUTES ?= 2
SEED ?=
# Wagtail brings thirty packages, which nothing else here should lean on.
APP := $(VENV)-app
SECONDS ?= 60
# For `make lines`: how many sites upload a group of how many records.
SITES ?= 40
RECORDS ?= 200000
# For `make histories`: how many histories each test tries on each database.
EXAMPLES ?= 5000

.PHONY: help demo test test-all test-others test-app faults lines histories migrations fuzz check coverage bench clean
.DELETE_ON_ERROR:

help:
	@echo "make demo         two sites, real traffic, both ends killed and started again, then compared"
	@echo "make test         every test, on SQLite, PostgreSQL and MariaDB if it is installed"
	@echo "make test-all     the same on every Python found here, with every supported Django"
	@echo "make test-others  the unit tests on every other Python found here"
	@echo "make test-app     Wagtail's own tests at a site on SQLite and on PostgreSQL, central compared"
	@echo "make faults       kills, cuts, dead lines and databases in trouble under load: MINUTES=30 SEED=..."
	@echo "make lines        SITES=40 upload RECORDS=200000 each over lines that break every ten seconds"
	@echo "make migrations   random migrations beside two writers on each database: MINUTES=10"
	@echo "make histories    any history of a site, delivered in any way, EXAMPLES=5000 on each database"
	@echo "make check        formatting, lint, types, and the tests in Python's development mode"
	@echo "make coverage     which lines and branches of sockstream/ the quick tests reach"
	@echo "make fuzz         the wire under a coverage-guided fuzzer for SECONDS=60"
	@echo "make bench        sockstream and its peers measured in one run, beside the goals"
	@echo "make clean        remove what these commands made"

demo: $(VENV)/.test
	@$(BIN)/python -m demo

test: $(VENV)/.test
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal $(ARGS)

test-all:
	@$(PYTHON) tests/matrix.py $(ARGS)

test-others:
	@$(PYTHON) tests/matrix.py --others $(ARGS)

test-app:
	@$(MAKE) --no-print-directory VENV=$(APP) $(APP)/.app
	@$(APP)/bin/python -m pytest tests/third_party $(ARGS)

faults: $(VENV)/.test
	@$(BIN)/python -m tests.faults --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

lines: $(VENV)/.test
	@$(BIN)/python -m tests.faults.lines --sites $(SITES) --records $(RECORDS) $(ARGS)

migrations: $(VENV)/.test
	@$(BIN)/python -m tests.faults.shifting --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

histories: $(VENV)/.test
	@SOCKSTREAM_TEST_EXAMPLES=$(EXAMPLES) $(BIN)/python -m pytest tests/integration/applier/test_histories.py $(ARGS)

check: $(VENV)/.dev
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/python -X dev -m pytest $(ARGS)

coverage: $(VENV)/.dev
	@rm -f .coverage .coverage.*
	@$(BIN)/coverage run -m pytest -n $(WORKERS) --dist worksteal -m 'not slow' $(ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report --show-missing --skip-covered --fail-under=90
	@$(BIN)/coverage report --include='sockstream/wire/*,sockstream/receiver/applying/*,sockstream/receiver/dialects/*' --fail-under=100

fuzz: $(VENV)/.fuzz
	@$(BIN)/python -m tests.fuzz --seconds $(SECONDS) $(ARGS)

bench: $(VENV)/.bench
	@$(BIN)/python -m benchmarks $(ARGS)

clean:
	rm -rf $(VENV) $(APP) .matrix .fuzz .bench build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis .coverage*
	rm -rf demo/run sender/*.sqlite3* receiver/*.sqlite3*
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# The stamps are newer than pyproject.toml once what it asks for is installed.
$(VENV)/.test: pyproject.toml $(VENV)/.made
	@echo "Installing sockstream and what its tests need into $(VENV)"
	@$(PIP) install --editable '.[test]'
	@$(PIP) install --editable '.[mysql]' 2>/dev/null || \
	  echo "mysqlclient cannot be built here, so its test is skipped: CONTRIBUTING.md says how"
	@touch $@

$(VENV)/.dev: pyproject.toml $(VENV)/.test
	@echo "Installing the developers' tools into $(VENV)"
	@$(PIP) install --editable '.[dev]'
	@touch $@

$(VENV)/.fuzz: pyproject.toml $(VENV)/.test
	@echo "Installing the fuzzer into $(VENV)"
	@$(PIP) install --editable '.[fuzz]'
	@touch $@

$(VENV)/.bench: pyproject.toml $(VENV)/.test
	@echo "Installing the peers that sockstream is measured beside into $(VENV)"
	@$(PIP) install --editable '.[bench]'
	@touch $@

$(VENV)/.app: pyproject.toml $(VENV)/.made
	@echo "Installing sockstream, what its tests need, and Wagtail into $(VENV)"
	@$(PIP) install --editable '.[app]'
	@touch $@

$(VENV)/.made:
	@command -v $(PYTHON) >/dev/null || { \
	  echo "$(PYTHON) was not found: install Python 3.11 or newer, or say make PYTHON=/path/to/it" >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "$(PYTHON) cannot be used ($$($(PYTHON) --version 2>&1)): Python 3.11 or newer is needed, say make PYTHON=/path/to/it" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo "$(PYTHON) has no venv module: install it (Debian: apt install python3-venv), or say make PYTHON=/path/to/another" >&2; exit 1; }
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)
	@touch $@
