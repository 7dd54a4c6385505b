"""A Vision Transformer with detection tokens (YOLOS, Fang et al. 2021): pictures to tokens, objects from tokens."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sparsefuse.layers.block import Block
from sparsefuse.layers.points.state import SceneState, Views
from sparsefuse.tokens import Tokens


class PictureSize(NamedTuple):
    """A Vision Transformer."""

    dim: int
    num_heads: int
    patch: int
    grid: tuple[int, int]
    """rows and columns of positions that are learned; they are between those where pictures have other patches"""
    detections: int
    """tokens that look for objects; 0 = none, as there is no head for them"""
    drop_path: float


class PictureTokens(nn.Module):
    """Pictures -> their tokens; see `Views`. A patch is real where all of it is in its picture."""

    def __init__(self, size: PictureSize):
        super().__init__()
        self.size = size
        self.patches = nn.Conv2d(3, size.dim, size.patch, size.patch)
        self.position = _started(1, size.dim, *size.grid)
        counts = (1, size.detections) if size.detections else (1,)  # for all, and to look for objects
        self.added = nn.ParameterList(_started(1, count, size.dim) for count in counts)
        self.added_positions = nn.ParameterList(_started(1, count, size.dim) for count in counts)

    def forward(self, views: Views) -> Views:
        patch, detections = self.size.patch, self.size.detections
        if min(views.pictures.shape[1:3]) < patch:
            raise ValueError(f"pictures must have {patch} rows and columns or more, as a patch has; got "
                             f"{tuple(views.pictures.shape[1:3])}")  # fmt: skip
        x = self.patches(views.pictures.permute(0, 3, 1, 2))  # (P, D, rows, columns)
        grid = (x.shape[2], x.shape[3])
        starts = [torch.arange(n, device=x.device) * patch for n in grid]
        size = views.camera.size[..., None]  # (P, 2, 1)
        rows, columns = (start + patch <= size[:, i] for i, start in enumerate(starts))
        mask = (rows[:, :, None] & columns[:, None]).flatten(1)
        # (P, rows, columns, 2) places in the picture itself, however it is padded, from -1 to 1
        rows, columns = ((2 * start + patch) / size[:, i] - 1 for i, start in enumerate(starts))
        place = torch.stack([columns[:, None].expand(-1, *grid), rows[:, :, None].expand(-1, *grid)], -1)
        position = F.grid_sample(self.position.expand(len(x), -1, -1, -1), place.to(x.dtype), mode="bicubic",
                                 padding_mode="border", align_corners=False)  # fmt: skip
        count = len(x)
        added = zip(self.added, self.added_positions, strict=True)
        first, *last = ((token + at).expand(count, -1, -1) for token, at in added)
        tokens = torch.cat([first, (x + position).flatten(2).transpose(1, 2), *last], 1)
        mask = torch.cat([mask.new_ones(count, 1), mask, mask.new_ones(count, detections)], 1)
        return views._replace(tokens=Tokens(tokens, mask), grid=grid, patch=patch)


def _started(*shape: int) -> nn.Parameter:
    return nn.Parameter(nn.init.trunc_normal_(torch.empty(shape), std=0.02))


class PictureBlocks(nn.Module):
    """Blocks over the tokens of each picture."""

    def __init__(self, size: PictureSize, drop_paths: list[float]):
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(size.dim, size.num_heads, mlp_ratio=4.0, drop_path=rate, style="vit") for rate in drop_paths
        )
        for block in self.blocks:
            for linear in block.modules():
                if isinstance(linear, nn.Linear):
                    nn.init.trunc_normal_(linear.weight, std=0.02)
                    nn.init.zeros_(linear.bias)

    def forward(self, state: SceneState) -> SceneState:
        if state.views is None:
            return state
        tokens = state.views.tokens
        for block in self.blocks:
            tokens = block(tokens)
        return state._replace(views=state.views._replace(tokens=tokens))


class FlatBoxes(NamedTuple):
    """What T tokens of each picture say."""

    labels: Tensor
    """(P, T, 1 + C) logits; the last: no object"""
    boxes: Tensor
    """(P, T, 4) middle, width and height, as shares of the picture: x, y, w, h"""


class FlatHead(nn.Module):
    """The detection tokens' objects in their picture."""

    def __init__(self, size: PictureSize, num_classes: int):
        super().__init__()
        self.detections, dim = size.detections, size.dim
        self.norm = nn.LayerNorm(dim)
        self.labels, self.boxes = feed_forward(dim, dim, num_classes + 1), feed_forward(dim, dim, 4)

    def forward(self, views: Views) -> FlatBoxes:
        x = self.norm(views.tokens.x[:, -self.detections :])
        return FlatBoxes(self.labels(x), self.boxes(x).sigmoid())


def feed_forward(dim_in: int, hidden: int, dim: int) -> nn.Sequential:
    """Three linear layers with ReLU between."""
    return nn.Sequential(
        nn.Linear(dim_in, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, dim)
    )
