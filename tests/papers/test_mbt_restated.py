"""MBT against a re-statement in plain torch: same weights, same logits."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import sparsefuse
from sparsefuse.tokens import Tokens

FEATURES = {"sound": 3, "rgb": 5}
LENGTHS = {"sound": 7, "rgb": 4}
NAMES = ("rgb", "sound")
DIM, HEADS, CLASSES = 12, 3, 4


def attend(weights, queries, keys):
    """Multi-head attention as PyTorch has it, of normalised tokens, with our weights."""
    theirs = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
    if hasattr(weights, "qkv"):
        packed = weights.qkv.weight, weights.qkv.bias
    else:
        packed = torch.cat([weights.q.weight, weights.kv.weight]), torch.cat([weights.q.bias, weights.kv.bias])
    theirs.in_proj_weight, theirs.in_proj_bias = (nn.Parameter(part.detach()) for part in packed)
    theirs.out_proj = weights.out
    queries, keys = F.layer_norm(queries, (DIM,)), F.layer_norm(keys, (DIM,))
    return theirs(queries, keys, keys)[0]


def transformed(block, x, keys=None):
    x = x + attend(block.attention, x, x if keys is None else keys)
    norm, one, _, _, two = block.mlp
    return x + two(F.relu(one(norm(x))))


def plain(model, clip, fusion, update):
    """The paper's section 3 for two modalities without padding: one unimodal layer, two of fusion."""
    z = {}
    for m, name in enumerate(NAMES):
        x = model.embed.project[m](clip[name])
        z[name] = torch.cat([model.embed.cls[m].repeat(len(x), 1, 1), x], 1) + model.embed.position[m]
        z[name] = transformed(model.layers[0].blocks[m], z[name])
    layers = model.layers[1:]
    if fusion == "bottleneck":
        fsn = layers[0].tokens.repeat(len(x), 1, 1)
        layers = layers[1:]
    for layer in layers:
        both = torch.cat([z["rgb"], z["sound"]], 1)
        if fusion == "vanilla":
            both = transformed(layer.block, both)
            z = {"rgb": both[:, :5], "sound": both[:, 5:]}
        elif fusion == "cross":
            z = {name: transformed(layer.each.blocks[m], z[name], both) for m, name in enumerate(NAMES)}
        else:
            made = []
            for m, name in enumerate(NAMES):
                x = transformed(layer.each.blocks[m], torch.cat([z[name], fsn], 1))
                z[name] = x[:, :-2]
                made.append(x[:, -2:])
                if update == "sequential":
                    fsn = made[-1]
            if update == "symmetric":
                fsn = (made[0] + made[1]) / 2
    logits = [model.head.classify(model.head.norm(z[name][:, 0])) for name in NAMES]
    return torch.stack(logits, 1)


@pytest.fixture(params=[("bottleneck", "symmetric"), ("bottleneck", "sequential"), ("vanilla", None), ("cross", None)])
def case(request):
    fusion, update = request.param
    torch.manual_seed(0)
    options = {"update": update} if update else {}
    model = sparsefuse.build(
        "mbt", FEATURES, CLASSES, lengths=LENGTHS, dim=DIM, num_heads=HEADS, unimodal_depth=1, fusion_depth=2,
        num_bottlenecks=2, fusion=fusion, loss="each", **options,
    )  # fmt: skip
    clip = {name: torch.randn(3, LENGTHS[name], FEATURES[name]) for name in NAMES}
    return model, clip, plain(model.eval(), clip, fusion, update)


def as_tokens(clip):
    return {name: Tokens(x, torch.ones(x.shape[:2], dtype=torch.bool)) for name, x in clip.items()}


def test_logits_are_the_mean_of_the_modalities_of_the_restatement(case):
    model, clip, expected = case
    torch.testing.assert_close(model(as_tokens(clip)).logits, expected.mean(1), rtol=1e-5, atol=1e-5)


def test_each_modality_learns_the_label_by_itself(case):
    model, clip, expected = case
    outputs, _ = model.training_outputs(as_tokens(clip))
    torch.testing.assert_close(outputs.logits, expected, rtol=1e-5, atol=1e-5)
    assert outputs.weights.tolist() == [[0.5, 0.5]] * 3
    assert outputs.streams == NAMES  # under mixup, each its own modality's label
    lacking = as_tokens(clip)
    lacking["sound"].mask[1] = False
    assert model.training_outputs(lacking)[0].weights.tolist() == [[0.5, 0.5], [1, 0], [0.5, 0.5]]


def test_the_mean_learns_the_label_by_default():
    model = sparsefuse.build("mbt", FEATURES, CLASSES, unimodal_depth=1, fusion_depth=1).eval()
    clip = as_tokens({name: torch.randn(2, LENGTHS[name], FEATURES[name]) for name in NAMES})
    outputs, _ = model.training_outputs(clip)
    torch.testing.assert_close(outputs.logits[:, 0], model(clip).logits)
    assert outputs.weights.tolist() == [[1], [1]]
