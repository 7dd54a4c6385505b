"""The loss on pixels, by hand: of real pixels with a class alone, each prediction as it weighs; and who is judged."""

import math

import pytest
import torch

import tiny_pixels
from sparsefuse.config import Config
from sparsefuse.data.pixels.scenes import SceneBatch
from sparsefuse.methods import pixels
from sparsefuse.tokens import Field, PixelHeadOutputs
from sparsefuse.training.pixels.judge import Judge
from sparsefuse.training.pixels.loss import losses

IGNORE = 255


def batch_of(target, mask):
    return SceneBatch(["a"] * len(target), {}, target, mask)


def test_a_sample_is_the_mean_over_its_own_pixels_that_have_a_class():
    target = torch.tensor([[[0, 1, IGNORE]], [[1, 1, 1]], [[IGNORE] * 3]])  # (3, 1, 3)
    mask = torch.tensor([[[True, True, True]], [[True, False, False]], [[True] * 3]])
    logits = torch.zeros(3, 1, 1, 3, 2)
    logits[1, ..., 1] = math.log(3)  # class 1 has a probability of 3/4
    outputs = PixelHeadOutputs(("ensemble",), logits, torch.ones(3, 1))
    found = losses(outputs, batch_of(target, mask), "segment", IGNORE)
    assert found.tolist() == pytest.approx([math.log(2), math.log(4 / 3), 0.0])


def test_predictions_count_as_they_weigh():
    target, mask = torch.zeros(1, 1, 2, 1), torch.tensor([[[True, False]]])
    made = torch.tensor([1.0, 3.0, 100.0]).view(1, 3, 1, 1, 1).expand(1, 3, 1, 2, 1)
    outputs = PixelHeadOutputs(("a", "b", "ensemble"), made, torch.tensor([[0.5, 0.5, 0.0]]))
    assert losses(outputs, batch_of(target, mask), "translate", IGNORE).tolist() == [2.0]


@pytest.mark.parametrize(("method", "judged"), [("late", ["depth", "rgb"]), ("concat", ["answer"])])
def test_branches_are_judged_where_they_learn_apart_else_the_answer(method: str, judged: list[str]) -> None:
    """And the verdict moves the generator alone, the lesson the judge alone."""
    torch.manual_seed(0)
    size = tiny_pixels.SIZE["translate"]
    model = pixels.build(method, {"rgb": 3, "depth": 2}, 3, task="translate", size=size)
    judge = Judge(model, 3, size, Config(), torch.device("cpu"))
    assert sorted(judge.streams) == judged
    mask = torch.ones(2, 8, 8, dtype=torch.bool)
    fields = {"depth": Field(torch.randn(2, 8, 8, 2), mask), "rgb": Field(torch.randn(2, 8, 8, 3), mask)}
    batch = SceneBatch(["a", "b"], fields, torch.rand(2, 8, 8, 3), mask)
    outputs, _ = model.training_outputs(fields)
    before = [weight.clone() for weight in judge.network.parameters()]
    judge.learn(outputs, batch, 0, 1)
    assert all(weight.grad is None for weight in model.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(before, judge.network.parameters(), strict=True))
    grads = [weight.grad for weight in judge.network.parameters()]
    verdict = judge.verdict(outputs, batch)
    assert verdict.shape == (2,)
    verdict.mean().backward()
    assert any(weight.grad is not None and weight.grad.any() for weight in model.parameters())
    assert all(a is b for a, b in zip(grads, [w.grad for w in judge.network.parameters()], strict=True))
