"""A summary of an adapted run: its result.json in, a few lines of text out."""

from pathlib import Path

from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result
from sparsefuse.runs.summary import MAIN_METRIC, metric
from sparsefuse.shown import counted


def summary(out: Path) -> str:
    """Scores before and after, and what a step cost."""
    result = RunFolder(out).read(Result)
    assert result.finetune is not None
    tuned, main = result.finetune, MAIN_METRIC[result.task]
    used = f"{counted(result.splits['train'], 'clip')}, {counted(result.epochs, 'epoch')}"
    lines = [f"{used} on {tuned.settings['weights']}"]
    for change, what in ((tuned.held_out, "new clips, each held out once"), (tuned.old, "old clips of the replay"),
                         (tuned.test, "clips of --test")):  # fmt: skip
        if change.before and change.after:
            before, after = (_shown(scores[main], main) for scores in (change.before, change.after))
            lines.append(f"{what}: {metric(main).title} {before} -> {after}")
    if result.epochs == 0:
        lines.append("no epoch improved on held-out clips: the weights are unchanged")
    if effort := tuned.effort:
        lines.append(
            f"a step: {effort['step_ms']:.0f} ms, {effort['memory_mb']:.1f} MB, {effort['trained']:,} parameters "
            f"trained ({effort['clips']} new and {effort['old_clips']} old clips)"
        )
    if result.skipped:
        lines.append(f"{result.skipped} clips or modalities left out; {RunFolder(out).skip_list} names them")
    return "\n".join([*lines, str(out)])


def _shown(value: float, main: str) -> str:
    """`91.2 %`, or `0.64` for a metric that is not a share."""
    return f"{100 * value:.1f} %" if metric(main).share else f"{value:.4g}"
