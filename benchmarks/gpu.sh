#!/usr/bin/env bash
# Everything that needs a GPU, in one call of under ten minutes, most wanted first: the table and the sweep, a training
# and its use, the kernels' tests, a training that is killed and resumed, loading (1 GB of disk; python
# benchmarks/loading.py alone takes 9.3 GB). Writes results/benchmark/<device>-torch<ver>-<precision>{.csv,.md,
# -length.csv}, <device>-training.csv, <device>-loading.csv and gpu-targets.md.
#
#   bash benchmarks/gpu.sh [arguments of benchmarks/gpu.py]
#
# Run from the repository's root, with the package installed or in src; its tests need pytest and hypothesis (the extra
# `dev`). A part that fails or takes too long is named at the end, and the others are done.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"
failed=()

part() { # name, most seconds, command ...
  local name=$1 most=$2 start=$SECONDS
  shift 2
  timeout --kill-after 5 "$most" "$@" || failed+=("$name (exit status $?)")
  echo "== $name: $((SECONDS - start)) s"
}

many=()
python -c "import xdist" 2>/dev/null && many=(-n 8) # most of the tests' time is compiling
tests=(python -m pytest -q -o addopts= -W default -p no:cacheprovider ${many[@]+"${many[@]}"})
python -m sparsefuse env
part "table and sweep" 330 python benchmarks/gpu.py "$@"
part "training and use" 60 python benchmarks/gpu_training.py --out results/benchmark
part "kernels" 90 "${tests[@]}" -m "not slow" tests/layers/ops/test_triton_*.py tests/layers/ops/test_backends.py
part "training killed and resumed" 60 "${tests[@]}" -m "gpu and not slow" tests/training tests/inference
part "loading" 40 python benchmarks/loading.py --clips 2000 --precision bfloat16 --seconds 4 --out results/benchmark
part "targets" 10 python results/gpu_targets.py
if [ ${#failed[@]} -gt 0 ]; then
  printf 'failed: %s\n' "${failed[@]}" >&2
  exit 1
fi
