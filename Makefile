# make demo and make test need nothing but Python 3.10 or newer; with a C++ compiler they are faster.
.DEFAULT_GOAL := help
.PHONY: help setup demo test coverage fuzz bench lint native-check clean

BIN := .venv/bin
DEMO := runs/demo

help:  ## Show this text.
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1|\2/p' $(MAKEFILE_LIST) | column -t -s '|'

setup:  ## Make .venv and build what has changed.
	@scripts/setup.sh

demo: setup  ## Train StyleGAN2 on emoji faces and make pictures (minutes on two cores).
	@$(BIN)/fastgan train --cfg stylegan2 --data emoji64 --classes smileys/faces --resolution 32 --mirror \
		--cbase 1024 --cmax 96 --map-depth 2 --set z_dim=128 w_dim=128 style_mixing=0 noise=false \
		--batch 16 --gamma 3 --pl-weight 0 --kimg 42 --tick 0.42 --snap 10 --metrics swd \
		--outdir $(DEMO) --resume auto
	@$(BIN)/fastgan generate --network $(DEMO) --seeds 0-63 --trunc 0.8 --grid --no-images --outdir $(DEMO)/generated
	@echo "look at $(DEMO)/generated/grid.png beside the real $(DEMO)/reals.png"

# A native library that was built must also load: without it, its tests would be skipped.
# REQUIRE names what else must be there. A file of tests stays with one of the WORKERS.
WORKERS := 2
test: setup  ## Run the tests.
	@$(BIN)/python -m pytest -q -m "not slow" -n $(WORKERS) --dist loadfile \
		--require=$(REQUIRE),$$(grep -q '"native": true' fastgan/_build.json && echo native,host)

coverage: setup  ## Which GPU kernel runs on the CPU, in which dtype and layout.
	@$(BIN)/python -m tests.ops.coverage

FUZZ_CASES := 10000
fuzz: setup  ## Random arguments, configurations and damaged files: 10,000 new cases a test (FUZZ_CASES=...; hours).
	@$(BIN)/python -m pytest -q tests/fuzz --fuzz-cases $(FUZZ_CASES) --timeout=0

bench: setup  ## Time the operators beside plain torch on this machine, against their targets.
	@$(BIN)/python bench/cpu_targets.py

lint:  ## Check style, types, layers and the tree.
	@scripts/setup.sh --lint
	@failed=; \
	$(BIN)/ruff format --check -q . || failed="$$failed format"; \
	$(BIN)/ruff check -q . || failed="$$failed ruff"; \
	$(BIN)/pyright --pythonpath $(BIN)/python || failed="$$failed pyright"; \
	$(BIN)/lint-imports --no-logo || failed="$$failed layers"; \
	$(BIN)/python scripts/lint_tree.py || failed="$$failed tree"; \
	if [ -n "$$failed" ]; then echo "lint: to mend:$$failed"; exit 1; fi

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
