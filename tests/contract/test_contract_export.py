"""torch.export keeps the logits, also for other batch sizes and lengths than the example's."""

import pytest
import torch
from contract_cases import BASE, FEATURES, LONGEST, RAGGED, case_id, clips, logits_of, modality_free, model_of
from torch.export import Dim

from sparsefuse.tokens import Tokens

CLOSE = {"rtol": 1e-4, "atol": 1e-5}
OTHERS = {
    "one sample": {"rgb": [2], "sound": [33], "flow": [3]},
    "one block": {"rgb": [4, 2], "sound": [9, 7], "flow": [3, 3]},
    "other lengths": {"rgb": [3, 8, 2], "sound": [35, 3, 12], "flow": [5, 2, 3]},
    "longer clips": {"rgb": [11, 2, 3, 4, 5, 0, 7], "sound": [70] * 7, "flow": [17] * 7},
}


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


@pytest.mark.slow  # torch.export needs up to 20 s to reason about the blocks of three sparse streams
@pytest.mark.parametrize("base", BASE, ids=case_id)
def test_an_exported_model_gives_the_same_logits(base):
    features = {"rgb": FEATURES["rgb"], "sound": FEATURES["sound"]}
    model = model_of(modality_free(base), features=features)
    check_exported(model, features)


@pytest.mark.slow
def test_every_variant_exports(case):
    check_exported(model_of(case, lengths=LONGEST), FEATURES)
