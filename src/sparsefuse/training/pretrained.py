"""Initialises a fusion model with the weights of a Vision Transformer.

The checkpoint is one that `transformers` saved for model type `vit`: config.json and safetensors. No pickle is opened.
As in MBT (Nagrani et al. 2021) every modality starts from the same image model: a spectrogram is a grey image of
time x bins, the kernel of a tubelet is zero but for its middle frame, and positions are resized to the grid of patches
and repeated over time.
"""

import json
import logging
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from sparsefuse.extras import need
from sparsefuse.layers.block import Block, CrossBlock
from sparsefuse.layers.embed import Embed
from sparsefuse.layers.patches import Grid
from sparsefuse.model import FusionModel
from sparsefuse.shown import said

log = logging.getLogger(__name__)


class Vit(NamedTuple):
    """A checkpoint, with its weights by the names of our modules."""

    source: str
    kernel: Tensor
    """(D, 3, side, side) of the patch convolution"""
    bias: Tensor
    """(D,)"""
    cls: Tensor
    """(D,)"""
    position: Tensor
    """(1 + rows * columns, D), the row of CLS first"""
    rows: int
    """rows and columns of patches in the pictures it was trained on"""
    num_heads: int
    eps: float
    blocks: list[dict[str, Tensor]]
    """per layer, a state of `Block` in ViT's style"""
    norm: dict[str, Tensor]
    """the last norm's weight and bias"""

    @property
    def dim(self) -> int:
        """Width of its tokens."""
        return len(self.bias)


def start(model: FusionModel, source: str | Path) -> None:
    """Loads the weights of a ViT (a folder, or a name on the Hugging Face hub) into `model`.

    Patch projections, positions and CLS tokens of modalities that are cut into patches; the k-th layer of the model
    that has blocks of style vit gets the k-th of the checkpoint, in all streams; the head's norm gets the last norm.
    Other weights keep their initialisation. Raises ValueError if the model has no such modules, or a shape differs.
    """
    vit = read_vit(source)
    layers = [blocks for layer in model.layers if (blocks := _blocks(layer))]
    if not layers or not model.embed.grids:
        lacking = "ViT blocks" if not layers else "modality cut into patches"
        raise ValueError(
            f"{vit.source} is a ViT, and this model has no {lacking}; a method that takes one needs the option "
            "patches and blocks of style vit (mbt: style=vit)"
        )
    eps = layers[0][0].norm.eps
    if vit.eps != eps:  # a model is rebuilt from its options, which do not hold it
        log.warning("%s adds %g to the variance in its norms, the model %g", vit.source, vit.eps, eps)
    if len(layers) > len(vit.blocks):
        raise ValueError(f"{vit.source} has {len(vit.blocks)} layers, the model {len(layers)}; use that many at most")
    with torch.no_grad():
        start_embed(model.embed, vit)
        for blocks, weights in zip(layers, vit.blocks, strict=False):
            for block in blocks:
                start_block(block, weights, vit)
        norm = getattr(model.head, "norm", None)
        if isinstance(norm, nn.LayerNorm):
            norm.load_state_dict(vit.norm)


def start_embed(embed: Embed, vit: Vit) -> None:
    """Fills the projection, CLS and positions of every modality that is cut into patches."""
    if embed.dim != vit.dim:
        raise ValueError(f"{vit.source} is {vit.dim} wide, the model {embed.dim}; set dim to {vit.dim}")
    if embed.position is None:
        raise ValueError(f"{vit.source} has learned positions, the model has none; build it with lengths")
    with torch.no_grad():
        for i, name in enumerate(embed.features):
            if name in embed.grids:
                grid = embed.grids[name]
                embed.project[i].load_state_dict({"weight": projection(vit, grid, name), "bias": vit.bias})
                embed.cls[i].copy_(vit.cls)
                tubelets = (len(embed.position[i]) - 1) // grid.cells
                embed.position[i].copy_(positions(vit, grid, tubelets))


def start_block(block: Block | CrossBlock, weights: dict[str, Tensor], vit: Vit) -> None:
    """Fills one block. Raises ValueError if its shapes or its number of heads are not the checkpoint's."""
    if block.attention.num_heads != vit.num_heads:
        raise ValueError(
            f"{vit.source} has {vit.num_heads} heads, the model {block.attention.num_heads}; set num_heads to "
            f"{vit.num_heads}"
        )
    if isinstance(block, CrossBlock):
        weights = _crossed(weights)
    for name, own in block.state_dict().items():
        if own.shape != weights[name].shape:
            ratio = len(weights["mlp.1.bias"]) / vit.dim
            raise ValueError(
                f"{vit.source} has {name} of shape {tuple(weights[name].shape)}, the model {tuple(own.shape)}; "
                f"it needs dim {vit.dim} and mlp_ratio {ratio:g}"
            )
    block.load_state_dict(weights)


def _crossed(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """A block's state with separate projections for queries, and for keys and values."""
    split = {name: tensor for name, tensor in weights.items() if not name.startswith("attention.qkv.")}
    for kind in ("weight", "bias"):
        q, k, v = weights[f"attention.qkv.{kind}"].chunk(3)
        split |= {f"attention.q.{kind}": q, f"attention.kv.{kind}": torch.cat([k, v])}
    return split


def projection(vit: Vit, grid: Grid, name: str) -> Tensor:
    """The patch convolution as the weight of a Linear on flattened patches: (D, time x side x side x channels).

    Colours as they are; grey pictures get the sum over the colours, which is what three equal ones give.
    """
    side = vit.kernel.shape[-1]
    picture, _ = _picture(grid, 1)
    sides = (grid.time, grid.sides[0]) if picture else grid.sides
    if sides != (side, side) or grid.channels not in (1, vit.kernel.shape[1]):
        needed = f"time {side} and patch {side}" if picture else f"patch {side}"
        raise ValueError(
            f"{vit.source} has patches of {side} x {side} x {vit.kernel.shape[1]}, and {name!r} patches of "
            f"{sides[0]} x {sides[1]} x {grid.channels}; set its {needed}, with 1 or {vit.kernel.shape[1]} channels"
        )
    kernel = vit.kernel if grid.channels > 1 else vit.kernel.sum(1, keepdim=True)
    kernel = kernel.permute(0, 2, 3, 1)  # (D, side, side, channels)
    if picture:
        return kernel.flatten(1)
    tubelet = kernel.new_zeros(len(kernel), grid.time, side, side, grid.channels)
    tubelet[:, grid.time // 2] = kernel
    return tubelet.flatten(1)


def positions(vit: Vit, grid: Grid, tubelets: int) -> Tensor:
    """The table of positions resized: to (1 + tubelets x cells, D), repeated over time unless time is an axis."""
    picture, size = _picture(grid, tubelets)
    table = vit.position[1:].unflatten(0, (vit.rows, -1)).permute(2, 0, 1)[None]  # (1, D, rows, columns)
    table = F.interpolate(table, size=size, mode="bicubic", align_corners=False)[0].flatten(1).T
    return torch.cat([vit.position[:1], table if picture else table.repeat(tubelets, 1)])


def _picture(grid: Grid, tubelets: int) -> tuple[bool, tuple[int, int]]:
    """Whether time is an axis of the picture (frames of one column: spectrograms), and its size in patches."""
    return (True, (tubelets, grid.shape[0])) if grid.width == 1 else (False, grid.shape)


def _blocks(layer: nn.Module) -> list[Block | CrossBlock]:
    return [module for module in layer.modules() if isinstance(module, Block | CrossBlock) and module.style == "vit"]


def read_vit(source: str | Path) -> Vit:
    """Reads a checkpoint. Raises FileNotFoundError for a folder without its files, ValueError for another model."""
    folder = _folder(source)
    config = _config(folder)
    tensors = _tensors(folder)
    prefix = next((p for p in ("", "vit.") if f"{p}embeddings.cls_token" in tensors), None)
    if prefix is None:
        raise ValueError(f"{folder} holds no ViT: no tensor embeddings.cls_token, but {', '.join(list(tensors)[:3])}")
    own = _Named(folder, {name.removeprefix(prefix): t.float() for name, t in tensors.items()})
    kernel = own["embeddings.patch_embeddings.projection.weight"]
    size = config["image_size"]
    rows = (size if isinstance(size, int) else size[0]) // kernel.shape[-1]
    return Vit(
        str(source),
        kernel,
        own["embeddings.patch_embeddings.projection.bias"],
        own["embeddings.cls_token"][0, 0],
        own["embeddings.position_embeddings"][0],
        rows,
        config["num_attention_heads"],
        config.get("layer_norm_eps", 1e-12),
        [_block(own, f"encoder.layer.{i}.") for i in range(config["num_hidden_layers"])],
        {kind: own[f"layernorm.{kind}"] for kind in ("weight", "bias")},
    )


class _Named(dict[str, Tensor]):
    """Tensors by name; a missing name raises ValueError that names the file."""

    def __init__(self, folder: Path, tensors: dict[str, Tensor]):
        super().__init__(tensors)
        self.folder = folder

    def __missing__(self, name: str) -> Tensor:
        raise ValueError(f"{self.folder} lacks the tensor {name}; expected a ViT that transformers saved")


def _block(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The state of a `Block`; a checkpoint without biases of queries, keys and values has them 0."""
    weights = {}
    for ours, theirs in _NAMES.items():
        for kind in ("weight", "bias"):
            weights[f"{ours}.{kind}"] = tensors[f"{prefix}{theirs}.{kind}"]
    parts = [f"{prefix}attention.attention.{part}" for part in ("query", "key", "value")]
    weights["attention.qkv.weight"] = torch.cat([tensors[f"{part}.weight"] for part in parts])
    zeros = weights["norm.bias"].new_zeros(len(weights["norm.bias"]))
    weights["attention.qkv.bias"] = torch.cat([tensors[b] if (b := f"{p}.bias") in tensors else zeros for p in parts])
    return weights


_NAMES = {
    "norm": "layernorm_before",
    "attention.out": "attention.output.dense",
    "mlp.0": "layernorm_after",
    "mlp.1": "intermediate.dense",
    "mlp.4": "output.dense",
}


def _folder(source: str | Path) -> Path:
    """The folder itself, or the local folder of a name on the hub, downloaded if needed."""
    if Path(source).is_dir():
        return Path(source)
    if isinstance(source, Path) or source.count("/") != 1 or source.startswith((".", "/", "~")):
        raise FileNotFoundError(f"no folder {source}; expected one with config.json and model.safetensors")
    hub = need("huggingface_hub", "hub", f"no folder {source}; a name on the hub")
    wanted = ["config.json", "*.safetensors", "*.safetensors.index.json"]
    return Path(hub.snapshot_download(source, allow_patterns=wanted))


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no config.json; expected a checkpoint that transformers saved")
    config = json.loads(path.read_text(encoding="utf-8"))
    if config.get("model_type") != "vit":
        raise ValueError(
            f"{folder} holds a model of type {config.get('model_type')!r}; expected 'vit', such as "
            "google/vit-base-patch16-224-in21k"
        )
    if config.get("hidden_act", "gelu") != "gelu":
        raise ValueError(f"{folder}: its activation is {config['hidden_act']!r}; expected 'gelu'")
    return config


def _tensors(folder: Path) -> dict[str, Tensor]:
    paths = sorted(folder.glob("*.safetensors"))
    if not paths:
        others = ", ".join(sorted(path.name for path in folder.iterdir()))
        raise FileNotFoundError(
            f"{folder} has no .safetensors file, only {others}; a pickle can run code when it is opened, so it is not "
            "read: save the model again with transformers' save_pretrained"
        )
    tensors = {}
    for path in paths:
        try:
            with safe_open(path, framework="pt") as file:
                tensors |= {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise ValueError(f"{path} is not a complete safetensors file ({said(error)}); fetch it again") from error
    return tensors
