#!/usr/bin/env bash
# What only a GPU can tell, in parts, so that each fits a machine that is lent for minutes.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 2
PYTHON=${PYTHON:-python3}
OUT=${OUT:-out/gpu}
PARTS=(build tests sanitizers bench rest)
worst=0
running=""

usage() {
    cat << END
    bench/gpu.sh [PART...]    the parts named, or all, in this order:

    build       the CUDA backend, for the GPU that is here, with source lines in it
    tests       the tests that are marked gpu
    sanitizers  some of them under memcheck, racecheck, initcheck and synccheck (compute-sanitizer, of a CUDA toolkit)
    bench       the comparison with the roofline, for batches of 64 and 256
    rest        the tests that need no GPU

PYTHON (python3) has torch, pytest, pybind11, scikit-build-core, cmake and ninja; an nvcc may lie beside it, as in .venv after
make bench. What a step says goes to OUT/STEP.txt (out/gpu), and its result, status and seconds to OUT/summary.txt as it ends.
A step that fails does not stop the next; only without a build, or a GPU that works, nothing else runs. The exit status is the
worst of all.
END
}

# note STEP SECONDS STATUS [WHY]: a line of the summary.
note() {
    local result=ok
    (($3 == 0)) || result="FAILED ($3)${4:+: $4}"
    printf '%-22s %6d s  %s\n' "$1" "$2" "$result" >> "$OUT/summary.txt"
    (($3 <= worst)) || worst=$3
}

# step NAME COMMAND...: what it says in a file, its end on the screen, a line in the summary.
step() {
    local name=$1 status
    shift
    echo "== $name: $*"
    if ! command -v "$1" > /dev/null; then
        echo "$1: not found" | tee "$OUT/$name.txt"
        note "$name" 0 127 "$1 not found"
        return 127
    fi
    running=$name began=$SECONDS
    "$@" > "$OUT/$name.txt" 2>&1
    status=$?
    tail -n 15 "$OUT/$name.txt"
    note "$name" $((SECONDS - began)) $status
    running=""
    return $status
}

build() {
    step build "$PYTHON" -m pip install --no-build-isolation --no-deps --config-settings=build-dir=build/gpu \
        --config-settings=cmake.define.ANAMORPH_CUDA=on --config-settings=cmake.define.CMAKE_CUDA_ARCHITECTURES=native \
        --config-settings=cmake.define.CMAKE_CUDA_FLAGS=-lineinfo .
}

# Without it every test would be skipped, and nothing would have failed.
usable() {
    step usable "$PYTHON" -c '
import anamorph, torch
print(anamorph.info())
assert torch.cuda.is_available(), f"torch {torch.__version__} finds no GPU"
assert anamorph.info()["cuda_usable"], "this anamorph has no CUDA code, or finds no GPU"'
}

tests() {
    step tests "$PYTHON" -m pytest tests -m gpu -ra
}

sanitizers() {
    local tool points="every_kernel or different_sizes or balls_on or greedy or levels or routes or test_cutmix or rsmix or many_points"
    for tool in memcheck racecheck initcheck synccheck; do
        # Torch's cache would hide what is read and written beyond a tensor, and what nobody wrote.
        PYTORCH_NO_CUDA_MEMORY_CACHING=1 step "$tool" compute-sanitizer --tool "$tool" --error-exitcode 1 \
            "$PYTHON" -m pytest tests/images/test_render.py tests/points -m gpu \
            -k "agrees and (chain or mixup or cutmix or resizemix or contrasts) or ragged or $points"
    done
}

bench() {
    local batch
    for batch in 64 256; do
        step "bench-$batch" "$PYTHON" -m anamorph bench --device cuda --batch "$batch" --json "$OUT/bench-$batch.json"
    done
}

rest() {
    step rest "$PYTHON" -m pytest tests -ra
}

# The result, also where somebody's time was up.
finish() {
    [[ -z $running ]] || note "$running" $((SECONDS - began)) 143 "ended before it was done"
    echo "== summary, in $OUT"
    cat "$OUT/summary.txt"
}

for part in "$@"; do
    case $part in
        build | tests | sanitizers | bench | rest) ;;
        -h | --help) usage && exit ;;
        *) echo "gpu.sh: expected parts among: ${PARTS[*]}; given $part" >&2 && exit 2 ;;
    esac
done
if ! found=$(command -v "$PYTHON"); then
    echo "gpu.sh: PYTHON: expected a Python, given $PYTHON, which is not found" >&2
    exit 2
fi
PATH="$(cd "$(dirname "$found")" && pwd):$PATH:${CUDA_HOME:-/usr/local/cuda}/bin"  # nvcc, cmake, ninja; the sanitizers
mkdir -p "$OUT" || exit 2
: > "$OUT/summary.txt"
trap finish EXIT

step gpu nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.max.sm,clocks.max.mem --format=csv
asked=" ${*:-${PARTS[*]}} " checked="" stopped=""
for part in "${PARTS[@]}"; do
    [[ $asked == *" $part "* ]] || continue
    if [[ $part == build ]]; then
        build || stopped="no build"
        continue
    fi
    if [[ -z $checked$stopped ]]; then
        checked=yes
        usable || stopped="no GPU that works"
    fi
    if [[ -n $stopped ]]; then
        note "$part" 0 1 "not run: $stopped"
    else
        "$part"
    fi
done
exit "$worst"
