"""What CI leaves out is there: every entry of the list is of tests that are slow."""

import ast
from pathlib import Path

import pytest

from long import LONG

TESTS = Path(__file__).parent


@pytest.mark.parametrize("entry", LONG)
def test_an_entry_is_of_slow_tests(entry: str) -> None:
    file, name = entry.split("::")
    tree = ast.parse((TESTS / file).read_text(encoding="utf-8"))
    named = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
        and node.name.startswith("test_")
        and (node.name == name.split("[")[0] if "[" in name else node.name.startswith(name))
    ]
    assert named
    everywhere = any("pytest.mark.slow" in ast.unparse(node) for node in tree.body if isinstance(node, ast.Assign))
    assert everywhere or all("pytest.mark.slow" in " ".join(map(ast.unparse, node.decorator_list)) for node in named)
