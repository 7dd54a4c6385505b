"""Where the methods reduce their tokens, and to how many (SFT sections 5.2 and 5.3)."""

import pytest
import torch

import sparsefuse
from sparsefuse.layers.sparsify import Sparsify
from sparsefuse.tokens import Tokens

LENGTHS = {"rgb": 9, "sound": 70}


@pytest.mark.parametrize(
    ("method", "options", "before", "after"),
    [
        ("concat", {}, {"fused": 1 + 79}, {"fused": 1 + 2}),  # 79 tokens in windows of 64
        ("late", {}, {"rgb": 1 + 9, "sound": 1 + 70}, {"rgb": 1 + 1, "sound": 1 + 2}),
        ("unimodal", {"modality": "sound"}, {"sound": 1 + 70}, {"sound": 1 + 2}),
        ("sft", {}, {"rgb": 1 + 9, "sound": 1 + 70}, {"rgb": 1 + 1, "sound": 1 + 2}),
    ],
)
def test_tokens_are_pooled_after_the_first_layer(method, options, before, after):
    model = sparsefuse.build(method, {"rgb": 3, "sound": 4}, 2, stride=64, **options).eval()
    clip = {name: Tokens(torch.randn(1, n, 3 + (n > 9)), torch.ones(1, n).bool()) for name, n in LENGTHS.items()}
    seen = []
    model(clip, probe=lambda _, state: seen.append({name: t.x.shape[1] for name, t in state.streams.items()}))
    place = seen.index(after)
    assert seen[place - 2 : place] == [before, before]  # before the first block, and after it
    assert seen.count(before) == 2
    last = {"fused": 1 + 1 + 2} if method == "sft" else after
    assert seen[-1] == last


def test_pooling_alone_leaves_cls_and_takes_the_largest():
    x = torch.tensor([[[9.0], [1.0], [3.0], [2.0], [5.0], [7.0]]])
    mask = torch.tensor([[True, True, True, True, True, False]])
    found = Sparsify(pool="max", stride=3)(Tokens(x, mask))
    assert found.x.flatten().tolist() == [9, 3, 5]
    assert found.mask.tolist() == [[True, True, True]]
