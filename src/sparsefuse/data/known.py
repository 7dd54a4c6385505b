"""Synthetic data with controlled redundancy and complementarity of two modalities: feature files and a manifest.

A class is a pair of parts, u and v. A modality shows a part by tokens with that part's pattern, among tokens of noise.
Every clip is of one kind, which decides what each modality shows:

    either  both modalities show u and v: each alone is enough
    one     one of them, either with the same chance, shows u and v; the other shows nothing
    both    one shows u, the other v: neither alone is enough

`redundancy` is the share of a stream's tokens that hold a pattern: how often the evidence repeats.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from sparsefuse.files.rows import write_table
from sparsefuse.files.whole import replacing, write_json

LENGTHS = {"left": 32, "right": 64}
"""Tokens of each modality."""
KINDS = ("either", "one", "both")
WIDTH = 16
STRENGTH = 6.0
"""Length of a pattern; noise has a standard deviation of 1 in each of the WIDTH directions."""
SPLITS = {"train": 0.6, "valid": 0.15, "test": 0.25}


def generate(
    out: Path,
    *,
    clips: int = 1200,
    parts: int = 3,
    redundancy: float = 0.25,
    one: float = 0.25,
    both: float = 0.25,
    lengths: Mapping[str, int] = LENGTHS,
    seed: int = 0,
) -> Path:
    """Writes feature files, truth.json and manifest.csv (id, left, right, label, split, kind) into `out`.

    `parts` values of u and of v make parts^2 classes; `one` and `both` are shares of the clips, the rest is `either`.
    The same arguments give the same clips. Raises ValueError for invalid shares.
    """
    if not (one >= 0 and both >= 0 and one + both <= 1):
        raise ValueError(f"one and both are shares of the clips, together at most 1; got {one} and {both}")
    if not 0 < redundancy <= 1:
        raise ValueError(f"redundancy is a share of tokens, above 0 and at most 1; got {redundancy}")
    if lengths.keys() != LENGTHS.keys():
        raise ValueError(f"lengths names the modalities left and right; got {', '.join(lengths) or 'none'}")
    if parts < 2 or clips < 3 * parts**2 or min(lengths.values()) < 2:
        raise ValueError(
            f"expected 2 parts or more, 3 clips or more of each of the parts^2 classes, and lengths of 2 or more; "
            f"got parts={parts}, clips={clips}, lengths={dict(lengths)}"
        )
    rng = np.random.default_rng(seed)
    patterns = _patterns(2 * parts, rng)
    labels = rng.permutation(np.arange(clips) % parts**2)
    kinds = rng.permutation(np.repeat(KINDS, _counts(clips, (1 - one - both, one, both))))
    splits = rng.permutation(np.repeat(list(SPLITS), _counts(clips, tuple(SPLITS.values()))))
    rows = []
    for i, (label, kind, split) in enumerate(zip(labels, kinds, splits, strict=True)):
        u, v = divmod(int(label), parts)
        row = {"id": f"clip{i:05d}"}
        for (name, length), shown in zip(lengths.items(), _shown(kind, u, parts + v, rng), strict=True):
            row[name] = f"features/{row['id']}-{name}.npy"
            with replacing(out / row[name], durable=False) as path:
                np.save(path, _stream(length, patterns[shown], redundancy, rng))
        rows.append(row | {"label": f"u{u}v{v}", "split": str(split), "kind": str(kind)})
    write_json(out / "truth.json", truth(parts, one, both) | {"redundancy": redundancy, "seed": seed})
    return write_table(out / "manifest.csv", rows)


def truth(parts: int, one: float, both: float) -> dict[str, float]:
    """The best possible accuracy of one modality alone, and of both together."""
    classes = parts**2
    return {"alone": (1 - one - both) + one * (1 + 1 / classes) / 2 + both / parts, "together": 1.0}


def _patterns(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, WIDTH) directions, orthogonal if there are at most WIDTH of them."""
    columns = np.linalg.qr(rng.normal(size=(WIDTH, WIDTH)))[0]
    if count > WIDTH:
        columns = rng.normal(size=(count, WIDTH))
        columns /= np.linalg.norm(columns, axis=1, keepdims=True)
    return STRENGTH * columns[:count]


def _counts(total: int, shares: tuple[float, ...]) -> list[int]:
    """Whole numbers in these shares that sum to `total`."""
    edges = np.round(np.cumsum([0.0, *shares]) / sum(shares) * total).astype(int)
    return np.diff(edges).tolist()


def _shown(kind: str, u: int, v: int, rng: np.random.Generator) -> list[list[int]]:
    """The patterns that each modality shows."""
    pair = {"either": [[u, v], [u, v]], "one": [[u, v], []], "both": [[u], [v]]}[kind]
    return pair if rng.random() < 0.5 else pair[::-1]


def _stream(length: int, patterns: np.ndarray, redundancy: float, rng: np.random.Generator) -> np.ndarray:
    """(length, WIDTH) float32: noise, with every pattern at its share of a clip's places and at one at least."""
    x = rng.normal(size=(length, WIDTH))
    if len(patterns):
        count = min(max(round(redundancy * length), len(patterns)), length)
        places = rng.permutation(length)[:count]
        x[places] += patterns[np.arange(count) % len(patterns)]
    return x.astype(np.float32)
