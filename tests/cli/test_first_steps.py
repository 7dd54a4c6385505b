"""The lines that take a newcomer from a folder of films to a model do what docs/data.md says."""

import re
import shlex
from pathlib import Path

import pytest

from command import call
from films import write_films

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.usefixtures("made_up_costs")
def test_the_lines_of_the_docs_lead_from_films_to_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    write_films(tmp_path)
    block = re.search(r"## From a folder.*?```sh\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL)
    assert block
    lines = [line for line in block[1].splitlines() if not line.startswith("#")]
    assert len(lines) <= 10
    for line in lines:
        assert line.startswith("sparsefuse "), line
        capsys.readouterr()
        assert call(monkeypatch, *shlex.split(line)[1:]) == 0, line
    assert capsys.readouterr().out.startswith("new.mp4: high")
    assert (tmp_path / "features" / "check.html").is_file()
