"""Extracts the clips of a plan in many processes; returns why some failed."""

import logging
import math
import os
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from datetime import timedelta
from functools import partial
from typing import Any, NamedTuple

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from sparsefuse.features._clip import Clip, Failure, Maker, Note, begin, make
from sparsefuse.features._plan import Group, Plan
from sparsefuse.features._shards import ROWS
from sparsefuse.files.skipped import LOG, Skip, Unusable, place_of, write_skipped
from sparsefuse.parallel.cores import cores
from sparsefuse.parallel.workers import each
from sparsefuse.screen import progress_console

_log = logging.getLogger(__name__)
Reasons = dict[tuple[str, str], Skip]
"""(id, modality) -> why it could not be extracted"""
_BUGS = 10  # an extractor that fails on this many clips and works on none is itself at fault
_FAULTS = 100  # of files that are read: so many may be odd in the same way before the first good one
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS")  # read when torch is imported
_WAITING = 2  # shards that may wait to be written; with more, no further clips are started


def run(
    plan: Plan, *, jobs: int, engine: str, timeout: float, strict: bool, progress: bool, device: str = "auto"
) -> Reasons:
    """Extracts all clips of the plan and writes its shards; `device` replaces that of extractors that are models.

    Raises the first Unusable if `strict`, Unusable for clips that all fail in the same unforeseen way, OSError when the
    disk is full.
    """
    columns = (TextColumn("extract"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[summary]}"))
    bar = Progress(*columns, console=progress_console(), disable=not progress)
    place = {} if device == "auto" else {"device": device}
    options = [spec.options | (place if "device" in spec.options else {}) for spec in plan.specs]
    makers = [Maker(spec.modality, spec.extractor, own) for spec, own in zip(plan.specs, options, strict=True)]
    late: list[Failure | Note | None] = [Failure(f"took longer than {timeout:g} s, the time-out", ours=True)]
    try:
        with bar, ThreadPoolExecutor(1) as writer, _one_thread(jobs):
            state = _State(plan, bar, writer, strict)
            options = {"begin": partial(begin, os.getcwd(), makers), "timeout": timeout, "late": late}
            with closing(_engine(engine)(make, state.clips(), jobs, waiting=state.show, **options)) as results:
                for clip, result in results:
                    state.take(clip, result or [Failure("the decoder crashed", ours=True)])
            state.end()
    finally:
        plan.close()
    return state.reasons


def _engine(name: str) -> Any:
    if name == "local":
        return each
    from sparsefuse.parallel.ray import each as each_on_ray

    return each_on_ray


@contextmanager
def _one_thread(jobs: int) -> Iterator[None]:
    """Limits this process to one thread, as its workers: more would change the last bits of the features.

    It does not import torch, which takes seconds and most extractors do not need; one that imports it later
    gets one thread too.
    """
    if jobs != 1:
        yield
        return
    variables = {name: os.environ.get(name) for name in _THREADS}
    before = sys.modules["torch"].get_num_threads() if "torch" in sys.modules else cores()
    os.environ |= dict.fromkeys(_THREADS, "1")
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
    try:
        yield
    finally:
        for name, value in variables.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
        if "torch" in sys.modules:
            sys.modules["torch"].set_num_threads(before)


class _Open(NamedTuple):
    """A group with clips still to be extracted."""

    group: Group
    left: Counter[int]
    """row -> clips"""


class _State:
    """The progress of a run."""

    def __init__(self, plan: Plan, bar: Progress, writer: Executor, strict: bool) -> None:
        self._plan, self._bar, self._writer, self._strict = plan, bar, writer, strict
        self.reasons: Reasons = {}
        self._incomplete: set[str] = set()
        """clips that lack a modality because it failed"""
        self._open: dict[int, _Open] = {}
        self._failed: dict[int, set[tuple[int, str]]] = {}  # shard -> (row, modality)
        self._writes: deque[Future[None]] = deque()
        self._worked: set[str] = set()
        self._notes: dict[str, list[Note]] = defaultdict(list)
        self._alike: Counter[tuple[str, str]] = Counter()
        """(modality, line of code) -> errors that nobody foresaw"""
        self._shown = bar.add_task("extract", total=len(plan.table.rows), summary="")
        self._begin, self._made = time.monotonic(), 0

    def clips(self) -> Iterator[Clip]:
        """The clips to extract."""
        for group in self._plan.groups():
            left = Counter(clip.row for clip in group.clips)
            self._open[group.shard] = _Open(group, left)
            self._failed[group.shard] = set()
            self._bar.update(self._shown, advance=group.rows - len(left))
            if not left:
                self._pack(group.shard)
            yield from group.clips
            self._settle(_WAITING)

    def take(self, clip: Clip, results: list[Failure | Note | None]) -> None:
        """Records the results of a clip; writes the shard if it was its last."""
        shard = clip.row // ROWS
        results = results if len(results) == len(clip.makes) else results * len(clip.makes)
        for make_, result in zip(clip.makes, results, strict=True):
            if isinstance(result, Failure):
                self._fail(clip, shard, make_.modality, result)
                continue
            self._worked.add(make_.modality)
            if result:
                self._notes[make_.modality].append(result)
        left = self._open[shard].left
        left[clip.row] -= 1
        if not left[clip.row]:
            del left[clip.row]
            self._made += 1
            self._bar.update(self._shown, advance=1)
            self.show()
        if not left:
            self._pack(shard)

    def show(self) -> None:
        """Updates the bar."""
        pace = self._made / (time.monotonic() - self._begin)
        todo = len(self._plan.table.rows) - self._bar.tasks[0].completed
        left = f", {timedelta(seconds=round(todo / pace))} left" if pace and todo else ""
        self._bar.update(self._shown, summary=f"{pace:.1f} clips/s{left}, {len(self._incomplete)} skipped")

    def end(self) -> None:
        """Waits until all is written."""
        assert not self._open, self._open
        self._settle(0)
        for modality, notes in self._notes.items():
            _log.warning("%s of %d clips is odd; the first: %s; `check` names all", modality, len(notes), notes[0].text)

    def _fail(self, clip: Clip, shard: int, modality: str, failure: Failure) -> None:
        reason = f"{clip.source}: {failure.reason}" if failure.ours else failure.reason
        name = self._plan.table.rows[clip.row]["id"]
        if self._strict:
            raise Unusable(f"sample {name}, {modality}: {reason}")
        self.reasons[name, modality] = Skip(name, modality, reason, failure.trace)
        if failure.trace and modality not in self._worked:
            self._alike[kind := (modality, place_of(failure.trace))] += 1
            if self._alike[kind] == (_BUGS if failure.bug else _FAULTS):
                write_skipped(self._plan.out / "skipped.jsonl", list(self.reasons.values()))
                raise Unusable(
                    f"{modality} could be extracted from none of {self._alike[kind]} clips, which all failed in the "
                    f"same way, see {self._plan.out / LOG}; the last: {reason}"
                )
        self._incomplete.add(name)
        self._failed[shard].add((clip.row, modality))

    def _pack(self, shard: int) -> None:
        group = self._open.pop(shard).group
        self._writes.append(self._writer.submit(self._plan.pack, group, self._failed.pop(shard)))
        self._settle(math.inf)

    def _settle(self, waiting: float) -> None:
        """Waits until at most `waiting` shards are left to write; raises the error of a failed write."""
        while self._writes and (self._writes[0].done() or len(self._writes) > waiting):
            self._writes.popleft().result()
