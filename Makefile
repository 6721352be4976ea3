# `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# All versions of the CPU environment; `make constraints` updates it.
CONSTRAINTS := constraints-cpu.txt
EXTRAS := cpu,demo,dev,docs
# PyTorch's index of CPU builds: `make install` asks it if the default index has none, `make constraints` always. A site
# may set another one.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
# Dependencies of the CPU build of vLLM that do not load with CPU torch; nothing here uses them.
UNUSED := torchvision torchaudio torchcodec
MODEL := models/SmolLM2-135M-Instruct
MLFLOW := build/mlflow
RUN_DIR ?= runs/quickstart
PROOF_DIR ?= runs/proof
# Without AVX-512, a CPU is several times faster in float32 than in bfloat16, the default of the recipes.
DTYPES := $(if $(shell grep -m1 -o avx512bw /proc/cpuinfo),,training.dtype=float32 inference.engine.dtype=float32)

.DEFAULT_GOAL := help
.PHONY: help install constraints quickstart proof lint format docs clean \
	test test-fast test-engines test-cluster chaos test-parity test-browser test-mlflow test-all \
	bench-dpo bench-fetch bench-filters bench-gpu bench-growth bench-inference bench-mistakes bench-pairs bench-plumbing \
	bench-report bench-sft bench-tables

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(VENV)/installed ## create .venv with everything, at the versions of constraints-cpu.txt

# Without dependencies, which are installed with the package: PyTorch's index has only some versions of them.
$(VENV)/installed: TORCH = $(shell grep '^torch==' $(CONSTRAINTS))
$(VENV)/installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --no-deps "$(TORCH)" || \
		$(BIN)/pip install --quiet --no-deps "$(TORCH)" --index-url $(TORCH_CPU_INDEX)
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable ".[$(EXTRAS)]"
	$(BIN)/pip uninstall --quiet --yes $(UNUSED)
	touch $@

# By uv, which resolves the ranges in seconds where pip takes hours. It reads its own variables (UV_FIND_LINKS and
# others), not pip's configuration.
comma := ,
constraints: NEW := build/constraints
constraints: ## update constraints-cpu.txt to the newest versions that pyproject.toml allows
	$(PYTHON) -m venv --clear $(NEW)
	$(NEW)/bin/pip install --quiet uv
	$(NEW)/bin/uv pip compile pyproject.toml $(addprefix --extra ,$(subst $(comma), ,$(EXTRAS),parity,browser)) \
		--python-version 3.11 --python-platform x86_64-manylinux_2_28 \
		--extra-index-url $(TORCH_CPU_INDEX) --index-strategy unsafe-best-match \
		$(UNUSED:%=--no-emit-package %) --no-header --no-annotate --quiet --output-file $(NEW)/versions
	echo "# The CPU environment with Python 3.11 on Linux x86-64, written by \`make constraints\`." > $(CONSTRAINTS)
	cat $(NEW)/versions >> $(CONSTRAINTS)
	rm -rf $(NEW)

$(MODEL)/config.json: | $(VENV)/installed
	$(BIN)/selfreward fetch-demo-model $(MODEL)

quickstart: $(VENV)/installed $(MODEL)/config.json ## install, fetch a small model, run the whole loop on this machine
	$(BIN)/selfreward run quickstart --run-dir $(RUN_DIR) $(DTYPES)

proof: $(VENV)/installed $(MODEL)/config.json ## three seeds with controls, and which claims hold: docs/proof.md (hours)
	$(BIN)/selfreward proof proof --run-dir $(PROOF_DIR) $(DTYPES)
	cat $(PROOF_DIR)/proof.md docs/proof-tried.md > docs/proof.md
	cp $(PROOF_DIR)/proof.json docs/proof.json

lint: $(VENV)/installed ## formatting, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed ## format the code and apply the fixes of ruff
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/installed ## build the documentation site in build/site; fails on a broken link
	$(BIN)/mkdocs build --strict

DAILY := not cluster and not parity and not browser and not mlflow and not release

test: $(VENV)/installed ## the tests to run after each change, with the real engines
	$(MAKE) --jobs 2 test-fast test-engines

# At low priority, because it runs beside test-engines: Ray's deadlines for starting a node expire on busy CPUs.
test-fast: $(VENV)/installed ## tests that start no engine and no trainer
	nice -n 19 $(BIN)/pytest --quiet -m "not engines and $(DAILY)"

test-engines: $(VENV)/installed ## tests that start Ray, vLLM or DeepSpeed, without those of test-cluster
	$(BIN)/pytest -m "engines and $(DAILY)"

test-cluster: $(VENV)/installed $(MODEL)/config.json ## nodes and processes that start, stop or fail; rehearse shipped recipes (50 minutes)
	$(BIN)/pytest -m "cluster and not release"

chaos: $(VENV)/installed ## a tiny run that is killed 36 times in all its steps ends as an undisturbed one (a quarter of an hour)
	PYTHONPATH=tests $(BIN)/python tests/chaos/chaos.py

test-parity: $(VENV)/installed-parity ## compare DPO with TRL and lm-eval on the pool with transformers; all sides of benchmarks (minutes)
	$(BIN)/pytest -m parity

test-browser: $(VENV)/installed-browser ## the report page in this machine's Chromium or Chrome
	$(BIN)/pytest -m browser

test-mlflow: $(VENV)/installed $(MLFLOW)/bin/mlflow ## the MLflow tracker against a server on this machine
	$(BIN)/pytest -m mlflow

test-all: $(VENV)/installed-parity $(VENV)/installed-browser $(MLFLOW)/bin/mlflow ## all tests, also those of a release
	$(BIN)/pytest

$(VENV)/installed-parity: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable ".[parity]"
	touch $@

# Without Playwright's own browsers: the tests take the one that is installed.
$(VENV)/installed-browser: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable ".[browser]"
	touch $@

# In an environment of its own: the server needs many packages, some of them older than those of constraints-cpu.txt.
$(MLFLOW)/bin/mlflow: MLFLOW_VERSION = $(shell sed -n 's/^mlflow-skinny==//p' $(CONSTRAINTS))
$(MLFLOW)/bin/mlflow:
	$(PYTHON) -m venv --clear $(MLFLOW)
	$(MLFLOW)/bin/pip install --quiet "mlflow==$(MLFLOW_VERSION)"

bench-dpo: $(VENV)/installed-parity $(MODEL)/config.json ## DPO compared with TRL: pairs per second, memory, padding (20 minutes)
	$(BIN)/python benchmarks/dpo.py

bench-fetch: $(VENV)/installed ## fetch a stored model of 2 GB: requests, seconds, a killed fetch (minutes)
	$(BIN)/python benchmarks/fetch.py

bench-filters: $(VENV)/installed ## near-duplicate filter: 10,000 new prompts against 20,000, compared with rouge-score
	$(BIN)/python benchmarks/filters.py

# Needs an environment of your own, because `make install` installs the CPU builds.
bench-gpu: ## DPO of a 1B model on one GPU; PYTHON=… of an environment with ".[gpu]" installed (minutes)
	$(PYTHON) benchmarks/gpu.py

bench-growth: $(VENV)/installed ## memory of a rank and of the driver at 10,000 to 1,000,000 rows (half an hour)
	$(BIN)/python benchmarks/growth.py

bench-inference: $(VENV)/installed $(MODEL)/config.json ## the pool compared with plain vLLM and ray.data.llm (40 minutes)
	$(BIN)/python benchmarks/inference.py

bench-mistakes: $(VENV)/installed ## mistakes of users: the message of each, and the seconds until it appears (minutes)
	$(BIN)/python benchmarks/mistakes.py

bench-pairs: $(VENV)/installed ## pair 200,000 judged prompts: the driver's memory must not grow with the rows (minutes)
	$(BIN)/python benchmarks/pairs.py

bench-plumbing: $(VENV)/installed ## the pool with engines of zero cost: rows per second, the driver's memory (an hour)
	$(BIN)/python benchmarks/plumbing.py

bench-report: $(VENV)/installed-browser ## the report of 50,000 judged prompts: seconds until its list is shown (minutes)
	$(BIN)/python benchmarks/report.py

bench-sft: $(VENV)/installed $(MODEL)/config.json ## the quickstart's SFT by this tree and by BEFORE=…, another checkout (15 minutes)
	$(BIN)/python benchmarks/sft.py $(BEFORE)

bench-tables: $(VENV)/installed ## tables of a step: requests, bytes, memory, and with BEFORE=… of another checkout (minutes)
	$(BIN)/python benchmarks/tables.py $(BEFORE)

clean: ## remove .venv and build outputs, but no models and no runs
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
