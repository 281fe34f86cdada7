# make demo    train a small net with and without augmentation on real pictures; results in out/
# make test    the test suite
# make sanitize the CPU's code and the emulated CUDA code with AddressSanitizer, UndefinedBehaviorSanitizer and ThreadSanitizer
# make sanitize-quick  the part of it that CI runs
# make bench   anamorph against its peers
# make cuda    compile the CUDA code, and it alone, for one architecture, with the CUDA compiler of constraints.txt; needs no GPU
# make cuda-report  what each CUDA kernel takes of a GPU, against bench/cuda_ceilings.json
# make package build the sdist and the wheel as pip does; try the wheel in an environment with torch alone
# make release the sdist and the wheels of a release, in dist/; docs/releasing.md
# make lint    ruff, mypy and clang-format, which check and change nothing
# make clean   remove everything made here
#
# Everything lives in .venv, at the versions of constraints.txt. PYTHON=python3.12 make ... uses another Python.

PYTHON    ?= python3
VENV      ?= .venv
CUDA_ARCH ?= 90
PLAIN     := $(abspath build/plain)

BIN     := $(abspath $(VENV))/bin
PIP     := $(BIN)/python -m pip --disable-pip-version-check --quiet
SOURCES := pyproject.toml CMakeLists.txt \
           $(shell find csrc python -type f -not -path '*/__pycache__/*' -not -name '*.so')

# The CUDA code is built where there is a GPU to run it, for that GPU: by the nvcc on the PATH, or else by one in .venv.
CUDA := $(if $(shell nvidia-smi -L 2> /dev/null | grep '^GPU'),on,off)
NVCC := $(if $(filter off,$(CUDA)),,$(if $(shell command -v nvcc),,$(VENV)/.nvcc))

# Built in one folder without isolation, so that a re-install compiles only what changed. CI installs with CUDA=on BUILD=build/cuda
# ARCH=90: what `make cuda` has compiled is taken, and the tests find whether it does without a GPU.
BUILD   ?= build/wheel
ARCH    ?= native
INSTALL := PATH="$(BIN):$$PATH" $(PIP) install --constraint constraints.txt --no-build-isolation \
           --config-settings=build-dir=$(BUILD) --config-settings=cmake.define.ANAMORPH_CUDA=$(CUDA) \
           --config-settings=cmake.define.CMAKE_CUDA_ARCHITECTURES=$(ARCH)

EMULATION := $(shell find tests/emulation -type f -not -name '*.py' -not -path '*/__pycache__/*')

# The tests in as many processes as there are cores, eight at most, each of one thread: what is about threads asks for its own.
# JOBS=0: in one process, of as many threads as torch takes.
JOBS   ?= $(shell n=$$(nproc); echo $$((n < 8 ? n : 8)))
ALONE  := $(BIN)/python -m pytest
PYTEST := $(if $(filter 0,$(JOBS)),$(ALONE),OMP_NUM_THREADS=1 $(ALONE) --numprocesses $(JOBS) --dist worksteal)

# $(call SANITIZED,build,sanitizer,pytest): the tests with that build. A sanitizer comes before everything else in the process, and
# what it says is not pytest's to keep. AddressSanitizer ends the process that it finds something in, and so that test fails;
# ThreadSanitizer says it by the exit status, and only that of the first process is looked at.
SANITIZED = PYTHONPATH=$(abspath build/$(1)/python) ANAMORPH_EMULATION=$(abspath build/$(1)) \
            LD_PRELOAD="$$($(CXX) -print-file-name=lib$(2).so):$$($(CXX) -print-file-name=libstdc++.so)" \
            ASAN_OPTIONS=detect_leaks=0 UBSAN_OPTIONS=print_stacktrace=1 TSAN_OPTIONS="$(TSAN_OPTIONS)" \
            $(3) --capture=sys
TSAN_OPTIONS := die_after_fork=0 suppressions=$(abspath tests/emulation/thread_sanitizer.supp)

.PHONY: demo test sanitize sanitize-quick bench cuda cuda-report package release lint clean

demo: $(VENV)/.demo
	$(BIN)/anamorph train $(ARGS)

test: $(VENV)/.test build/emulation/.built
	$(PYTEST) tests $(ARGS)

sanitize: $(VENV)/.test build/address/.built build/thread/.built
	$(call SANITIZED,address,asan,$(PYTEST)) tests/emulation tests/images tests/points tests/test_bad_input.py
	build/address/threads
	$(call SANITIZED,thread,tsan,$(ALONE)) tests/images/test_threads.py tests/images/test_render.py tests/data -k "not emulated"
	TSAN_OPTIONS="$(TSAN_OPTIONS)" build/thread/threads

sanitize-quick: $(VENV)/.test build/address/.built
	$(call SANITIZED,address,asan,$(PYTEST)) tests/emulation tests/images/test_render.py

bench: $(VENV)/.bench
	$(BIN)/anamorph bench $(ARGS)

KERNELS := $(shell find csrc -name '*.cu')

cuda: $(VENV)/.tools $(VENV)/.nvcc
	PATH="$(BIN):$$PATH" cmake -S . -B build/cuda -G Ninja -DCMAKE_BUILD_TYPE=Release \
	    -DANAMORPH_CUDA=on -DCMAKE_CUDA_COMPILER=$(BIN)/nvcc -DCMAKE_CUDA_ARCHITECTURES=$(CUDA_ARCH) \
	    -DCMAKE_CUDA_COMPILER_LAUNCHER="$(BIN)/python;$(CURDIR)/bench/cuda_compile.py" -DCMAKE_EXPORT_COMPILE_COMMANDS=on \
	    -DPython_EXECUTABLE=$(BIN)/python -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"
	PATH="$(BIN):$$PATH" cmake --build build/cuda --target $(KERNELS:%=CMakeFiles/_native.dir/%.o)

cuda-report: cuda
	$(BIN)/python bench/cuda_report.py $(ARGS)

# With CUDA code, but as PTX alone, which compiles in half the time: the wheel must also work without a GPU. CI builds it with
# PACKAGE_CUDA=off.
PACKAGE_CUDA ?= on
package: $(VENV)/.tools $(if $(filter on,$(PACKAGE_CUDA)),$(VENV)/.nvcc) $(PLAIN)/.torch
	rm -rf build/package
	PATH="$(BIN):$$PATH" PIP_CONSTRAINT=$(abspath constraints.txt) CUDAARCHS=$(CUDA_ARCH)-virtual \
	    SKBUILD_CMAKE_DEFINE="ANAMORPH_CUDA=$(PACKAGE_CUDA)" $(BIN)/python -m build --outdir build/package
	$(BIN)/python tests/package/contents.py build/package
	$(PLAIN)/bin/python -m pip -qq uninstall --yes anamorph
	$(PLAIN)/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt build/package/*.whl
	cd build/package && $(PLAIN)/bin/python ../../tests/package/smoke.py $(PACKAGE_CUDA)

# From what is committed, in a clean folder; docs/releasing.md. The wheels without CUDA have the same names.
release: $(VENV)/.release
	@test -z "$$(git status --porcelain)" || { echo "make release: there are changes that are not committed" >&2; exit 1; }
	rm -rf dist build/release
	mkdir -p build/release
	git archive HEAD | tar x -C build/release
	cd build/release && $(BIN)/python -m build --sdist --outdir $(CURDIR)/dist
	cd build/release && $(BIN)/cibuildwheel --output-dir $(CURDIR)/dist
	cd build/release && CIBW_BEFORE_ALL= CIBW_CONFIG_SETTINGS=cmake.define.ANAMORPH_CUDA=off \
	    CIBW_TEST_COMMAND="python {project}/tests/package/smoke.py off" $(BIN)/cibuildwheel --output-dir $(CURDIR)/dist/cpu
	$(BIN)/python tests/package/contents.py dist

lint: $(VENV)/.test $(VENV)/.lint
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/clang-format --dry-run --Werror $(shell git ls-files '*.h' '*.cpp' '*.cu')

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
	$(PIP) install --constraint constraints.txt scikit-build-core pybind11 cmake ninja build
	touch $@

$(VENV)/.nvcc: $(VENV)/.python constraints.txt tools/nvcc.sh
	tools/nvcc.sh $(BIN)/python
	touch $@

$(PLAIN)/.torch: constraints.txt
	$(PYTHON) -m venv $(PLAIN)
	$(PLAIN)/bin/python -m pip --disable-pip-version-check --quiet install --constraint constraints.txt torch==2.13.0
	touch $@

$(VENV)/.torch: $(VENV)/.python constraints.txt
	$(PIP) install --constraint constraints.txt torch==2.13.0
	touch $@

$(VENV)/.demo: $(VENV)/.torch $(VENV)/.tools $(NVCC) $(SOURCES)
	$(INSTALL) ".[demo]"
	touch $@

$(VENV)/.test: $(VENV)/.torch $(VENV)/.tools $(NVCC) $(SOURCES)
	$(PIP) install --constraint constraints.txt --no-deps torchvision
	$(INSTALL) ".[demo,test]"
	touch $@

build/%/.built: $(VENV)/.tools $(SOURCES) $(EMULATION)
	PATH="$(BIN):$$PATH" cmake -S tests/emulation -B $(@D) -G Ninja -DSANITIZE=$(filter address thread,$*) \
	    -DPython_EXECUTABLE=$(BIN)/python -Dpybind11_DIR="$$($(BIN)/python -m pybind11 --cmakedir)"
	PATH="$(BIN):$$PATH" cmake --build $(@D)
	touch $@

$(VENV)/.bench: $(VENV)/.test
	$(INSTALL) ".[demo,test,bench]"
	touch $@

$(VENV)/.lint: $(VENV)/.python constraints.txt
	$(PIP) install --constraint constraints.txt ruff clang-format
	touch $@

$(VENV)/.release: $(VENV)/.tools
	$(PIP) install --constraint constraints.txt cibuildwheel
	touch $@
