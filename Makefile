# make demo: from nothing to demo/ (photographs enhanced by an exported, checked model). make test: lint, types, tests;
# make test-slow and make test-hard: the tests that it leaves out.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
LITERT := .venv-litert
INSTALLED := $(VENV)/.installed
CONSTRAINTS ?= constraints.txt
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)

# Photographs to enhance: files or a folder, e.g. make demo PHOTOS=~/Pictures
PHOTOS ?= demo/photographs

# Each process runs whole files, whose tests share what they export, and computes in one thread
JOBS ?= 2
PYTEST_OPTIONS := --numprocesses $(JOBS) --dist loadfile --max-worker-restart 0
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest
# They start processes. Beside other tests, the process that runs them has ended without a word now and then
PROCESSES := tests/test_training.py tests/test_runs.py tests/test_ablation.py tests/test_processes.py

# The browser page, and the models that it offers: NAME-PRECISION
WEB := apps/web
WEB_MODELS := small-fp16 small-fp32 nano-fp32
WEB_FILES := $(WEB_MODELS:%=$(WEB)/public/models/%.onnx)
NPM := npm --prefix $(WEB)

.PHONY: install demo models web web-models test-web litert swift kotlin test suite test-slow test-hard test-oldest test-other-cpu dist lint types clean

install: $(INSTALLED)

$(INSTALLED): pyproject.toml $(CONSTRAINTS)
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

# The page on this machine, from nothing: needs Node.js 20.19 or newer
web: $(WEB)/dist/index.html
	$(BIN)/bncagan serve

web-models: $(WEB_FILES)

$(WEB)/public/models/%.onnx: | $(INSTALLED)
	mkdir -p $(@D)/.$*
	rm -rf $(@D)/$*
	$(BIN)/bncagan export onnx --checkpoint $(word 1,$(subst -, ,$*)) --precision $(word 2,$(subst -, ,$*)) \
		--range 1x16x16 1x256x256 1x512x512 --output both --out $(@D)/.$*/$*.onnx
	$(BIN)/bncagan verify $(@D)/.$*/$*.onnx --write-self-test $(@D)/$*
	mv $(@D)/.$*/$*.onnx $@
	rm -rf $(@D)/.$*

$(WEB)/node_modules/.package-lock.json: $(WEB)/package-lock.json
	$(NPM) ci --no-audit --no-fund --ignore-scripts

$(WEB)/dist/index.html: $(WEB)/node_modules/.package-lock.json $(WEB_FILES) $(shell find $(WEB)/src $(WEB)/public -maxdepth 1 -type f) \
		$(wildcard $(WEB)/*.* runtimes/apply/kernels/apply.wgsl)
	$(NPM) run build

# The page in a real browser: needs chromium
test-web: $(WEB)/dist/index.html
	PYTHONPATH=. OMP_NUM_THREADS=1 $(BIN)/python $(WEB)/browser/prepare.py $(WEB)/browser/pictures
	$(NPM) test
	PYTHON=$(abspath $(BIN)/python) $(NPM) run test:browser
	$(NPM) run build:selftest
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/test_web.py tests/test_self_test.py -m 'slow or not slow' -k 'test_web or JavaScript'

litert: $(LITERT)/.installed # the environment of LiteRT's converter, which `bncagan export litert` calls

$(LITERT)/.installed: constraints-litert.txt
	test -x $(LITERT)/bin/python || $(PYTHON) -m venv $(LITERT)
	$(LITERT)/bin/python -m pip install --quiet --disable-pip-version-check torch==2.13.0
	$(LITERT)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-litert.txt litert-torch
	touch $@

swift: .swift # Swift in a folder, for machines without it; as root, see apps/swift/linux.sh

.swift:
	sh apps/swift/linux.sh make $@

kotlin: .kotlin # Kotlin in a folder, for machines without the Android SDK; see apps/android/core/linux.sh

.kotlin:
	PYTHON=$(PYTHON) sh apps/android/core/linux.sh make $@

test: lint types suite

suite: $(INSTALLED)
	$(PYTEST) $(PYTEST_OPTIONS) $(addprefix --ignore ,$(PROCESSES))
	$(PYTEST) $(PROCESSES)

test-slow: $(INSTALLED)
	$(PYTEST) -m slow

# Kills, fuzzers and endurance; with BNCAGAN_FUZZ_SECONDS=180 the fuzzers run for half an hour in all
test-hard: $(INSTALLED)
	$(PYTEST) -m hard

# With the oldest version of each dependency that pyproject.toml allows, in an environment of its own
test-oldest:
	$(MAKE) VENV=.venv-oldest CONSTRAINTS=constraints-oldest.txt install suite

dist: $(INSTALLED) # wheel and sdist into dist/
	$(BIN)/python -m build --no-isolation

# Every test with the libraries kept to AVX2, as on an older CPU
test-other-cpu: $(INSTALLED)
	OMP_NUM_THREADS=1 $(BIN)/python -m tests.other_cpu $(PYTEST_OPTIONS) -m 'not hard'

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

clean:
	rm -rf $(VENV) .venv-oldest $(LITERT) demo build dist *.egg-info
