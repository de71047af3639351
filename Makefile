# Two commands for a fresh machine with Python 3.11+ and make: `make search` and `make test`.
PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin

.PHONY: search test adapters oldest faults lint bench bench-adapters clean

search: $(VENV)/installed
	$(BIN)/lrsearch search digits-cnn --budget 12

test: $(VENV)/installed-dev lint
	$(BIN)/pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not faults and not adapters"

# Several processes and a Ray cluster under the frameworks' adapters; then MLflow whole, in an environment of its own.
adapters: $(VENV)/installed-dev $(VENV)-adapters/installed
	$(BIN)/pytest -m adapters
	$(VENV)-adapters/bin/pytest -p no:cacheprovider tests/integrations -m "not adapters"

# The tests on the oldest versions that pyproject.toml allows, in an environment of its own.
oldest: $(VENV)-oldest/installed
	$(VENV)-oldest/bin/pytest -p no:cacheprovider -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder -m "not faults and not adapters"

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

bench-adapters: $(VENV)/installed-dev
	for name in timm accelerate huggingface lightning; do OMP_NUM_THREADS=1 $(BIN)/python studies/benchmarks/adapters_$$name.py || exit; done

$(VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade "pip>=25.1"
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable .
	touch $@

$(VENV)/installed-dev: $(VENV)/installed
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --group dev
	touch $@

# The newest versions that resolve together, without constraints.txt: MLflow itself, which caps pyarrow, and not its client alone.
$(VENV)-adapters/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-adapters
	$(VENV)-adapters/bin/python -m pip install --quiet --upgrade "pip>=25.1"
	$(VENV)-adapters/bin/python -m pip install --quiet --editable . --group adapters
	touch $@

# The lower bounds of pyproject.toml, and of what they need in turn the newest versions: pip cannot resolve so, uv can.
$(VENV)-oldest/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)-oldest
	$(VENV)-oldest/bin/python -m pip install --quiet uv
	$(VENV)-oldest/bin/uv pip install --quiet --python $(VENV)-oldest/bin/python --resolution lowest-direct --editable . --group dev
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-adapters $(VENV)-oldest build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
