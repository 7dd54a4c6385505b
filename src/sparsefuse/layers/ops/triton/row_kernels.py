"""What blocks do to rows of tokens before and after attention, and back: a program has a tile of rows of any clips."""

# pyright: reportArgumentType=false, reportGeneralTypeIssues=false
# (Triton compiles these functions; what they hold has other types than its signatures say.)

import triton
import triton.language as tl

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


@triton.jit(do_not_specialize=("rows_total",))
def project(
    x_ptr, qkv_ptr, w_ptr, rows_total, eps, D: tl.constexpr, TD: tl.constexpr, BM: tl.constexpr,
    DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Queries, keys and values (R, 3 D) of rows x (R, D)."""
    rows, columns = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM), tl.arange(0, TD)
    here = (rows < rows_total)[:, None] & (columns < D)[None, :]
    x = tl.load(x_ptr + rows[:, None] * D + columns[None, :], here, 0.0).to(tl.float32)
    z, _ = norm(x, columns, eps, D)
    for part in tl.static_range(3):
        weight = matrix(w_ptr + part * D * D, columns, D, columns, D, D)
        y = linear(z, weight, vector(w_ptr + 3 * D * D + part * D, columns, D), DOT, PRECISION)
        tl.store(qkv_ptr + rows[:, None] * (3 * D) + part * D + columns[None, :], y.to(qkv_ptr.dtype.element_ty), here)


@triton.jit(do_not_specialize=("rows_total",))
def conclude(
    x_ptr, out_ptr, y_ptr, w_ptr, rows_total, eps, D: tl.constexpr, E: tl.constexpr, TD: tl.constexpr,
    TE: tl.constexpr, BM: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """From x and attention's outputs (R, D) to y (SFT eqs. 2 and 3)."""
    rows, columns = tl.program_id(0).to(tl.int64) * BM + tl.arange(0, BM), tl.arange(0, TD)
    here = (rows < rows_total)[:, None] & (columns < D)[None, :]
    place, out = rows[:, None] * D + columns[None, :], w_ptr + 3 * D * D + 3 * D
    x = tl.load(x_ptr + place, here, 0.0).to(tl.float32)
    attended = tl.load(out_ptr + place, here, 0.0)
    y = x + linear(attended, matrix(out, columns, D, columns, D, D), vector(out + D * D, columns, D), DOT, PRECISION)
    if E > 0:
        y = mlp(y, out + D * D + D, eps, D, E, TD, TE, DOT, PRECISION)
    tl.store(y_ptr + place, y.to(y_ptr.dtype.element_ty), here)


@triton.jit(do_not_specialize=("rows_total",))
def conclude_backward(
    grad_ptr, x_ptr, out_ptr, dmid_ptr, dout_ptr, w_ptr, part_ptr, part_step, rows_total, eps, D: tl.constexpr,
    E: tl.constexpr, TD: tl.constexpr, TE: tl.constexpr, BM: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """From the gradient of y to those of mid, of attention's outputs, and of the weights, a program's tiles summed."""
    columns, out = tl.arange(0, TD), w_ptr + 3 * D * D + 3 * D
    to = part_ptr + tl.program_id(0).to(tl.int64) * part_step + 3 * D * D + 3 * D
    program, programs = tl.program_id(0), tl.num_programs(0)
    for turn in range(tl.cdiv(tl.cdiv(rows_total, BM) - program, programs)):
        rows = (program.to(tl.int64) + turn * programs) * BM + tl.arange(0, BM)
        here = (rows < rows_total)[:, None] & (columns < D)[None, :]
        place = rows[:, None] * D + columns[None, :]
        grad = tl.load(grad_ptr + place, here, 0.0).to(tl.float32)
        attended = tl.load(out_ptr + place, here, 0.0)
        weight = matrix(out, columns, D, columns, D, D)
        if E > 0:
            x = tl.load(x_ptr + place, here, 0.0).to(tl.float32)
            mid = x + linear(attended, weight, vector(out + D * D, columns, D), DOT, PRECISION)
            grad = mlp_backward(grad, tl.where(here, mid, 0.0), out + D * D + D, to + D * D + D, turn, eps, D, E, TD,
                                TE, DOT, PRECISION)  # fmt: skip
            grad = tl.where(here, grad, 0.0)
        tl.store(dmid_ptr + place, grad.to(dmid_ptr.dtype.element_ty), here)
        add_matrix(to, grad, attended, columns, D, columns, D, turn, D, DOT, PRECISION)
        add_vector(to + D * D, grad, columns, D, turn)
        dout = product(grad, weight, DOT, PRECISION)
        tl.store(dout_ptr + place, dout.to(dout_ptr.dtype.element_ty), here)


@triton.jit(do_not_specialize=("rows_total",))
def project_backward(
    dqkv_ptr, x_ptr, dmid_ptr, dx_ptr, w_ptr, part_ptr, part_step, rows_total, eps, D: tl.constexpr, TD: tl.constexpr,
    BM: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """From the gradients of queries, keys, values and mid to those of x and of the weights."""
    columns = tl.arange(0, TD)
    to = part_ptr + tl.program_id(0).to(tl.int64) * part_step
    program, programs = tl.program_id(0), tl.num_programs(0)
    for turn in range(tl.cdiv(tl.cdiv(rows_total, BM) - program, programs)):
        rows = (program.to(tl.int64) + turn * programs) * BM + tl.arange(0, BM)
        here = (rows < rows_total)[:, None] & (columns < D)[None, :]
        place = rows[:, None] * D + columns[None, :]
        x = tl.load(x_ptr + place, here, 0.0).to(tl.float32)
        z, inverse = norm(x, columns, eps, D)
        dz = tl.zeros((BM, TD), tl.float32)
        for part in tl.static_range(3):
            dy = tl.load(dqkv_ptr + rows[:, None] * (3 * D) + part * D + columns[None, :], here, 0.0)
            dz += product(dy, matrix(w_ptr + part * D * D, columns, D, columns, D, D), DOT, PRECISION)
            add_matrix(to + part * D * D, dy, z, columns, D, columns, D, turn, D, DOT, PRECISION)
            add_vector(to + 3 * D * D + part * D, dy.to(tl.float32), columns, D, turn)
        dx = tl.load(dmid_ptr + place, here, 0.0).to(tl.float32) + norm_backward(dz, z, inverse, columns, D)
        tl.store(dx_ptr + place, dx.to(dx_ptr.dtype.element_ty), here)
