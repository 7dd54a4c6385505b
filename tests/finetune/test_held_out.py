"""Every clip whose class has another is held out once, and every class is learnt from in every fold."""

import pytest

from sparsefuse.finetune.folds import MOST, divided

GROUPS = [[0, 3, 6], [1, 4], [2], [5, 7, 8, 9]]


def test_each_clip_is_held_out_once_but_for_the_only_one_of_its_class() -> None:
    folds = divided(GROUPS, 0)
    assert len(folds) == 2  # the smallest class with more than one clip has two
    assert sorted(i for fold in folds for i in fold) == [0, 1, 3, 4, 5, 6, 7, 8, 9]


def test_no_fold_takes_all_clips_of_a_class() -> None:
    for fold in divided(GROUPS, 0):
        assert all(set(group) - set(fold) for group in GROUPS)


@pytest.mark.parametrize(("groups", "count"), [([list(range(20))], MOST), ([[0], [1]], 0), ([], 0), ([[0, 1, 2]], 3)])
def test_there_are_as_many_folds_as_the_smallest_class_allows(groups: list[list[int]], count: int) -> None:
    assert len(divided(groups, 0)) == count


def test_the_seed_decides_who_is_held_out_when() -> None:
    assert divided([list(range(20))], 0) == divided([list(range(20))], 0)
    assert divided([list(range(20))], 0) != divided([list(range(20))], 1)
