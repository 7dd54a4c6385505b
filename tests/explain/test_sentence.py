"""One sentence says what mattered, and takes nothing within noise for an effect."""

import math

import pytest
import torch

from sparsefuse.explain.explanation import Explanation
from sparsefuse.explain.occlusion import Occlusion
from sparsefuse.explain.sentence import mattered
from sparsefuse.inference.predictor import Prediction


def explained(
    without: dict[str, float], windows: dict[str, list[float]], noise: float = 0.02, *, shares: bool = True
) -> Explanation:
    occlusion = Occlusion(
        0.92, without, {n: torch.tensor(w) for n, w in windows.items()}, dict.fromkeys(without, noise)
    )
    prediction = Prediction("a", {"a": 0.92} if shares else {}, {})
    return Explanation(prediction, {}, {}, 0.0, "a", occlusion, {}, {}, ())


BOTH = {"rgb": [0.92, 0.915], "sound": [0.9, 0.5, 0.91, 0.92]}


@pytest.mark.parametrize(
    ("without", "seconds", "text"),
    [
        (
            {"rgb": 0.91, "sound": 0.41},
            8.0,
            "sound mattered most: without it the probability of a is 41 %, not 92 %; most of all from 2 to 4 s; "
            "rgb made no difference beyond noise.",
        ),
        (
            {"rgb": 0.1, "sound": 0.41},
            0.0,
            "rgb mattered most: without it the probability of a is 10 %, not 92 %.",
        ),
        (
            {"rgb": 0.93, "sound": 0.91},
            8.0,
            "Nothing mattered alone: without any one of rgb, sound, the probability of a changes by no more "
            "than noise.",
        ),
    ],
)
def test_the_stream_of_most_effect_is_named_and_noise_is_none(
    without: dict[str, float], seconds: float, text: str
) -> None:
    assert mattered(explained(without, BOTH), seconds) == text


def test_of_one_stream_its_part_is_named() -> None:
    alone = {"sound": math.nan}
    text = "Of sound, the only stream, the part from 25 to 50 % of the clip mattered most."
    assert mattered(explained(alone, {"sound": BOTH["sound"]}), 0) == text
    quiet = mattered(explained(alone, {"sound": [0.91, 0.92]}), 0)
    assert quiet.startswith("No part of sound, the only stream, mattered alone")


def test_a_number_is_told_as_one() -> None:
    text = mattered(explained({"rgb": 0.91, "sound": 0.414}, {"rgb": [0.92], "sound": [0.92]}, shares=False), 0)
    assert text.startswith("sound mattered most: without it the number is 0.414, not 0.92; rgb made")
