"""What a GPU would launch of a step: of no method does it wait for the device, so that it can be a CUDA graph."""

import sys
from pathlib import Path

import pytest
import torch

import tiny
from sparsefuse.layers.ops import triton
from sparsefuse.methods import BASELINE, build, methods
from sparsefuse.tokens import State

pytestmark = pytest.mark.skipif(bool(triton.unavailable()), reason=triton.unavailable())
sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))
LENGTHS = {"rgb": 4, "sound": 6}


@pytest.mark.parametrize("mode", [pytest.param("eval", marks=pytest.mark.slow), "train"])
@pytest.mark.parametrize(
    "method",
    [name if name == "sft" else pytest.param(name, marks=pytest.mark.slow) for name in methods() if name != BASELINE],
)
def test_no_step_waits_for_the_device(method: str, mode: str) -> None:
    from launches import counted_of

    options = {"dim": 10, "num_heads": 2, **tiny.OPTIONS.get(method, {})}
    model = build(method, tiny.FEATURES, 3, lengths=LENGTHS, **options)
    operations, launches = counted_of(model, LENGTHS, mode, 2)
    assert operations
    assert launches


def test_a_step_that_waits_is_found() -> None:
    from launches import counted_of

    model = build("sft", tiny.FEATURES, 3, lengths=LENGTHS, keep=2, dim=10, num_heads=2)
    head = model.head.forward

    def waiting(state: State) -> torch.Tensor:
        logits = head(state)
        return logits if logits.sum() > 0 else -logits

    model.head.forward = waiting
    with pytest.raises(Exception, match=r"waits for the device|data.dependent"):
        counted_of(model, LENGTHS, "eval", 2)
