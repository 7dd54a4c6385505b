"""The results of the SFT paper (Ding et al. 2021, tables 1 to 5) on its own data, for comparison with a study."""

from typing import NamedTuple


class Reported(NamedTuple):
    """Top-1 in percent, mean and deviation over five seeds."""

    mean: float
    std: float

    def __str__(self) -> str:
        return f"{self.mean:g} ± {self.std:g}"


DATA = ("VGGS10", "VGGS100", "MOSEI")

ACCURACY = {
    "sft": (Reported(67.71, 1.3), Reported(55.61, 0.61), Reported(49.67, 0.23)),
    "concat": (Reported(67.62, 1.3), Reported(51.72, 0.26), Reported(48.47, 0.23)),
    "late": (Reported(67.10, 0.79), Reported(52.00, 0.73), Reported(49.10, 0.33)),
    "mult": (Reported(65.49, 0.40), Reported(51.35, 0.43), Reported(49.36, 0.34)),
    "mbt": (Reported(66.84, 0.61), Reported(51.67, 0.66), Reported(49.12, 0.27)),
    "mbt + mixup": (Reported(66.80, 1.8), Reported(55.97, 0.42), Reported(48.77, 0.37)),
}
"""Table 1."""

GMACS = {"sft": (0.25, 0.10), "concat": (1.68, 1.16), "late": (1.51, 0.59), "mult": (2.64, 1.03), "mbt": (1.52, 0.59)}
"""Table 2, for VGGS10 and VGGS100, and for MOSEI; its "GFlops" are multiply-adds."""

REDUCTION = {
    "sft": (Reported(55.57, 0.23), Reported(55.98, 0.28)),
    "concat": (Reported(51.72, 0.26), Reported(46.29, 0.73)),
    "late": (Reported(52.00, 0.73), Reported(49.76, 0.71)),
}
"""Table 3, VGGS100: whole, and reduced 64-fold."""

POOLING = {
    "avg": (Reported(67.7, 1.2), Reported(55.6, 0.5), Reported(49.7, 0.2)),
    "max": (Reported(67.0, 1.1), Reported(55.7, 0.4), Reported(49.4, 0.2)),
    "attn": (Reported(67.5, 1.0), Reported(55.4, 0.3), Reported(49.4, 0.2)),
}
"""Table 4."""

MIXUP = {"mixup": Reported(55.61, 0.61), "no mixup": Reported(51.30, 0.80)}
"""Table 5, VGGS100."""
