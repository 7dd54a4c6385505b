"""What mattered to a prediction, in one sentence: the effects of masking and the clip's length in; a text out."""

import math
from collections.abc import Mapping

from sparsefuse.explain.occlusion import Occlusion

STANDS_OUT = 2
"""times the noise that the effect of a window must have to be named: of a dozen windows, the largest is beyond the
noise itself in two of five clips where there is nothing to find"""
LEAST = 0.005
"""of a probability: what rounds to no point is no effect, however steady"""


def mattered(found: Occlusion, answer: str, seconds: float, covered: Mapping[str, float]) -> str:
    """`sound mattered most: without it the probability of a is 41 %, not 92 %; most of all from 1.2 to 1.8 s.` Effects
    within the noise of masking at random are none, and the sentence says so. Without `seconds`, places are in percent
    of the clip, of which a stream's tokens cover the share `covered` (else all); without `answer`, scores are a number,
    as in regression."""
    what, least = (f"the probability of {answer}", LEAST) if answer else ("the number", 0.0)
    drops = {name: found.drop(name) for name in found.without if not math.isnan(found.drop(name))}
    if not drops:  # of one stream: without it nothing is left
        (name,) = found.without
        if place := _place(found, name, seconds, covered, least):
            return f"Of {name}, the only stream, the part {place} mattered most."
        return f"Nothing stands out from noise: no part of {name}, the only stream, changes {what} by more when masked."
    real = {name: drop for name, drop in drops.items() if abs(drop) > max(found.noise[name], least)}
    if not real:
        return f"Nothing stands out from noise: without any one of {', '.join(drops)}, {what} changes by no more."
    name = max(real, key=lambda name: abs(real[name]))
    values = [f"{100 * value:.0f} %" if answer else f"{value:.3g}" for value in (found.without[name], found.whole)]
    parts = [f"{name} mattered most: without it {what} is {values[0]}, not {values[1]}"]
    if place := _place(found, name, seconds, covered, least):
        parts.append(f"most of all {place}")
    elif len(found.windows[name]) > 1:
        parts.append("no part of it stands out from noise")
    if rest := [other for other in drops if other not in real]:
        parts.append(f"{' and '.join(rest)} made no difference beyond noise")
    return "; ".join(parts) + "."


def _place(found: Occlusion, name: str, seconds: float, covered: Mapping[str, float], least: float) -> str:
    """The window of a modality that mattered most; empty if none stands out from noise, and from the other windows."""
    drops = found.drops(name).nan_to_num(0)
    window, count = int(drops.abs().argmax()), len(drops)
    effect = min(abs(float(drops[window])), abs(float(drops[window] - drops.median())))
    if count == 1 or effect <= max(STANDS_OUT * max(found.noise.values()), least):
        return ""
    end, unit = (seconds, "s") if seconds else (100.0, "% of the clip")
    end *= covered.get(name, 1.0)
    return f"from {end * window / count:.3g} to {end * (window + 1) / count:.3g} {unit}"
