"""`unimodal` on pixels is SegFormer, restated from the paper (Xie et al. 2021, section 3) in functions of PyTorch."""

import torch
import torch.nn.functional as F
from pixel_cases import rough

from sparsefuse.layers.pixels.sizes import Size
from sparsefuse.methods.pixels import build

SIZE = Size((8, 12, 16), (2, 1, 1), (2, 3, 4), (4, 2, 1), ((7, 4), (3, 2), (3, 2)), head_dim=8)


def segformer(w, x):
    """Weights by name, a picture (B, 3, H, W) whose sides are multiples of 32 -> logits (B, C, H, W)."""
    pyramid, layer = [], 0
    for dim, depth, num_heads, r, (kernel, stride) in zip(*SIZE[:5], strict=True):
        x = F.conv2d(x, *of(w, f"layers.{layer}.patches.0.conv"), stride=stride, padding=kernel // 2)
        rows, columns = x.shape[2:]
        x = norm(w, f"layers.{layer}.norms.0", x.flatten(2).transpose(1, 2))  # overlapped patch merging
        for i in range(layer + 1, layer + 1 + depth):
            block, own = f"layers.{i}.blocks.0", f"layers.{i}.norms.0"
            y = norm(w, f"{own}.attention", x)
            keys = y
            if r > 1:  # eq. 2
                grid = y.transpose(1, 2).reshape(-1, dim, rows, columns)
                keys = F.conv2d(grid, *of(w, f"{block}.attention.reduce"), stride=r).flatten(2).transpose(1, 2)
                keys = norm(w, f"{own}.keys", keys)
            q = F.linear(y, *of(w, f"{block}.attention.q"))
            k, v = F.linear(keys, *of(w, f"{block}.attention.kv")).chunk(2, -1)
            split = [part.unflatten(2, (num_heads, -1)).transpose(1, 2) for part in (q, k, v)]
            weights = (split[0] @ split[1].transpose(2, 3) / (dim // num_heads) ** 0.5).softmax(-1)  # eq. 1
            x = x + F.linear((weights @ split[2]).transpose(1, 2).flatten(2), *of(w, f"{block}.attention.out"))
            y = F.linear(norm(w, f"{own}.mlp", x), *of(w, f"{block}.mlp.first"))
            y = y.transpose(1, 2).reshape(-1, 4 * dim, rows, columns)
            y = F.conv2d(y, *of(w, f"{block}.mlp.depthwise"), padding=1, groups=4 * dim).flatten(2).transpose(1, 2)
            x = x + F.linear(F.gelu(y), *of(w, f"{block}.mlp.last"))  # eq. 3
        layer += depth + 2
        x = norm(w, f"layers.{layer - 1}.norms.0", x).transpose(1, 2).reshape(-1, dim, rows, columns)
        pyramid.append(x)
    stages = []
    for i, x in enumerate(pyramid):  # eq. 4
        y = F.linear(x.permute(0, 2, 3, 1), *of(w, f"head.decoders.0.widen.{i}")).permute(0, 3, 1, 2)
        stages.append(F.interpolate(y, size=pyramid[0].shape[2:], mode="bilinear"))
    y = F.linear(torch.cat(stages, 1).permute(0, 2, 3, 1), w["head.decoders.0.fuse.weight"])
    y = F.linear(norm(w, "head.decoders.0.norm", y).relu(), *of(w, "head.decoders.0.classify"))
    return F.interpolate(y.permute(0, 3, 1, 2), scale_factor=4, mode="bilinear")


def of(w, name):
    return w[f"{name}.weight"], w[f"{name}.bias"]


def norm(w, name, x):
    return F.layer_norm(x, x.shape[-1:], *of(w, name), eps=1e-6)


def test_unimodal_is_segformer():
    torch.manual_seed(0)
    model = rough(build("unimodal", {"color": 3}, 5, size=SIZE)).eval()
    x = torch.randn(2, 32, 64, 3)
    with torch.no_grad():
        found, expected = model({"color": x}).logits, segformer(model.state_dict(), x.permute(0, 3, 1, 2))
    assert expected.std() > 0.1
    torch.testing.assert_close(found, expected.permute(0, 2, 3, 1), rtol=1e-4, atol=1e-4)
