"""What `sparsefuse predict` reads and prints: files, manifests, standard input."""

import io
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import tiny
from sparsefuse.data.labels import Labels
from sparsefuse.inference.clips import show, text_of
from sparsefuse.inference.inputs import named_clips
from sparsefuse.inference.predictor import Prediction, load
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
    shares = {name: round(share, 6) for name, share in expected.probabilities.items()}  # no digits beyond float32's
    assert shares != expected.probabilities
    assert (first["clip"], first["label"], first["probabilities"]) == ("line 1", expected.label, shares)
    assert (mine["clip"], mine["probabilities"]) == ("mine", shares)
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
    assert re.fullmatch(r"test3: ([abc]) \d\.\d{3}, (?!\1)[abc] \d\.\d{3}", line), "the label once"


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
    shares = lines[0].removeprefix("whole: ")
    assert clips["whole"] == [shares.split()[0], shares]
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


def labels(capsys) -> dict[str, str]:
    return {line["clip"]: line.get("label", "") for line in map(json.loads, capsys.readouterr().out.splitlines())}


def test_a_folder_is_its_files_sorted_and_other_kinds_are_counted(run: Path, tmp_path: Path, capsys, caplog) -> None:
    features = run.parent / "data/features"
    (tmp_path / "b").mkdir()
    for name, source in {
        "b/z.npy": "test0-rgb.npy",
        "a.npy": "test2-sound.npy",
        ".hidden.npy": "test0-rgb.npy",
    }.items():
        (tmp_path / name).write_bytes((features / source).read_bytes())
    (tmp_path / "notes.txt").write_text("x")
    assert show(run, [tmp_path], top=1, as_json=True, trust_code=False) == 0
    expected = [load(run).predict_one({"sound": features / "test2-sound.npy"}).label]
    expected += [load(run).predict_one({"rgb": features / "test0-rgb.npy"}).label]
    assert labels(capsys) == dict(zip([str(tmp_path / "a.npy"), str(tmp_path / "b/z.npy")], expected, strict=True))
    assert "1 file of other kinds left out, such as notes.txt" in caplog.text
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"empty has no file that the run reads; expected \.csv, \.h5"):
        show(run, [tmp_path / "empty"], top=1, as_json=True, trust_code=False)


def test_files_of_a_folder_that_differ_in_their_suffix_are_one_clip(tmp_path: Path) -> None:
    extract = {name: {"extractor": maker, "source": source} for name, maker, source in (
        ("picture", "frames", "video"), ("wrist", "series", "series")
    )}  # fmt: skip
    columns = ["picture", "video", "wrist", "series"]
    predictor: Any = SimpleNamespace(model=SimpleNamespace(modalities=list(extract)), extract=extract, columns=columns)
    for name in ("a.mp4", "a.csv", "b.csv", "b.srt"):
        (tmp_path / name).touch()
    found = dict(named_clips([tmp_path], predictor))
    whole = {"series": tmp_path / "a.csv", "video": tmp_path / "a.mp4"}
    assert found == {str(tmp_path / "a"): whole, str(tmp_path / "b.csv"): tmp_path / "b.csv"}


def test_pairs_are_the_modalities_of_one_clip(run: Path, capsys) -> None:
    rgb, sound = (run.parent / f"data/features/test0-{name}.npy" for name in ("rgb", "sound"))
    files = [Path(f"rgb={rgb}"), Path(f"sound={sound}"), Path("rgb=none.npy"), rgb]
    assert show(run, files, top=1, as_json=True, trust_code=False) == 1
    both, lost, alone = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = load(run).predict_one({"rgb": rgb, "sound": sound})
    assert both["probabilities"] == pytest.approx(expected.probabilities, abs=1e-5)
    assert (both["clip"], both["missing"]) == (str(rgb), {})
    assert "none.npy" in lost["error"]
    assert alone["clip"] == str(rgb)
    with pytest.raises(ValueError, match=r"sounds=.*: unknown stream 'sounds'; did you mean 'sound'\?"):
        show(run, [Path(f"sounds={sound}")], top=1, as_json=True, trust_code=False)


def test_one_file_may_hold_an_array_for_each_modality_and_features_may_be_csv(
    run: Path, tmp_path: Path, capsys
) -> None:
    rgb, sound = (np.load(run.parent / f"data/features/test0-{name}.npy") for name in ("rgb", "sound"))
    np.savez(tmp_path / "both.npz", rgb=rgb, sound=sound)
    np.savez(tmp_path / "one.npz", any=rgb)
    np.savetxt(tmp_path / "sound.csv", sound, delimiter=",")
    files = [tmp_path / name for name in ("both.npz", "one.npz", "sound.csv")]
    assert show(run, files, top=1, as_json=True, trust_code=False) == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    expected = [load(run).predict_one(clip) for clip in ({"rgb": rgb, "sound": sound}, {"rgb": rgb}, {"sound": sound})]
    for line, prediction in zip(found, expected, strict=True):
        assert line["probabilities"] == pytest.approx(prediction.probabilities, abs=1e-5)
    assert [list(line["missing"]) for line in found] == [[], ["sound"], ["rgb"]]


def test_a_file_that_cannot_be_read_says_what_could(run: Path, tmp_path: Path, capsys) -> None:
    file = run.parent / "data/features/test0-rbg.npy"
    assert show(run, [file], top=1, as_json=False, trust_code=False) == 1
    near = file.with_name("test0-rgb.npy")
    assert capsys.readouterr().out == f"{file}: cannot be read: there is no such file; did you mean {near}?\n"
    (tmp_path / "README.md").write_text("# Mine")
    assert show(run, [tmp_path / "README.md"], top=1, as_json=False, trust_code=False) == 1
    assert "; the run reads .csv, .h5, .h5py, " in capsys.readouterr().out


def test_of_several_labels_the_answer_stands_before_the_shares() -> None:
    labels = Labels("multilabel", ("rain", "wind"))
    both = Prediction("rain|wind", {"rain": 0.9, "wind": 0.75}, {})
    assert text_of("a", both, 3, labels) == "a: rain|wind (rain 0.900, wind 0.750)"
    assert text_of("a", both._replace(label=""), 1, labels) == "a: none (rain 0.900)"


def test_the_features_that_were_read_are_written_as_extracted(run: Path, tmp_path: Path) -> None:
    features = run.parent / "data" / "features"
    (tmp_path / "m.csv").write_text(f"id,rgb,sound\n../one.mp4,{features}/test0-rgb.npy,\nnone,x.npy,\n")
    assert show(run, [tmp_path / "m.csv"], top=1, as_json=True, trust_code=False, out=tmp_path / "out") == 1
    (file,) = (tmp_path / "out").iterdir()
    assert re.fullmatch(r"_one-[0-9a-f]{8}-rgb\.npy", file.name), file.name
    written = np.load(file)
    assert written.dtype == np.float32
    np.testing.assert_array_equal(written, np.load(features / "test0-rgb.npy"))
