#!/usr/bin/env bash
# Everything that a machine with a GPU is asked for, as one command: correctness first, then speed.
#
#   bash benchmarks/gpu.sh [OPTION ...]
#
# Options are those of `python -m benchmarks`: --output FILE, --workload W1, --no-peers, ... By
# default the result goes to benchmarks/results, and so do those of the suites after it: growth with
# the work, training from end to end, and what `make bench-check` compares with. Needs torch,
# triton, numpy, pytest and pytest-benchmark, and nothing installed of this repository; tests and
# peers that need more are left out, and said so. Stops at the first red test: a fast wrong number
# is none. PYTHON names another interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
export PYTHONPATH=".:kernels${PYTHONPATH:+:$PYTHONPATH}"
unset TRITON_INTERPRET

"$python" -c '
import sys, torch, triton
if not torch.cuda.is_available():
    sys.exit("benchmarks/gpu.sh needs a GPU that torch can use, there is none")
print(torch.cuda.get_device_name(0), "torch", torch.__version__, "triton", triton.__version__)'
"$python" -m pytest -q -p benchmarks.bare -p no:cacheprovider -m gpu tests
"$python" -m benchmarks.gpu --device cuda "$@"
"$python" -m benchmarks.scaling --device cuda
"$python" -m benchmarks.training --device cuda
"$python" -m benchmarks.check --device cuda --store
