"""Tables of runs on the screen, as several verbs end with them."""

from pathlib import Path


def print_table(out: Path, name: str, failed: list[str]) -> None:
    """The table of all runs below `out`: on the screen, and as <name>.csv, <name>.md and report.html."""
    from rich.console import Console

    from sparsefuse.files.whole import write_text
    from sparsefuse.report.page import read_runs, rich_table, summarise, table_markdown, write_csv, write_report

    if failed and not any(out.glob("*/config.json")):  # none began
        raise SystemExit("\n".join([f"{len(failed)} runs failed:", *failed]))
    rows = summarise(read_runs(out))
    write_csv(rows, out / f"{name}.csv")
    write_text(out / f"{name}.md", table_markdown(rows))
    Console().print(rich_table(rows))
    print(f"{out / name}.csv  {out / name}.md  {write_report(out)}")
    if failed:
        raise SystemExit("\n".join([f"{len(failed)} runs failed:", *failed]))


def print_run(out: Path) -> None:
    """One run's row, on the screen."""
    from rich.console import Console

    from sparsefuse.report.page import read_runs, rich_table, summarise

    Console().print(rich_table(summarise(read_runs(out))))
