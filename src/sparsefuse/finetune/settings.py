"""How a trained model is adapted."""

from dataclasses import asdict, dataclass
from typing import Literal, get_args

from sparsefuse.errors import unknown

Weights = Literal["head", "fusion", "lora", "all"]

RATES: dict[str, float] = {"head": 1e-2, "fusion": 1e-3, "lora": 3e-3, "all": 1e-3}
"""the learning rate for each choice of weights, chosen on people who are not in the test set (docs/adapt.md)"""
NEW_CLASS_CLIPS = 2
"""clips that a new class needs: one to learn from, one to stop by"""
UNWATCHED_EPOCHS = 4
"""epochs where no clip can be held out, as none shares its class with another"""


@dataclass(frozen=True)
class Settings:
    """Which weights are trained, for how long and at which rate."""

    weights: Weights = "fusion"
    """head: the head alone; fusion: the layers from where streams meet, and the head; lora: low-rank adapters (LoRA) of
    their linear layers, and the head; all: everything"""
    epochs: int = 10
    """the most passes over the new clips; how many is decided on held-out ones"""
    lr: float | None = None
    """learning rate; None = the one of `RATES`"""
    rank: int = 4
    """of the low-rank adapters"""
    batch: int = 24
    """new clips per step, and as many old ones beside them"""
    replay: bool = True
    """rehearse the replay clips of the run"""
    seed: int = 0
    """of the order of clips, and of the folds"""

    def __post_init__(self) -> None:
        if self.weights not in get_args(Weights):
            raise ValueError(unknown("weights", self.weights, get_args(Weights)))
        for name, least in (("epochs", 1), ("rank", 1), ("batch", 1)):
            if not least <= getattr(self, name) < 1e6:
                raise ValueError(f"{name} is {getattr(self, name)}; expected {least} or more, below 1e+06")
        if self.lr is not None and not 0 < self.lr < 1e6:
            raise ValueError(f"lr is {self.lr}; expected a number above 0, below 1e+06")

    @property
    def rate(self) -> float:
        """The learning rate."""
        return RATES[self.weights] if self.lr is None else self.lr

    def to_json(self) -> dict[str, object]:
        """As in result.json."""
        return {**asdict(self), "lr": self.rate}
