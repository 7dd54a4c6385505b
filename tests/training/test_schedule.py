"""Rates by hand."""

import pytest
import torch

from sparsefuse.config import Train
from sparsefuse.training.schedule import Schedule, new_optimizer, share


def shares(steps, **spec):
    spec = Train(**spec)
    return [share(step, steps=steps, spec=spec) for step in range(spec.epochs * steps)]


def test_warm_up_rises_by_equal_steps_and_the_plateau_rule_leaves_the_rest():
    assert shares(4, epochs=2, warmup_epochs=0.5) == [0.5, 1, 1, 1, 1, 1, 1, 1]
    assert shares(4, epochs=1, warmup_epochs=1.0) == [0.25, 0.5, 0.75, 1]
    assert shares(2, epochs=2) == [1, 1, 1, 1]


def test_warm_up_need_not_be_a_whole_number_of_steps():
    assert shares(3, epochs=1, warmup_epochs=0.5) == [1 / 1.5, 1, 1]


def test_the_cosine_begins_after_warm_up_and_ends_at_zero():
    found = shares(2, epochs=4, schedule="cosine", warmup_epochs=1.0)
    # half of 1 + cos(0), cos(30), cos(60) ... cos(150) degrees
    assert found == pytest.approx([0.5, 1, 1, 0.9330127, 0.75, 0.5, 0.25, 0.0669873])


def test_a_longer_warm_up_than_training_is_cut_off():
    assert shares(2, epochs=1, schedule="cosine", warmup_epochs=4.0) == [1 / 8, 2 / 8]


def test_warm_up_and_plateau_multiply():
    parameter = torch.nn.Parameter(torch.zeros(1))
    spec = Train(lr=0.8, epochs=3, warmup_epochs=2.0, patience=1, decay=0.5)
    schedule = Schedule(new_optimizer([parameter], spec), spec)
    seen = []
    for epoch, loss in enumerate([1.0, 2.0, 3.0]):  # no longer lower after the first
        for batch in range(2):
            schedule.before_step(epoch * 2 + batch, 2)
            seen.append(schedule.now)
        schedule.after_epoch(loss)
    assert seen == pytest.approx([0.2, 0.4, 0.6, 0.8, 0.4, 0.4])
    assert schedule.rate == pytest.approx(0.2)


def test_sgd_moves_by_its_momentum():
    """Nesterov off: v = 0.5 v + g, w = w - 0.1 v with g = 1."""
    parameter = torch.nn.Parameter(torch.zeros(()))
    optimizer = new_optimizer([parameter], Train(optimizer="sgd", momentum=0.5, lr=0.1))
    seen = []
    for _ in range(3):
        parameter.grad = torch.ones(())
        optimizer.step()
        seen.append(float(parameter.detach()))
    assert seen == pytest.approx([-0.1, -0.25, -0.425])
