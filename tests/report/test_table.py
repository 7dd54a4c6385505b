"""One table for the screen, Markdown, CSV, notebooks and pandas."""

import sys
from pathlib import Path

import pytest
from test_report import write_run

from sparsefuse.report.page import read_runs, runs_table, summarise, write_tables
from sparsefuse.report.table import Table


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """sft twice and late once; sft is better by the main metric, and late is cheaper."""
    for seed, top1 in enumerate((0.90, 0.94)):
        write_run(tmp_path / f"sft-{seed}", seed=seed, top1=top1)
    write_run(tmp_path / "late-0", "late", top1=0.85, cost=(0.004, 1000, 2.0, 3.0))
    return tmp_path


def table_of(runs: Path) -> Table:
    return runs_table(summarise(read_runs(runs)))


def test_the_best_is_the_first_by_the_main_metric(runs: Path) -> None:
    assert table_of(runs).best() == "sft"
    lower = {"mae": 0.5, "corr": 0.6, "loss": 0.5}
    for name, mae in (("a", 0.7), ("b", 0.6)):
        write_run(runs / "more" / name, name, task="regression", classes=[], test=lower | {"mae": mae},
                  valid=lower, confusion=None, per_class_ap=None)  # fmt: skip
    assert table_of(runs / "more").best() == "b", "of errors, the smallest"


def test_nothing_is_the_best_of_nothing() -> None:
    with pytest.raises(ValueError, match=r"it has no lines; see \.failed"):
        runs_table([], ["runs/sft-seed0: ValueError: broken"]).best()
    with pytest.raises(ValueError, match="not ordered by a score"):
        Table("Trials", ["trial"], [["000"]]).best()


def test_a_table_prints_as_on_the_screen(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # as notebooks do
    head, _, first, second, *_ = str(table_of(runs)).splitlines()
    titles = "Method n Top-1 % GMACs x sft Params MB ms"
    assert head.replace("\N{MULTIPLICATION SIGN}", "x").split() == titles.split()
    assert first.split()[:5] == ["sft", "2", "92.0", "±", "2.8"]
    assert second.split()[:3] == ["late", "1", "85.0"]
    assert "\x1b" not in str(table_of(runs))
    assert repr(table_of(runs)) == str(table_of(runs)), "in an interactive session too"


def test_a_notebook_shows_all_columns_and_no_markup_of_names(runs: Path) -> None:
    write_run(runs / "odd", "<b>[bold]|", top1=0.1)
    page = table_of(runs)._repr_html_()
    assert "<th>Macro-F1 %</th>" in page
    assert "<td><b>92.0 ± 2.8</b></td>" in page
    assert page.count("<b>") == 1, "the best alone"
    assert "&lt;b&gt;[bold]|" in page


@pytest.mark.slow
def test_failed_runs_are_named_in_every_form_that_is_shown(runs: Path) -> None:
    reason = "runs/mbt-seed0: ValueError: <broken> [red]"
    table = write_tables(runs, runs / "compare", [reason])
    assert table.failed == [reason]
    assert f"failed: {reason}" in str(table).splitlines()
    assert "failed: runs/mbt-seed0: ValueError: &lt;broken&gt; [red]" in table._repr_html_()
    assert (runs / "compare.csv").read_text() == table.csv()
    assert (runs / "compare.md").read_text() == table.markdown()
    assert "sft" in (runs / "report.html").read_text(encoding="utf-8")


def test_without_a_finished_run_there_is_a_table_of_what_failed(tmp_path: Path) -> None:
    table = write_tables(tmp_path, tmp_path / "compare", ["runs/sft-seed0: ValueError: broken"])
    assert table.lines == []
    assert str(table) == "failed: runs/sft-seed0: ValueError: broken"
    assert not list(tmp_path.iterdir())


def test_a_frame_has_unrounded_numbers(runs: Path) -> None:
    pytest.importorskip("pandas", reason="needs pandas")
    frame = table_of(runs).to_frame().set_index("name")
    assert frame.loc["sft", "top1_mean"] == pytest.approx((0.90 + 0.94) / 2, rel=1e-15)
    assert frame.loc["late", "gmacs"] == 0.004
    assert frame["top1_std"].isna().to_dict() == {"sft": False, "late": True}
    trials = Table("", ["trial", "GMACs", "options"], [["000", "0.25", ""], ["001", "", "keep=3"]]).to_frame()
    assert list(trials["trial"]) == ["000", "001"]
    assert trials["GMACs"].sum() == 0.25


def test_without_pandas_a_frame_says_how_to_install_it(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match=r"to_frame needs pandas: pip install 'sparsefuse\[frames\]'"):
        table_of(runs).to_frame()


def test_a_plot_has_a_point_a_method_and_is_a_picture_in_a_notebook(runs: Path) -> None:
    figure = table_of(runs).plot()
    (axes,) = figure.axes
    assert {text.get_text() for text in axes.texts} == {"sft", "late"}
    points = {(round(float(x), 6), round(float(y), 6)) for bars in axes.containers for x, y in bars[0].get_xydata()}
    assert points == {(0.0123, 92.0), (0.004, 85.0)}
    assert figure._repr_png_().startswith(b"\x89PNG")


def test_without_costs_there_is_no_plot(tmp_path: Path) -> None:
    write_run(tmp_path, cost=(0, 0, 1.0, 1.0))
    with pytest.raises(ValueError, match="both a score and a cost"):
        table_of(tmp_path).plot()
    with pytest.raises(ValueError, match="both a score and a cost"):
        runs_table([]).plot()
