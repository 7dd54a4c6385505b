"""Memory that is freed and taken again must not come from the system anew: page faults, counted in new processes."""

import subprocess
import sys

import pytest

NOT_GLIBC = 10**9
COUNT = f"""
import resource, sys
from sparsefuse.parallel.memory import keep_memory
if sys.argv[1] == "keep" and not keep_memory():
    print({NOT_GLIBC})
    sys.exit()
faults = []
for _ in range(4):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    blocks = [bytearray(16 * 2**20) for _ in range(4)]
    for block in blocks:
        block[::4096] = b"x" * (16 * 2**20 // 4096)
    del blocks, block
    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
print(faults[-1])
"""


def faults(how):
    done = subprocess.run([sys.executable, "-c", COUNT, how], capture_output=True, text=True, check=True)
    return int(done.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="malloc is set on Linux only")
def test_blocks_taken_again_are_not_cleared_again():
    left, kept = faults("leave"), faults("keep")
    if left < 1000 or kept == NOT_GLIBC:
        pytest.skip("the system clears memory in huge pages, or the C library is not glibc")
    assert kept < left / 10
