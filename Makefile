# Two commands do all: `make demo` and `make test`. Both set up .venv first, once per constraints.txt.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test lint format benchmarks clean

demo: $(READY)
	$(BIN)/medistill demo

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile -q

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

benchmarks: $(READY)
	for script in benchmarks/*.py; do $(BIN)/python $$script; done

# The stamp is touched last, so that an install that was stopped half-way is done again.
$(READY): constraints.txt pyproject.toml
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --progress-bar on --constraint constraints.txt --editable ".[dev]"
	touch $(READY)

clean:
	rm -rf build dist runs .pytest_cache .mypy_cache .ruff_cache .hypothesis
