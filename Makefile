# make demo    train a small net with and without augmentation on real pictures; results in out/
# make test    the test suite
# make bench   anamorph against its peers
# make cuda    compile the CUDA code for one architecture (needs nvcc, no GPU)
# make cuda-report  what each CUDA kernel takes of a GPU, against bench/cuda_ceilings.json
# make lint    ruff
# make clean   remove everything made here
#
# Everything lives in .venv, at the versions of constraints.txt. PYTHON=python3.12 make ... uses another Python.

PYTHON    ?= python3
VENV      ?= .venv
CUDA_ARCH ?= 90

BIN     := $(abspath $(VENV))/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := pyproject.toml CMakeLists.txt \
           $(shell find csrc python -type f -not -path '*/__pycache__/*' -not -name '*.so')

# The CUDA code is built where there is a GPU to run it (and a compiler), for that GPU.
CUDA := $(if $(shell nvidia-smi -L 2> /dev/null),auto,off)

# Built in one folder without isolation, so that a re-install compiles only what changed.
INSTALL := PATH="$(BIN):$$PATH" $(PIP) install --constraint constraints.txt --no-build-isolation \
           --config-settings=build-dir=build/wheel --config-settings=cmake.define.ANAMORPH_CUDA=$(CUDA) \
           --config-settings=cmake.define.CMAKE_CUDA_ARCHITECTURES=native

.PHONY: demo test bench cuda cuda-report lint clean

demo: $(VENV)/.demo
	$(BIN)/anamorph train $(ARGS)

test: $(VENV)/.test
	$(BIN)/python -m pytest tests $(ARGS)

bench: $(VENV)/.bench
	$(BIN)/anamorph bench $(ARGS)

cuda: $(VENV)/.tools
	@command -v nvcc > /dev/null || { echo "make cuda: nvcc is not on the PATH; install the CUDA toolkit" >&2; exit 1; }
	PATH="$(BIN):$$PATH" cmake -S . -B build/cuda -G Ninja -DCMAKE_BUILD_TYPE=Release \
	    -DANAMORPH_CUDA=on -DCMAKE_CUDA_ARCHITECTURES=$(CUDA_ARCH) \
	    -DCMAKE_CUDA_COMPILER_LAUNCHER="$(BIN)/python;$(CURDIR)/bench/cuda_compile.py" -DCMAKE_EXPORT_COMPILE_COMMANDS=on \
	    -DPython_EXECUTABLE=$(BIN)/python -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"
	PATH="$(BIN):$$PATH" cmake --build build/cuda

cuda-report: cuda
	$(BIN)/python bench/cuda_report.py $(ARGS)

lint: $(VENV)/.lint
	$(BIN)/ruff check .

clean:
	rm -rf $(VENV) build dist out .pytest_cache .ruff_cache .mypy_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# Stamps. The order of the installs matters: torch first and alone, so that its exact pin decides which
# wheel comes; torchvision, a peer in tests and benchmarks, without dependencies, so that it cannot change that wheel.

$(VENV)/.python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "anamorph needs Python 3.11 or newer, and $(PYTHON) is not; try: make PYTHON=python3.12" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	touch $@

$(VENV)/.tools: $(VENV)/.python constraints.txt
	$(PIP) install --constraint constraints.txt scikit-build-core pybind11 cmake ninja
	touch $@

$(VENV)/.torch: $(VENV)/.python constraints.txt
	$(PIP) install --constraint constraints.txt torch==2.13.0
	touch $@

$(VENV)/.demo: $(VENV)/.torch $(VENV)/.tools $(SOURCES)
	$(INSTALL) ".[dali,demo]"
	touch $@

$(VENV)/.test: $(VENV)/.torch $(VENV)/.tools $(SOURCES)
	$(PIP) install --constraint constraints.txt --no-deps torchvision
	$(INSTALL) ".[dali,demo,test]"
	touch $@

$(VENV)/.bench: $(VENV)/.test
	$(INSTALL) ".[dali,demo,test,bench]"
	touch $@

$(VENV)/.lint: $(VENV)/.python constraints.txt
	$(PIP) install --constraint constraints.txt ruff
	touch $@
