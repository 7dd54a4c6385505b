"""A study's folder with answers made up: who is right how often is given, so that claims can be known."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from sparsefuse.config import Config, Study
from sparsefuse.study.conduct import facts
from sparsefuse.study.plan import ClipFacts, entries

CLASSES = ("a", "b", "c", "d")
CLIPS = 400


def write(
    folder: Path,
    accuracy: Callable[[str, int], float],
    *,
    experiments: Sequence[str] = ("t1", "t2", "t3", "t4", "t5", "f2", "robustness"),
    seeds: Sequence[int] = (0, 1, 2),
    margin: float = 0.02,
) -> Path:
    """`accuracy(name, factor)` is the share of the 400 test clips that a variant names right, with every seed.

    The clips that a weaker variant names right, a stronger one does too.
    """
    clip = ClipFacts(("depth", "sound"), 4)
    plan = {name: entries(name, clip) for name in experiments}
    folder.mkdir(parents=True, exist_ok=True)
    config = Config(study=Study(margin=margin))
    (folder / "study.json").write_text(json.dumps(facts(config, plan, clip)))
    for place in {entry.variant.name: entry for found in plan.values() for entry in found}.values():
        for seed in seeds:
            write_run(folder / "runs", place.variant.name, seed, accuracy(place.variant.name, place.factor))
    return folder


def write_run(runs: Path, name: str, seed: int, accuracy: float) -> None:
    """One run folder, in place of what is there."""
    run = runs / f"{name.replace(' ', '_').replace(',', '')}-seed{seed}"
    run.mkdir(parents=True, exist_ok=True)
    order = np.random.default_rng(seed).permutation(CLIPS)
    right = set(order[: round(accuracy * CLIPS)].tolist())
    lines = ["id,label,predicted,a,b,c,d"]
    counts = np.zeros((4, 4), dtype=int)
    for i in range(CLIPS):
        label = i % 4
        said = label if i in right else (label + 1) % 4
        counts[label, said] += 1
        shares = ["0.700000" if c == said else "0.100000" for c in range(4)]
        lines.append(",".join([f"clip{i}", CLASSES[label], CLASSES[said], *shares]))
    (run / "predictions.csv").write_text("\n".join(lines) + "\n")
    top1 = len(right) / CLIPS
    gmacs = 0.01 if name.startswith("sft") else 0.1
    cost = {"gmacs": gmacs, "layers_gmacs": gmacs, "paper_gmacs": gmacs, "parameters": 1000, "memory_mb": 1.0}
    cost |= {"lengths": {"depth": 4, "sound": 4}, "latency_ms": 2.0}
    result = {
        "method": name, "name": name, "seed": seed, "fold": None, "task": "class", "classes": list(CLASSES),
        "data": "made", "epochs": 1, "best_epoch": 1, "seconds": 6.0, "valid": {"top1": top1}, "test": {"top1": top1},
        "splits": {"train": 9, "valid": 9, "test": CLIPS}, "clips": {}, "skipped": 0,
        "cost": cost, "confusion": counts.tolist(),
    }  # fmt: skip
    (run / "result.json").write_text(json.dumps(result))
    points = [
        {"modality": modality, "kind": kind, "level": level, "top1": top1 * (1 - level / 8)}
        for modality in ("depth", "sound")
        for kind, level in (("noise", 0.0), ("noise", 1.0), ("noise", 4.0), ("missing", 0.0), ("missing", 1.0))
    ]
    (run / "robustness.json").write_text(json.dumps(points))
