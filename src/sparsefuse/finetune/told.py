"""What a person is told of an adapted run: its result.json in, a few lines out."""

from pathlib import Path

from sparsefuse.files.whole import read_json
from sparsefuse.runs.summary import MAIN_METRIC, metric


def told(out: Path) -> str:
    """Scores before and after, and what a step cost."""
    result = read_json(out / "result.json")
    found, main = result["finetune"], MAIN_METRIC[result["task"]]
    lines = [f"{result['splits']['train']} clips, {result['epochs']} epochs on {found['settings']['weights']}"]
    for kind, what in (("held_out", "new clips, each held out once"), ("old", "old clips that the run keeps"),
                       ("test", "clips of --test")):  # fmt: skip
        if found[kind].get("before"):
            before, after = (found[kind][when][main] for when in ("before", "after"))
            lines.append(f"{what}: {metric(main).title} {_shown(before, main)} -> {_shown(after, main)}")
    if result["epochs"] == 0:
        lines.append("no epoch was better for clips not learnt from: the weights stayed as they were")
    if effort := found["effort"]:
        lines.append(
            f"a step: {effort['step_ms']:.0f} ms, {effort['memory_mb']:.1f} MB, {effort['trained']:,} numbers trained "
            f"({effort['clips']} new and {effort['old_clips']} old clips)"
        )
    if result["skipped"]:
        lines.append(f"{result['skipped']} clips or modalities left out; {out / 'skipped.jsonl'} names them")
    return "\n".join([*lines, str(out)])


def _shown(value: float, main: str) -> str:
    return f"{100 * value:.1f} %" if metric(main).share else f"{value:.4g}"
