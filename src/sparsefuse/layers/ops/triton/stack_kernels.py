"""A run of blocks over few tokens in one kernel: one program a clip, its tokens stay in registers.

No register is cut into heads: a loop loads each head's rows of Wq, Wk, Wv and columns of Wo.
"""

# pyright: reportArgumentType=false, reportGeneralTypeIssues=false
# (Triton compiles these functions; what they hold has other types than its signatures say.)

import triton
import triton.language as tl

from sparsefuse.layers.ops.triton.pattern_kernels import LOG2E, log_weights
from sparsefuse.layers.ops.triton.tiles import (
    add_matrix,
    add_vector,
    linear,
    matrix,
    mlp,
    mlp_backward,
    norm,
    norm_backward,
    product,
    vector,
)


@triton.jit
def size_of(D: tl.constexpr, E: tl.constexpr):
    """Numbers in the weights of a block."""
    attention: tl.constexpr = 4 * D * D + 4 * D
    return attention + (2 * D + 2 * E * D + E + D if E > 0 else 0)


@triton.jit
def head_weights(w_ptr, h, columns, channels, D: tl.constexpr, C: tl.constexpr):
    """Wq, Wk and Wv (TC, TD) of a head, then their biases (1, TC)."""
    rows, end, at = h * C + channels, h * C + C, w_ptr + 3 * D * D + h * C
    wq = matrix(w_ptr, rows, end, columns, D, D)
    wk = matrix(w_ptr + D * D, rows, end, columns, D, D)
    wv = matrix(w_ptr + 2 * D * D, rows, end, columns, D, D)
    return wq, wk, wv, vector(at, channels, C), vector(at + D, channels, C), vector(at + 2 * D, channels, C)


@triton.jit
def attention_of(q, k, v, logs, scale, DOT: tl.constexpr, PRECISION: tl.constexpr):
    """Weights of all keys, by queries, and outputs. `logs`: log2 weights (1, TN), -inf where there is no key."""
    scores = product(q, tl.trans(k), DOT, PRECISION) * (scale * LOG2E) + logs
    most = tl.max(scores, 1)
    p = tl.exp2(scores - tl.where(most == float("-inf"), 0.0, most)[:, None])
    p = p / tl.sum(p, 1)[:, None]
    return p, product(p, v, DOT, PRECISION)


@triton.jit
def key_logs(mask_ptr, clip, N, rows):
    """Log2 weights of a clip's keys (1, TN); -inf behind them."""
    here = rows < N
    return tl.where(here, log_weights(mask_ptr, clip * N + rows, here), float("-inf"))[None, :]


@triton.jit(do_not_specialize=("clips", "N"))
def stack_forward(
    x_ptr, y_ptr, saved_ptr, w_ptr, mask_ptr, depth, N, eps, scale, D: tl.constexpr, E: tl.constexpr, H: tl.constexpr,
    TN: tl.constexpr, TD: tl.constexpr, TC: tl.constexpr, TE: tl.constexpr, SAVING: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """x (B, N, D) through blocks -> y; SAVING: each block's x and mid too, (B, depth, 2, N, D)."""
    C: tl.constexpr = D // H
    clip = tl.program_id(0).to(tl.int64)
    rows, columns, channels = tl.arange(0, TN), tl.arange(0, TD), tl.arange(0, TC)
    here = (rows < N)[:, None] & (columns < D)[None, :]
    place = rows[:, None] * D + columns[None, :]
    logs = key_logs(mask_ptr, clip, N, rows)
    x = tl.load(x_ptr + clip * N * D + place, here, 0.0).to(tl.float32)
    for block in range(depth):
        w = w_ptr + block * size_of(D, E)
        saved = saved_ptr + (clip * depth + block) * 2 * N * D + place
        if SAVING:
            tl.store(saved, x.to(saved_ptr.dtype.element_ty), here)
        z, _ = norm(x, columns, eps, D)
        out = w + 3 * D * D + 3 * D
        mid = x + vector(out + D * D, columns, D)
        for h in range(H):
            wq, wk, wv, bq, bk, bv = head_weights(w, h, columns, channels, D, C)
            q = linear(z, wq, bq, DOT, PRECISION)
            k = linear(z, wk, bk, DOT, PRECISION)
            v = linear(z, wv, bv, DOT, PRECISION)
            _weights, attended = attention_of(q, k, v, logs, scale, DOT, PRECISION)
            wo = matrix(out + h * C, columns, D, channels, C, D)
            mid += product(attended, tl.trans(wo), DOT, PRECISION)
        mid = tl.where(here, mid, 0.0)
        x = mid
        if E > 0:
            if SAVING:
                tl.store(saved + N * D, mid.to(saved_ptr.dtype.element_ty), here)
            x = tl.where(here, mlp(mid, out + D * D + D, eps, D, E, TD, TE, DOT, PRECISION), 0.0)
    tl.store(y_ptr + clip * N * D + place, x.to(y_ptr.dtype.element_ty), here)


@triton.jit(do_not_specialize=("clips", "N"))
def stack_backward(
    grad_ptr, dx_ptr, saved_ptr, w_ptr, part_ptr, mask_ptr, depth, clips, N, eps, scale,
    D: tl.constexpr, E: tl.constexpr, H: tl.constexpr, TN: tl.constexpr, TD: tl.constexpr, TC: tl.constexpr,
    TE: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """From the gradient of y to those of x and of the weights: (programs, depth, size), a program's clips summed."""
    C: tl.constexpr = D // H
    program = tl.program_id(0)
    rows, columns, channels = tl.arange(0, TN), tl.arange(0, TD), tl.arange(0, TC)
    here = (rows < N)[:, None] & (columns < D)[None, :]
    place = rows[:, None] * D + columns[None, :]
    for turn in range(tl.cdiv(clips - program, tl.num_programs(0))):
        clip = program.to(tl.int64) + turn * tl.num_programs(0)
        logs = key_logs(mask_ptr, clip, N, rows)
        grad = tl.load(grad_ptr + clip * N * D + place, here, 0.0).to(tl.float32)
        for i in range(depth):
            block = depth - 1 - i
            w = w_ptr + block * size_of(D, E)
            to = part_ptr + (program.to(tl.int64) * depth + block) * size_of(D, E)
            saved = saved_ptr + (clip * depth + block) * 2 * N * D + place
            out, to_out = w + 3 * D * D + 3 * D, to + 3 * D * D + 3 * D
            if E > 0:
                mid = tl.load(saved + N * D, here, 0.0).to(tl.float32)
                grad = mlp_backward(grad, mid, out + D * D + D, to_out + D * D + D, turn, eps, D, E, TD, TE, DOT,
                                    PRECISION)  # fmt: skip
                grad = tl.where(here, grad, 0.0)
            add_vector(to_out + D * D, grad, columns, D, turn)
            x = tl.load(saved, here, 0.0).to(tl.float32)
            z, inverse = norm(x, columns, eps, D)
            dz = tl.zeros((TN, TD), tl.float32)
            for h in range(H):
                wq, wk, wv, bq, bk, bv = head_weights(w, h, columns, channels, D, C)
                q = linear(z, wq, bq, DOT, PRECISION)
                k = linear(z, wk, bk, DOT, PRECISION)
                v = linear(z, wv, bv, DOT, PRECISION)
                p, attended = attention_of(q, k, v, logs, scale, DOT, PRECISION)
                wo = matrix(out + h * C, columns, D, channels, C, D)
                add_matrix(to_out + h * C, grad, attended, columns, D, channels, C, turn, D, DOT, PRECISION)
                dout = product(grad, wo, DOT, PRECISION)
                dscores = product(dout, tl.trans(v), DOT, PRECISION) - tl.sum(dout * attended, 1)[:, None]
                dscores = p * dscores * scale
                dq = product(dscores, k, DOT, PRECISION)
                dk = product(tl.trans(dscores), q, DOT, PRECISION)
                dv = product(tl.trans(p), dout, DOT, PRECISION)
                own, end, to_bias = h * C + channels, h * C + C, to + 3 * D * D + h * C
                add_matrix(to, dq, z, own, end, columns, D, turn, D, DOT, PRECISION)
                add_matrix(to + D * D, dk, z, own, end, columns, D, turn, D, DOT, PRECISION)
                add_matrix(to + 2 * D * D, dv, z, own, end, columns, D, turn, D, DOT, PRECISION)
                add_vector(to_bias, dq, channels, C, turn)
                add_vector(to_bias + D, dk, channels, C, turn)
                add_vector(to_bias + 2 * D, dv, channels, C, turn)
                dz += product(dq, wq, DOT, PRECISION) + product(dk, wk, DOT, PRECISION)
                dz += product(dv, wv, DOT, PRECISION)
            grad = tl.where(here, grad + norm_backward(dz, z, inverse, columns, D), 0.0)
        tl.store(dx_ptr + clip * N * D + place, grad.to(dx_ptr.dtype.element_ty), here)
