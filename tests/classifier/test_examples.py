"""What `fit` is given, before it is trained on."""

from pathlib import Path

import numpy as np
import pytest

from sparsefuse.classifier.examples import of_memory


@pytest.mark.parametrize("who", [["p", None, "q"], ["p", np.nan, "q"], [None] * 3])
def test_a_clip_without_its_group_is_named(who: list[object], tmp_path: Path) -> None:
    """If none has one, clips would be divided as if nobody had asked for groups."""
    data = {"rgb": [np.ones((2, 3))] * 3, "who": who, "label": ["a", "b", "a"]}
    with pytest.raises(ValueError, match=r"'who' of clip [01] is missing"):
        of_memory(data, None, None, None, "who", folder=tmp_path, wanted=())
    assert not list(tmp_path.iterdir())
