# Two commands for a fresh machine with Python 3.11+ and make: `make search` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: search test faults lint bench clean

search: $(VENV)/installed
	$(BIN)/lrsearch search digits-cnn --budget 12

test: $(VENV)/installed-dev lint
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile -m "not faults"

faults: $(VENV)/installed-dev
	$(BIN)/pytest -m faults

lint: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

bench: $(VENV)/installed
	$(BIN)/python studies/benchmarks/overhead.py
	OMP_NUM_THREADS=1 $(BIN)/python studies/benchmarks/schedules.py
	OMP_NUM_THREADS=1 $(BIN)/python studies/benchmarks/fused.py
	OMP_NUM_THREADS=1 $(BIN)/python studies/benchmarks/jobs.py
	$(BIN)/python studies/benchmarks/programs.py

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev
	touch $@

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
