"""`predict` of a run on pictures writes a PNG per scene, names what it cannot read, and does nothing twice."""

import csv
import io
import json
import os
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from pixel_runs import CLASSES, predictor_of, run_of, scene
from sparsefuse.cli.verbs.using import predict
from sparsefuse.inference.pixels.inputs import named_scenes
from sparsefuse.inference.pixels.written import show_pixels
from sparsefuse.media.png import write_png
from sparsefuse.report.pixels.palette import palette


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return run_of(tmp_path_factory.mktemp("runs") / "run", predictor_of())


@pytest.fixture
def folder(tmp_path):
    """rgb/ and depth/ of two scenes, and a manifest."""
    for i in range(2):
        for name, pixels in scene(seed=i).items():
            write_png(tmp_path / "data" / name / f"room{i}.png", pixels)
    (tmp_path / "data" / "manifest.csv").write_text(
        "id,rgb,depth\na/b,rgb/room0.png,depth/room0.png\nhalf,rgb/room1.png,\nnone,rgb/none.png,\n"
    )
    return tmp_path / "data"


def labels_of(path):
    with av.open(str(path)) as container:
        return next(container.decode(video=0)).to_ndarray(format="rgb24")


def test_a_folder_of_streams_gives_a_picture_per_scene(run, folder, tmp_path, capsys):
    assert show_pixels(run, [folder], out=tmp_path / "out", top=2, as_json=False) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "classes.csv", "room0.png", "room1.png", "skipped.jsonl",
    ]  # fmt: skip
    expected = predictor_of().predict(scene(seed=1)).labels
    np.testing.assert_array_equal(labels_of(tmp_path / "out" / "room1.png"), np.array(palette(3), np.uint8)[expected])
    lines = list(csv.DictReader(io.StringIO((tmp_path / "out" / "classes.csv").read_text())))
    assert [line["name"] for line in lines] == CLASSES
    assert capsys.readouterr().out.startswith("room0: ")


def test_a_manifest_gives_what_can_be_read_and_names_the_rest(run, folder, tmp_path, capsys):
    assert show_pixels(run, [folder / "manifest.csv"], out=tmp_path / "out", top=1, as_json=True) == 1
    first, half, none = map(json.loads, capsys.readouterr().out.splitlines())
    assert first["scene"] == "a/b"
    assert (tmp_path / "out").samefile(os.path.dirname(first["file"]))
    assert first["missing"] == {}
    assert half["missing"] == {"depth": "not given"}
    assert sum(one["share"] for one in half["classes"]) == pytest.approx(1, abs=1e-5)
    assert "none.png" in none["error"]
    (skip,) = (tmp_path / "out" / "skipped.jsonl").read_text().splitlines()
    assert json.loads(skip)["id"] == "none"


def test_nothing_is_done_twice_but_what_changed(run, folder, tmp_path, capsys):
    out = tmp_path / "out"
    show_pixels(run, [folder], out=out, top=1, as_json=False)
    first = {path.name: path.stat().st_mtime_ns for path in out.glob("*.png")}
    later = max(first.values()) / 1e9 + 10
    os.utime(folder / "rgb" / "room1.png", (later, later))
    capsys.readouterr()
    show_pixels(run, [folder], out=out, top=1, as_json=False)
    zero, one = capsys.readouterr().out.splitlines()
    assert "already there" in zero
    assert "already there" not in one
    assert (out / "room0.png").stat().st_mtime_ns == first["room0.png"]


@pytest.mark.slow
def test_another_scene_of_the_same_name_is_not_taken_for_done(run, folder, tmp_path, capsys):
    """Nor one with another stream, or other numbers under a key, even if its files are older than the answer."""
    out, other, keyed = tmp_path / "out", tmp_path / "other/rgb/room0.png", tmp_path / "room0.npz"
    write_png(other, scene(seed=7)["rgb"])
    np.savez(keyed, rgb=scene(seed=8)["rgb"])
    whole = {"rgb": folder / "rgb/room0.png", "depth": folder / "depth/room0.png"}
    for seed in (8, 9):
        np.savez(keyed, rgb=scene(seed=seed)["rgb"])
        os.utime(keyed, (seed, seed))
        os.utime(other, (1, 1))
        for paths, pictures in (
            ({"rgb": whole["rgb"]}, {"rgb": scene()["rgb"]}),
            (whole, scene()),
            ({"rgb": other}, {"rgb": scene(seed=7)["rgb"]}),
            ({"rgb": Path(f"{keyed}#rgb")}, {"rgb": scene(seed=seed)["rgb"]}),
        ):
            show_pixels(run, [Path(f"{name}={path}") for name, path in paths.items()], out=out, top=1, as_json=False)
            assert "was there" not in capsys.readouterr().out
            (file,) = out.glob("*room0*.png")
            expected = predictor_of().predict(pictures).labels
            np.testing.assert_array_equal(labels_of(file), np.array(palette(3), np.uint8)[expected])


def test_pairs_are_one_scene_and_a_table_may_not_name_what_lies_elsewhere(run, folder, tmp_path, capsys):
    pairs = [f"rgb={folder}/rgb/room0.png", f"depth={folder}/depth/room0.png", f"rgb={folder}/rgb/room1.png"]
    names = [one.name for one in named_scenes([*map(Path, pairs)], predictor_of())]
    assert names == ["room0", "room1"]
    (tmp_path / "other").mkdir()
    table = tmp_path / "other" / "list.csv"
    table.write_text(f"id,rgb\none,{folder}/rgb/room0.png\n")
    assert show_pixels(run, [table], out=tmp_path / "out", top=1, as_json=False, roots=[]) == 1
    assert "--roots" in capsys.readouterr().out
    both = table.with_name("both.csv")
    both.write_text(f"id,rgb,depth\none,{folder}/rgb/room0.png,{folder}/depth/room0.png\n")
    assert show_pixels(run, [both], out=tmp_path / "out", top=1, as_json=False, roots=[]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert "rgb/room0.png" in line
    assert "depth/room0.png" in line
    assert show_pixels(run, [table], out=tmp_path / "out", top=1, as_json=False, roots=[folder]) == 0


def test_two_pictures_of_one_name_and_stream_are_not_chosen_between(run, folder, tmp_path, capsys):
    np.save(folder / "rgb/room0.npy", scene(seed=5)["rgb"])
    assert show_pixels(run, [folder], out=tmp_path / "out", top=1, as_json=False) == 1
    zero, one = capsys.readouterr().out.splitlines()
    assert "room0.png and room0.npy are both its rgb; rename one" in zero
    assert "room1.png" in one


def test_lines_of_standard_input(run, folder, tmp_path, capsys, monkeypatch):
    line = json.dumps({"id": "x", "rgb": str(folder / "rgb" / "room0.png")})
    monkeypatch.setattr(
        sys, "stdin", io.StringIO(f"{line}\nnothing\n\n[1]\n" + '{"color": "a.png", "heat": "b.png"}\n')
    )
    assert show_pixels(run, [Path("-")], out=tmp_path / "out", top=1, as_json=True) == 3
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert found[0]["scene"] == "x"
    assert "not JSON" in found[1]["error"]
    assert "expected {stream: path}" in found[2]["error"]
    assert "no stream is called color or heat; expected depth, rgb" in found[3]["error"]


def test_the_verb_ends_with_1_if_a_scene_could_not_be_read(run, folder, capsys):
    with pytest.raises(SystemExit) as end:
        predict(run, [folder / "manifest.csv"])
    assert end.value.code == 1
    assert (run / "predicted" / "half.png").is_file()
    with pytest.raises(ValueError, match="are for clips"):
        predict(run, [folder], window=1.0)


@pytest.mark.parametrize(
    ("name", "error", "why"),
    [
        ("none", FileNotFoundError, "no such file.*depth=depth.png rgb=rgb.png"),
        ("empty", FileNotFoundError, "no pictures"),
        ("lone.png", ValueError, "which stream"),
        ("list.csv", ValueError, "no column is one of depth, rgb"),
    ],
)
def test_what_is_no_scene_is_an_error(name, error, why, tmp_path):
    (tmp_path / "empty").mkdir()
    write_png(tmp_path / "lone.png", np.zeros((4, 4), np.uint8))
    (tmp_path / "list.csv").write_text("id,color\na,b.png\n")
    with pytest.raises(error, match=why):
        list(named_scenes([tmp_path / name], predictor_of()))
