# make demo: from nothing to demo/ (photographs enhanced by an exported, checked model). make test: lint, types, tests;
# make test-slow: the tests that it leaves out.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

# Photographs to enhance: files or a folder, e.g. make demo PHOTOS=~/Pictures
PHOTOS ?= demo/photographs

# Each process runs whole files, whose tests share what they export, and computes in one thread
JOBS ?= 2
PYTEST_OPTIONS := --numprocesses $(JOBS) --dist loadfile --max-worker-restart 0
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# They start processes. Beside other tests, the process that runs them has ended without a word now and then
PROCESSES := tests/test_training.py tests/test_runs.py tests/test_ablation.py

.PHONY: install demo models test test-slow test-other-cpu dist lint types clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) torch==2.13.0
	$(PIP) --editable '.[dev]'
	touch $@

demo/photographs: | $(INSTALLED)
	$(BIN)/python examples/photographs.py $@

demo: $(INSTALLED) demo/photographs
	$(BIN)/bncagan export onnx --checkpoint small --precision fp32 --dynamic --out demo/small-fp32.onnx
	$(BIN)/bncagan export onnx --checkpoint small --precision fp16 --shape 512x512 --out demo/small-fp16.onnx
	$(BIN)/bncagan enhance demo/small-fp32.onnx $(PHOTOS) --out demo/enhanced --overwrite --before-after demo/before-after.png
	@echo 'Look at demo/before-after.png'

models: $(INSTALLED) # runtimes/models, again after the weights in bncagan/weights have changed
	$(BIN)/python -m export.packaged

test: lint types
	$(PYTEST) $(PYTEST_OPTIONS) $(addprefix --ignore ,$(PROCESSES))
	$(PYTEST) $(PROCESSES)

test-slow: $(INSTALLED)
	$(PYTEST) -m slow

dist: $(INSTALLED) # wheel and sdist into dist/
	$(BIN)/python -m build --no-isolation

# Every test with the libraries kept to AVX2, as on an older CPU
test-other-cpu: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.other_cpu $(PYTEST_OPTIONS) -m 'slow or not slow'

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) demo build dist *.egg-info
