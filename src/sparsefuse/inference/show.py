"""`sparsefuse predict`: a run of any task and files in; printed predictions, and pictures where it reads them, out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sparsefuse.config.pixels import PIXEL_TASKS
from sparsefuse.config.points import POINT_TASKS
from sparsefuse.inference.clips import Windows, show
from sparsefuse.inference.pixels.written import show_pixels
from sparsefuse.inference.points.written import show_boxes
from sparsefuse.runs.folder import RunFolder


def show_any(
    run: Path,
    files: Sequence[Path],
    *,
    top: int,
    as_json: bool,
    window: float | None = None,
    hop: float | None = None,
    out: Path | None = None,
    device: str = "cpu",
    trust_code: bool = False,
    roots: Sequence[Path] | None = None,
) -> int:
    """`clips.show`, `pixels.written.show_pixels` or `points.written.show_boxes`: returns how many could not be read.
    `window` and `hop` are of clips, half a window if not given; into `out` goes what is written. Raises ValueError for
    what is of the other."""
    task = RunFolder(run).task
    if task in (*PIXEL_TASKS, *POINT_TASKS):
        what = "pictures" if task in PIXEL_TASKS else "clouds"
        if window is not None or hop is not None:
            raise ValueError(f"--window and --hop are for clips; {run} reads {what}")
        write = show_pixels if task in PIXEL_TASKS else show_boxes
        return write(run, files, out=out, top=top, as_json=as_json, device=device, roots=roots)
    if hop is not None and window is None:
        raise ValueError("--hop needs --window, in seconds")
    windows = None if window is None else Windows(window, window / 2 if hop is None else hop)
    how: dict[str, Any] = {"top": top, "as_json": as_json, "device": device, "trust_code": trust_code}
    return show(run, files, windows=windows, roots=roots, out=out, **how)
