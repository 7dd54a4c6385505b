"""`check` reads the files of sensors as `extract` does, and says before it what extraction would say."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from sparsefuse.cli.verbs.data import check as verb
from sparsefuse.config import Config, Data, Split
from sparsefuse.data.check import Report, check
from sparsefuse.data.contents import Span
from sparsefuse.features._tables import table_readers
from sparsefuse.features.extract import extract
from sparsefuse.files.rows import write_table
from sparsefuse.files.skipped import Unusable

WRIST = {"extractor": "series", "source": "imu", "time": "t", "columns": ["x"], "rate": 50}


def readings(tokens: int = 100, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [f"{i / 50},{x:.3f},{y:.3f}" for i, (x, y) in enumerate(rng.normal(size=(tokens, 2)))]


def write(folder: Path, files: dict[str, list[str]], **columns: Any) -> Path:
    """A file for every clip, all in one manifest."""
    for name, lines in files.items():
        (folder / f"{name}.csv").write_text("\n".join(["t,x,y", *lines]))
    rows = [{"id": name, "imu": f"{name}.csv", "label": "ab"[i % 2]} for i, name in enumerate(files)]
    rows = [row | {key: cells[i] for key, cells in columns.items()} for i, row in enumerate(rows)]
    return write_table(folder / "raw.csv", rows)


def found(manifest: Path, features: dict[str, dict[str, Any]], **options: Any) -> Report:
    data = Data(manifest="raw.csv", **options)
    return check(data, manifest.parent, jobs=1, tables=table_readers(features))


def messages(report: Report, *kinds: str) -> list[str]:
    return [problem.message for problem in report.problems if problem.kind in kinds]


def many(num: int = 12) -> dict[str, list[str]]:
    return {f"c{i}": readings(seed=i) for i in range(num)}


def test_what_extraction_would_skip_is_an_error_with_its_reason(tmp_path: Path) -> None:
    files = many()
    files["c3"] = [line.replace(".", ",").replace(",", ";", 1) for line in files["c3"]]
    files["c5"] = files["c5"][80:] + files["c5"][:80]
    files["c7"] = [*files["c7"][:10], *files["c7"][90:]]
    manifest = write(tmp_path, files)
    report = found(manifest, {"wrist": WRIST})
    summary = extract(manifest, tmp_path / "out", features={"wrist": WRIST}, jobs=1, progress=False)
    expected = {skip.id: skip.reason.replace(f"{tmp_path}/", "") for skip in summary.skipped}
    assert list(expected) == ["c3", "c5", "c7"]
    assert messages(report, "unreadable") == [f"sample {id}: {reason}" for id, reason in expected.items()]
    assert report.modalities["imu"].features == 1
    assert report.modalities["imu"].tokens.median == 100


def test_late_rows_are_counted_and_bursts_are_named(tmp_path: Path) -> None:
    files = many()
    files["c2"] = [*files["c2"][:20], *files["c2"][25:30], *files["c2"][20:25], *files["c2"][29:]]
    packets = [line.split(",", 1) for line in files["c4"]]
    files["c4"] = [f"{int(float(t) * 50) // 8 * 0.16},{rest}" for t, rest in packets]
    files["c6"] = [*files["c6"][:50], *(f"{float(t) + 60},{x}" for t, x in (r.split(",", 1) for r in files["c6"][50:]))]
    report = found(write(tmp_path, files), {"wrist": WRIST | {"rate": None}})
    assert messages(report, "clock") == [
        "sample c2: c2.csv: the clock steps back; rows put in order: 5; dropped, as their time is there already: 1",
        "sample c4: c4.csv: time stamps come in bursts: 88% of rows are hardly later than the row before",
    ]


def test_extraction_counts_the_clips_with_late_rows(tmp_path: Path, caplog) -> None:
    files = many()
    for name in ("c2", "c5"):
        files[name][20:22] = files[name][21:19:-1]
    manifest = write(tmp_path, files)
    summary = extract(manifest, tmp_path / "out", features={"wrist": WRIST}, jobs=2, progress=False)
    assert (summary.done, summary.skipped) == (12, [])
    assert "wrist of 2 clips is odd; the first: " in caplog.text
    assert ".csv: the clock steps back; rows put in order: 1; `check` names all" in caplog.text


def test_the_rules_for_features_hold_for_readings(tmp_path: Path) -> None:
    files = many()
    files["c1"][30] = "0.6,-9999,0"
    files["c9"] = files["c8"]
    report = found(write(tmp_path, files), {"wrist": WRIST})
    assert messages(report, "sentinel") == ["imu: column 0 is -9999 1 times in 1 clips (c1), far from its other values"]
    assert len(messages(report, "leak-content", "duplicate")) == 1
    missing = found(write(tmp_path, files), {"wrist": WRIST | {"missing": [-9999]}})
    assert messages(missing, "sentinel") == []


@pytest.mark.parametrize("suffix", [".txt", ".tsv", ".dat"])
def test_files_of_sensors_may_have_any_suffix(tmp_path: Path, suffix: str) -> None:
    files = many()
    files["c5"] = files["c5"][80:] + files["c5"][:80]
    manifest = write(tmp_path, files)
    for name in files:
        (tmp_path / f"{name}.csv").rename(tmp_path / f"{name}{suffix}")
    manifest.write_text(manifest.read_text().replace(".csv", suffix))
    report = found(manifest, {"wrist": WRIST})
    (message,) = messages(report, "unreadable", "manifest", "media")
    assert message.startswith(f"sample c5: c5{suffix}, line 22, column 't': '0.0': the time goes back by 1.98 s")
    summary = extract(manifest, tmp_path / "out", features={"wrist": WRIST}, jobs=1, progress=False)
    assert [skip.id for skip in summary.skipped] == ["c5"]


def test_two_modalities_of_a_file_are_both_read(tmp_path: Path) -> None:
    files = many()
    files["c1"][30] = "0.6,0,oops"
    report = found(write(tmp_path, files), {"a": WRIST, "b": WRIST | {"columns": ["y"]}})
    (message,) = messages(report, "unreadable")
    assert "column 'y': 'oops' is not a number" in message
    assert report.modalities["imu"].features == 2


def test_parts_of_a_recording_are_read_as_parts(tmp_path: Path) -> None:
    """The gap lies outside of both parts, and parts that do not overlap are no copies."""
    lines = [*readings(50), *(f"{9 + i / 50},{x}" for i, (_, x) in enumerate(r.split(",", 1) for r in readings(50, 1)))]
    manifest = write(tmp_path, {"c0": lines, "c1": lines} | {f"d{i}": readings(50, seed=i) for i in range(2, 8)})
    rows = [row.split(",") for row in manifest.read_text().split()[1:]]
    spans = {"c0": ("0", "1", "train"), "c1": ("9", "10", "test")}
    table = [
        dict(zip(("start", "end", "split"), spans.get(id, ("", "", "valid" if id == "d2" else "train")), strict=True))
        | {"id": id, "imu": imu if id[0] == "d" else "c0.csv", "label": label}
        for id, imu, label in rows
    ]
    write_table(manifest, table)
    report = found(manifest, {"wrist": WRIST})
    assert messages(report, "unreadable", "leak-file", "leak-content", "length", "rate") == []
    assert messages(report, "leak-group") == [
        "imu: 2 samples (c0, c1) are cut out of the same recording c0.csv and are in test and train"
    ]


def test_a_column_that_no_extractor_reads_is_named_before_and_at_extraction(tmp_path: Path, caplog) -> None:
    write(tmp_path, {f"k{i}": readings(seed=i) for i in range(12)})
    manifest = write(tmp_path, many(), ankle=[f"k{i}.csv" for i in range(12)])
    report = found(manifest, {"wrist": WRIST})
    says = "column 'ankle' holds .csv files"
    assert messages(report, "table") == [f"{says} that no extractor reads; all their columns are features"]
    assert messages(report, "rising") == ["ankle: column 0 rises in every clip"]
    extract(manifest, tmp_path / "out", features={"wrist": WRIST}, jobs=1, progress=False)
    assert f"{says}, kept as features: all their columns; if they are readings" in caplog.text
    words = found(manifest, {"wrist": WRIST, "words": {"extractor": "text", "source": "ankle", "table": "t.txt"}})
    assert not [problem for problem in words.problems if "ankle" in problem.message]


def test_the_verb_reads_the_features_of_its_configuration(tmp_path: Path, capsys, monkeypatch) -> None:
    files = many()
    files["c3"] = ["0,1,oops"]
    write(tmp_path, files)
    config = Config(data=Data(manifest=str(tmp_path / "raw.csv"), split=Split(by="stratified")))
    config = Config(data=config.data, features={"wrist": WRIST | {"columns": ["y"]}})
    with pytest.raises(SystemExit):
        verb(config, json=tmp_path / "found.json", jobs=1)
    (problem,) = [p for p in json.loads((tmp_path / "found.json").read_text())["problems"] if p["kind"] == "unreadable"]
    assert "'oops' is not a number" in problem["message"]


def test_a_wrong_option_is_refused() -> None:
    with pytest.raises(ValueError, match="did you mean 'columns'"):
        table_readers({"wrist": WRIST | {"colums": []}})
    assert table_readers({"wrist": {"extractor": "series"}, "p": {"extractor": "frames", "source": "video"}}) == {
        "video": None
    }


def test_a_table_is_parsed_once_for_all_its_parts(tmp_path: Path, monkeypatch) -> None:
    from sparsefuse.features import series

    parsed = []

    class Counted(series.Readings):
        def __init__(self, path: Path, *options: Any) -> None:
            parsed.append(path)
            super().__init__(path, *options)

    monkeypatch.setattr(series, "Readings", Counted)
    (tmp_path / "a.csv").write_text("\n".join(["t,x,y", *readings()]))
    reader = table_readers({"wrist": WRIST})["imu"]
    assert reader is not None
    made = reader(tmp_path / "a.csv", [Span(0.0, 0.5), Span(0.5, 1.0)])
    assert (made.values.shape, made.length, made.notes) == ((50, 1), 25, ())
    assert len(parsed) == 1
    (tmp_path / "a.csv").write_text("\n".join(["t,x,y", *readings(10)]))
    with pytest.raises(Unusable, match=r"has nothing from 0\.5 s"):
        reader(tmp_path / "a.csv", [Span(0.5, 1.0)])
