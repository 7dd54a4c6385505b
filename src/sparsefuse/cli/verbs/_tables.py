"""Tables of runs on the screen, as several verbs end with them."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sparsefuse.shown import counted

if TYPE_CHECKING:
    from sparsefuse.report.table import Table


def print_table(table: "Table", place: Path) -> None:
    """A table on the screen, and the files it was written to. Exit code 1 if a run failed."""
    from sparsefuse.screen import table_console

    if table.lines:
        table_console().print(replace(table, failed=[]))  # they end the command, below
        print(f"{place}.csv  {place}.md  {place.with_name('report.html')}")
    stop_if(table.failed)


def stop_if(failed: list[str]) -> None:
    """Ends with exit code 1 and a line for each run that failed, if any did."""
    if failed:
        raise SystemExit("\n".join([f"{counted(len(failed), 'run')} failed:", *failed]))


def print_run(out: Path) -> None:
    """One run's row, on the screen; before it, with validation scores, what it was chosen among, of which it alone was
    tested."""
    from sparsefuse.report.choice import table_of_choice
    from sparsefuse.report.page import read_runs, runs_table, summarise
    from sparsefuse.screen import table_console

    runs = read_runs(out)
    own = [run for run in runs if run.folder == out] or runs  # or those of its folds
    for run in own:
        if run.choice:
            table_console().print(table_of_choice(run.choice))
    table_console().print(runs_table(summarise(own)))


def print_next(run: Path, manifest: Path | None = None) -> None:
    """The run folder, and three commands that use it; see `next_steps`."""
    from sparsefuse.runs.next_steps import next_steps

    print(run, *(f"  {command}" for command in next_steps(run, manifest)), sep="\n")
