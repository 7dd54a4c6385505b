"""Every kernel compiles for GPUs, whose compiler refuses what the interpreter forgives, and fits into them."""

import os
import subprocess
import sys

import pytest

from sparsefuse.layers.ops import triton

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(triton.unavailable()), reason=triton.unavailable())]
COMPILE = """
import importlib, sys
import triton, triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

def module(name):
    return importlib.import_module(f"sparsefuse.layers.ops.triton.{name}")

def check(kernel, constants, *, warps=4, stages=3, **kinds):
    signature = {}
    for name in kernel.arg_names:
        kind = "fp32" if name in ("eps", "scale") else "i32"
        if name.endswith("_ptr"):
            kind = "*" + kinds.get(name[:-4], "fp32")
        signature[name] = "constexpr" if name in constants else kind
    own = {(kernel.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=kernel, signature=signature, constexprs=own)
    options = {"num_warps": warps, "num_stages": stages}
    shared = triton.compile(source, target=GPUTarget("cuda", int(sys.argv[1]), 32), options=options).metadata.shared
    assert shared <= 99 * 1024, (kernel, constants, shared)

dot = {"DOT": tl.bfloat16, "PRECISION": "tf32"}
block = {"D": 40, "TD": 64, **dot}
patterns, stack, rows = module("pattern_kernels"), module("stack_kernels"), module("row_kernels")
sizes = {"H": 5, "C": 8, "TC": 16, "BM": 64, "BN": 64, **dot}
half = dict.fromkeys(("q", "k", "v", "far_k", "far_v", "out", "grad", "dq", "dk", "dv"), "bf16") | {"mask": "u8"}
for pattern in range(7):
    for gradient in (False, True) if pattern < 6 else ():
        check(patterns.per_query, {"PATTERN": pattern, "GRADIENT": gradient, "BF": 16, **sizes}, **half)
    check(patterns.per_key, {"PATTERN": pattern, **sizes}, **half)
one = {"warps": 8, "stages": 1}
tokens = {"E": 40, "TE": 64, "H": 5, "TN": 64, "TC": 16, **block}
check(stack.stack_forward, {"SAVING": True, **tokens}, mask="u8", **one)
check(stack.stack_backward, tokens, mask="u8", **one)
own = dict.fromkeys(("qkv", "dqkv", "out", "dout"), "bf16")
for name in ("project", "project_backward"):
    check(getattr(rows, name), {"BM": 32, **block}, **own, **one)
for name in ("conclude", "conclude_backward"):
    check(getattr(rows, name), {"BM": 32, "E": 40, "TE": 64, **block}, **own, **one)
check(module("embed").embed, {"BM": 64, "BF": 64, **block})
check(module("windows").window_of, {"TOKENS": 1024}, mask="u8", index="i64")
check(module("windows").far_shares, {"MEANS": 15, "TOKENS": 1024}, mask="u8", share="bf16")
check(module("pool").means, {"TD": 64, "TOKENS": 32}, ends="i64", total="fp32")
print("compiled")
"""


@pytest.mark.parametrize("capability", [80, 90])
def test_kernels_compile(capability, tmp_path):
    env = {**os.environ, "TRITON_INTERPRET": "0", "TRITON_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-W", "ignore", "-c", COMPILE, str(capability)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=900)
    assert done.stdout == "compiled\n", done.stderr[-3000:]
