"""One sentence says what mattered, and takes nothing within noise for an effect."""

import math

import pytest
import torch

from sparsefuse.explain.explanation import Explanation
from sparsefuse.explain.occlusion import Occlusion
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
            "rgb mattered most: without it the probability of a is 10 %, not 92 %; no part of it "
            "stands out from noise.",
        ),
        (
            {"rgb": 0.93, "sound": 0.91},
            8.0,
            "Nothing stands out from noise: without any one of rgb, sound, the probability of a changes by no more.",
        ),
    ],
)
def test_the_stream_of_most_effect_is_named_and_noise_is_none(
    without: dict[str, float], seconds: float, text: str
) -> None:
    assert explained(without, BOTH).sentence(seconds) == text


def test_places_of_a_stream_that_was_cut_are_those_of_the_clip() -> None:
    """Of 8 s the model reads 2 s of sound: its second of four windows is from .5 s on, not from 2 s."""
    found = explained({"rgb": 0.91, "sound": 0.41}, BOTH)._replace(covered={"sound": 0.25})
    assert "most of all from 0.5 to 1 s" in found.sentence(8.0)
    assert "most of all from 6.25 to 12.5 % of the clip" in found.sentence()


def test_of_one_stream_its_part_is_named() -> None:
    alone = {"sound": math.nan}
    text = "Of sound, the only stream, the part from 25 to 50 % of the clip mattered most."
    assert explained(alone, {"sound": BOTH["sound"]}).sentence() == text
    quiet = explained(alone, {"sound": [0.91, 0.92]}).sentence()
    assert quiet == (
        "Nothing stands out from noise: no part of sound, the only stream, changes the probability of a by more when "
        "masked."
    )


def test_a_number_is_told_as_one() -> None:
    text = explained({"rgb": 0.91, "sound": 0.414}, {"rgb": [0.92], "sound": [0.92]}, shares=False).sentence()
    assert text.startswith("sound mattered most: without it the number is 0.414, not 0.92; rgb made")


@pytest.mark.parametrize(
    "windows",
    [
        [0.92, 0.89, 0.93, 0.91],  # beyond the noise of 0.02, as the largest of many is by chance
        [0.6, 0.62, 0.61, 0.6],  # every part alike
    ],
)
def test_a_part_that_does_not_stand_out_is_not_named(windows: list[float]) -> None:
    text = explained({"rgb": 0.1, "sound": 0.92}, {"rgb": windows, "sound": [0.92, 0.92]}).sentence()
    assert text == (
        "rgb mattered most: without it the probability of a is 10 %, not 92 %; no part of it stands out from noise; "
        "sound made no difference beyond noise."
    )


def test_a_part_within_the_noise_of_another_stream_is_not_named() -> None:
    """The page has one grey band for all."""
    found = explained({"rgb": 0.1, "sound": 0.92}, {"rgb": [0.92, 0.86, 0.92], "sound": [0.92, 0.92]})
    assert "from 33.3 to 66.7 % of the clip" in found.sentence()
    louder = found._replace(occlusion=found.occlusion._replace(noise={"rgb": 0.02, "sound": 0.05}))
    assert "no part of it stands out from noise" in louder.sentence()


def test_what_rounds_to_nothing_is_no_effect() -> None:
    found = explained({"rgb": 0.9199, "sound": 0.92}, {"rgb": [0.9199, 0.92], "sound": [0.92]}, noise=1e-9)
    assert found.sentence().startswith("Nothing stands out from noise")
