"""A run of pre-norm blocks: few tokens in one kernel (`stack_kernels`), many in three a block (`row_kernels`)."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
import triton
from torch import Tensor, nn

from sparsefuse.layers.ops.tracing import refuse_graph
from sparsefuse.layers.ops.triton import pattern_kernels as kernels
from sparsefuse.layers.ops.triton import patterns, row_kernels, stack_kernels
from sparsefuse.layers.ops.triton.launch import Dot, dot_of, launch, programs, tile
from sparsefuse.layers.ops.triton.patterns import MAX_GRID, MAX_HEAD_DIM, Keys
from sparsefuse.layers.ops.weights import BlockWeights

MAX_DIM = 128
"""Channels of a token, and in the MLP."""
STACK_TOKENS, STACK_DIM = 64, 64
"""What one program holds in registers; of float32 half as many tokens."""
ROWS = 32
"""Rows that go together."""
# By what the compiler says of registers and shared memory, of which consumers' GPUs have 99 KB: one stage, eight warps.
OPTIONS = {"num_warps": 8, "num_stages": 1}


def supports(x: Tensor, mask: Tensor, stack: Sequence[BlockWeights], *, num_heads: int, pattern: str) -> bool:
    """Whether `blocks` can compute this call."""
    if mask.requires_grad or x.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return False
    dim, hidden = stack[0].sizes
    if x.shape[2] != dim or max(dim, hidden) > MAX_DIM or dim > MAX_HEAD_DIM * num_heads:
        return False
    if not 0 < len(x) * num_heads <= MAX_GRID:
        return False
    dtype = stack[0].qkv.dtype
    if any(weights.sizes != (dim, hidden) for weights in stack):
        return False
    return all(
        w is not None and type(w) in (nn.Parameter, Tensor) and w.dtype == dtype
        for weights in stack
        for w in weights[: 10 if hidden else 4]
    )


def blocks(
    x: Tensor, mask: Tensor, stack: Sequence[BlockWeights], *, num_heads: int, pattern: str, span: int, eps: float
) -> Tensor:
    """See `ops.blocks`."""
    dim, hidden = stack[0].sizes
    dot = dot_of(x)
    run = Run(len(stack), dim, hidden, num_heads, eps, Keys.of(mask, pattern, span, dot.dtype), dot)
    weights = [w for each in stack for w in each[: 10 if hidden else 4]]
    return _Blocks.apply(x, run, *weights)  # pyright: ignore[reportReturnType]


class Run(NamedTuple):
    """What a run of blocks has in common."""

    depth: int
    dim: int
    hidden: int
    heads: int
    eps: float
    keys: Keys
    dot: Dot

    @property
    def in_registers(self) -> bool:
        """Whether one program can hold a clip."""
        tokens = STACK_TOKENS // (2 if self.dot.dtype is torch.float32 else 1)
        few = self.keys.mask.shape[1] <= tokens and max(self.dim, self.hidden) <= STACK_DIM
        return few and self.keys.passes == (kernels.DENSE.value,)

    def widths(self) -> dict[str, Any]:
        """Arguments that all kernels have."""
        return {"D": self.dim, "TD": tile(self.dim, MAX_DIM), **self.dot.constants()}

    def mlp(self) -> dict[str, Any]:
        """And those with an MLP."""
        return {"E": self.hidden, "TE": tile(self.hidden, MAX_DIM)}


class _Blocks(torch.autograd.Function):
    """Tokens (B, N, D) and the weights of all blocks, flat -> (B, N, D)."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, run: Run, *weights: Tensor) -> Tensor:
        x, packed = x.contiguous(), torch.cat([w.reshape(-1) for w in weights])
        saving = any(ctx.needs_input_grad)
        forward = _stack_forward if run.in_registers else _rows_forward
        y, saved = forward(x, packed, run, saving)
        ctx.save_for_backward(packed, *saved)
        ctx.run, ctx.shapes = run, [w.shape for w in weights]
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # pyright: ignore[reportIncompatibleMethodOverride]
        refuse_graph("triton")
        packed, *saved = ctx.saved_tensors
        backward = _stack_backward if ctx.run.in_registers else _rows_backward
        dx, parts = backward(grads[0].contiguous(), packed, ctx.run, *saved)
        flat = parts.sum(0).flatten().to(packed.dtype)
        sizes = [shape.numel() for shape in ctx.shapes]
        return dx, None, *(g.view(shape) for g, shape in zip(flat.split(sizes), ctx.shapes, strict=True))


def _stack_constants(run: Run, length: int) -> dict[str, Any]:
    width = run.dim // run.heads
    sizes = {"H": run.heads, "TN": tile(length, STACK_TOKENS), "TC": tile(width, MAX_HEAD_DIM)}
    return {**run.widths(), **run.mlp(), **sizes}


def _stack_forward(x: Tensor, packed: Tensor, run: Run, saving: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    batch, length, dim = x.shape
    y = torch.empty_like(x)
    saved = x.new_empty(batch, run.depth, 2, length, dim) if saving else x
    launch(
        stack_kernels.stack_forward, (batch,), x, y, saved, packed, run.keys.mask, run.depth, length, run.eps,
        (dim // run.heads) ** -0.5, SAVING=saving, **OPTIONS, **_stack_constants(run, length),
    )  # fmt: skip
    return y, (saved,)


def _stack_backward(grad: Tensor, packed: Tensor, run: Run, saved: Tensor) -> tuple[Tensor, Tensor]:
    batch, length, dim = grad.shape
    dx, many = torch.empty_like(grad), programs(batch, grad)
    parts = torch.empty(many, run.depth, packed.numel() // run.depth, dtype=torch.float32, device=grad.device)
    launch(
        stack_kernels.stack_backward, (many,), grad, dx, saved, packed, parts, run.keys.mask, run.depth, batch, length,
        run.eps, (dim // run.heads) ** -0.5, **OPTIONS, **_stack_constants(run, length),
    )  # fmt: skip
    return dx, parts


def _rows_forward(x: Tensor, packed: Tensor, run: Run, saving: bool) -> tuple[Tensor, tuple[Tensor, ...]]:
    saved = []
    for w in packed.chunk(run.depth):
        qkv = _project(x, w, run)
        q, k, v = _heads(qkv, run)
        far_k, far_v = run.keys.far_rows(k), run.keys.far_rows(v)
        out, lse = patterns.forward(q, k, v, far_k, far_v, run.keys, run.dot)
        out, y = out.flatten(2), torch.empty_like(x)
        rows = x.shape[0] * x.shape[1]
        launch(
            row_kernels.conclude, (triton.cdiv(rows, ROWS),), x, out, y, w, rows, run.eps, BM=ROWS, **OPTIONS,
            **run.widths(), **run.mlp(),
        )  # fmt: skip
        saved += [x, qkv, out, lse] if saving else []
        x = y
    return x, tuple(saved)


def _rows_backward(grad: Tensor, packed: Tensor, run: Run, *saved: Tensor) -> tuple[Tensor, Tensor]:
    rows = grad.shape[0] * grad.shape[1]
    many = programs(triton.cdiv(rows, ROWS), grad)
    parts = torch.empty(many, run.depth, packed.numel() // run.depth, dtype=torch.float32, device=grad.device)
    for i, w in reversed(list(enumerate(packed.chunk(run.depth)))):
        x, qkv, out, lse = saved[4 * i : 4 * i + 4]
        dmid, dout = torch.empty_like(grad), torch.empty_like(grad, dtype=run.dot.dtype)
        part, step = parts[:, i], parts.stride(0)
        launch(
            row_kernels.conclude_backward, (many,), grad, x, out, dmid, dout, w, part, step, rows, run.eps, BM=ROWS,
            **OPTIONS, **run.widths(), **run.mlp(),
        )  # fmt: skip
        dqkv = _attention_backward(qkv, out, lse, dout, run)
        dx = torch.empty_like(grad)
        launch(
            row_kernels.project_backward, (many,), dqkv, x, dmid, dx, w, part, step, rows, run.eps, BM=ROWS,
            **OPTIONS, **run.widths(),
        )  # fmt: skip
        grad = dx
    return grad, parts


def _project(x: Tensor, w: Tensor, run: Run) -> Tensor:
    rows = x.shape[0] * x.shape[1]
    qkv = torch.empty(*x.shape[:2], 3 * run.dim, dtype=run.dot.dtype, device=x.device)
    launch(
        row_kernels.project, (triton.cdiv(rows, ROWS),), x, qkv, w, rows, run.eps, BM=ROWS, **OPTIONS, **run.widths()
    )
    return qkv


def _heads(qkv: Tensor, run: Run) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values (B, N, H, C) of rows (B, N, 3 D)."""
    q, k, v = qkv.unflatten(2, (3, run.heads, -1)).unbind(2)
    return q, k, v


def _attention_backward(qkv: Tensor, out: Tensor, lse: Tensor, dout: Tensor, run: Run) -> Tensor:
    """The gradient of rows (B, N, 3 D)."""
    keys, (q, k, v) = run.keys, _heads(qkv, run)
    far_k, far_v = keys.far_rows(k), keys.far_rows(v)
    dqkv = torch.empty_like(qkv, dtype=torch.float32 if len(keys.passes) > 1 else qkv.dtype)
    heads = [t.unflatten(2, (run.heads, -1)) for t in (out, dout)]
    far = patterns.backward(q, k, v, far_k, far_v, keys, run.dot, heads[0], lse, heads[1], *_heads(dqkv, run))
    if keys.share is not None:
        dfar = torch.cat([t.flatten(2) for t in far if t is not None], 2)  # (B, F, 2 D)
        dqkv[:, :, run.dim :].baddbmm_(keys.share.mT, dfar)
    return dqkv
