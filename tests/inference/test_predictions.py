"""What `sparsefuse predict` reads and prints: files, manifests, standard input."""

import io
import json
import sys
from pathlib import Path

import pytest

import tiny
from sparsefuse.inference.clips import show
from sparsefuse.inference.predictor import load
from sparsefuse.training.train import train


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("predictions")
    config = tiny.config(tiny.write_set(folder / "data"), epochs=1)
    return train(config, folder / "run", root=Path(), measured=False)


def test_lines_of_standard_input_are_clips_and_a_bad_one_costs_itself(run: Path, capsys, monkeypatch) -> None:
    sound = str(run.parent / "data/features/test0-sound.npy")
    lines = [
        json.dumps({"sound": sound}), "", json.dumps({"id": "mine", "sound": sound, "rgb": "none.npy"}),
        '{"sound": ', json.dumps({"sounds": sound}), "missing.mp4",
    ]  # fmt: skip
    monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines)))
    assert show(run, [Path("-")], top=1, as_json=True, trust_code=False) == 3
    first, mine, broken, wrong, missing = map(json.loads, capsys.readouterr().out.splitlines())
    expected = load(run).predict_one({"sound": sound})
    assert (first["clip"], first["label"], first["probabilities"]) == ("line 1", expected.label, expected.probabilities)
    assert (mine["clip"], mine["probabilities"]) == ("mine", expected.probabilities)
    assert "none.npy" in mine["missing"]["rgb"]
    assert (broken["clip"], broken["error"][:8]) == ("line 4", "not JSON")
    assert wrong["error"].startswith("expected the paths of rgb, sound; got 'sounds'")
    assert (missing["clip"], "trained on features computed elsewhere" in missing["error"]) == ("missing.mp4", True)


def test_a_run_without_a_temperature_says_so(run: Path, tmp_path: Path, caplog, capsys) -> None:
    manifest = run.parent / "data" / "manifest.csv"
    show(run, [manifest], top=1, as_json=False, trust_code=False)
    assert "not calibrated" not in caplog.text
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("model.json", "model.safetensors"):
        (moved / name).write_bytes((run / name).read_bytes())
    assert show(moved, [manifest], top=2, as_json=False, trust_code=False) == 0
    assert "not calibrated" in caplog.text
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split(":")[0] == "test3"
    assert len(line.split()) == 2 + 2 * 2


def test_features_cannot_be_cut_by_seconds(run: Path, capsys) -> None:
    from sparsefuse.inference.clips import Windows

    manifest = run.parent / "data" / "manifest.csv"
    assert show(run, [manifest], top=1, as_json=True, trust_code=False, windows=Windows(10, 5)) == 17
    assert "windows need the media file" in capsys.readouterr().out
    with pytest.raises(ValueError, match="0 < --hop <= --window, in seconds; got --window 5 --hop 10"):
        show(run, [manifest], top=1, as_json=True, trust_code=False, windows=Windows(5, 10))


def test_a_person_gets_a_table_with_what_the_lines_say(run: Path, capsys, monkeypatch) -> None:
    features = run.parent / "data" / "features"
    manifest = run.parent / "data" / "three.csv"
    rows = (
        f"whole,{features}/test0-rgb.npy,{features}/test0-sound.npy",
        f"[b]half,,{features}/test1-sound.npy",
        "gone,x.npy,",
    )
    manifest.write_text("\n".join(["id,rgb,sound", *rows]))
    assert show(run, [manifest], top=2, as_json=False, trust_code=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert "x.npy: file not found" in lines[-1]
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "300")
    assert show(run, [manifest], top=2, as_json=False, trust_code=False) == 1
    shown = capsys.readouterr().out
    rows = [[cell.strip() for cell in row.split("│")[1:-1]] for row in shown.splitlines()]
    clips = {row[0]: row[1:] for row in rows if len(row) == 3}
    label, *shares = lines[0].removeprefix("whole: ").split("  ")
    assert clips["whole"] == [label, ", ".join(shares)]
    assert list(clips) == ["whole", "[b]half", "gone"]
    assert clips["gone"] == ["-", ""]
    assert shown.splitlines()[-2:] == ["[b]half: without rgb: not given", lines[-1]]
    assert show(run, [manifest], top=2, as_json=True, trust_code=False) == 1
    assert [json.loads(line)["clip"] for line in capsys.readouterr().out.splitlines()] == ["whole", "[b]half", "gone"]


def test_a_byte_order_mark_and_odd_bytes_of_standard_input_cost_one_clip_at_most(
    run: Path, capsys, monkeypatch
) -> None:
    sound = str(run.parent / "data/features/test0-sound.npy")
    good = json.dumps({"id": "é", "sound": sound}, ensure_ascii=False).encode()
    odd = ["\udc80\0.mp4", "\ud800.npy", '{"sound": "\\ud800.npy"}', '{"sound": ' + "[" * 100_000]
    lines = b"\n".join(
        [b"\xef\xbb\xbf" + good, *(text.encode("utf-8", "surrogatepass") for text in odd), b"\xff.mp4", good]
    )
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(lines), encoding="ascii"))
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii", errors="backslashreplace"))
    assert show(run, [Path("-")], top=1, as_json=True, trust_code=False) == 5
    sys.stdout.flush()
    answers = [json.loads(line) for line in sys.stdout.buffer.getvalue().splitlines()]
    assert [answer["clip"] for answer in (answers[0], answers[-1])] == ["é", "é"]
    assert ["error" in answer for answer in answers] == [False, *[True] * 5, False]
