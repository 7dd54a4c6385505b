"""results/withdraw.py: figures that code since found wrong has computed go, and a note stands below what is left."""

import importlib.util
import sys
from pathlib import Path

import pytest

_PLACE = Path(__file__).parents[2] / "results"
NOTE = "Without mAP, not measured again since: `sparsefuse compare`."
ACCURACY = (
    "| Method | n | Top-1 % | mAP % |\n| :-- | --: | --: | --: |\n"
    "| sft | 3 | 90.1 ± 0.7 | 97.3 ± 0.5 |\n| mult | 3 | 80 | 81 |"
)
COST = "| Method | GMACs | Parameters |\n| :-- | --: | --: |\n| sft | 0.1 | 7 |\n| mult | 0.2 | 9 |"


@pytest.fixture
def withdraw():
    spec = importlib.util.spec_from_file_location("withdraw", _PLACE / "withdraw.py")
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules["withdraw"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules["withdraw"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "t1.csv").write_text("Method,n,Top-1 %,mAP %\nsft,3,90.1 ± 0.7,97.3 ± 0.5\nmult,3,80,81\n")
    (tmp_path / "t2.csv").write_text('Method,GMACs,Parameters\nsft,0.1,7\nmult,0.2,"1,900"\n')
    (tmp_path / "runs.csv").write_bytes(b"name,n,map_mean,map_std,gmacs\r\nsft,3,.97,.005,.1\r\n")
    (tmp_path / "study.md").write_text(f"# A study\n\n{ACCURACY}\n\n{COST}\n\nClips: 9.\n")
    return tmp_path


def test_a_column_goes_from_every_table_and_a_note_says_why(withdraw, folder):
    withdraw.withdraw(folder, ["mAP %"], [], [], NOTE)
    assert (folder / "t1.csv").read_text() == "Method,n,Top-1 %\nsft,3,90.1 ± 0.7\nmult,3,80\n"
    assert (folder / "runs.csv").read_bytes() == b"name,n,gmacs\r\nsft,3,.1\r\n"
    assert (folder / "study.md").read_text() == (
        "# A study\n\n| Method | n | Top-1 % |\n| :-- | --: | --: |\n| sft | 3 | 90.1 ± 0.7 |\n| mult | 3 | 80 |\n\n"
        f"{COST}\n\nClips: 9.\n\n{NOTE}\n"
    )
    assert withdraw.notes_of(folder) == {"t1": f"\n\n{NOTE}", "runs": f"\n\n{NOTE}"}


def test_a_row_goes_but_not_what_its_model_costs(withdraw, folder):
    cost = (folder / "t2.csv").read_bytes()
    withdraw.withdraw(folder, [], ["mult"], [], NOTE)
    assert (folder / "t2.csv").read_bytes() == cost
    assert "mult" not in (folder / "t1.csv").read_text()
    assert (folder / "study.md").read_text().count("| mult |") == 1
    assert list(withdraw.notes_of(folder)) == ["t1"]


def test_a_note_alone_is_written_once_below_the_tables_named(withdraw, folder):
    before = (folder / "t1.csv").read_bytes()
    for _ in range(2):
        withdraw.withdraw(folder, [], [], ["t1", "t2"], NOTE)
    assert (folder / "t1.csv").read_bytes() == before
    assert (folder / "study.md").read_text().count(NOTE) == 1
    assert withdraw.notes_of(folder) == {"t1": f"\n\n{NOTE}", "t2": f"\n\n{NOTE}"}


def test_what_no_table_has_is_an_error(withdraw, folder):
    with pytest.raises(SystemExit, match=r"no table has the columns \[\] or the rows \['mutl'\]"):
        withdraw.withdraw(folder, [], ["mutl"], [], NOTE)
    with pytest.raises(SystemExit, match=r"has no table \['t9'\]"):
        withdraw.withdraw(folder, [], [], ["t9"], NOTE)
