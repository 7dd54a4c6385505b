"""What a step changes beside the weights."""

from pathlib import Path

import pytest
import torch
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

import tiny
from sparsefuse.methods import build
from sparsefuse.training.position import update_mean
from sparsefuse.training.train import _Run, train


def test_the_running_mean_is_pytorchs() -> None:
    """Bit for bit, buffers too, and in the same checkpoint."""
    torch.manual_seed(0)
    model = build("sft", tiny.FEATURES, 3, keep=2, dim=10, num_heads=2)
    model.register_buffer("steps", torch.zeros(()))
    ours, theirs = AveragedModel(model), AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(0.7))
    for _ in range(4):
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
            model.steps += 1
        update_mean(ours, model, 0.7)
        theirs.update_parameters(model)
    expected = theirs.state_dict()
    assert expected.keys() == ours.state_dict().keys()
    assert all(x.equal(expected[name]) for name, x in ours.state_dict().items())


@pytest.mark.gpu
@pytest.mark.parametrize("graphs", ["never", "always"])
def test_no_step_waits_for_the_gpu(graphs: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With mixup, clipping, a running mean and the features there; PyTorch raises at any wait within."""
    step, steps = _Run._step, []

    def watched(self: _Run, *args, **options) -> torch.Tensor:
        steps.append(1)
        torch.cuda.set_sync_debug_mode("error" if len(steps) > 2 else "default")  # the first ones compile
        try:
            return step(self, *args, **options)
        finally:
            torch.cuda.set_sync_debug_mode("default")

    monkeypatch.setattr(_Run, "_step", watched)
    data = tiny.write_set(tmp_path / "data")
    config = tiny.config(
        data, mixup_alpha=0.3, mixup_warmup=0, ema=0.9, device="cuda", cache="gpu", batch_size=2, cuda_graphs=graphs,
        epochs=8,
    )  # fmt: skip
    train(config, tmp_path / "run", root=Path(), measured=False)
    assert len(steps) == 40
