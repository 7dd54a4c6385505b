"""The lines that take a newcomer from a folder of films to a model do what docs/data.md says."""

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from command import call
from sparsefuse.media.write import write_clip

ROOT = Path(__file__).parents[2]
TONES = {"low": 300, "middle": 900, "high": 2500}  # Hz


def write_film(path: Path, tone: int, seed: int) -> None:
    """Half a second of a moving square, and a tone with a little noise."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 120, (5, 32, 32, 3), dtype=np.uint8)
    for t in range(5):
        pixels[t, 4 * t : 4 * t + 8, 8:16] = 220
    sound = 0.3 * np.sin(2 * np.pi * tone * np.arange(8000) / 16000) + 0.02 * random.standard_normal(8000)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(path, pixels, fps=10, sound=sound.astype(np.float32))


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_the_lines_of_the_docs_lead_from_films_to_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, (label, tone) in enumerate(TONES.items()):
        for i in range(8):
            write_film(tmp_path / "films" / label / f"{i}.mp4", tone, 10 * number + i)
    write_film(tmp_path / "new.mp4", TONES["high"], 99)
    block = re.search(r"## From a folder.*?```sh\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL)
    assert block
    lines = block[1].splitlines()
    assert len(lines) <= 10
    for line in lines:
        assert line.startswith("sparsefuse "), line
        capsys.readouterr()
        assert call(monkeypatch, *shlex.split(line)[1:]) == 0, line
    assert capsys.readouterr().out.startswith("new.mp4: high")
    assert (tmp_path / "features" / "check.html").is_file()
