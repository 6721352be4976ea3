# `make help` lists the targets.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Every version of the CPU environment; `make constraints` renews it.
CONSTRAINTS := constraints-cpu.txt
EXTRAS := cpu,demo,dev,docs
# PyTorch's own index of CPU builds, asked only where the ordinary index has none; a site may set its own.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
# The CPU build of vLLM asks for these, their builds do not load beside CPU torch, and nothing here uses them.
UNUSED := torchvision torchaudio torchcodec
MODEL := models/SmolLM2-135M-Instruct
RUN_DIR ?= runs/quickstart
PROOF_DIR ?= runs/proof
# Without AVX-512 a CPU is several times as fast in float32 as in bfloat16, which the recipes have.
DTYPES := $(if $(shell grep -m1 -o avx512bw /proc/cpuinfo),,training.dtype=float32 inference.engine.dtype=float32)

.DEFAULT_GOAL := help
.PHONY: help install constraints quickstart proof test test-fast test-cluster test-parity test-all lint format docs clean \
	bench-dpo bench-fetch bench-filters bench-gpu bench-inference bench-pairs bench-plumbing

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-16s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

install: $(VENV)/installed ## make .venv with everything, at the versions of constraints-cpu.txt

$(VENV)/installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -m venv $(VENV)
	$(call install_torch,$(BIN),$(shell grep '^torch==' $(CONSTRAINTS)))
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable ".[$(EXTRAS)]"
	$(BIN)/pip uninstall --quiet --yes $(UNUSED)
	touch $@

# Without its dependencies, which are installed with the package: PyTorch's index has but some versions of them.
install_torch = $(1)/pip install --quiet --no-deps "$(2)" || \
	$(1)/pip install --quiet --no-deps "$(2)" --index-url $(TORCH_CPU_INDEX)

constraints: NEW := build/constraints
constraints: ## write constraints-cpu.txt: the newest versions that pyproject.toml allows
	rm -rf $(NEW)
	$(PYTHON) -m venv $(NEW)
	$(call install_torch,$(NEW)/bin,$(shell grep -o '^ *"torch==[0-9.]*' pyproject.toml | tr -d ' "')+cpu)
	$(NEW)/bin/pip install --quiet --editable ".[$(EXTRAS),parity]"
	echo "# The CPU environment with Python 3.11 on Linux x86-64, written by \`make constraints\`." > $(CONSTRAINTS)
	$(NEW)/bin/pip freeze --all --exclude-editable --exclude pip $(UNUSED:%=--exclude %) >> $(CONSTRAINTS)
	rm -rf $(NEW)

$(MODEL)/config.json: | $(VENV)/installed
	$(BIN)/selfreward fetch-demo-model $(MODEL)

quickstart: $(VENV)/installed $(MODEL)/config.json ## install, fetch a small model, run the whole loop on this machine
	$(BIN)/selfreward run quickstart --run-dir $(RUN_DIR) $(DTYPES)

proof: $(VENV)/installed $(MODEL)/config.json ## three seeds and their controls, and which claims they hold: docs/proof.md (hours)
	$(BIN)/selfreward proof proof --run-dir $(PROOF_DIR) $(DTYPES)
	cat $(PROOF_DIR)/proof.md docs/proof-tried.md > docs/proof.md
	cp $(PROOF_DIR)/proof.json docs/proof.json

lint: $(VENV)/installed ## formatting, lint, types, layers
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed ## format the code, and repair what ruff can
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

docs: $(VENV)/installed ## the documentation as web pages, in build/site; fails at a broken link
	$(BIN)/mkdocs build --strict

test: $(VENV)/installed ## every test but those of test-cluster and test-parity
	$(BIN)/pytest -m "not parity and not rehearsal"

test-fast: $(VENV)/installed ## the tests that start no engine and no trainer
	$(BIN)/pytest -m "not engines and not parity and not rehearsal"

test-cluster: $(VENV)/installed ## each shipped recipe rehearsed on declared nodes: the whole loop (half an hour)
	$(BIN)/pytest -m rehearsal

test-parity: $(VENV)/installed-parity ## DPO's steps against TRL's, and the benchmarks' sides of other libraries (minutes)
	$(BIN)/pytest -m parity

test-all: $(VENV)/installed-parity ## every test there is
	$(BIN)/pytest

$(VENV)/installed-parity: $(VENV)/installed
	$(BIN)/pip install --quiet --constraint $(CONSTRAINTS) --editable ".[parity]"
	touch $@

bench-dpo: $(VENV)/installed-parity $(MODEL)/config.json ## DPO against TRL's: pairs a second, memory, padding (20 minutes)
	$(BIN)/python benchmarks/dpo.py

bench-fetch: $(VENV)/installed ## a stored model of 2 GB: requests, seconds, a killed fetch (minutes)
	$(BIN)/python benchmarks/fetch.py

bench-filters: $(VENV)/installed ## 10,000 new prompts against 20,000 for near repeats, beside rouge-score
	$(BIN)/python benchmarks/filters.py

# In an environment of yours: what `make install` makes has the CPU builds.
bench-gpu: ## PYTHON=… where `pip install ".[gpu]"` was run: DPO of a model of 1B on one GPU (minutes)
	$(PYTHON) benchmarks/gpu.py

bench-inference: $(VENV)/installed $(MODEL)/config.json ## the pool against plain vLLM and ray.data.llm (40 minutes)
	$(BIN)/python benchmarks/inference.py

bench-pairs: $(VENV)/installed ## pair 200,000 judged prompts: the driver's memory must not grow with them (minutes)
	$(BIN)/python benchmarks/pairs.py

bench-plumbing: $(VENV)/installed ## the pool with engines that cost nothing: rows a second, the driver's memory (an hour)
	$(BIN)/python benchmarks/plumbing.py

clean: ## remove .venv and everything built, but no model and no run
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
