"""torch.export keeps the logits, also for other batch sizes and lengths than the example's."""

import pytest
import torch
from contract_cases import CASES, FEATURES, LONGEST, RAGGED, STEMS, case_id, clips, logits_of, model_of
from torch.export import Dim

from sparsefuse.methods import find, methods
from sparsefuse.tokens import Tokens

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
OTHERS = {
    "one token": {"rgb": [1], "sound": [1], "flow": [1]},
    "one token of some": {"rgb": [1, 4], "sound": [1, 1], "flow": [3, 1]},
    "one sample": {"rgb": [2], "sound": [33], "flow": [3]},
    "one block": {"rgb": [4, 2], "sound": [9, 7], "flow": [3, 3]},
    "other lengths": {"rgb": [3, 8, 2], "sound": [35, 3, 12], "flow": [5, 2, 3]},
    "longer clips": {"rgb": [11, 2, 3, 4, 5, 0, 7], "sound": [70] * 7, "flow": [17] * 7},
}
# torch.export takes seconds a stream to reason about blocks, so options that do not touch each other go together. The
# sparse patterns are apart: `pool="attn"` asks each for what it gives away otherwise.
WINDOWS = {"keep": None, "stride": {"rgb": 2, "sound": 9}, "pool": "max"}
TOGETHER = {
    "concat": [{"stride": 5}],
    "late": [
        {"unimodal_attention": "strided", "stride": {"rgb": 2, "sound": 9}, "pool": "avg"},
        {"stem": {"sound": {"kind": "conv", "height": 4, "filters": 3}, "rgb": {"kind": "patch", "tokens": 3}}},
    ],
    "locomt": [
        {"views": "spread"},
        {"views": "random", "cross": 1.0, "unimodal_attention": "strided"},
        {"views": "learned", "view_price": 0.1},
    ],
    "mbt": [
        {"update": "sequential", "unimodal_attention": "fixed", "shared": True},
        {"fusion": "vanilla", "loss": "each", "style": "vit"},
        {"fusion": "cross", "style": "scenic", "patches": {"rgb": {"height": 3, "channels": 2, "patch": 1, "time": 2}}},
    ],
    "mult": [{}, {"causal": True}],
    "sft": [
        {},
        {"pool": "attn"},
        {"pool": "attn", "sparse": "fixed", "keep": None, "stride": 4, "tail": "drop"},
        {"pool": "attn", "sparse": "dense"},
        {"pool": "attn", "sparse": "local", "unimodal_attention": "local"},
        {"unimodal_attention": "strided", "sparse": "none", **WINDOWS},
        {"stem": {name: STEMS[name] for name in ("rgb", "sound")}},
    ],
    "tokenfusion": [
        {"substitute": "output", "shared": "all_but_norm", "channel_threshold": 1.5, "fusion_depth": 3},
        {"positions": "once", "projection": "none", "channel_threshold": 1.5, "channel_penalty": 0.1},
        {"shared": "all", "unimodal_depth": 1},
    ],
    "unimodal": [{"modality": "sound", "unimodal_attention": "strided", "stride": 64}],
}  # fmt: skip
STREAMS = {name: FEATURES[name] for name in ("rgb", "sound")}
EXPORTED = [(name, {**find(name).TEST, **options}) for name in TOGETHER for options in TOGETHER[name]]


def exported(model, batch):
    shapes = {
        name: Tokens({0: Dim.DYNAMIC, 1: Dim.DYNAMIC}, {0: Dim.DYNAMIC, 1: Dim.DYNAMIC})  # type: ignore[arg-type]
        for name in batch
    }
    with torch.no_grad():
        return torch.export.export(model, (batch,), dynamic_shapes=(shapes,), strict=False).module()


def check_exported(model, features):
    def batch_of(counts):
        return clips({name: counts[name] for name in features})

    program = exported(model, batch_of(RAGGED))
    torch.testing.assert_close(program(batch_of(RAGGED)).logits, logits_of(model, batch_of(RAGGED)), **CLOSE)
    for what, counts in OTHERS.items():
        logits = program(batch_of(counts)).logits
        torch.testing.assert_close(logits, logits_of(model, batch_of(counts)), **CLOSE, msg=lambda m, w=what: w + m)


@pytest.mark.slow
@pytest.mark.parametrize("one", EXPORTED, ids=case_id)
def test_an_exported_model_gives_the_same_logits(one):
    lengths = {name: LONGEST[name] for name in STREAMS}
    check_exported(model_of(one, features=STREAMS, lengths=lengths), STREAMS)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["concat", "mbt"])
def test_sinusoids_for_positions_are_exported_too(name):
    check_exported(model_of((name, find(name).TEST), features=FEATURES), FEATURES)


def test_every_option_that_the_contract_tries_is_exported():
    def values(cases):
        return {(name, option, str(value)) for name, options in cases for option, value in options.items()}

    assert {name for name, _ in EXPORTED} == set(methods())
    each = {(name, option) for name, option, value in values(CASES) if value.startswith("{")}  # per modality
    assert {(n, o, v) for n, o, v in values(CASES) if (n, o) not in each} <= values(EXPORTED)
    assert each <= {(name, option) for name, option, value in values(EXPORTED) if value.startswith("{")}
