"""SFT and its baselines against the released code: parameter counts, and a re-statement of the model in plain torch."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sparsefuse
from sparsefuse.layers.pool import without_tail
from sparsefuse.tokens import Tokens

VGG = {"features": {"rgb": 1024, "flow": 1024, "spectrogram": 128},
       "lengths": {"rgb": 38, "flow": 38, "spectrogram": 1200}, "num_classes": 10}  # fmt: skip
MOSEI = {"features": {"vision": 35, "audio": 74, "text": 300},
         "lengths": {"vision": 500, "audio": 500, "text": 50}, "num_classes": 7}  # fmt: skip


def count(module):
    return sum(parameter.numel() for parameter in module.parameters())


@pytest.mark.parametrize(
    ("method", "vgg", "mosei"), [("sft", 297_490, 217_647), ("late", 496_050, 416_207), ("concat", 257_970, 178_127)]
)
def test_parameters_are_as_many_as_released(method, vgg, mosei):
    options = {"sparse": "dense", "keep": 12} if method == "sft" else {}
    assert count(sparsefuse.build(method, **VGG, **options)) == vgg
    assert count(sparsefuse.build(method, **MOSEI, **options)) == mosei


@pytest.mark.parametrize("sparse", ["dense", "strided", "fixed"])
def test_a_block_and_a_sparse_layer_have_as_many_parameters_as_released(sparse):
    model = sparsefuse.build("sft", **VGG, sparse=sparse)
    unimodal, sparsify, join, *fused = model.layers
    assert [count(block) for block in unimodal.blocks] == [9_920] * 3
    assert [count(layer) for layer in sparsify.blocks] == [6_560] * 3
    assert count(join) == 0
    assert [count(layer) for layer in fused] == [9_920] * 11
    assert count(model.embed) == 138_440


class Block(nn.Module):
    """The released block: norm without parameters before attention, MLP of ratio 1."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(40, 5, batch_first=True)
        self.norm, self.one, self.two = nn.LayerNorm(40), nn.Linear(40, 40), nn.Linear(40, 40)

    def forward(self, z):
        z = z + attend(self.attention, z)
        return z + self.two(F.relu(self.one(self.norm(z))))


def attend(attention, z):
    z = F.layer_norm(z, (40,))
    return attention(z, z, z)[0]


class Plain(nn.Module):
    """SFT as the facts state it; all clips of one length, windows of equal length."""

    def __init__(self, features, lengths, num_classes, strides, how, unimodal_depth, fusion_depth):
        super().__init__()
        self.names, self.strides, self.how = sorted(features), strides, how
        self.token = nn.ModuleList(nn.Linear(features[n], 40) for n in self.names)
        self.cls = nn.ParameterList(torch.randn(1, 1, 40) for _ in self.names)
        self.position = nn.ParameterList(torch.randn(lengths[n] + 1, 40) for n in self.names)
        self.unimodal = nn.ModuleList(nn.ModuleList(Block() for _ in self.names) for _ in range(unimodal_depth))
        self.sparse = nn.ModuleList(nn.MultiheadAttention(40, 5, batch_first=True) for _ in self.names)
        self.fused = nn.ModuleList(Block() for _ in range(fusion_depth))
        self.norm, self.classify = nn.LayerNorm(40), nn.Linear(40, num_classes)

    def forward(self, clip):
        cls, kept = 0, []
        for m, name in enumerate(self.names):
            z = self.token[m](clip[name])
            z = torch.cat([self.cls[m].repeat(len(z), 1, 1), z], 1) + self.position[m]
            for layer in self.unimodal:
                z = layer[m](z)
            z = z + attend(self.sparse[m], z)
            cls = cls + z[:, :1]
            pooled = F.avg_pool1d if self.how == "avg" else F.max_pool1d
            kept.append(pooled(z[:, 1:].transpose(1, 2), self.strides[name]).transpose(1, 2))
        z = torch.cat([cls, *kept], 1)
        for block in self.fused:
            z = block(z)
        return self.classify(self.norm(z[:, 0]))


def attention_from(theirs, ours):
    theirs.in_proj_weight, theirs.in_proj_bias, theirs.out_proj = ours.qkv.weight, ours.qkv.bias, ours.out


def block_from(theirs, ours):
    attention_from(theirs.attention, ours.attention)
    theirs.norm, theirs.one, _, _, theirs.two = ours.mlp


def plain_from(model, **kwargs):
    """The plain model with the weights of ours."""
    plain = Plain(**kwargs)
    depth = kwargs["unimodal_depth"]
    for theirs, ours in [(plain.token, model.embed.project), (plain.cls, model.embed.cls),
                         (plain.position, model.embed.position)]:  # fmt: skip
        for m in range(len(plain.names)):
            theirs[m] = ours[m]
    for theirs, layer in zip(plain.unimodal, model.layers[:depth], strict=True):
        for m, block in enumerate(layer.blocks):
            block_from(theirs[m], block)
    for m, layer in enumerate(model.layers[depth].blocks):
        attention_from(plain.sparse[m], layer.attention)
    for theirs, layer in zip(plain.fused, model.layers[depth + 2 :], strict=True):
        block_from(theirs, layer.blocks[0])
    plain.norm, plain.classify = model.head.norm, model.head.classify
    return plain


@pytest.mark.parametrize("how", ["avg", "max"])
@pytest.mark.parametrize("by", ["stride", "keep"])
def test_logits_are_those_of_the_plain_model(how, by):
    torch.manual_seed(0)
    features, lengths = {"rgb": 7, "sound": 5, "flow": 6}, {"rgb": 12, "sound": 60, "flow": 4}
    strides = {"rgb": 3, "sound": 15, "flow": 2}  # equal windows, none short
    keep = {name: lengths[name] // strides[name] for name in features}
    depths = {"unimodal_depth": 2, "fusion_depth": 3}
    windows = {"stride": strides} if by == "stride" else {"keep": keep}
    model = sparsefuse.build("sft", features, 10, lengths=lengths, sparse="dense", pool=how, **depths, **windows).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # biases are zero and norms one at first: hide nothing
    plain = plain_from(model, features=features, lengths=lengths, num_classes=10, strides=strides, how=how, **depths)
    clip = {name: torch.randn(4, lengths[name], features[name]) for name in features}
    tokens = {name: Tokens(x, torch.ones(x.shape[:2], dtype=torch.bool)) for name, x in clip.items()}
    torch.testing.assert_close(model(tokens).logits, plain(clip), rtol=1e-5, atol=1e-5)
    assert sum(p.numel() for p in plain.parameters()) == count(model)


@pytest.mark.parametrize("how", ["avg", "max"])
def test_without_the_tail_logits_are_those_of_the_released_pooling(how):
    """VGGS' own lengths: of 38 tokens in threes two are left over, and the released pooling drops them."""
    torch.manual_seed(0)
    features, lengths = {"rgb": 7, "sound": 5}, {"rgb": 38, "sound": 130}
    strides, depths = {"rgb": 3, "sound": 60}, {"unimodal_depth": 1, "fusion_depth": 2}
    options = {"lengths": lengths, "sparse": "dense", "pool": how, "stride": strides, **depths}
    dropped, kept = (sparsefuse.build("sft", features, 10, tail=tail, **options).eval() for tail in ("drop", "keep"))
    kept.load_state_dict(dropped.state_dict())
    plain = plain_from(dropped, features=features, lengths=lengths, num_classes=10, strides=strides, how=how, **depths)
    clip = {name: torch.randn(4, lengths[name], features[name]) for name in features}
    tokens = {name: Tokens(x, torch.ones(x.shape[:2], dtype=torch.bool)) for name, x in clip.items()}
    torch.testing.assert_close(dropped(tokens).logits, plain(clip), rtol=1e-6, atol=1e-6)
    assert (kept(tokens).logits - plain(clip)).abs().max() > 1e-3


def test_a_dropped_tail_is_that_of_each_clip_and_needs_a_stride():
    mask = torch.tensor([[True] * 7, [True] * 4 + [False] * 3, [True] + [False] * 6])
    assert without_tail(mask, 3).sum(1).tolist() == [6, 3, 0]
    assert without_tail(mask * 0.5, 3).sum(1).tolist() == [3.0, 1.5, 0]
    with pytest.raises(ValueError, match="tail='drop' needs stride"):
        sparsefuse.build("sft", {"rgb": 3}, 2, tail="drop")
    with pytest.raises(ValueError, match="tail"):
        sparsefuse.build("sft", {"rgb": 3}, 2, stride=3, tail="cut")
