"""A student of a tenth of its teacher's multiply-adds, alone and taught by it: test scores over seeds, in one table.

    sparsefuse prepare utd_mhad ../shared/data/utd_mhad --out runs/utd-mhad/features
    python benchmarks/distill.py configs/utd-mhad.yaml --groups 5,6 --out runs/distill
    python results/publish.py runs/distill distill-utd-mhad

The teacher is the configuration's concat, seed 0; the student sft, its options made cheaper until it is within.
Nothing is chosen by the test split; a rerun continues.
"""

import argparse
import dataclasses
from pathlib import Path

from sparsefuse import Config, train
from sparsefuse.distill.student import distill, within
from sparsefuse.report.page import write_tables
from sparsefuse.runs.folder import RunFolder
from sparsefuse.runs.records import Result

SHARE = 0.1


def main() -> None:
    """Trains what is missing, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=Path)
    parser.add_argument("--groups", required=True, help="the test people, as 5,6")
    parser.add_argument("--out", type=Path, default=Path("runs/distill"))
    parser.add_argument("--seeds", type=int, default=3)
    given = parser.parse_args()
    config = Config.load(given.config, data={"split": {"test_groups": given.groups.split(",")}})
    teacher = train(config, given.out / "concat", method="concat", resume=True, measured=False, shown=False)
    limit = SHARE * RunFolder(teacher).read(Result).cost.gmacs
    small = within(dataclasses.replace(config, method="sft"), limit)
    for seed in range(given.seeds):
        of = dataclasses.replace(small, seed=seed)
        train(of, given.out / f"alone-seed{seed}", name="sft alone", resume=True, measured=False, shown=False)
        distill([teacher], given.out / f"taught-seed{seed}", config=of, resume=True, measured=False)
    print(write_tables(given.out, given.out / "compare"))


if __name__ == "__main__":
    main()
