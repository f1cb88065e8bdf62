#!/usr/bin/env bash
# Everything that a machine with a GPU is asked for, as one command: correctness first, then speed.
#
#   bash benchmarks/gpu.sh [FILE FOR THE RESULT]
#
# Needs torch, numpy and pytest; peers, SimpleITK and nibabel are used where they are installed. By
# default the result goes to benchmarks/results. Stops at the first red test: a fast wrong number is
# none. PYTHON names another interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"

"$python" -c '
import sys, torch
if not torch.cuda.is_available():
    sys.exit("benchmarks/gpu.sh needs a GPU that torch can use, there is none")
print(torch.cuda.get_device_name(0))'
"$python" -m pytest -q -m gpu tests/transforms/test_every.py
"$python" -m benchmarks --device cuda ${1:+--output "$1"}
