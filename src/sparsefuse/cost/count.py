"""Counts the cost of a model: a model and clip lengths in; multiply-adds and parameters out.

Multiply-adds are measured, not estimated: one clip passes through the model on the meta device and every matrix
product is counted where it happens (a multiply-add is 1; the papers' "GFlops" are multiply-adds too). Norms,
activations, softmax and pooling are left out; the paper's formula charges 4 N D per block for them, and has MLPs as
wide as the tokens.
"""

import copy
import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from sparsefuse.cost import shapes
from sparsefuse.cost.structure import structure
from sparsefuse.layers.block import Attention, Mlp
from sparsefuse.model import FusionModel
from sparsefuse.model.pixels import PixelModel
from sparsefuse.tokens import Field, State, Tokens

_MOST = 64
"""models that are remembered, whose description may take some 100 kB"""
_KNOWN: dict[Any, Any] = {}


class CountedCost(NamedTuple):
    """The cost of one clip. Multiply-adds are whole numbers; divide by 1e9 for GMACs."""

    embed: int
    """multiply-adds of the input projections"""
    layers: int
    """multiply-adds of the layers, as computed"""
    head: int
    """multiply-adds of the head"""
    paper: int
    """the layers by SFT's appendix A.2: all attention charged as dense, 2 N D^2 + 4 N D per MLP with its norm and
    activation, whatever its width"""
    parameters: int
    """trained parameters"""

    @property
    def total(self) -> int:
        """Multiply-adds from features to logits."""
        return self.embed + self.layers + self.head


def count(model: FusionModel, lengths: Mapping[str, int]) -> CountedCost:
    """Counts the multiply-adds of one clip with `lengths` tokens per modality."""
    return _remembered("count", _count, model, lengths)


def total(model: FusionModel, lengths: Mapping[str, int]) -> int:
    """`count(...).total` alone, in less than half the time, for many models."""
    return _remembered("total", lambda *of: sum(_products(*of)), model, lengths)


def _remembered(
    what: str, measure: Callable[[FusionModel, Mapping[str, int]], Any], model: FusionModel, lengths: Mapping[str, int]
) -> Any:
    """What `measure` found of a model like it, or finds of a copy of it."""
    described = structure(model)
    key = what, described, tuple(sorted(lengths.items()))
    if described is not None and key in _KNOWN:
        return _KNOWN[key]
    found = measure(copy.deepcopy(model).to("meta").eval(), lengths)
    if described is not None:
        _KNOWN[key] = found
        if len(_KNOWN) > _MOST:
            del _KNOWN[next(iter(_KNOWN))]
    return found


def _count(model: FusionModel, lengths: Mapping[str, int]) -> CountedCost:
    pointwise = _Pointwise(model)
    embed, layers, head = _products(model, lengths)
    paper = layers + pointwise.total
    sparse = [module for module in model.modules() if isinstance(module, Attention) and module.pattern != "dense"]
    if sparse:  # a pass takes as long as an epoch of a small run, so the second one runs only where it differs
        for module in sparse:
            module.pattern = "dense"
        paper += _products(model, lengths)[1] - layers
    return CountedCost(embed, layers, head, paper, sum(p.numel() for p in model.parameters()))


def _products(model: FusionModel, lengths: Mapping[str, int]) -> tuple[int, int, int]:
    marks: list[int] = []

    def probe(depth: int, state: State) -> None:
        marks.append(counter.total)

    clips = random_clips(model, lengths, 1, torch.device("meta"))
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # `nn.TransformerEncoder`'s does not run on the meta device
    try:
        with torch.no_grad(), _Counter() as counter:
            model(clips, probe=probe)
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    comparisons = sum(getattr(module, "comparisons", 0) for module in model.head.modules())  # of trees
    return marks[0], marks[-1] - marks[0], counter.total - marks[-1] + comparisons


def count_pixels(model: PixelModel, rows: int, columns: int) -> int:
    """The multiply-adds of one sample with all its streams, as pictures of that size."""
    model = copy.deepcopy(model).to("meta").eval()
    return multiply_adds(lambda: model(random_pictures(model, rows, columns, 1, torch.device("meta"))))


def count_pixel_model(model: PixelModel, rows: int, columns: int) -> CountedCost:
    """The same in parts; nothing is embedded before the layers, and no paper's formula is another."""
    model = copy.deepcopy(model).to("meta").eval()
    marks: list[int] = []
    pictures = random_pictures(model, rows, columns, 1, torch.device("meta"))
    with torch.no_grad(), _Counter() as counter:
        model(pictures, probe=lambda *_: marks.append(counter.total))
    layers = marks[-1] - marks[0]
    return CountedCost(0, layers, counter.total - layers, layers, sum(p.numel() for p in model.parameters()))


def multiply_adds(run: Callable[[], object]) -> int:
    """The multiply-adds of all products of `run`, on whatever device they are."""
    with torch.no_grad(), _Counter() as counter:
        run()
    return counter.total


class _Counter(TorchDispatchMode):
    """Adds up the multiply-adds of every matrix product that reaches the device, from any module."""

    def __init__(self):
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = shapes.run(func, args, kwargs or {})
        name = func.overloadpacket.__name__.rstrip("_")  # addmm_ is addmm in place
        if name in _COUNTED:
            self.total += _COUNTED[name](out, *args)
        elif _UNCOUNTED.fullmatch(name):
            raise ValueError(f"{name} is not counted; write it as linear, matmul, einsum or convolution")
        return out


def _inner(at: int) -> Callable[..., int]:
    """The multiply-adds of a product whose argument `at` is (..., K): K per element of the output."""
    return lambda out, *args: out.numel() * args[at].shape[-1]


def _convolution(out: Tensor, x: Tensor, weight: Tensor, *args: Any) -> int:
    """One kernel per element of the output; per element of the input if transposed."""
    transposed = args[4]
    return (x if transposed else out).numel() * weight[0].numel()


def _attention(out: tuple[Tensor, ...], q: Tensor, k: Tensor, v: Tensor, *_: Any) -> int:
    return q.numel() * k.shape[-2] + out[0].numel() * v.shape[-2]


# Operations of PyTorch's dispatcher, to which all modules and functions lead. Attention is composed of bmm on the
# meta device today; its kernels are named in case a version of PyTorch keeps them whole.
_COUNTED: dict[str, Callable[..., int]] = {
    **{name: _inner(0) for name in ("mm", "bmm", "mv", "dot", "vdot")},
    **{name: _inner(1) for name in ("addmm", "baddbmm", "addmv", "_addmm_activation")},
    "convolution": _convolution,
    "_scaled_dot_product_flash_attention": _attention,
    "_scaled_dot_product_flash_attention_for_cpu": _attention,
    "_scaled_dot_product_efficient_attention": _attention,
    "_scaled_dot_product_cudnn_attention": _attention,
    "_scaled_dot_product_fused_attention_overrideable": _attention,
}
_UNCOUNTED = re.compile(
    r"\w*mm(_\w+)?|\w*(attention|conv_|_conv|lstm|gru|rnn|transformer|fft_|cdist|cholesky)\w*"
    r"|addbmm|addr|_trilinear|_?linalg_(?!vector_norm|cross)\w+"
)
"""Other operations that multiply matrices."""


class _Pointwise:
    """What SFT's eq. 14 charges beyond the products of every MLP that runs in `model`: 4 N D, 3 for its norm and 1 for
    its activation, less the products of an MLP that is wider than its tokens."""

    def __init__(self, model: nn.Module):
        self.total = 0
        for module in model.modules():
            if isinstance(module, Mlp):
                module.register_forward_hook(self._add)

    def _add(self, module: Mlp, args: tuple[Tensor], out: Tensor) -> None:
        products = sum(part.weight.numel() for part in module if isinstance(part, nn.Linear))  # per token
        dim = out.shape[-1]
        self.total += out.numel() // dim * (2 * dim**2 + 4 * dim - products)


def random_clips(model: FusionModel, lengths: Mapping[str, int], batch: int, device: torch.device) -> dict[str, Tokens]:
    """A batch of noise, all tokens real. Raises ValueError if `lengths` lacks a modality that the model reads."""
    missing = [name for name in model.modalities if name not in lengths]
    if missing:
        raise ValueError(f"lengths lacks {', '.join(missing)}; it has {', '.join(lengths) or 'none'}")
    clips = {}
    for name, width in model.embed.features.items():
        x = torch.randn(batch, lengths[name], width, device=device)
        clips[name] = Tokens(x, torch.ones(batch, lengths[name], dtype=torch.bool, device=device))
    return clips


def random_pictures(
    model: PixelModel, rows: int, columns: int, batch: int, device: torch.device
) -> dict[str, Field | Tensor]:
    """A batch of noise, of all streams that the model reads."""
    return {name: torch.randn(batch, rows, columns, model.streams[name], device=device) for name in model.reads}
