"""Files given as NAME=FILE are one clip or scene."""

from pathlib import Path

import pytest

from sparsefuse.inference.pairs import with_pairs


def grouped(*files: str, several: tuple[str, ...] = ()) -> list[object]:
    found = with_pairs([Path(file) for file in files], ("rgb", "depth"), several=several)
    return [one if isinstance(one, dict) else str(one) for one in found]


def test_pairs_in_a_row_are_one_scene_and_a_name_again_begins_the_next() -> None:
    found = grouped("rgb=a.png", "depth=a.png", "depth=b.png", "rgb=b.png", "c.csv", "rgb=d=e.png")
    first, second = ({"rgb": [name], "depth": [name]} for name in ("a.png", "b.png"))
    assert found == [first, second, "c.csv", {"rgb": ["d=e.png"]}]


def test_a_name_may_stand_for_several_files() -> None:
    assert grouped("rgb=1", "depth=0", "rgb=2", several=("rgb",)) == [{"rgb": ["1", "2"], "depth": ["0"]}]


def test_a_file_with_a_name_like_a_pair_is_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("rgb=a.png").touch()
    assert grouped("rgb=a.png", "x=y.png") == ["rgb=a.png", "x=y.png"]


def test_a_file_with_an_unknown_name_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.png").touch()
    with pytest.raises(ValueError, match=r"rbg=.*a.png: unknown stream 'rbg'; did you mean 'rgb'\?"):
        grouped(f"rbg={tmp_path}/a.png")


def test_a_text_of_any_length_may_be_given() -> None:
    assert grouped(f"rgb={'word ' * 999}") == [{"rgb": ["word " * 999]}]
