"""The best of some runs."""

from collections.abc import Sequence

from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result
from sparsefuse.runs.summary import MAIN_METRIC, METRICS


def best_run(runs: Sequence[RunFolder]) -> tuple[RunFolder, str]:
    """The finished run with the best main score on its validation clips, between equals the cheapest; and that score's
    name. Raises ValueError if there were no validation clips."""
    results = {run: run.read(Result) for run in runs}
    metric = MAIN_METRIC[results[runs[0]].task]
    if metric not in results[runs[0]].valid:
        raise ValueError(
            "the best method is chosen by validation clips, and there are none; give more clips, or name a method"
        )
    sign = -1 if METRICS[metric].higher_is_better else 1
    return min(runs, key=lambda run: (sign * results[run].valid[metric], results[run].cost.gmacs or 0)), metric
