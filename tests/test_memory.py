"""Memory that is freed and taken again must not come from the system anew: page faults, counted in new processes."""

import subprocess
import sys

import pytest

from sparsefuse.memory import keep_memory

COUNT = """
import resource, sys
from sparsefuse.memory import keep_memory
if sys.argv[1] == "keep":
    keep_memory()
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
    if not keep_memory():
        pytest.skip("the C library is not glibc")
    assert faults("keep") < 100 < faults("leave")
