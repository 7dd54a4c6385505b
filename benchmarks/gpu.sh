#!/usr/bin/env bash
# Everything that needs a GPU, in one call of under ten minutes: the kernels' tests, a training that is killed and
# resumed, loading (1 GB of disk; python benchmarks/loading.py alone takes 9.3 GB), the table and the sweep. Writes
# results/benchmark/<device>-torch<ver>-<precision>.{csv,md} and <device>-loading.csv.
#
#   bash benchmarks/gpu.sh [arguments of benchmarks/gpu.py]
#
# Run from the repository's root, with the package installed or in src.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD/src${PYTHONPATH:+:$PYTHONPATH}"
python -m sparsefuse env
python -m pytest -n 0 -p no:cacheprovider tests/layers/ops/test_triton_*.py tests/layers/ops/test_backends.py
python -m pytest -n 0 -p no:cacheprovider -m "gpu and not slow" tests
python -m pytest -n 0 -p no:cacheprovider -m slow -k triton tests/contract/test_contract_backends.py
python benchmarks/loading.py --clips 2000 --precision bfloat16 --out results/benchmark
python benchmarks/loading.py --clips 2000 --precision bfloat16 --cache cpu
python benchmarks/gpu.py "$@"
