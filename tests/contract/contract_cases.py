"""What the contract is tried on: every method with its `TEST` options, a few variants, and ragged synthetic clips.

A new file in `sparsefuse/methods/` is picked up by itself.
"""

import torch

from kept_models import kept
from sparsefuse.methods import build, find, methods
from sparsefuse.tokens import Tokens

CLASSES = 3
FEATURES = {"rgb": 6, "sound": 4, "flow": 5}  # not in alphabetical order
LONGEST = {"rgb": 9, "sound": 40, "flow": 7}  # sound: two blocks of the released span of 32

STEMS = {
    "rgb": {"kind": "conv", "height": 3, "width": 2, "filters": 8, "depth": 1},
    "sound": {"kind": "conv", "filters": 5, "depth": 1},
    "flow": {"kind": "patch", "tokens": 3, "hop": 2},
}
# Options beyond a method's own TEST that put another mechanism to work.
VARIANTS = {
    "sft": [
        {"sparse": "fixed"},
        {"sparse": "dense"},
        {"sparse": "none"},
        {"pool": "max"},
        {"pool": "attn"},
        {"pool": "attn", "sparse": "fixed"},
        {"pool": "attn", "sparse": "dense"},
        {"keep": None, "stride": 4},
        {"keep": None, "stride": {"rgb": 2, "sound": 9, "flow": 3}, "pool": "max"},
        {"keep": None, "stride": 2, "tail": "drop"},
        {"unimodal_attention": "strided"},
        {"unimodal_attention": "local", "sparse": "local"},
        {"pool": "attn", "sparse": "local"},
        {"stem": STEMS},
    ],
    "mbt": [
        {"update": "sequential"},
        {"unimodal_attention": "fixed"},
        {"fusion": "vanilla", "loss": "each", "style": "vit"},
        {"fusion": "cross", "style": "scenic"},
        {"shared": True},
        {
            "patches": {
                "rgb": {"height": 3, "channels": 2, "patch": 1, "time": 2},
                "sound": {"height": 4, "patch": 2, "time": 4},
            }
        },
    ],
    "locomt": [
        {"views": "spread"},
        {"views": "random", "cross": 1.0, "unimodal_attention": "strided"},
        {"views": "learned", "view_price": 0.1},
    ],
    "mult": [{"causal": True}],
    "concat": [{"stride": 5}],
    "late": [
        {"stem": {"sound": {"kind": "conv", "height": 4, "filters": 3}}},
        {"unimodal_attention": "strided"},
        {"stride": {"rgb": 2, "sound": 9, "flow": 3}, "pool": "avg"},
    ],
    "tokenfusion": [
        {"substitute": "output", "fusion_depth": 3},
        {"shared": "all_but_norm"},
        {"shared": "all", "unimodal_depth": 1},
        {"positions": "once", "projection": "none"},
        {"channel_threshold": 1.5, "channel_penalty": 0.1, "unimodal_depth": 1},
        {"channel_threshold": 1.5, "substitute": "output", "shared": "all_but_norm", "fusion_depth": 3},
    ],
    "unimodal": [{"modality": "sound", "unimodal_attention": "strided"}, {"modality": "sound", "stride": 64}],
}

BASE = [(name, dict(find(name).TEST)) for name in methods()]
CASES = BASE + [(name, {**find(name).TEST, **options}) for name in VARIANTS for options in VARIANTS[name]]


def case_id(case):
    name, options = case
    test = find(name).TEST
    differing = {k: v for k, v in options.items() if test.get(k) != v and v is not None}
    return "-".join([name, *(f"{k}={'each' if isinstance(v, dict) else v}" for k, v in differing.items())])


def model_of(case, *, features=FEATURES, lengths=None, seed=0):
    """One model for all tests that ask for the same, until one changes its weights."""
    name, options = case

    def made():
        torch.manual_seed(seed)
        return build(name, features, CLASSES, lengths=lengths, **options)

    return kept(repr((name, options, features, lengths, seed)), made)


def modality_free(case):
    """The case without options that name modalities of FEATURES, for tests with other modalities."""
    name, options = case
    options = {k: v for k, v in options.items() if k not in ("modality", "patches", "stem")}
    return name, {k: 3 if isinstance(v, dict) else v for k, v in options.items()}


def shallow(case):
    """The case with one layer of a kind, and without options that name modalities of FEATURES: layers of a kind compile
    and export alike."""
    name, options = modality_free(case)
    return name, {k: min(v, 1) if k.endswith("depth") else v for k, v in options.items()}


def clips(counts, *, features=FEATURES, seed=1, extra=0):
    """Ragged padded batch: `counts[name]` gives each sample's real length, 0 where the modality is missing.

    Padding holds NaN: whatever reads it shows.
    """
    generator = torch.Generator().manual_seed(seed)
    batch = {}
    for name, lengths in counts.items():
        longest = max(*lengths, 1)
        x = torch.randn(len(lengths), longest, features[name], generator=generator)
        x = torch.nn.functional.pad(x, (0, 0, 0, extra))
        mask = torch.arange(longest + extra) < torch.tensor(lengths)[:, None]
        batch[name] = Tokens(x.masked_fill(~mask[..., None], float("nan")), mask)
    return batch


# Sample 0 is full, the others are shorter; sample 2 lacks rgb, sample 3 lacks all but sound, sample 4 lacks sound.
RAGGED = {"rgb": [9, 5, 0, 0, 1], "sound": [40, 37, 8, 33, 0], "flow": [7, 1, 6, 0, 4]}


def ragged(**kwargs):
    return clips(RAGGED, **kwargs)


def rows(batch, index):
    return {name: Tokens(t.x[index], t.mask[index]) for name, t in batch.items()}


def logits_of(model, batch, **kwargs):
    with torch.no_grad():
        return model(batch, **kwargs).logits
