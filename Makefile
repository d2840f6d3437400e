# make demo    runs the main job on data that it draws itself
# make test    lint, types, laws and tests
# Each makes $(VENV) and installs what it needs; a second run installs nothing.

VENV   ?= .venv
PYTHON ?= $(firstword $(foreach name,python3 python3.13 python3.12 python3.11 python,$(shell command -v $(name) 2>/dev/null)))
PY     := $(VENV)/bin/python
PYTEST_ARGS ?=
# All cores; the tests of one file share what they train.
WORKERS ?= -n auto --dist loadfile

# A stamp depends on what decides its content; changed sources need no new installation.
RUN := $(VENV)/.tenfold-run
DEV := $(VENV)/.tenfold-dev
PINS := $(if $(wildcard constraints.txt),constraints.txt)

.DEFAULT_GOAL := help
.PHONY: help demo test lint types laws oldest newest spark bench card docs site format clean distclean

help:
	@sed -n '1,3s/^# //p' Makefile
	@echo "also         make lint types laws oldest newest spark bench card docs format clean distclean"

demo: $(RUN)
	@$(VENV)/bin/tenfold demo

test: lint types
	@echo "== tests (laws first)"
	@$(PY) -m pytest $(WORKERS) $(PYTEST_ARGS)

lint: $(DEV)
	@echo "== lint"
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .

types: $(DEV)
	@echo "== types"
	@$(PY) -m pyright --pythonpath $(PY)

laws: $(DEV)
	@$(PY) -m pytest tests/laws $(PYTEST_ARGS)

oldest newest:
	@bash ci/versions.sh $@

# Spark's package has 450 MB, and its tests need Java: `make test` leaves them out.
spark: $(DEV)
	@$(PY) -m pip install --quiet --disable-pip-version-check $(constraints) -e '.[spark]'
	@$(PY) -m pytest -n 0 tests/recommenders/test_spark.py $(PYTEST_ARGS)

bench: $(DEV)
	@for file in $(filter-out bench/card.py,$(wildcard bench/[a-z]*.py)); do echo "== $$file"; $(PY) $$file || exit; done

card: $(DEV)
	@$(PY) bench/card.py --json bench/results/card.json

docs: $(DEV)
	@$(PY) docs/make_cli.py
	@$(PY) docs/make_reliability.py

# The documentation site; site/index.html opens from disk.
site: $(DEV)
	@NO_MKDOCS_2_WARNING=1 $(PY) -m mkdocs build --strict --quiet
	@echo "site/index.html"

format: $(DEV)
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

clean:
	rm -rf build dist demo site .pytest_cache .ruff_cache .cache
	find src tests docs bench -name __pycache__ -type d -prune -exec rm -rf {} +

distclean: clean
	rm -rf $(VENV)

# $(call install,WHAT): shows pip's progress to a person, and nothing but errors to a log.
define install
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PY) -m ensurepip >/dev/null || { \
		echo "$(VENV) has no pip.  fix    rm -r $(VENV), and again"; exit 1; }
	@echo "== installing $(1) into $(VENV) (the first time fetches torch: some gigabytes)"
	@if [ -t 1 ]; then quiet=; else quiet=--quiet; fi; \
		$(PY) -m pip install $$quiet --disable-pip-version-check $(constraints) -e '$(1)'
endef

$(RUN): pyproject.toml $(PINS) | $(PY)
	$(call install,.)
	@touch $@

$(DEV): pyproject.toml $(PINS) | $(PY)
	$(call install,.[dev])
	@touch $@ $(RUN)

# The pinned versions are known to work together on one platform; elsewhere the ranges decide.
constraints = $(shell $(PY) -c "import sys, platform as p; print('-c constraints.txt' if (sys.version_info[:2], sys.platform, p.machine()) == ((3, 11), 'linux', 'x86_64') else '')")

$(PY):
	@test -n "$(PYTHON)" || { echo "tenfold needs Python 3.11 or newer, and there is none on the path."; exit 1; }
	@$(PYTHON) -c "import sys; sys.exit(sys.version_info < (3, 11))" || { \
		echo "tenfold needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) -V 2>&1)."; \
		echo "  fix    make $(MAKECMDGOALS) PYTHON=/path/to/a/newer/python3"; exit 1; }
	@$(PYTHON) -c "import venv, ensurepip" 2>/dev/null || { \
		echo "$(PYTHON) cannot make virtual environments: its modules venv and ensurepip are not installed."; \
		echo "  fix    on Debian or Ubuntu: apt-get install python3-venv"; \
		echo "         or: make $(MAKECMDGOALS) PYTHON=/path/to/another/python3"; exit 1; }
	@echo "== making $(VENV) with $(PYTHON)"
	@$(PYTHON) -m venv $(VENV)
