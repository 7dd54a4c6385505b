"""The same grid as tasks of a Ray cluster on this machine."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

import tiny

pytest.importorskip("ray", reason="needs ray")


@pytest.mark.slow
def test_a_grid_on_ray_ends_as_one_on_processes(tmp_path: Path) -> None:
    """With a cell that fails, one whose process dies, and one that is finished already."""
    config = tiny.config(tiny.write_set(tmp_path / "data"), epochs=1)
    tiny.write_yaml(tmp_path / "config.yaml", config)
    (tmp_path / "broken.py").write_text(
        "def build(features, num_classes, *, lengths=None):\n    raise KeyError('no')\n"
    )
    (tmp_path / "dying.py").write_text(
        "import os\ndef build(features, num_classes, *, lengths=None):\n    os._exit(3)\n"
    )

    def compare(out: str, methods: str, *more: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "sparsefuse", "compare", "config.yaml", "--methods", methods, "--seeds", "0"]
        return subprocess.run(
            [*command, "--out", out, *more], cwd=tmp_path, env=tiny.environment(), capture_output=True, text=True,
            check=False,
        )  # fmt: skip

    assert compare("local", "late,concat").returncode == 0
    assert compare("ray", "late").returncode == 0
    before = (tmp_path / "ray/late-seed0/result.json").stat().st_mtime_ns
    ended = compare("ray", "late,concat,broken.py,dying.py", "--engine", "ray", "--jobs", "2")
    assert ended.returncode == 1
    assert "2 runs failed" in ended.stderr, ended.stderr
    assert "KeyError: 'no'" in ended.stderr
    assert "dying-seed0: its process died" in ended.stderr
    assert (tmp_path / "ray/late-seed0/result.json").stat().st_mtime_ns == before
    mine, theirs = (json.loads((tmp_path / out / "concat-seed0/result.json").read_text()) for out in ("ray", "local"))
    assert mine["test"] == theirs["test"]
    assert tiny.epochs(tmp_path / "ray/concat-seed0") == tiny.epochs(tmp_path / "local/concat-seed0")
