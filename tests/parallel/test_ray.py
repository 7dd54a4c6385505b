"""The same grid as tasks of a Ray cluster on this machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tiny
from sparsefuse.experiments.grid import compare

pytest.importorskip("ray", reason="needs ray")


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_a_grid_on_ray_ends_as_one_here(tmp_path: Path) -> None:
    """With a cell that fails, one whose process dies, and one that is finished already."""
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=1)
    tiny.write_yaml(tmp_path / "config.yaml", config)
    (tmp_path / "broken.py").write_text(
        "def build(features, num_classes, *, lengths=None):\n    raise KeyError('no')\n"
    )
    (tmp_path / "dying.py").write_text(
        "import os\ndef build(features, num_classes, *, lengths=None):\n    os._exit(3)\n"
    )

    for out, methods in (("local", ["late", "concat"]), ("ray", ["late"])):
        assert not compare(config, methods, [0], tmp_path / out, baseline=False, jobs=1).failed
    before = (tmp_path / "ray/late-seed0/result.json").stat().st_mtime_ns
    command = [
        sys.executable,
        "-m",
        "sparsefuse",
        "compare",
        "config.yaml",
        "--no-baseline",
        "--engine",
        "ray",
        "--jobs",
        "2",
    ]
    command += ["--no-baseline", "--methods", "late,concat,broken.py,dying.py", "--seeds", "0", "--out", "ray"]
    ended = subprocess.run(command, cwd=tmp_path, env=tiny.environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert "2 runs failed" in ended.stderr, ended.stderr
    assert "KeyError: 'no'" in ended.stderr
    assert "dying-seed0: its process died" in ended.stderr
    assert (tmp_path / "ray/late-seed0/result.json").stat().st_mtime_ns == before
    mine, theirs = (json.loads((tmp_path / out / "concat-seed0/result.json").read_text()) for out in ("ray", "local"))
    assert mine["test"] == theirs["test"]
    assert tiny.epochs(tmp_path / "ray/concat-seed0") == tiny.epochs(tmp_path / "local/concat-seed0")
