"""The baseline is a row of every comparison, over seeds and folds; without scikit-learn, how to get it is said."""

import sys
from pathlib import Path

import pytest

import sparsefuse
import tiny
from sparsefuse.config import Config, Split

pytestmark = pytest.mark.usefixtures("made_up_costs")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    return tiny.config(tiny.write_set(tmp_path_factory.mktemp("set"), (16, 6, 6)), epochs=1)


@pytest.mark.slow
def test_a_comparison_has_the_baseline_on_all_modalities_and_on_each(config: Config, tmp_path: Path) -> None:
    split = Split(k=2, by="stratified", fractions=(0.8, 0.2, 0.0))
    folds = tiny.with_data(config, split=split)
    table = sparsefuse.compare(folds, ["late"], [4], tmp_path, jobs=1)
    names = ["baseline", "baseline (rgb)", "baseline (sound)", "late"]
    assert sorted(line[0] for line in table.lines) == names
    frame = table.to_frame().set_index("name")
    assert (frame["n"] == 1).all()
    assert frame[["top1_mean", "gmacs", "parameters", "memory_mb", "latency_ms"]].notna().all(axis=None)
    assert "\N{MULTIPLICATION SIGN} late" in table.head, "costs are shown beside a fusion, not beside the baseline"
    page = (tmp_path / "report.html").read_text()
    assert all(name in page for name in names)
    runs = [path.parent for path in tmp_path.glob("baseline*/result.json")]
    assert len(runs) == 3 * 2
    before = {run: (run / "result.json").stat().st_mtime_ns for run in runs}
    (tmp_path / "baseline-fold1-seed4" / "result.json").unlink()  # as if it had been killed
    again = sparsefuse.compare(folds, ["late"], [4], tmp_path, jobs=1)
    assert again.csv() == table.csv()
    changed = {run.name for run in runs if (run / "result.json").stat().st_mtime_ns != before[run]}
    assert changed == {"baseline-fold1-seed4"}


def test_without_scikit_learn_the_table_says_how_to_get_the_row(
    config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    table = sparsefuse.compare(config, ["late"], [0], tmp_path, jobs=1)
    assert [line[0] for line in table.lines] == ["late"]
    told = "no row baseline: it needs sklearn: pip install 'sparsefuse[baseline]'"
    assert told in table.warnings
    assert told in (tmp_path / "compare.md").read_text()
