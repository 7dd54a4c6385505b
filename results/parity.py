"""Writes results/parity.md: SFT's released code and ours with the same numbers in both, and how far they are apart.

    git clone https://github.com/yding37/sft AUTHORS
    python results/parity.py AUTHORS "commit 854cc79"    run from the repository's root; AUTHORS is only read

The released files import fairseq, whose sparse layer runs dense attention (it returns before it applies its mask), and
a file that the repository lacks. Without fairseq, PyTorch's attention stands in for that layer, as parity.md then says.
"""

import importlib
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

import sparsefuse
from sparsefuse.files.whole import write_text
from sparsefuse.model import FusionModel
from sparsefuse.tokens import Tokens

OUT = Path("results/parity.md")
DIM, HEADS, UNIMODAL, FUSED = 40, 5, 1, 11
CLIPS = 4


class Setting(NamedTuple):
    """A data set of the paper; modalities in the order of the released `forward`."""

    features: dict[str, int]
    lengths: dict[str, int]
    strides: dict[str, int]
    """windows that give the paper's numbers of tokens"""
    classes: int


SETTINGS = {
    "VGGS10": Setting(
        {"rgb": 1024, "spectrogram": 128, "flow": 1024},
        {"rgb": 38, "spectrogram": 1200, "flow": 38},
        {"rgb": 3, "spectrogram": 60, "flow": 3},
        10,
    ),
    "MOSEI": Setting(
        {"vision": 35, "audio": 74, "text": 300},
        {"vision": 500, "audio": 500, "text": 50},
        {"vision": 50, "audio": 50, "text": 2},
        7,
    ),
}


def main(folder: Path, source: str, out: Path = OUT) -> None:
    """`source` says in words what the folder holds."""
    lines = [
        "# The released SFT and ours, with the same numbers",
        "",
        f"Theirs: {source}. Its random weights were loaded into ours; {CLIPS} random clips, float32 on a CPU. "
        "*Apart*: the largest difference of a logit; *gradient*: that of the loss's gradient by the features, relative "
        "to its largest.",
        "",
        "| setting | pooling | tail | largest logit | apart | gradient |",
        "|:--|:--|:--|--:|--:|--:|",
    ]
    with released(folder) as (models, tokenizers, stood_in):
        for name, setting in SETTINGS.items():
            for how in ("max", "avg", "attn"):
                theirs = their_model(models, tokenizers, setting, how)
                for tail in ("drop", "keep"):
                    found = compared(theirs, setting, how, tail)
                    lines.append(f"| {name} | {how} | {tail} | {found[0]:.2f} | {found[1]:.1e} | {found[2]:.1e} |")
    lines += ["", f"Stood in for: {', '.join(stood_in) or 'nothing'}."]
    lines += ["Attention pooling departs: ours counts the attention of CLS, too, and adds nothing to the denominator."]
    write_text(out, "\n".join(lines) + "\n")
    print(out)


@contextmanager
def released(folder: Path) -> Iterator[tuple[Any, Any, list[str]]]:
    """The authors' modules, and what stands in for modules that they import and that are not there."""
    before, stood_in = set(sys.modules), []
    sys.path.insert(0, str(folder))
    try:
        for name, contents in STAND_INS.items():
            try:
                importlib.import_module(name)
            except ImportError:
                stood_in.append(name)
                parents = name.split(".")[:-1]
                for i in range(len(parents)):
                    sys.modules.setdefault(".".join(parents[: i + 1]), ModuleType(parents[i]))
                module = sys.modules[name] = ModuleType(name)
                vars(module).update(contents)
        models = importlib.import_module("models.sparse_fusion_transformer")
        yield models, importlib.import_module("models.tokenizers"), stood_in
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - before:
            if name.split(".")[0] in ("models", "utils", "fairseq") or name in STAND_INS:
                del sys.modules[name]


STAND_INS: dict[str, dict[str, Any]] = {
    "numpy.lib.function_base": {"interp": None},  # gone in NumPy 2; imported, not used
    "models.position_embedding": {"math": math},  # not in the repository
    "fairseq.modules.sparse_multihead_attention": {"SparseMultiheadAttention": nn.MultiheadAttention},
}


def their_model(models: Any, tokenizers: Any, setting: Setting, how: str) -> tuple[nn.ModuleList, nn.Module]:
    """Tokenizers and network with random numbers everywhere: biases of zero and norms of one would hide mistakes."""
    torch.manual_seed(0)
    strides = list(setting.strides.values())
    config = SimpleNamespace(
        embed_dim=DIM, n_heads=HEADS, dropout=0.0, n_layers_pre_fusion=UNIMODAL, n_layers_post_fusion=FUSED,
        pool_type=how, kernel_sz=strides, stride_sz=strides, padding=[0, 0, 0], pool_k=0, fusion_layer_enabled=False,
        n_classes=setting.classes, mixup=getattr(models, "MIXUP_NONE", "none"), alpha_type=None, dataset=None,
        permute_seq=False,
    )  # fmt: skip
    network = models.SparseFusionTransformer(config).eval()
    each = nn.ModuleList(
        tokenizers.FeatureTokenizer(setting.lengths[n], setting.features[n], DIM) for n in setting.lengths
    )
    with torch.no_grad():
        for parameter in [*network.parameters(), *each.parameters()]:
            parameter.add_(0.1 * torch.randn_like(parameter))
    return each.eval(), network


def compared(
    theirs: tuple[nn.ModuleList, nn.Module], setting: Setting, how: str, tail: str
) -> tuple[float, float, float]:
    """The largest logit, the largest difference of logits, and that of gradients by the features."""
    model = sparsefuse.build(
        "sft", setting.features, setting.classes, lengths=setting.lengths, sparse="dense", pool=how,
        stride=setting.strides, tail=tail, unimodal_depth=UNIMODAL, fusion_depth=FUSED, dim=DIM, num_heads=HEADS,
    )  # fmt: skip
    load(model.eval(), theirs, list(setting.features))
    generator = torch.Generator().manual_seed(1)
    clip = {
        name: torch.randn(CLIPS, setting.lengths[name], width, generator=generator).requires_grad_()
        for name, width in setting.features.items()
    }
    labels = torch.arange(CLIPS) % setting.classes

    def gradients(logits: Tensor) -> list[Tensor]:
        return list(torch.autograd.grad(nn.functional.cross_entropy(logits, labels), list(clip.values())))

    tokenizers, network = theirs
    expected = network(*(t(x) for t, x in zip(tokenizers, clip.values(), strict=True)))
    logits = model({name: Tokens(x, torch.ones(x.shape[:2], dtype=torch.bool)) for name, x in clip.items()}).logits
    pairs = zip(gradients(expected), gradients(logits), strict=True)
    apart = max(float((a - b).abs().max() / a.abs().max()) for a, b in pairs)
    expected, logits = expected.detach(), logits.detach()
    return float(expected.abs().max()), float((logits - expected).abs().max()), apart


@torch.no_grad()
def load(model: FusionModel, theirs: tuple[nn.ModuleList, nn.Module], names: list[str]) -> None:
    """Their numbers into ours; every number of ours is set, or it is an error."""
    each, network = theirs
    left = {id(parameter) for parameter in model.parameters()}

    def put(ours: Tensor, number: Any) -> None:
        ours.copy_(number.reshape(ours.shape))
        left.discard(id(ours))

    def attention(ours: Any, source: Any) -> None:
        parts = ("q_proj", "k_proj", "v_proj")  # as fairseq has them
        whole = hasattr(source, "in_proj_weight") and source.in_proj_weight is not None
        for part in ("weight", "bias"):
            joined = getattr(source, f"in_proj_{part}") if whole else None
            put(
                getattr(ours.qkv, part),
                joined if whole else torch.cat([getattr(getattr(source, p), part) for p in parts]),
            )
            put(getattr(ours.out, part), getattr(source.out_proj, part))

    def mlp(ours: Any, source: Any) -> None:
        for mine, other in zip(ours.parameters(), source.parameters(), strict=True):
            put(mine, other)

    layers: Any = list(model.layers)
    for m, (name, part) in enumerate(zip(names, ("rgb", "spec", "text"), strict=True)):
        i = sorted(names).index(name)
        mlp(model.embed.project[i], each[m].proj)
        put(model.embed.cls[i], each[m].cls_token)
        put(model.embed.position[i], each[m].pos_embedding)
        for depth in range(UNIMODAL):
            block = layers[depth].blocks[i]
            attention(block.attention, getattr(network, f"attns_{part}")[depth])
            mlp(block.mlp, getattr(network, f"mlps_{part}")[depth])
        attention(layers[UNIMODAL].blocks[i].attention, network.sparse_attn[m])
    for depth in range(FUSED):
        block = layers[UNIMODAL + 2 + depth].blocks[0]
        attention(block.attention, network.attns_fused[depth])
        mlp(block.mlp, network.mlps_fused[depth])
    mlp(model.head, network.classifier)
    if left:
        raise ValueError(f"{len(left)} of our parameters have no number of theirs")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        raise SystemExit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2])
