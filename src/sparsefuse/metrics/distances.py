"""How far two sets of pictures are apart as a network sees them: features (n, D) of each in, a number out.

Both need two pictures of each set, and are of the network that the features came from: no two networks' compare.
"""

import torch
from torch import Tensor

SUBSET, NUM_SUBSETS = 100, 50
"""Pictures of a subset, and how many are drawn."""


def kernel_distance(made: Tensor, real: Tensor, *, subset: int = SUBSET, num_subsets: int = NUM_SUBSETS) -> float:
    """The squared maximum mean discrepancy with the kernel (x . y / D + 1)^3, without bias: around 0, and below it as
    often as above, for sets of one kind, however few (KID; Binkowski et al. 2018).

    The mean over random subsets, always the same ones; where both sets have no more than `subset`, of all at once.
    """
    made, real = made.double(), real.double()
    sizes = [min(subset, len(features)) for features in (made, real)]
    if sizes == [len(made), len(real)]:
        return float(_discrepancy(made, real))
    generator = torch.Generator().manual_seed(0)
    drawn = []
    for _ in range(num_subsets):
        some, others = (torch.randperm(len(all), generator=generator)[:size]
                        for all, size in zip((made, real), sizes, strict=True))  # fmt: skip
        drawn.append(_discrepancy(made[some], real[others]))
    return float(torch.stack(drawn).mean())


def _discrepancy(made: Tensor, real: Tensor) -> Tensor:
    """() no picture is compared with itself, and so no bias."""
    return _mean_of_pairs(_kernel(made, made)) + _mean_of_pairs(_kernel(real, real)) - 2 * _kernel(made, real).mean()


def _kernel(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


def _mean_of_pairs(kernel: Tensor) -> Tensor:
    """(n, n) -> () without the diagonal."""
    return (kernel.sum() - kernel.diagonal().sum()) / (len(kernel) * (len(kernel) - 1))


def frechet_distance(made: Tensor, real: Tensor) -> float:
    """|m - m'|^2 + tr(S + S' - 2 (S S')^1/2) of the sets' means and covariances (Heusel et al. 2017).

    Grows the fewer pictures there are: compare only what is of as many. The last trace is the sum of the singular
    values of R R'^T, where S = R^T R and S' = R'^T R': no root of a matrix is taken, and covariances may lack ranks, as
    those of fewer pictures than D do.
    """
    (mean, root), (other, others) = (_moments(features.double()) for features in (made, real))
    common = torch.linalg.svdvals(root @ others.T).sum()
    return float((mean - other).square().sum() + root.square().sum() + others.square().sum() - 2 * common)


def _moments(features: Tensor) -> tuple[Tensor, Tensor]:
    """The mean (D,), and a root (min(n, D), D) of the covariance."""
    mean = features.mean(0)
    return mean, torch.linalg.qr((features - mean) / (len(features) - 1) ** 0.5, mode="r").R
