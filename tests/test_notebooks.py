"""The notebooks in examples/ run from the first cell to the last, in an empty folder."""

import ast
import json
import re
from pathlib import Path

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "examples").glob("*.ipynb"))


def cells(notebook: Path) -> list[dict]:
    return json.loads(notebook.read_text(encoding="utf-8"))["cells"]


def run(code: str, names: dict[str, object]) -> object:
    """Runs a cell; gives the value that a notebook would show."""
    tree = ast.parse(code)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names) if last else None


def test_there_are_two() -> None:
    assert [notebook.stem for notebook in NOTEBOOKS] == ["arrays", "clips"]


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_holds_no_output_and_no_path_of_a_machine(notebook: Path) -> None:
    assert not re.search(r"[\"' (](/|[A-Z]:\\)\w", notebook.read_text(encoding="utf-8"))
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in cells(notebook))


@pytest.mark.slow
@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_runs(notebook: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_up_costs) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    shown = [run("".join(cell["source"]), names) for cell in cells(notebook) if cell["cell_type"] == "code"]
    assert [hasattr(value, "_repr_html_") for value in shown if value is not None].count(True) >= 2
    if notebook.stem == "arrays":
        assert next(value for value in shown if isinstance(value, float)) > 0.8
    else:
        assert (tmp_path / "runs" / "report.html").is_file()
