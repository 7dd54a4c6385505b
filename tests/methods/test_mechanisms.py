"""After a short training on data that need it, what makes each method that method is alive.

A mechanism can be written right, pass every contract, and do nothing in a trained model: TokenFusion once exchanged all
of its tokens from the fifth layer on. What a layer reads is measured by giving it another clip's in its place: how much
its update changes, as a share of that update.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor

from sparsefuse.config import Config, Data, Train
from sparsefuse.data.known import generate
from sparsefuse.inference.evaluate import open_run
from sparsefuse.layers.exchange import ExchangeCount
from sparsefuse.methods import fusions
from sparsefuse.model import FusionModel
from sparsefuse.tokens import State, Tokens
from sparsefuse.training import multiclip
from sparsefuse.training.train import train

pytestmark = pytest.mark.slow

LENGTHS = {"left": 8, "right": 16}
KEEP = {"left": 4, "right": 8}


class Trained:
    """A trained model with the methods' own depths, its test clips, and their states at every depth."""

    def __init__(self, run: Path):
        opened = open_run(run)
        self.model: FusionModel = opened.predictor.model.eval()
        self.tokens = multiclip.streams(self.model, list(opened.data))
        self.states: list[State] = []
        with torch.no_grad():
            self.logits = self.model(self.tokens, probe=lambda _, state: self.states.append(state)).logits

    @torch.no_grad()
    def read(self, depth: int, source: str, target: str, some: slice = slice(None), seen: slice = slice(None)) -> float:
        """How much of layer `depth`'s update of the tokens `seen` of `target` is due to whose tokens `some` of `source`
        it reads."""
        before, after = self.states[depth].streams[target].x, self.states[depth + 1].streams[target].x
        changed = self.model.layers[depth](_others(self.states[depth], source, some)).streams[target].x
        return float((changed - after)[:, seen].norm() / (after - before)[:, seen].norm())


def _others(state: State, name: str, some: slice) -> State:
    """Tokens `some` of one stream are those of the clip before."""
    x, mask = state.streams[name]
    x = x.clone()
    x[:, some] = x[:, some].roll(1, 0)
    return state._replace(streams={**state.streams, name: Tokens(x, mask)})


def clip_share(x: Tensor) -> float:
    """Which part of the variance of tokens (B, N, D) is the clip's, and not the place's."""
    return float(x.var(0).mean() / x.flatten(0, 1).var(0).mean())


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Trained]:
    """Trains a method, once. Half of the clips show a part of their class in each modality, a quarter all in one."""
    out = tmp_path_factory.mktemp("known")
    data = Data(manifest=str(generate(out, clips=400, parts=2, one=0.25, both=0.5, lengths=LENGTHS)))
    spec = Train(epochs=6, lr=2e-3, mixup_alpha=0.0, device="cpu")

    @cache
    def model(method: str) -> Trained:
        config = Config(method=method, data=data, options={"sft": {"keep": KEEP}}, train=spec)
        return Trained(train(config, out / method, root=Path(), measured=False, shown=False))

    return model


@pytest.mark.parametrize("method", fusions())
def test_every_modality_has_a_say(trained: Callable[[str], Trained], method: str) -> None:
    one = trained(method)
    spread = (one.logits - one.logits.mean(0)).norm()
    for name, tokens in one.tokens.items():
        with torch.no_grad():
            logits = one.model({**one.tokens, name: Tokens(tokens.x.roll(1, 0), tokens.mask)}).logits
        assert (logits - one.logits).norm() > 0.3 * spread, name


@pytest.mark.parametrize("method", fusions())
def test_tokens_tell_clips_apart_at_every_depth(trained: Callable[[str], Trained], method: str) -> None:
    for depth, state in enumerate(trained(method).states):
        for name in state.streams.keys() & {"left", "right", "fused"}:
            assert clip_share(state.streams[name].x[:, 1:]) > 0.1, (depth, name)


@pytest.mark.parametrize(("method", "lengths", "joined"), [("concat", LENGTHS, 1), ("sft", KEEP, 3)])
def test_joined_layers_read_across(
    trained: Callable[[str], Trained], method: str, lengths: dict[str, int], joined: int
) -> None:
    """Behind CLS stand the left tokens, then the right ones. Above the last layer only CLS is read."""
    one, border = trained(method), 1 + lengths["left"]
    left, right = slice(1, border), slice(border, None)
    depths = range(joined, len(one.model.layers) - 1)
    assert max(one.read(depth, "fused", "fused", left, right) for depth in depths) > 0.1
    assert max(one.read(depth, "fused", "fused", right, left) for depth in depths) > 0.1
    assert one.states[joined].streams["fused"].x.shape[1] == border + lengths["right"]


def test_pooled_tokens_differ(trained: Callable[[str], Trained]) -> None:
    """Of what is left when the mean of their place is taken off, a part is the window's own."""
    for name, kept in KEEP.items():
        x = trained("sft").states[2].streams[name].x[:, 1:]
        assert x.shape[1] == kept
        own = x - x.mean(0)
        assert own.var(1).mean() > 0.1 * own.flatten(0, 1).var(0).mean()


def test_heads_of_locomt_read_across(trained: Callable[[str], Trained]) -> None:
    """By default all heads of the upper two fusion layers, and none of the others."""
    one = trained("locomt")
    for source, target in (("left", "right"), ("right", "left")):
        shares = [one.read(depth, source, target) for depth in range(8, 12)]
        assert shares[:2] == [0, 0]
        assert min(shares[2:]) > 0.1, (source, shares)


def test_bottlenecks_of_mbt_carry(trained: Callable[[str], Trained]) -> None:
    """Every layer writes both modalities into them, and from the second on reads them back."""
    one = trained("mbt")
    for name in LENGTHS:
        assert min(one.read(depth, name, "bottleneck") for depth in range(9, 13)) > 0.1, name
        assert max(one.read(depth, "bottleneck", name) for depth in range(10, 13)) > 0.1, name
    assert clip_share(one.states[-1].streams["bottleneck"].x) > 0.1


def test_crossed_attention_of_mult_reads_its_source(trained: Callable[[str], Trained]) -> None:
    one = trained("mult")
    for source, target in (("left", "right"), ("right", "left")):
        assert min(one.read(depth, source, f"{target}<-{source}") for depth in range(1, 6)) > 0.1, source


def test_tokenfusion_exchanges_some_tokens_and_not_most(trained: Callable[[str], Trained]) -> None:
    one = trained("tokenfusion")
    count = ExchangeCount(one.model.layers)
    for depth, state in enumerate(one.states):
        count(depth, state)
    shares = list(count.shares.values())
    assert 0.01 < sum(shares) / len(shares) < 0.6, shares
    assert max(shares) < 0.9, shares
    most = shares.index(max(shares))
    assert max(one.read(most, "left", "right"), one.read(most, "right", "left")) > 0.1
