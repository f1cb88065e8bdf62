# `make demo` and `make test` need Python >= 3.10, git and make, and do their own set-up.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# Where there is no NVIDIA GPU, take the CPU build of torch if pip can find one: the default one
# for Linux brings gigabytes of CUDA libraries along.
TORCH := $(shell sed -n 's/^torch==//p' constraints.txt)
PIP := $(BIN)/python -m pip --disable-pip-version-check
# A build of torch for GPUs brings the one Triton that it works with; the CPU build brings none.
pins = $(1) show -q triton 2> /dev/null && sed '/^triton==/d' constraints.txt || cat constraints.txt

.PHONY: demo docs test test-browser test-integrations fuzz bench bench-check bench-peers static lint clean

$(VENV)/ready: pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 10), "Python 3.10 or newer is needed"'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	command -v nvidia-smi > /dev/null \
	    || $(PIP) install -q "torch==$(TORCH)+cpu" 2> /dev/null \
	    || $(PIP) install -q "torch==$(TORCH)"
	{ $(call pins,$(PIP)); } > $(VENV)/pins.txt
	$(PIP) install -q -c $(VENV)/pins.txt -e '.[dev]'
	touch $@

demo: $(VENV)/ready
	$(BIN)/torchio-gpu demo --patches --steps 150

# The documentation site, in build/site; without network.
docs: $(VENV)/ready
	$(BIN)/python -m docs.build

lint: $(VENV)/ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo

# Kernels run on the GPU where there is one, else in Triton's interpreter. Tests run in WORKERS
# processes of one thread each.
WORKERS := 2
test: lint
	OMP_NUM_THREADS=1 TRITON_INTERPRET=$$(command -v nvidia-smi > /dev/null && echo 0 || echo 1) \
	    $(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

# The page of `torchio-gpu preview` in Chromium, which `make test` opens as well where there is one.
# Screenshots are kept in browser-screenshots/; without a browser, the tests say so and are skipped.
test-browser: $(VENV)/ready
	PREVIEW_SCREENSHOTS=browser-screenshots OMP_NUM_THREADS=1 TRITON_INTERPRET=1 \
	    $(BIN)/python -m pytest -n 0 tests/preview/test_browser.py

# With the frameworks that people train with, in an environment of its own: their dependencies are
# many. torchvision, which some of them import, comes from PyPI for CUDA alone; a CPU build of torch
# beside it needs a module that declares its operators.
OTHERS := .venv-integrations
PIP_OTHERS := $(OTHERS)/bin/python -m pip --disable-pip-version-check

$(OTHERS)/ready: pyproject.toml constraints.txt constraints-integrations.txt
	test -x $(OTHERS)/bin/python || $(PYTHON) -m venv $(OTHERS)
	command -v nvidia-smi > /dev/null \
	    || $(PIP_OTHERS) install -q "torch==$(TORCH)+cpu" 2> /dev/null \
	    || $(PIP_OTHERS) install -q "torch==$(TORCH)"
	{ $(call pins,$(PIP_OTHERS)); } > $(OTHERS)/pins.txt
	$(PIP_OTHERS) install -q -c $(OTHERS)/pins.txt -c constraints-integrations.txt -e '.[dev,integrations]'
	$(OTHERS)/bin/python -c 'import torchvision' 2> /dev/null || { \
	    cp tests/integrations/cpu_torchvision.py $(OTHERS)/lib/python3.*/site-packages/ \
	    && cd $(OTHERS)/lib/python3.*/site-packages \
	    && echo 'import cpu_torchvision; cpu_torchvision.install()' > cpu_torchvision.pth; }
	touch $@

test-integrations: $(OTHERS)/ready
	OMP_NUM_THREADS=1 TRITON_INTERPRET=$$(command -v nvidia-smi > /dev/null && echo 0 || echo 1) \
	    $(OTHERS)/bin/python -m pytest -n $(WORKERS) --dist worksteal tests/integrations

# Damaged files in worker processes that survive crashes, counted by outcome; fails where one is bad.
FUZZ := --files 5000 --arguments 5000 --records 5000 --pipelines 2000 --configurations 5000
fuzz: $(VENV)/ready
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.robustness $(FUZZ)

# This library alone: growth and small pieces are kept, and what bench-check compares with.
bench: $(VENV)/ready
	$(BIN)/python -m benchmarks --no-peers --repeats 7
	$(BIN)/python -m benchmarks.scaling
	$(BIN)/python -m benchmarks.micro
	$(BIN)/python -m benchmarks.costs
	$(BIN)/python -m benchmarks.check --store
	$(BIN)/python -m benchmarks.report

# Ratios, not times, against those that are kept: fails where one has left its noise band.
bench-check: $(VENV)/ready
	$(BIN)/python -m benchmarks.check

# With all peers, each in an environment of its own; what was interrupted goes on where it stopped.
bench-peers: $(VENV)/ready
	$(BIN)/nox -s rivals || true  # what cannot be installed is left out
	$(BIN)/python -m benchmarks
	$(BIN)/python -m benchmarks.profiles
	$(BIN)/python -m benchmarks.training
	$(BIN)/python -m benchmarks.processes
	$(BIN)/python -m benchmarks.features
	$(BIN)/python -m benchmarks.report

# Versions of Triton: those that torch 2.11, 2.12, 2.13 and 2.14 pin, and the newest.
TRITONS := $(addprefix .venv-triton/,3.6.0 3.7.0 3.7.1 3.8.0 3.9.0)

$(TRITONS): | $(VENV)/ready
	rm -rf $@.part
	$(PIP) install -q --no-deps --target $@.part triton==$(@F)
	mv $@.part $@

# Registers and instructions of every kernel under every Triton that a supported torch pins, and
# launches of all transforms; no GPU.
static: $(TRITONS)
	for arch in 80 90; do $(BIN)/python -m benchmarks.static --triton $(TRITONS) --arch $$arch \
	    --output benchmarks/results/static--sm_$$arch.json || exit 1; done
	$(BIN)/python -m benchmarks.passes
	$(BIN)/python -m benchmarks.report --no-pictures

clean:
	rm -rf $(VENV) $(OTHERS) .nox .venv-triton .pytest_cache .mypy_cache .ruff_cache .import_linter_cache build demo-output browser-screenshots
