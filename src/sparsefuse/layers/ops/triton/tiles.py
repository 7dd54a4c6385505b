"""Tiles of tokens in registers: norms, linear layers, their gradients, and the MLP of a block. Behind D channels is 0.

Weights of blocks lie packed, one behind another, as `BlockWeights` lists them: rows of a matrix (M, K) are its outputs.
"""

# pyright: reportArgumentType=false, reportGeneralTypeIssues=false
# (Triton compiles these functions; what they hold has other types than its signatures say.)

import triton
import triton.language as tl


@triton.jit
def product(a, b, DOT: tl.constexpr, PRECISION: tl.constexpr):
    """a @ b in the dtype DOT, summed in float32."""
    return tl.dot(a.to(DOT), b.to(DOT), input_precision=PRECISION)


@triton.jit
def matrix(w_ptr, rows, end, columns, width, K):
    """The tile (rows, columns) of a matrix of K columns; 0 from row `end` and from column `width` on."""
    return tl.load(
        w_ptr + rows[:, None] * K + columns[None, :], (rows < end)[:, None] & (columns < width)[None, :], 0.0
    )


@triton.jit
def vector(w_ptr, columns, width):
    """Numbers side by side (1, columns); 0 from `width` on."""
    return tl.load(w_ptr + columns, columns < width, 0.0).to(tl.float32)[None, :]


@triton.jit
def linear(x, weight, bias, DOT: tl.constexpr, PRECISION: tl.constexpr):
    """x (R, K), weight (M, K), bias (1, M) -> (R, M)."""
    return product(x, tl.trans(weight), DOT, PRECISION) + bias


@triton.jit
def add_matrix(
    ptr, grad, x, rows, end, columns, width, turn, K: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr
):
    """Adds grad^T x to the gradient of a matrix (rows, columns); `turn` 0: nothing is there yet."""
    at = ptr + rows[:, None] * K + columns[None, :]
    inside = (rows < end)[:, None] & (columns < width)[None, :]
    before = tl.load(at, inside & (turn > 0), 0.0)
    tl.store(at, before + product(tl.trans(grad), x, DOT, PRECISION), inside)


@triton.jit
def add_vector(ptr, grad, columns, width, turn):
    """Adds the sum of grad (R, columns) over its rows."""
    before = tl.load(ptr + columns, (columns < width) & (turn > 0), 0.0)
    tl.store(ptr + columns, before + tl.sum(grad, 0), columns < width)


@triton.jit
def norm(x, columns, eps, D: tl.constexpr):
    """Rows less their mean, over their standard deviation; and one over that."""
    inside = (columns < D)[None, :]
    x = tl.where(inside, x - (tl.sum(tl.where(inside, x, 0.0), 1) / D)[:, None], 0.0)
    inverse = tl.rsqrt(tl.sum(x * x, 1) / D + eps)
    return x * inverse[:, None], inverse


@triton.jit
def norm_backward(grad, normed, inverse, columns, D: tl.constexpr):
    """From the gradient of `norm`'s rows to that of x."""
    means = (tl.sum(grad, 1) / D)[:, None] + normed * (tl.sum(grad * normed, 1) / D)[:, None]
    return tl.where((columns < D)[None, :], (grad - means) * inverse[:, None], 0.0)


@triton.jit
def mlp(
    mid, w_ptr, eps, D: tl.constexpr, E: tl.constexpr, TD: tl.constexpr, TE: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """mid + W2 relu(W1 N(mid) + b1) + b2 (SFT eq. 3). `w_ptr`: the norm's weights and those behind them."""
    columns, hidden = tl.arange(0, TD), tl.arange(0, TE)
    first_ptr, second_ptr = w_ptr + 2 * D, w_ptr + 2 * D + E * D + E
    normed, _ = norm(mid, columns, eps, D)
    z = normed * vector(w_ptr, columns, D) + vector(w_ptr + D, columns, D)
    a = linear(z, matrix(first_ptr, hidden, E, columns, D, D), vector(first_ptr + E * D, hidden, E), DOT, PRECISION)
    a = tl.where(a < 0, 0.0, a)  # NaN stays
    second = matrix(second_ptr, columns, D, hidden, E, E)
    return mid + linear(a, second, vector(second_ptr + D * E, columns, D), DOT, PRECISION)


@triton.jit
def mlp_backward(
    grad, mid, w_ptr, to_ptr, turn, eps, D: tl.constexpr, E: tl.constexpr, TD: tl.constexpr, TE: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """From the gradient of y = `mlp(mid)` to that of mid; adds those of its weights at `to_ptr`."""
    columns, hidden = tl.arange(0, TD), tl.arange(0, TE)
    to_first: tl.constexpr = 2 * D
    to_second: tl.constexpr = to_first + E * D + E
    normed, inverse = norm(mid, columns, eps, D)
    gain = vector(w_ptr, columns, D)
    z = normed * gain + vector(w_ptr + D, columns, D)
    weight = matrix(w_ptr + to_first, hidden, E, columns, D, D)
    a = linear(z, weight, vector(w_ptr + to_first + E * D, hidden, E), DOT, PRECISION)
    second = matrix(w_ptr + to_second, columns, D, hidden, E, E)
    add_matrix(to_ptr + to_second, grad, tl.where(a < 0, 0.0, a), columns, D, hidden, E, turn, E, DOT, PRECISION)
    add_vector(to_ptr + to_second + D * E, grad, columns, D, turn)
    da = tl.where(a <= 0, 0.0, product(grad, second, DOT, PRECISION))
    add_matrix(to_ptr + to_first, da, z, hidden, E, columns, D, turn, D, DOT, PRECISION)
    add_vector(to_ptr + to_first + E * D, da, hidden, E, turn)
    dz = product(da, weight, DOT, PRECISION)
    add_vector(to_ptr, dz * normed, columns, D, turn)
    add_vector(to_ptr + D, dz, columns, D, turn)
    return grad + norm_backward(dz * gain, normed, inverse, columns, D)
