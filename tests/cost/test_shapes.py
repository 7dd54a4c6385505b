"""Operations on the meta device give what PyTorch gives, also when they are not run again."""

from unittest.mock import Mock

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from sparsefuse.cost import shapes
from sparsefuse.cost.count import random_clips
from sparsefuse.methods import build, find, methods

ADD = torch.ops.aten.add.Tensor
LENGTHS = {"rgb": 9, "sound": 40}


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shapes, "_OUTPUTS", {})


def seen(value: object) -> object:
    """All that can be told of what an operation gives on the meta device."""
    if isinstance(value, Tensor):
        return value.shape, value.stride(), value.dtype, value.device.type
    return [type(value), *map(seen, value)] if isinstance(value, list | tuple) else value


class Compared(TorchDispatchMode):
    """Holds every operation against PyTorch's own."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = shapes.run(func, args, kwargs or {})
        if not func._schema.is_mutable:
            assert seen(out) == seen(func(*args, **kwargs or {})), func
        return out


@pytest.mark.parametrize("name", methods())
def test_every_operation_of_a_model_gives_the_shapes_that_pytorch_gives(name: str) -> None:
    model = build(name, {"rgb": 6, "sound": 4}, 3, lengths=LENGTHS, **find(name).TEST).to("meta").eval()
    with torch.no_grad(), Compared():
        for _ in range(2):
            model(random_clips(model, LENGTHS, 1, torch.device("meta")))
    assert len(shapes._OUTPUTS) > 5


def test_what_was_run_before_is_not_run_again(monkeypatch: pytest.MonkeyPatch) -> None:
    func = Mock(wraps=ADD, _schema=ADD._schema)
    x = torch.ones(2, 3, device="meta")
    for other in (x, torch.ones(2, 3, device="meta")):
        assert shapes.run(func, (x, other), {}).shape == (2, 3)
    assert func.call_count == 1
    shapes.run(func, (x, x), {"alpha": 2})
    shapes.run(func, (x, x.t().contiguous().t()), {})
    shapes.run(func, (x, x.double()), {})
    assert func.call_count == 4
    monkeypatch.setattr(shapes, "_MOST", 0)
    for _ in range(2):
        assert shapes.run(func, (x, x[:1]), {}).shape == (2, 3)
    assert func.call_count == 6


def test_numbers_of_other_types_are_others() -> None:
    x = torch.ones(2, dtype=torch.int64, device="meta")
    assert [shapes.run(ADD, (x, one), {}).dtype for one in (1, 1.0, True)] == [x.dtype, torch.float32, x.dtype]


def test_what_has_values_is_computed() -> None:
    for one in (torch.ones(2), torch.full((2,), 3.0)):
        assert shapes.run(ADD, (one, one), {}).tolist() == [2 * one[0]] * 2
    assert not shapes._OUTPUTS


def test_what_writes_gives_its_argument_and_a_view_shares_it() -> None:
    x = torch.ones(2, 3, device="meta")
    for _ in range(2):
        assert shapes.run(torch.ops.aten.add_.Tensor, (x, 1), {}) is x
        assert shapes.run(torch.ops.aten.t.default, (x,), {})._base is x
    assert not shapes._OUTPUTS


def test_what_a_call_depends_on_beside_its_arguments_tells_it_from_others() -> None:
    """PyTorch's default dtype, and what tensors off the meta device hold."""
    whole = torch.ones(2, dtype=torch.int64, device="meta")
    assert shapes.run(torch.ops.aten.div.Tensor, (whole, whole), {}).dtype == torch.float32
    torch.set_default_dtype(torch.float64)
    try:
        assert shapes.run(torch.ops.aten.div.Tensor, (whole, whole), {}).dtype == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    for dtype in (torch.int64, torch.float64):
        given = torch.ones((), dtype=dtype)
        assert seen(shapes.run(ADD, (whole, given), {})) == seen(ADD(whole, given))


def test_what_writes_beside_what_it_gives_is_called_again() -> None:
    """Running means, in batch norm."""
    x, running = torch.ones(2, 3, device="meta"), torch.ones(3, device="meta")
    shapes.run(torch.ops.aten._native_batch_norm_legit.default, (x, None, None, running, running, True, 0.1, 1e-5), {})
    assert not shapes._OUTPUTS
