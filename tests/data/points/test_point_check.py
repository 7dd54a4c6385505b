"""`check` of a task on clouds: a finding for everything that training would lose, or learn wrongly."""

import json

import numpy as np
import pytest

from point_runs import camera, cloud, scenes_in
from sparsefuse.checks import check

NAMES = ("a", "b", "c", "d")


def checked(manifest, **fields):
    return check({"data": {"manifest": str(manifest), "task": "detect"}, "method": "points", **fields})


def found(report):
    return {problem.kind: problem.message for problem in reversed(report.problems)}


def change(manifest, name, part, **changed):
    """Of all boxes or cameras of a scene."""
    path = manifest.parent / part / f"{name}.json"
    path.write_text(json.dumps([one | changed for one in json.loads(path.read_text())]))


def test_a_set_that_keeps_the_rules_has_no_findings(tmp_path):
    manifest = scenes_in(tmp_path, NAMES)
    manifest.write_text(manifest.read_text().replace("c,train", "c,valid"))
    report = checked(manifest)
    assert report.problems == []
    assert report.balance == {split: {"crate": n, "drum": n} for split, n in (("train", 1), ("valid", 1), ("test", 2))}
    assert report.columns == {
        "id": "id", "split": "split", "cloud": "clouds", "cameras": "cameras and their pictures", "boxes": "boxes",
    }  # fmt: skip
    assert report.modalities["cloud"].tokens.median == 300


def test_every_fault_has_its_rule(tmp_path):
    manifest = scenes_in(tmp_path, (*NAMES, "e", "f", "g", "h"))
    np.savez(tmp_path / "cloud/a.npz", xyz=np.zeros((0, 3)))
    np.savez(tmp_path / "cloud/b.npz", xyz=np.full((9, 3), np.nan))
    (tmp_path / "boxes/c.json").unlink()
    change(manifest, "d", "boxes", centre=[0.5, 2.5, 9.0])
    away = np.array(camera()["pose"]) @ np.diag([-1.0, 1, -1, 1])
    change(manifest, "e", "cameras", pose=away.tolist())
    change(manifest, "f", "cameras", size=[31, 40])
    change(manifest, "h", "boxes", **{"class": "ball"})
    problems = found(checked(manifest, points={"classes": ["crate", "drum"]}))
    assert "cloud/a.npz: has no point" in problems["unreadable"]
    assert "boxes/c.json: file not found" in problems["missing"]
    assert problems["outside"] == "sample d: boxes/d.json: 2 of 2 boxes hold no point (crate, drum)"
    assert problems["camera"] == "sample e: camera 1 of 1 sees no point of the cloud"
    assert "has 32 x 40 pixels, its camera says 31 x 40" in problems["mismatch"]
    assert "'ball'" in problems["label"]


def test_points_that_are_left_out_are_noted(tmp_path):
    manifest = scenes_in(tmp_path, NAMES)
    values = cloud()[:, :3]
    np.savez(tmp_path / "cloud/a.npz", xyz=np.concatenate([values, np.full((20, 3), np.nan)]))
    report = checked(manifest)
    assert [problem.message for problem in report.problems if problem.severity == "note"] == [
        "cloud: 20 of 320 points of 1 scene are NaN or infinite, and left out (a)"
    ]


@pytest.mark.parametrize(("factor", "why"), [(1000, "in millimetres?"), (0.001, "in kilometres")])
def test_clouds_of_another_unit_are_told(tmp_path, factor, why):
    manifest = scenes_in(tmp_path, NAMES)
    for i, name in enumerate(NAMES):
        np.savez(tmp_path / f"cloud/{name}.npz", xyz=factor * cloud(seed=i)[:, :3])
    assert why in found(checked(manifest))["metres"]


def test_a_table_without_the_columns_is_no_manifest(tmp_path):
    (tmp_path / "manifest.csv").write_text("id,cloud\na,a.npz\n")
    assert "points.boxes names the column" in found(checked(tmp_path / "manifest.csv"))["manifest"]
