"""The sentences of a comparison, on predictions of which the answer is known."""

import json
from pathlib import Path

import numpy as np
import pytest

from sparsefuse.report.findings import findings
from sparsefuse.report.page import write_tables
from sparsefuse.runs.summary import read_runs

CLIPS = 400
LOGISTIC = "the baseline (statistics of each stream, then logistic regression or trees)"


def write_run(
    folder: Path, name: str, reads: str, wrong: range, *, valid: float, seed: int = 0, task: str = "class"
) -> None:
    """A run that has the clips of `wrong` wrong; of a regression, by 1."""
    run = folder / f"{name.replace(' ', '-')}-{seed}"
    run.mkdir(parents=True)
    number, main = task == "regression", "mae" if task == "regression" else "top1"
    score = {main: valid, "loss": 1.0}
    cost = {"gmacs": 1.0, "layers_gmacs": 1.0, "paper_gmacs": 1.0, "parameters": 1, "lengths": dict.fromkeys(reads, 3)}
    result = {"method": name.split()[0], "name": name, "seed": seed, "fold": None, "task": task, "data": "m"}
    result |= {"classes": [] if number else ["1", "2"], "epochs": 1, "best_epoch": 1, "seconds": 1.0, "cost": cost}
    result |= {"valid": score, "test": score, "splits": {"test": CLIPS}, "clips": {}, "skipped": 0}
    (run / "result.json").write_text(json.dumps(result))
    lines = [f"c{i},1,{2 if i in wrong else 1},0,0" for i in range(CLIPS)]
    (run / "predictions.csv").write_text("\n".join(["id,label,predicted,1,2", *lines]) + "\n")


@pytest.mark.slow
def test_a_fusion_that_wins_is_said_to_with_its_interval(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_run(tmp_path, "sft", "ab", range(20), valid=0.9, seed=seed)
        write_run(tmp_path, "late", "ab", range(0), valid=0.8, seed=seed)  # test clips choose nothing
        write_run(tmp_path, "baseline", "ab", range(80), valid=0.7, seed=seed)
        write_run(tmp_path, "baseline (a)", "a", range(100), valid=0.6, seed=seed)
    deep, single, helps = findings(read_runs(tmp_path))
    assert helps.startswith("b helps baseline: with it minus without, +5.0 points of Top-1 [")
    assert deep.startswith(f"Deep fusion beats {LOGISTIC}: sft minus baseline, +15.0 points of Top-1 [")
    assert deep.endswith("(2 seeds, 400 clips)")
    assert single.startswith("Fusion beats the best single stream: sft minus baseline (a), +20.0 points of Top-1 [")
    low, high = (float(x) for x in deep.split("[")[1].split("]")[0].split(","))
    half = 196 * np.sqrt(0.15 * 0.85 / CLIPS)  # of 60 clips of 400, the seeds alike
    assert (low, high) == pytest.approx((15 - half, 15 + half), abs=0.4)


def test_one_that_loses_or_may_is_said_to(tmp_path: Path) -> None:
    write_run(tmp_path, "sft", "ab", range(90), valid=0.9)
    write_run(tmp_path, "baseline", "ab", range(40), valid=0.7)
    write_run(tmp_path, "sft (a)", "a", range(80, 172), valid=0.6)
    deep, single, helps = findings(read_runs(tmp_path))
    assert deep.startswith(f"Deep fusion does not beat {LOGISTIC}: sft minus baseline, -12.5 points of Top-1 [")
    assert single.startswith("Whether fusion beats the best single stream is undecided: sft minus sft (a), +0.5 points")
    assert helps.startswith("b makes no clear difference to sft: with it minus without, +0.5 points of Top-1 [-")


def test_a_stream_that_hurts_is_named(tmp_path: Path) -> None:
    write_run(tmp_path, "sft", "abc", range(60), valid=0.9)
    write_run(tmp_path, "sft without a", "bc", range(20), valid=0.9)
    write_run(tmp_path, "sft without b", "ac", range(150), valid=0.9)
    write_run(tmp_path, "late", "abc", range(60), valid=0.1)
    hurts, helps = findings(read_runs(tmp_path))
    assert hurts.startswith("a hurts sft: with it minus without, -10.0 points of Top-1 [")
    assert helps.startswith("b helps sft: with it minus without, +22.5 points of Top-1 [")


def test_errors_of_numbers_are_better_if_small(tmp_path: Path) -> None:
    write_run(tmp_path, "sft", "ab", range(40), valid=0.1, task="regression")
    write_run(tmp_path, "late", "ab", range(0), valid=0.9, task="regression")
    write_run(tmp_path, "baseline", "ab", range(80), valid=0.5, task="regression")
    (deep,) = findings(read_runs(tmp_path))
    assert deep.startswith(
        f"Deep fusion beats {LOGISTIC.replace('logistic', 'ridge')}: sft minus baseline, -0.100 of MAE [-0.1"
    )


def test_they_stand_below_the_table_and_on_the_page(tmp_path: Path) -> None:
    write_run(tmp_path, "sft", "ab", range(20), valid=0.9)
    write_run(tmp_path, "baseline", "ab", range(80), valid=0.7)
    (tmp_path / "sft-0" / "config.json").write_text("{}")
    table = write_tables(tmp_path, tmp_path / "compare")
    (sentence,) = table.findings
    assert sentence.startswith("Deep fusion beats the baseline")
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    told = [str(table), table.markdown(), table._repr_html_(), page, (tmp_path / "compare.md").read_text()]
    assert all("Deep fusion beats the baseline" in " ".join(text.split()) for text in told)


def test_without_test_predictions_nothing_is_said(tmp_path: Path) -> None:
    write_run(tmp_path, "sft", "ab", range(20), valid=0.9)
    write_run(tmp_path, "baseline", "ab", range(80), valid=0.7)
    (tmp_path / "baseline-0" / "predictions.csv").unlink()
    assert findings(read_runs(tmp_path)) == []
