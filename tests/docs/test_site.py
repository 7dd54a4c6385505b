"""The site has every page, and a reference of every verb, option and public name."""

import importlib
import re
import runpy
import tomllib
from typing import Any

import sparsefuse
from pages import PAGES, ROOT
from sparsefuse.cli.verbs import VERBS
from sparsefuse.config import Config, Train

BUILD = runpy.run_path(str(ROOT / "docs" / "build.py"))
WRITTEN = {"commands", "configuration", "python"}


def places(tree: Any) -> list[str]:
    """Every page below a navigation."""
    if isinstance(tree, str):
        return [tree]
    children = tree.values() if isinstance(tree, dict) else tree
    return [place for child in children for place in places(child)]


def test_the_navigation_has_every_page_once():
    listed = places(tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"])
    pages = [str(page.relative_to(ROOT)) for page in PAGES] + [f"docs/reference/{name}.md" for name in WRITTEN]
    assert sorted(listed) == sorted(pages)


def test_the_reference_names_every_verb_with_its_options():
    text = BUILD["commands"]()
    for verb in VERBS:
        assert f"\n## {verb}\n" in text
    predict = text.partition("\n## predict\n")[2].partition("\n## ")[0]
    assert "`--window`\n\n:   Seconds; long recordings are predicted window by window" in predict
    assert "--train.lr" not in text


def test_the_reference_names_every_field_of_a_configuration():
    text = BUILD["configuration"]()
    for name in Train.__dataclass_fields__:
        assert f"`--train.{name}`\n\n:   " in text
    for name in {"method", "options", "features", "seed"} & set(Config.__dataclass_fields__):
        assert f"`--{name}`" in text
    assert "`--train.precision`\n\n:   " in text
    assert "One of `float32`, `bfloat16`. Default: `float32`." in text


def test_the_reference_names_everything_public():
    text = BUILD["python"]()
    for name in [*sparsefuse.__all__, "Prediction", "Table"]:
        assert f".{name}\n" in text
    for line in text.splitlines():
        if line.startswith("::: "):
            module, _, name = line.removeprefix("::: ").rpartition(".")
            assert not hasattr(getattr(importlib.import_module(module), name), "__path__"), "a package is no function"


def test_a_picture_becomes_an_image_for_each_scheme(tmp_path, monkeypatch):
    gather = BUILD["gather"]
    monkeypatch.setitem(gather.__globals__, "SOURCE", tmp_path)
    gather()
    text = (tmp_path / "README.md").read_text()
    assert "(docs/images/idea-light.svg#only-light)" in text
    assert "(docs/images/idea-dark.svg#only-dark)" in text
    assert "<picture>" not in text
    assert (tmp_path / "results" / "study-utd-mhad" / "study.md").is_file()


def test_every_image_of_a_page_is_there_and_no_escape_is_seen(tmp_path, monkeypatch):
    gather = BUILD["gather"]
    monkeypatch.setitem(gather.__globals__, "SOURCE", tmp_path)
    gather()
    images = []
    for page in tmp_path.rglob("*.md"):
        text = page.read_text(encoding="utf-8")
        assert r"\@" not in text, page
        images += [page.parent / name for name in re.findall(r"!\[[^]]*\]\(([^)#]+)", text)]
    assert len(images) > 10
    assert [image for image in images if not image.is_file()] == []
