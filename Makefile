# Two commands for a new user: make run, make test. Everything lands in .venv.
PYTHON ?= python3
PORT ?=
PROFILE ?= auto
QUICK ?=
VERBOSE ?=
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help run check test unit integration e2e bench soak cuda docs clean machine

help:
	@echo "make run          start SegStream and print the page's address (PORT=8001, PROFILE=fast|default, VERBOSE=1)"
	@echo "make test         every test: unit, integration on real Ray Serve, end to end in a browser"
	@echo "make unit         the unit tests alone"
	@echo "make bench        the benchmark beside its peers, three quarters of an hour; QUICK=1 for a look"
	@echo "make soak         the long proofs on both proxies, 20 minutes; writes docs/soak.md"
	@echo "make cuda         the tests that need a CUDA device"
	@echo "make check        format, lint, types, layers, shape"
	@echo "make docs         write what is generated: the way in README.md, pages and tables in docs/"
	@echo "make clean        remove the environment and the caches"

run: .venv/run
	@VERBOSE=$(VERBOSE) $(BIN)/python -m deployments.launch --profile $(PROFILE) $(if $(PORT),--port $(PORT))

check: .venv/dev
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m docs.shape

test: .venv/dev
	$(BIN)/pytest -m "not cuda and not soak"

unit: .venv/dev
	$(BIN)/pytest -m "not integration and not e2e and not cuda and not soak"

integration: .venv/dev
	$(BIN)/pytest -m integration

e2e: .venv/dev
	$(BIN)/pytest -m e2e

bench: .venv/bench
	$(BIN)/python -m benchmarks $(if $(QUICK),--quick)

soak: .venv/dev
	$(BIN)/pytest --hypothesis-profile=soak --hypothesis-show-statistics --timeout=0 tests/ingress/test_life.py
	$(BIN)/pytest -m soak

cuda: .venv/dev
	$(BIN)/pytest -m cuda

docs: .venv/dev
	$(BIN)/python -m ingress.wire.asyncapi > docs/asyncapi.json
	$(BIN)/python -m ingress.disconnects > docs/disconnects.md
	$(BIN)/python -m docs.interface > docs/interface.json
	$(BIN)/python -m docs.way

clean:
	rm -rf .venv benchmarks/.venvs build *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

machine:
	@PYTHON="$(PYTHON)" sh scripts/check-machine

.venv/run: pyproject.toml constraints.txt | machine
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e .
	@touch $@

.venv/dev: .venv/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@

.venv/bench: .venv/run
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[bench]'
	@touch $@
