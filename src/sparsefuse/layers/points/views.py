"""Pictures of scenes: which there are, and what they show at points of the world."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sparsefuse.layers.points.nouns import Camera
from sparsefuse.layers.points.state import Views
from sparsefuse.tokens import Tokens


def views_of(pictures: Tensor | None, cameras: Camera | None, frames: int | None = None) -> Views | None:
    """The pictures (B, C, H, W, 3) whose cameras (B, C) say that there is one, in a row; None if there is none.

    `frames`: the first of each scene that are read; None = all.

    Raises ValueError for shapes that do not belong together, and cameras of larger pictures than there are.
    """
    if pictures is None or cameras is None:
        if (pictures is None) != (cameras is None):
            raise ValueError("pictures and cameras are given together, or neither; got one of them")
        return None
    if pictures.ndim != 5 or pictures.shape[4] != 3 or cameras.size.shape != (*pictures.shape[:2], 2):
        raise ValueError(
            "pictures must be (B, C, H, W, 3), their cameras' sizes (B, C, 2); got "
            f"{tuple(pictures.shape)} and {tuple(cameras.size.shape)}"
        )
    pictures, cameras = pictures[:, :frames], Camera(*(part[:, :frames] for part in cameras))
    height, width = pictures.shape[2:4]
    there = (cameras.size > 0).all(-1)
    if (cameras.size > cameras.size.new_tensor([height, width])).any():
        raise ValueError(f"cameras have pictures of up to {cameras.size.flatten(0, 1).amax(0).tolist()} rows and "
                         f"columns, the pictures {height} x {width}: resize the cameras with them")  # fmt: skip
    if not there.any():
        return None
    x = pictures[there]
    empty = Tokens(x.new_zeros(len(x), 0, 0), torch.zeros(len(x), 0, dtype=torch.bool, device=x.device))
    camera = Camera(cameras.K[there], cameras.pose[there], cameras.size[there])
    return Views(_shown(x, camera), there.nonzero()[:, 0], camera, empty, (0, 0), 1)


def _shown(x: Tensor, camera: Camera) -> Tensor:
    """Pictures with zeros where they are padded, whatever is there."""
    rows = torch.arange(x.shape[1], device=x.device)[:, None] < camera.size[:, :1, None]
    columns = torch.arange(x.shape[2], device=x.device) < camera.size[:, 1, None, None]
    return torch.where((rows & columns)[..., None], x, 0.0)


def tokens_at(views: Views, xyz: Tensor) -> tuple[Tensor, Tensor]:
    """The mean of the picture tokens that show each point (B, S, 3) -> (B, S, D), and whether any does (B, S).

    A picture's last rows and columns, which fill no patch, are their neighbours'.
    """
    uv, _, visible = views.camera.project(xyz[views.scene])  # (P, S, ...)
    last = views.camera.size.flip(-1)[:, None] // views.patch - 1
    column, row = ((uv + 0.5) / views.patch).floor().long().minimum(last).clamp_min(0).unbind(-1)
    number = 1 + row * views.grid[1] + column  # after the one that is for all
    shown = views.tokens.x.gather(1, number[..., None].expand(-1, -1, views.tokens.x.shape[2]))
    return mean_of_views(views, shown, visible, len(xyz))


def pixels_at(views: Views, maps: Tensor, xyz: Tensor) -> tuple[Tensor, Tensor]:
    """The same of maps (P, D, H, W) as large as the pictures, between their nearest four pixels."""
    uv, _, visible = views.camera.project(xyz[views.scene])
    last = views.camera.size.flip(-1)[:, None].to(uv.dtype) - 1
    size = uv.new_tensor([maps.shape[3], maps.shape[2]])
    grid = (2 * uv.clamp_min(0).minimum(last) + 1) / size - 1
    shown = F.grid_sample(maps, grid[:, None], padding_mode="border", align_corners=False)[:, :, 0]
    return mean_of_views(views, shown.transpose(1, 2), visible, len(xyz))


def mean_of_views(views: Views, shown: Tensor, visible: Tensor, num_scenes: int) -> tuple[Tensor, Tensor]:
    """Over the pictures of each scene that are `visible` (P, S): values (P, S, D) -> (B, S, D), and (B, S) whether
    any is."""
    weight = visible[..., None].to(shown.dtype)
    total = shown.new_zeros(num_scenes, *shown.shape[1:]).index_add(0, views.scene, shown * weight)
    count = weight.new_zeros(num_scenes, *weight.shape[1:]).index_add(0, views.scene, weight)
    return total / count.clamp_min(1), count[..., 0] > 0
