"""The paper's experiments, variant by variant."""

import pytest

from sparsefuse.config import Config
from sparsefuse.methods import methods
from sparsefuse.study.conduct import shared
from sparsefuse.study.plan import EXPERIMENTS, ClipFacts, entries

CLIP = ClipFacts(("depth", "sound"), 48)


def names(experiment):
    return [entry.variant.name for entry in entries(experiment, CLIP)]


def test_table_1_has_every_method_and_each_modality_alone():
    found = names("t1")
    assert found[0] == "sft"
    assert set(found) == {*methods(), "mbt + mixup", "unimodal (depth)", "unimodal (sound)"} - {"unimodal"}
    assert len(found) == len(set(found))
    assert names("t2") == names("robustness") == names("t1")


def test_table_3_reduces_64_fold():
    found = [(entry.curve, entry.factor) for entry in entries("t3", CLIP)]
    assert found == [(method, factor) for method in ("concat", "late", "sft") for factor in (1, 64)]


def test_figure_2_goes_to_one_token():
    curves = {}
    for entry in entries("f2", CLIP):
        curves.setdefault(entry.curve, []).append(entry.factor)
    assert list(curves) == ["sft", "sft-po", "unimodal (depth)", "unimodal (sound)"]
    assert all(factors == [1, 2, 4, 8, 16, 32, 64] for factors in curves.values())


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_mixup_goes_with_sft_and_mbt_plus_mixup_and_dropout_with_the_rest(experiment):
    for entry in entries(experiment, CLIP):
        made = entry.variant.of(Config(), 0)
        mixed = entry.variant.name == "mbt + mixup" or (
            made.method == "sft" and entry.curve not in ("sft-po", "no mixup")
        )
        assert made.train.mixup_alpha == (0.3 if mixed else 0.0)
        assert made.options[made.method].get("drop", 0.0) == (0.0 if mixed else 0.2)


def test_pooling_only_has_neither_attention_nor_kept_tokens():
    made = next(e for e in entries("f2", CLIP) if e.variant.name == "sft-po, factor 4").variant
    assert made.options == {"keep": None, "stride": 4, "pool": "max", "drop": 0.2, "sparse": "none"}


def test_variants_that_come_to_the_same_are_run_once():
    plan = shared({"t1": entries("t1", CLIP), "t4": entries("t4", CLIP)}, Config())
    assert [entry.variant.name for entry in plan["t4"]] == ["sft", "sft, pool=max", "sft, pool=attn"]
    maximum = Config(options={"sft": {"pool": "max"}})
    plan = shared({"t1": entries("t1", CLIP), "t4": entries("t4", CLIP)}, maximum)
    assert [entry.variant.name for entry in plan["t4"]] == ["sft, pool=avg", "sft", "sft, pool=attn"]
