"""Attention over a pattern, forward and backward, a tile of queries or of keys of one head per program.

Scores are never kept: the backward pass computes them again from queries, keys and `lse`, the logarithm to base 2 of
each query's sum (Dao et al. 2022). A pass sees some rows of queries and keys:

  DENSE                  all keys
  STRIDED, FIXED         the pattern by its definition, over all pairs of tiles; CLS is row 0
  NEAR, then RESIDUE     the strided pattern in two passes that touch only its pairs: |i - j| < l with CLS; i = j mod l
  LOCAL                  the block of l and l / 2 either side; CLS and the means of windows are `far` keys

In NEAR and LOCAL the query CLS has programs of its own, each for a part of the keys (a split); FAR is the backward pass
of the far keys, each program for a part of the queries. Tensors of rows are (B, N, H, C) in memory; `row` is how far
two of their rows are apart, known to the compiler: so the channels of a head are one load. A NaN or an infinity makes
each sum it enters NaN, as in the definition.
"""

# pyright: reportArgumentType=false, reportGeneralTypeIssues=false
# (Triton compiles these functions; what they hold has other types than its signatures say.)

import triton
import triton.language as tl

from sparsefuse.layers.ops.triton.tiles import product

DENSE = tl.constexpr(0)
STRIDED = tl.constexpr(1)
FIXED = tl.constexpr(2)
NEAR = tl.constexpr(3)
RESIDUE = tl.constexpr(4)
LOCAL = tl.constexpr(5)
FAR = tl.constexpr(6)
LOG2E: tl.constexpr = tl.constexpr(1.4426950408889634)
COUNTS = ("queries", "keys", "far", "far_step", "key_step", "span", "tail", "splits")
"""What differs from batch to batch: a kernel is not compiled once more for numbers that 16 divides, or for 1."""
MASKED: tl.constexpr = tl.constexpr(-1e4)  # as in the definition: finite, so that a row without a key stays finite


@triton.jit
def log_weights(mask_ptr, at, here):
    """Log2 of the weights of keys."""
    weight = tl.load(mask_ptr + at, here, 1).to(tl.float32)
    logs = tl.log(weight)
    return tl.where(logs < MASKED, MASKED, logs) * LOG2E


@triton.jit
def sees(i, j, span, tail, PATTERN: tl.constexpr):
    """Whether query row i attends to key row j, of those that the pass meets one by one."""
    if (PATTERN == DENSE) or (PATTERN == FAR):
        return (i >= 0) & (j >= 0)
    s, t = i - 1, j - 1  # tokens
    if PATTERN == NEAR:
        return (s < 0) | ((s - t < span) & (t - s < span) & (t >= 0))
    if PATTERN == RESIDUE:
        return s != t  # itself is in NEAR
    if PATTERN == LOCAL:
        start = s // span * span - span // 2
        return (s < 0) | ((t >= start) & (t < start + 2 * span) & (t >= 0))
    cls = (s < 0) | (t < 0)
    if PATTERN == STRIDED:
        return cls | ((s - t < span) & (t - s < span)) | ((s - t) % span == 0)
    return cls | (s // span == t // span) | (t % span >= span - tail)


@triton.jit
def reach(first, size, count, span, PATTERN: tl.constexpr, BACK: tl.constexpr):
    """The rows, from .. to, that some of `size` rows from `first` on attend to; BACK: that attend to some of them."""
    low, high = 0, count
    if PATTERN == NEAR:
        low, high = first - span + 1, first + size + span - 1
    if PATTERN == LOCAL:
        start, end = first - 1, first + size - 1  # tokens
        if BACK:  # of blocks whose surroundings hold one of them
            low = (start + span // 2) // span * span - span
            high = (end - 1 + span // 2) // span * span + span
        else:
            low = start // span * span - span // 2
            high = (end - 1) // span * span + span + span // 2
        low, high = low + 1, high + 1
    if (PATTERN == NEAR) or (PATTERN == LOCAL):
        low, high = tl.maximum(low, 1), tl.minimum(high, count)
    return low, high


@triton.jit
def scored(q, k, logs, seen, scale, DOT: tl.constexpr, PRECISION: tl.constexpr):
    """Scores of queries for keys, as powers of 2; -inf where a pair is not of the pattern."""
    scores = product(q, tl.trans(k), DOT, PRECISION) * (scale * LOG2E) + logs[None, :]
    return tl.where(seen, scores, float("-inf"))


@triton.jit
def score_gradients(scores, grad, v, lse, delta, DOT: tl.constexpr, PRECISION: tl.constexpr):
    """Of the loss by scores, but for the scale."""
    return tl.exp2(scores - lse[:, None]) * (product(grad, tl.trans(v), DOT, PRECISION) - delta[:, None])


@triton.jit
def attend(scores, v, most, total, summed, DOT: tl.constexpr, PRECISION: tl.constexpr):
    """Adds keys with these scores."""
    new = tl.maximum(most, tl.max(scores, 1))
    base = tl.where(new == float("-inf"), 0.0, new)
    p = tl.exp2(scores - base[:, None])
    factor = tl.exp2(most - base)
    return new, total * factor + tl.sum(p, 1), summed * factor[:, None] + product(p, v, DOT, PRECISION)


@triton.jit
def finish(most, total, summed):
    """Outputs, and `lse`. All scores -inf gives NaN, as in the definition."""
    return summed / total[:, None], tl.where(most == float("-inf"), 0.0, most) + tl.log2(total)


@triton.jit
def rows_at(ptr, row, first, rows, head, C: tl.constexpr, TC: tl.constexpr):
    """Where the channels of a head lie in rows, of which a clip's are `first` and later."""
    return ptr + (first + rows).to(tl.int64)[:, None] * row + head * C + tl.arange(0, TC)[None, :]


@triton.jit(do_not_specialize=COUNTS)
def per_query(
    q_ptr, q_row: tl.constexpr, k_ptr, k_row: tl.constexpr, v_ptr, v_row: tl.constexpr,
    far_k_ptr, far_k_row: tl.constexpr, far_v_ptr, far_v_row: tl.constexpr, mask_ptr, far_mask_ptr,
    out_ptr, out_row: tl.constexpr, lse_ptr, grad_ptr, grad_row: tl.constexpr, dq_ptr, dq_row: tl.constexpr,
    delta_ptr, part_ptr, part_lse_ptr,
    queries, keys, far, far_step, span, tail, splits, scale,
    PATTERN: tl.constexpr, GRADIENT: tl.constexpr, H: tl.constexpr, C: tl.constexpr, TC: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, BF: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Outputs (B, N, H, C) and `lse` (B, H, N) of a tile of queries; with GRADIENT, their gradients dq, and `delta`
    (B, H, N), the sum of grad x out. RESIDUE goes on from what NEAR has left."""
    GLOBAL: tl.constexpr = (PATTERN == NEAR) or (PATTERN == LOCAL)
    tile, pid = tl.program_id(0), tl.program_id(1)
    clip, head = (pid // H).to(tl.int64), pid % H
    base, step = 0, 1
    if PATTERN == RESIDUE:
        base, step = 1 + tl.program_id(2), span
    count = tl.cdiv(tl.maximum(keys - base, 0), step)
    first, end = tile * BM, queries
    if GLOBAL:
        first = tl.where(tile < splits, 0, 1 + (tile - splits) * BM)
        end = tl.where(tile < splits, 1, queries)
    low, high = reach(first, BM, count, span, PATTERN, False)
    if GLOBAL:
        part = tl.cdiv(keys, splits)
        low = tl.where(tile < splits, tile * part, low)
        high = tl.where(tile < splits, tl.minimum(tile * part + part, keys), high)
    rows = base + (first + tl.arange(0, BM)) * step
    here = rows < end
    inside = (tl.arange(0, TC) < C)[None, :]
    own = here[:, None] & inside
    of_query = pid.to(tl.int64) * queries + rows
    out_at = rows_at(out_ptr, out_row, clip * queries, rows, head, C, TC)
    dq_at = rows_at(dq_ptr, dq_row, clip * queries, rows, head, C, TC)
    q = tl.load(rows_at(q_ptr, q_row, clip * queries, rows, head, C, TC), own, 0.0)
    most = tl.full((BM,), float("-inf"), tl.float32)
    total = tl.zeros((BM,), tl.float32)
    summed = tl.zeros((BM, TC), tl.float32)
    grad, lse, delta = summed, total, total
    if GRADIENT:
        grad = tl.load(rows_at(grad_ptr, grad_row, clip * queries, rows, head, C, TC), own, 0.0).to(tl.float32)
        delta = tl.sum(grad * tl.load(out_at, own, 0.0).to(tl.float32), 1)
        lse = tl.load(lse_ptr + of_query, here, float("inf"))
        tl.store(delta_ptr + of_query, delta, here)
        if PATTERN == RESIDUE:
            summed = tl.load(dq_at, own, 0.0).to(tl.float32) / scale
    elif PATTERN == RESIDUE:
        summed = tl.load(out_at, own, 0.0).to(tl.float32)
        most = tl.load(lse_ptr + of_query, here, 0.0)
        total = tl.where(most == float("-inf"), 0.0, 1.0)
    for start in range(low, high, BN):
        y = start + tl.arange(0, BN)
        at = base + y * step
        there = y < high
        k = tl.load(rows_at(k_ptr, k_row, clip * keys, at, head, C, TC), there[:, None] & inside, 0.0)
        v = tl.load(rows_at(v_ptr, v_row, clip * keys, at, head, C, TC), there[:, None] & inside, 0.0)
        logs = log_weights(mask_ptr, clip * keys + at, there)
        seen = sees(rows[:, None], at[None, :], span, tail, PATTERN) & there[None, :]
        scores = scored(q, k, logs, seen, scale, DOT, PRECISION)
        if GRADIENT:
            summed += product(score_gradients(scores, grad, v, lse, delta, DOT, PRECISION), k, DOT, PRECISION)
        else:
            most, total, summed = attend(scores, v, most, total, summed, DOT, PRECISION)
    if GLOBAL:
        if tile >= splits:
            f = tl.arange(0, BF)
            there = f < far
            k = tl.load(rows_at(far_k_ptr, far_k_row, clip * far_step, f, head, C, TC), there[:, None] & inside, 0.0)
            v = tl.load(rows_at(far_v_ptr, far_v_row, clip * far_step, f, head, C, TC), there[:, None] & inside, 0.0)
            logs = log_weights(far_mask_ptr, clip * far_step + f, there)
            scores = scored(q, k, logs, there[None, :], scale, DOT, PRECISION)
            if GRADIENT:
                summed += product(score_gradients(scores, grad, v, lse, delta, DOT, PRECISION), k, DOT, PRECISION)
            else:
                most, total, summed = attend(scores, v, most, total, summed, DOT, PRECISION)
    if GRADIENT:
        y = summed * scale
    else:
        y, lse = finish(most, total, summed)
    if GLOBAL:
        if tile < splits:  # put together later
            split = pid.to(tl.int64) * splits + tile
            tl.store(
                part_ptr + split * C + tl.arange(0, TC)[None, :] + 0 * rows[:, None], y, (rows == 0)[:, None] & inside
            )
            tl.store(part_lse_ptr + split + 0 * rows, lse, rows == 0)
        here = rows < tl.where(tile < splits, 0, queries)
        own = here[:, None] & inside
    if GRADIENT:
        tl.store(dq_at, y.to(dq_ptr.dtype.element_ty), own)
    else:
        tl.store(out_at, y.to(out_ptr.dtype.element_ty), own)
        tl.store(lse_ptr + of_query, lse, here)


@triton.jit(do_not_specialize=COUNTS)
def per_key(
    q_ptr, q_row: tl.constexpr, k_ptr, k_row: tl.constexpr, v_ptr, v_row: tl.constexpr, mask_ptr, lse_ptr,
    grad_ptr, grad_row: tl.constexpr, delta_ptr, dk_ptr, dk_row: tl.constexpr, dv_ptr, dv_row: tl.constexpr,
    queries, keys, key_step, span, tail, splits, scale,
    PATTERN: tl.constexpr, H: tl.constexpr, C: tl.constexpr, TC: tl.constexpr,
    BM: tl.constexpr, BN: tl.constexpr, DOT: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Gradients dk and dv of a tile of keys. FAR: from a part of the queries but CLS, (splits, B, F, H, C)."""
    GLOBAL: tl.constexpr = (PATTERN == NEAR) or (PATTERN == LOCAL)
    tile, pid = tl.program_id(0), tl.program_id(1)
    clip, head = (pid // H).to(tl.int64), pid % H
    base, step = 0, 1
    if PATTERN == RESIDUE:
        base, step = 1 + tl.program_id(2), span
    count = tl.cdiv(tl.maximum(queries - base, 0), step)
    y = tl.arange(0, BN) + tile * BN
    low, high = reach(tile * BN, BN, count, span, PATTERN, True)
    to = clip * keys
    if PATTERN == FAR:
        y = tl.arange(0, BN)
        part = tl.cdiv(queries - 1, splits)
        low, high = 1 + tile * part, tl.minimum(1 + tile * part + part, queries)
        to = (tile * (tl.num_programs(1) // H) + clip) * keys
    at = base + y * step
    there = at < keys
    inside = (tl.arange(0, TC) < C)[None, :]
    own = there[:, None] & inside
    k = tl.load(rows_at(k_ptr, k_row, clip * key_step, at, head, C, TC), own, 0.0)
    v = tl.load(rows_at(v_ptr, v_row, clip * key_step, at, head, C, TC), own, 0.0)
    logs = log_weights(mask_ptr, clip * key_step + at, there)
    dk_at = rows_at(dk_ptr, dk_row, to, at, head, C, TC)
    dv_at = rows_at(dv_ptr, dv_row, to, at, head, C, TC)
    dk, dv = tl.zeros((BN, TC), tl.float32), tl.zeros((BN, TC), tl.float32)
    if PATTERN == RESIDUE:
        dk = tl.load(dk_at, own, 0.0).to(tl.float32) / scale
        dv = tl.load(dv_at, own, 0.0).to(tl.float32)
    begin = low
    if GLOBAL:
        begin = low - BM  # first a tile of CLS alone
    for start in range(begin, high, BM):
        first, end = start, high
        if GLOBAL:
            first = tl.where(start < low, 0, start)
            end = tl.where(start < low, 1, high)
        x = first + tl.arange(0, BM)
        here = x < end
        rows = base + x * step
        seen = sees(rows[:, None], at[None, :], span, tail, PATTERN) & there[None, :] & here[:, None]
        of_query = pid.to(tl.int64) * queries + rows
        q = tl.load(rows_at(q_ptr, q_row, clip * queries, rows, head, C, TC), here[:, None] & inside, 0.0)
        grad = tl.load(rows_at(grad_ptr, grad_row, clip * queries, rows, head, C, TC), here[:, None] & inside, 0.0)
        lse = tl.load(lse_ptr + of_query, here, float("inf"))
        delta = tl.load(delta_ptr + of_query, here, 0.0)
        scores = scored(q, k, logs, seen, scale, DOT, PRECISION)
        p = tl.exp2(scores - lse[:, None])
        dv += product(tl.trans(p), grad, DOT, PRECISION)
        ds = score_gradients(scores, grad, v, lse, delta, DOT, PRECISION)
        dk += product(tl.trans(ds), q, DOT, PRECISION)
    tl.store(dk_at, (dk * scale).to(dk_ptr.dtype.element_ty), own)
    tl.store(dv_at, dv.to(dv_ptr.dtype.element_ty), own)
