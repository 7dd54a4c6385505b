"""The experiments of the SFT paper as variants of one configuration (Ding et al. 2021, section 5).

    t1          accuracy of every method, the paper's and others; t2 its cost, from the same runs
    t3          reduction by 64 for concat, late and sft
    t4          pooling: average, maximum, weighted by attention
    t5          mixup on and off
    f2          reduction by 1, 2, 4 ... down to one token: sft, sft-po and each modality alone
    robustness  the models of t1 while one modality is degraded

As in the paper (section 4.4) SFT and `mbt + mixup` use mixup; the others use dropout 0.2 instead.
Reduction is pooling by maximum after the first layer (section 5.3). Variants that two experiments share are run once.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from sparsefuse.experiments.variants import Variant
from sparsefuse.methods import fusions

REDUCTION = 64
PLAIN = {"mixup_alpha": 0.0}
DROP = {"drop": 0.2}


class Entry(NamedTuple):
    """A variant's place in an experiment."""

    variant: Variant
    curve: str
    """its curve in the figure, or row in the table"""
    factor: int = 1
    """how many tokens are pooled into one"""


class ClipFacts(NamedTuple):
    """The facts about the data that experiments need."""

    modalities: tuple[str, ...]
    longest: int
    """tokens of the longest stream"""


def entries(experiment: str, clip: ClipFacts) -> list[Entry]:
    """The variants of an experiment."""
    return EXPERIMENTS[experiment](clip)


def _accuracy(clip: ClipFacts) -> list[Entry]:
    variants = [Variant("sft", "sft"), *(plain(name) for name in fusions() if name != "sft")]
    variants += [Variant("mbt + mixup", "mbt"), *(alone(name) for name in clip.modalities)]
    return [Entry(variant, variant.name) for variant in variants]


def _reduction(clip: ClipFacts) -> list[Entry]:
    makers = {"concat": partial(plain, "concat"), "late": partial(plain, "late"), "sft": sft}
    return [Entry(make(factor), name, factor) for name, make in makers.items() for factor in (1, REDUCTION)]


def _pooling(clip: ClipFacts) -> list[Entry]:
    return [Entry(Variant(f"sft, pool={pool}", "sft", {"pool": pool}), pool) for pool in ("avg", "max", "attn")]


def _mixup(clip: ClipFacts) -> list[Entry]:
    return [Entry(Variant("sft", "sft"), "mixup"), Entry(Variant("sft, no mixup", "sft", DROP, PLAIN), "no mixup")]


def _factors(clip: ClipFacts) -> list[Entry]:
    factors = [1]
    while factors[-1] < clip.longest:
        factors.append(2 * factors[-1])
    points = [Entry(sft(factor), "sft", factor) for factor in factors]
    points += [Entry(sft_po(factor), "sft-po", factor) for factor in factors]
    for name in clip.modalities:
        points += [Entry(alone(name, factor), f"unimodal ({name})", factor) for factor in factors]
    return points


EXPERIMENTS: Mapping[str, Callable[[ClipFacts], list[Entry]]] = {
    "t1": _accuracy,
    "t2": _accuracy,
    "t3": _reduction,
    "t4": _pooling,
    "t5": _mixup,
    "f2": _factors,
    "robustness": _accuracy,
}


def sft(factor: int) -> Variant:
    """SFT with every stream reduced by one factor; 1 keeps all tokens."""
    return Variant(f"sft, factor {factor}", "sft", _windows(factor))


def sft_po(factor: int) -> Variant:
    """SFT with pooling only: neither sparse attention nor mixup."""
    return Variant(f"sft-po, factor {factor}", "sft", {**_windows(factor), **DROP, "sparse": "none"}, PLAIN)


def plain(method: str, factor: int = 1, **options: Any) -> Variant:
    """A baseline: no mixup, dropout 0.2, reduced after its first layer."""
    more = {} if factor == 1 else {"stride": factor}
    return Variant(_named(method, factor), method, {**DROP, **options, **more}, PLAIN)


def alone(modality: str, factor: int = 1) -> Variant:
    """One modality alone."""
    return plain("unimodal", factor, modality=modality)._replace(name=_named(f"unimodal ({modality})", factor))


def _named(name: str, factor: int) -> str:
    return name if factor == 1 else f"{name}, factor {factor}"


def _windows(factor: int) -> dict[str, object]:
    return {"keep": None, "stride": factor, "pool": "max"}
