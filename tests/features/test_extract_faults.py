"""Broken films and kills; the same on a Ray cluster."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="takes rights from root as Linux does")
def test_no_clip_is_lost_or_doubled_whatever_is_broken_and_killed() -> None:
    command = [sys.executable, "benchmarks/faults.py", "--rows", "300", "--kills", "2"]
    ended = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "all as it should be" in ended.stdout


SCRIPT = """
import json, sys
from pathlib import Path
sys.path.insert(0, "benchmarks")
import faults
from sparsefuse.features.extract import extract

def files(folder):
    found = [path for path in folder.rglob("*") if path.is_file() and path.name != ".made.jsonl"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    manifest, kinds = faults.write_set(folder, 80, 0, share=0.07)
    (folder / "own.py").write_text('''
import os, time
import numpy as np
SOURCE = "video"
def extract(path, *, seconds: float = 60.0):
    if path.name.startswith("zero"):
        os._exit(3)
    time.sleep(seconds if path.name.startswith("text") else 0)
    return np.ones((2, 1), np.float32)
''')
    features = {**faults.FEATURES, "own": {"extractor": str(folder / "own.py"), "source": "video"}}
    found = {}
    for engine in ("local", "ray"):
        options = {"jobs": 2, "engine": engine, "progress": False, "timeout": 10}
        found[engine] = extract(manifest, folder / engine, features=features, **options)
    assert found["local"].skipped == found["ray"].skipped, found
    reasons = str(found["ray"].skipped)
    assert "the decoder crashed" in reasons and "took longer than 10 s, the time-out" in reasons, reasons
    assert files(folder / "local") == files(folder / "ray")
    extract(manifest, folder / "alone", features=faults.FEATURES, jobs=1, progress=False)
    alone, two = files(folder / "alone"), files(folder / "local")
    assert all(alone[name] == two[name] for name in alone if name.endswith(".safetensors"))
    print(len(alone), "files alike")
"""


@pytest.mark.slow
def test_ray_and_processes_and_one_process_give_the_same_bytes(tmp_path: Path) -> None:
    """With a clip whose process dies, and one that takes too long."""
    pytest.importorskip("ray", reason="needs ray")
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    ended = subprocess.run(command, cwd=ROOT, env=_environment(), capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "files alike" in ended.stdout


def _environment() -> dict[str, str]:
    import sparsefuse

    return {**os.environ, "PYTHONPATH": str(Path(sparsefuse.__file__).parents[1])}
