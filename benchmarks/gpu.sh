#!/usr/bin/env bash
# Measure this library on a machine with a GPU: correctness first, then speed, then the reasons.
#
#   OUT=folder bash benchmarks/gpu.sh              the first call, at most 8 minutes
#   OUT=folder bash benchmarks/gpu.sh --long       growth, training, and the ratios of bench-check
#   OUT=folder bash benchmarks/gpu.sh --rehearse   the same steps on a few voxels, without a GPU
#   OUT=folder bash benchmarks/gpu.sh --collect    keep the results, in benchmarks/results
#
# Every step writes its result to $OUT as soon as it is known, and no step stops another: steps.tsv
# has the exit status and the seconds of each. Numbers are marked as long as a test is red.
# `python -m benchmarks.report` shows results that are kept.
#
# Needs torch, triton, numpy, pytest and pytest-xdist, and nothing installed of this repository.
# Peers are measured where they are there: wheels in .peers/*.whl, and sources in .peers/NAME/, are
# installed beside the machine's packages. PYTHON names another interpreter; SECONDS_IN_ALL, 470 by
# default, is when the last step must have ended.
set -uo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
out="$(mkdir -p "${OUT:-gpu-results}" && cd "${OUT:-gpu-results}" && pwd)"
last="${SECONDS_IN_ALL:-470}"
what="${1:-first}"
export PYTHONPATH=".:kernels${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
# cuBLAS is deterministic with this alone, and torch refuses it otherwise where it is asked to be
export CUBLAS_WORKSPACE_CONFIG=:4096:8
if [ "$what" = --collect ]; then
    exec "$python" -c 'import pathlib, sys; from benchmarks.gpu import collect
print(*collect(*map(pathlib.Path, sys.argv[1:])))' "$out" "${@:2}"
fi
SECONDS=0
failed=""
[ "$what" = --long ] || rm -f "$out/steps.tsv"

# step NAME LIMIT COMMAND...: run it for LIMIT seconds at most, or what is left of the time
step() {
    local name="$1" limit="$2" begun="$SECONDS" left=$((last - SECONDS)) status
    shift 2
    if ((left < 5)); then
        status="left out"
    elif ! command -v "$1" > /dev/null; then
        echo "$1 is not installed"
        status="absent"
    else
        timeout --kill-after=5 "$((limit < left ? limit : left))" "$@" > "$out/$name.log" 2>&1
        status=$?
        tail -n 40 "$out/$name.log"
    fi
    [[ "$status" =~ ^(0|absent)$ ]] || failed="$failed $name"
    printf '%s\t%s\t%s\n' "$name" "$status" "$((SECONDS - begun))" >> "$out/steps.tsv"
    echo "== $name: $status, $((SECONDS - begun)) s"
}

budgets() { # budgets LIMIT WORKLOAD
    step "budgets-$2" "$1" "$python" -m benchmarks.gpu --device "$device" $tiny \
        --workload "$2" --output "$out/budgets-$2.json"
}

pytest=("$python" -m pytest -q -p benchmarks.bare -p no:cacheprovider)
# whole volumes, and the intrinsics of the kernels
smoke=(-n 0 tests/kernels/test_volumes.py tests/kernels/test_intrinsics.py)

tests() { # tests LIMIT OPTION...
    local limit="$1"
    shift
    step tests "$limit" "${pytest[@]}" "$@"
}

peers() { # peers LIMIT OPTION...
    local limit="$1" given each site
    shift
    site="$(mktemp -d)"
    for given in .peers/*.whl .peers/*/pyproject.toml .peers/*/setup.py; do
        [ -e "$given" ] || continue
        each="$given"
        [ -d "$(dirname "$given")" ] && [[ "$given" != *.whl ]] && each="$(dirname "$given")"
        step "install-$(basename "$each" | cut -d- -f1)" 60 "$python" -m pip install -q --no-deps \
            --no-index --no-build-isolation --no-compile --target "$site" "$each"
    done
    export PYTHONPATH="$PYTHONPATH:$site"
    step peers "$limit" "$python" -m benchmarks --device "$device" --output "$out/peers.json" "$@"
}

counters() { # counters LIMIT: of the hardware
    local metrics=gpu__time_duration.sum,dram__bytes.sum,smsp__inst_executed.sum
    metrics+=,smsp__issue_active.avg.pct_of_peak_sustained_active
    metrics+=,dram__throughput.avg.pct_of_peak_sustained_elapsed
    metrics+=,l1tex__throughput.avg.pct_of_peak_sustained_active
    metrics+=,sm__warps_active.avg.pct_of_peak_sustained_active,launch__registers_per_thread
    step counters "$1" ncu --csv --log-file "$out/counters.csv" --clock-control none \
        --profile-from-start off --launch-count 12 --metrics "$metrics" "$python" -c \
        'import torch; from benchmarks.gpu import SHAPES, profile
profile(torch.rand(SHAPES["W1"], device="cuda"))'
}

case "$what" in
first | --long)
    device=cuda tiny=""
    unset TRITON_INTERPRET
    "$python" -c 'import sys, torch; torch.cuda.is_available() or sys.exit(1)' || {
        echo "benchmarks/gpu.sh needs a GPU that torch can use, there is none" >&2
        exit 1
    }
    ;;
--rehearse)
    device=cpu tiny=--tiny
    export TRITON_INTERPRET=1 OMP_NUM_THREADS=1
    ;;
*)
    echo "benchmarks/gpu.sh takes --rehearse, --long or --collect, got $what" >&2
    exit 2
    ;;
esac

case "$what" in
first)
    step machine 20 nvidia-smi
    step smoke 60 "${pytest[@]}" "${smoke[@]}" -m gpu
    tests 170 -n 12 -m gpu tests
    for workload in 1GB W1 W2 W3 W0 P; do budgets 45 "$workload"; done
    counters 60
    peers 75 --workload W1 --contenders monai batchaug kornia torchio_gpu_whole \
        --ops pipe6 affine elastic noise bias_field gamma blur motion
    step sanitizer 60 compute-sanitizer --error-exitcode 9 "${pytest[@]}" "${smoke[@]}" -m gpu
    ;;
--long)
    step scaling 200 "$python" -m benchmarks.scaling --device cuda --output "$out/scaling.json"
    step training 200 "$python" -m benchmarks.training --device cuda --output "$out/training.json"
    step ratios 200 "$python" -m benchmarks.check --device cuda --store --against "$out/ratios.json"
    ;;
--rehearse)
    step machine 20 nvidia-smi
    step smoke 100 "${pytest[@]}" "${smoke[@]}" -k "bias or sqrt"
    tests 100 -n 1 tests/kernels/test_pair.py -k "cpu-dtype3 or cuda"
    for workload in W1 W0 P; do budgets 100 "$workload"; done
    peers 100 --workload W0 --contenders monai batchaug --ops affine --repeats 1 --threads 1
    ;;
esac
echo "$SECONDS s in all; results are in $out"
if [ -n "$failed" ]; then
    echo "steps that failed:$failed"
    exit 1
fi
