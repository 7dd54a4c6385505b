"""Outliers in the lengths and rates of clips."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import combinations
from statistics import median

from sparsefuse.data.check.files import Features, Files
from sparsefuse.data.check.rules import Problem, broken
from sparsefuse.data.check.segments import Segment
from sparsefuse.media.probe import Probe

FEWEST = 8
"""Fewest values that make a median."""
DEVIATIONS = 5
"""Scaled median absolute deviations, of logarithms."""
LENGTH, RATE = 2.0, 1.5
"""Factors off the median that matter."""


def outliers(values: Sequence[float], factor: float) -> list[int]:
    """Places of values that are `factor` times the median or more, or as much below it, and DEVIATIONS off it.

    A MAD scaled by 1.4826 is the standard deviation if values are normal. Of lengths the logarithm is nearer to that.
    """
    if len(values) < FEWEST:
        return []
    logs = [math.log(value) for value in values]
    middle = median(logs)
    off = [abs(x - middle) for x in logs]
    limit = max(math.log(factor) * (1 - 1e-9), DEVIATIONS * 1.4826 * median(off))
    return [i for i, x in enumerate(off) if x >= limit]


def odd_lengths(files: Files, segments: Mapping[str, Segment]) -> list[Problem]:
    """In tokens of a modality, and in seconds of a media file or the part of it that a row is about."""
    problems = []
    for name in files.features:
        lengths = list(tokens_of(files, name).items())
        problems += _odd("length", lengths, LENGTH, f"{name} has {{:g}} tokens")
    for name in files.media:
        seconds = seconds_of(files, [name], segments)
        problems += _odd("length", list(seconds.items()), LENGTH, f"{name} is {{:.2f}} s long")
    return problems


def odd_rates(files: Files, segments: Mapping[str, Segment]) -> list[Problem]:
    """In tokens per second where seconds are known, else one modality's tokens per token of another; of media too."""
    problems = []
    seconds = seconds_of(files, files.media, segments)
    timed: set[str] = set()
    columns = files.made if segments else files.features  # a sensor's file is as long as all of its parts
    for name in columns:
        rates = [(id, n / seconds[id]) for id, n in tokens_of(files, name).items() if id in seconds]
        if len(rates) >= FEWEST:
            timed.add(name)
            problems += _odd("rate", rates, RATE, f"{name} has {{:.2f}} tokens per second")
    for one, other in combinations([name for name in columns if name not in timed], 2):
        first, second = tokens_of(files, one), tokens_of(files, other)
        ratios = [(id, first[id] / second[id]) for id in first if id in second]
        problems += _odd("rate", ratios, RATE, f"{one} has {{:.2f}} tokens for each of {other}")
    for name in files.media:
        rates = defaultdict(list)
        for row, _, probe in files.probes(name):
            if probe.picture and probe.picture.rate:
                rates["frames per second"].append((row.id, probe.picture.rate))
            if probe.sound:
                rates["samples of sound per second"].append((row.id, float(probe.sound.rate)))
        for unit, pairs in rates.items():
            problems += _odd("rate", pairs, RATE, f"{name} has {{:g}} {unit}")
    return problems


def _odd(kind: str, pairs: Sequence[tuple[str, float]], factor: float, text: str) -> list[Problem]:
    values = [value for _, value in pairs]
    places = outliers(values, factor)
    if not places:
        return []
    usual = round(median(values), 2)
    return [
        broken(kind, f"sample {pairs[i][0]}: {text.format(pairs[i][1])}; the median is {usual:.6g}", pairs[i][0])
        for i in places
    ]


def tokens_of(files: Files, column: str) -> dict[str, int]:
    """Id -> N, of the files of a modality that can be read."""
    lengths = {}
    for row, _, ref in files.cells([column]):
        file = files.of_features[ref]
        if isinstance(file, Features):
            lengths[row.id] = file.length
    return lengths


def seconds_of(files: Files, columns: Sequence[str], segments: Mapping[str, Segment]) -> dict[str, float]:
    """Id -> seconds of the clip: of its segment, else of its longest media file; those that are known."""
    seconds: dict[str, float] = {}
    for row, _, ref in files.cells(columns):
        probe = files.of_media.get(ref)
        if isinstance(probe, Probe) and probe.seconds:
            seconds[row.id] = max(seconds.get(row.id, 0.0), probe.seconds)
    for id, segment in segments.items():
        end = min(segment.end, seconds.get(id, math.inf))
        if end != math.inf and end > segment.start:
            seconds[id] = end - segment.start
    return seconds
