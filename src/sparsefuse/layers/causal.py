"""MulT's future mask: masks of queries and keys in, the keys that each query sees out."""

import torch
from torch import Tensor


def seen_keys(queries: Tensor, keys: Tensor, *, cls_read: bool) -> Tensor:
    """Masks (B, N) of queries and (B, N') of keys, CLS first -> (B, N, N'), the keys' mask as each query sees it.

    Token i sees token j if j <= i + |L - L'|, as in the released code; L and L' are a sample's own lengths, up to its
    last real token. CLS, which the paper lacks, stands for the last time step: it sees every key. Tokens see a CLS too,
    unless it has read the clip (`cls_read`): later tokens would reach them through it.
    """
    place, of_key = (torch.arange(mask.shape[1], device=mask.device) for mask in (queries, keys))  # 0 is CLS
    length, of_keys = (place * queries.bool()).amax(1), (of_key * keys.bool()).amax(1)
    reach = place + (length - of_keys).abs()[:, None]  # (B, N)
    seen = of_key <= reach[..., None]
    if cls_read:
        seen = seen & (of_key > 0)
    return keys[:, None] * (seen | (place == 0)[:, None])
