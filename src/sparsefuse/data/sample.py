"""One decoded sample, before it is batched."""

from typing import NamedTuple

from torch import Tensor


class Sample(NamedTuple):
    """One row of the manifest, as tensors."""

    features: dict[str, Tensor]
    """modality -> (N, F) float32, N differs between modalities; a modality the sample lacks is absent"""
    label: Tensor
    """as `Labels.encode` gives it: () long, (C,) float or () float"""
    id: str
