#!/usr/bin/env bash
# Everything that only a GPU can tell, in one run: the whole suite with the tests marked gpu, a quick part of it under
# compute-sanitizer (of a CUDA toolkit), the comparison with the roofline. With PYTHON's own packages where there is no network:
#
#     make bench && PYTHON=.venv/bin/python bench/gpu.sh OUT    # with an nvcc in .venv where there was none
#     PYTHON=python3 bench/gpu.sh OUT          # nvcc, torch, pybind11, scikit-build-core, cmake and ninja are installed
#
# Each part's output goes to OUT (default out/gpu) and the next part runs whatever the last one said; the exit status is
# that of the tests.
set -uo pipefail
cd "$(dirname "$0")/.."
PYTHON=${PYTHON:-python3}
out=${1:-out/gpu}
PATH="$(cd "$(dirname "$(command -v "$PYTHON")")" && pwd):$PATH"  # for the nvcc, cmake and ninja beside it
mkdir -p "$out"

part() {
    local name=$1
    shift
    echo "== $name: $*"
    "$@" > "$out/$name.txt" 2>&1
    local status=$?
    tail -n 15 "$out/$name.txt"
    return $status
}

part gpu nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem --format=csv
part build "$PYTHON" -m pip install --no-build-isolation --no-deps --config-settings=build-dir=build/gpu \
    --config-settings=cmake.define.ANAMORPH_CUDA=on --config-settings=cmake.define.CMAKE_CUDA_ARCHITECTURES=native . || exit 1
part info "$PYTHON" -m anamorph info
part tests "$PYTHON" -m pytest tests -m "gpu or not gpu" -ra
status=$?
for tool in memcheck racecheck initcheck; do
    part "sanitizer-$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 \
        "$PYTHON" -m pytest tests/images/test_render.py -m gpu -k "agrees and (chain or mixup or cutmix or resizemix or contrasts)"
done
for batch in 64 256; do
    part "bench-$batch" "$PYTHON" -m anamorph bench --device cuda --batch "$batch" --json "$out/bench-$batch.json"
done
exit $status
