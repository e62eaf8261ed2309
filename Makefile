# make demo and make test need nothing but Python 3.10 or newer; with a C++ compiler they are faster.
.DEFAULT_GOAL := help
.PHONY: help setup demo test thorough coverage fuzz bench lint-tools lint style types layers tree hooks docs native-check clean

BIN := .venv/bin
DEMO := runs/demo

help:  ## Show this text.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup:  ## Make .venv and build what has changed.
	@scripts/setup.sh

demo:  ## Train a GAN on emoji faces and make pictures (minutes on two cores).
	@scripts/setup.sh --demo
	@$(BIN)/fastgan train --cfg dcgan --data emoji64 --classes smileys/face-smiling smileys/face-concerned \
		--resolution 32 --mirror --cbase 512 --cmax 64 --set kernel_size=4 --batch 16 --loss hinge \
		--glr 0.00035 --dlr 0.00025 --aug diffaug --diffaug-policy translation --kimg 48 --tick 1 --snap 8 \
		--metrics swd kid_wavelet --threads 1 --outdir $(DEMO) --resume auto
	@$(BIN)/fastgan generate --network $(DEMO) --seeds 0-63 --grid --no-images --outdir $(DEMO)/generated
	@echo "look at $(DEMO)/generated/grid.png beside the real $(DEMO)/reals.png"

# A native library that was built must also load: without it, its tests would be skipped.
# REQUIRE names what else must be there. A file of tests stays with one of the WORKERS.
WORKERS := 2
PYTEST = $(BIN)/python -m pytest -q -n $(WORKERS) --dist loadfile \
	--require=$(REQUIRE),$$(grep -q '"native": true' fastgan/_build.json && echo native,host)

test: setup  ## Run the tests.
	@$(PYTEST) -m "not slow and not thorough"

thorough: setup  ## Run the tests that make test leaves out: they take long and seldom fail.
	@$(PYTEST) -m "thorough and not slow"

coverage: setup  ## Which GPU kernel runs on the CPU, in which dtype and layout.
	@$(BIN)/python -m tests.ops.coverage

FUZZ_CASES := 10000
fuzz: setup  ## Random arguments, configurations and damaged files: 10,000 new cases a test (FUZZ_CASES=...; hours).
	@$(BIN)/python -m pytest -q tests/fuzz --fuzz-cases $(FUZZ_CASES) --timeout=0

bench: setup  ## Time the operators beside plain torch on this machine, against their targets.
	@$(BIN)/python bench/cpu_targets.py

lint-tools:
	@scripts/setup.sh --lint

lint:  ## Check style, types, layers and the tree: all four, whichever fails.
	@$(MAKE) --no-print-directory --keep-going style types layers tree

style: lint-tools  ## Check the format and the rules of Python sources.
	@$(BIN)/ruff format --check -q .
	@$(BIN)/ruff check -q .

types: lint-tools  ## Check the types of the package, tests, scripts, benches and examples.
	@$(BIN)/pyright --pythonpath $(BIN)/python

layers: lint-tools  ## Check who imports whom.
	@$(BIN)/lint-imports --no-logo

tree: lint-tools  ## Check sizes, names, the rooms of operators, and the paths that documents name.
	@$(BIN)/python scripts/lint_tree.py

hooks: lint-tools  ## Have git check style and tree at each commit, and all of lint before a push.
	@$(BIN)/pre-commit install

docs: setup  ## Make the pages of the Python interface from its docstrings: build/docs/index.html.
	@$(BIN)/python scripts/api_pages.py

# The CUDA kernels too, where CUDA's headers are: the CPU runs them.
native-check: setup  ## Run the C++ tests under the address and undefined-behaviour sanitizers.
	@$(BIN)/cmake -S . -B build/sanitize -G Ninja -DCMAKE_MAKE_PROGRAM=$(CURDIR)/$(BIN)/ninja -DFASTGAN_TESTS=ON \
		-DFASTGAN_CUDA=OFF -DFASTGAN_SHIM=$(if $(shell command -v nvcc),ON,OFF) \
		-DFASTGAN_WERROR=ON -DFASTGAN_SANITIZE=address,undefined --log-level=WARNING
	@$(BIN)/cmake --build build/sanitize
	@$(BIN)/ctest --test-dir build/sanitize --output-on-failure

clean:  ## Remove what was built; .venv and runs stay.
	rm -rf build dist *.egg-info fastgan/*.so fastgan/_build.json .pytest_cache .ruff_cache .hypothesis
	find fastgan tests kernels scripts -name __pycache__ -type d -prune -exec rm -rf {} +
