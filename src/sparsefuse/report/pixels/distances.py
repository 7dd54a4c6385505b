"""What the report says of kernel and Fréchet distance: results of translations in, a note out."""

from collections.abc import Sequence

from sparsefuse.features._seen import MODE, NET, SIZE, how_to_get
from sparsefuse.metrics.distances import NUM_SUBSETS, SUBSET
from sparsefuse.runs.records import Result


def note(results: Sequence[Result]) -> str:
    """Of what features and how many pictures they are, and how far halves of the real ones are apart; or what they
    need."""
    scores = next((found for result in results if f"kernel_{NET}" in (found := result.test or result.valid)), None)
    if scores is None:
        return (
            f"No kernel or Fréchet distance: they are between features of {NET}, which was not installed when the runs "
            f"were scored ({how_to_get()}; then sparsefuse eval prints them, and runs trained anew have them)."
        )
    kernel, frechet = (scores[f"halves_{name}_{NET}"] for name in ("kernel", "frechet"))
    return (
        f"Kernel and Fréchet distance are between features of {NET} of made and of real pictures, resized to {SIZE} "
        f"({MODE}), all of the split: comparable within this table only. Two halves of the real ones are {kernel:.3f} "
        f"and {frechet:.3f} apart (of half as many pictures, which adds to the second). Kernel distance is the "
        f"unbiased squared discrepancy with a cubic polynomial, a mean over {NUM_SUBSETS} subsets of {SUBSET}, "
        "or of all at once if there are fewer."
    )
