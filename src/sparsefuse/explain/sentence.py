"""What mattered to a prediction, in one sentence: an explanation and the clip's length in; a text out."""

import math

from sparsefuse.explain.explanation import Explanation


def mattered(explanation: Explanation, seconds: float) -> str:
    """`sound mattered most: without it the probability of a is 41 %, not 92 %; most of all from 1.2 to 1.8 s.` Effects
    within the noise of masking at random are none. Without `seconds`, places are in percent of the clip."""
    found, shares = explanation.occlusion, bool(explanation.prediction.probabilities)
    what = f"the probability of {explanation.answer}" if shares else "the number"
    drops = {name: found.drop(name) for name in found.without if not math.isnan(found.drop(name))}
    if not drops:  # of one stream: without it nothing is left
        (name,) = found.without
        if place := _place(explanation, name, seconds):
            return f"Of {name}, the only stream, the part {place} mattered most."
        return f"No part of {name}, the only stream, mattered alone: without it {what} changes by no more than noise."
    real = {name: drop for name, drop in drops.items() if abs(drop) > found.noise[name]}
    if not real:
        return f"Nothing mattered alone: without any one of {', '.join(drops)}, {what} changes by no more than noise."
    name = max(real, key=lambda name: abs(real[name]))
    values = [f"{100 * value:.0f} %" if shares else f"{value:.3g}" for value in (found.without[name], found.whole)]
    parts = [f"{name} mattered most: without it {what} is {values[0]}, not {values[1]}"]
    if place := _place(explanation, name, seconds):
        parts.append(f"most of all {place}")
    if rest := [other for other in drops if other not in real]:
        parts.append(f"{' and '.join(rest)} made no difference beyond noise")
    return "; ".join(parts) + "."


def _place(explanation: Explanation, name: str, seconds: float) -> str:
    """The window of a modality that mattered most; empty if none did beyond noise."""
    drops = explanation.occlusion.drops(name).abs().nan_to_num(0)
    window, count = int(drops.argmax()), len(drops)
    if count == 1 or float(drops[window]) <= explanation.occlusion.noise[name]:
        return ""
    end, unit = (seconds, "s") if seconds else (100.0, "% of the clip")
    return f"from {end * window / count:.3g} to {end * (window + 1) / count:.3g} {unit}"
