"""Reading processes: a task and a time limit come in, a result comes out; a process that dies or hangs is replaced."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection

from sparsefuse.serve.numbers import Numbers
from sparsefuse.serve.reader import ReadTask, RefusedClip, Result, Rules, serve_tasks

START = 120.0
"""Seconds a process may take to start; on a busy small machine, importing torch alone takes many."""
PAUSE = 5.0
"""Seconds between tries to replace a process that does not start."""

Serve = Callable[[Connection, Rules], None]

_log = logging.getLogger(__name__)


class NotStarted(Exception):
    """A reading process that is not ready, and why."""


class Readers:
    """A fixed number of processes that read one clip at a time each."""

    def __init__(self, rules: Rules, count: int, numbers: Numbers, *, serve: Serve = serve_tasks) -> None:
        """`serve`: what each process does."""
        self._all = [_ReaderProcess(rules, numbers, serve) for _ in range(count)]
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="reader")
        self._idle: asyncio.Queue[_ReaderProcess] = asyncio.Queue()
        self._jobs: set[asyncio.Task[Result]] = set()
        self._replacing: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Returns when all of them are ready. Raises NotStarted when one does not start."""
        self._loop = asyncio.get_running_loop()
        await asyncio.gather(*(self._loop.run_in_executor(self._threads, reader.wait_ready) for reader in self._all))
        for reader in self._all:
            self._idle.put_nowait(reader)

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [reader.process.pid for reader in self._all if reader.process.pid is not None]

    async def do(self, task: ReadTask, deadline: float) -> Result:
        """The result of a task; RefusedClip when the process died, or when the task itself took most of the time.

        Raises TimeoutError when waiting for a free process took most of the time to the deadline (of the loop's time).
        """
        came = self._loop.time()
        async with asyncio.timeout_at(deadline):
            reader = await self._idle.get()
        start = self._loop.time()
        # A cancelled request leaves its reader busy until it answers.
        job = asyncio.create_task(self._run(reader, task, deadline - start))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        result = await asyncio.shield(job)
        if isinstance(result, RefusedClip) and result.late and deadline - start < start - came:
            raise TimeoutError  # it waited longer than it was processed: not the clip's fault
        return result

    async def _run(self, reader: "_ReaderProcess", task: ReadTask, seconds: float) -> Result:
        result = await self._loop.run_in_executor(self._threads, reader.do, task, seconds)
        if reader.broken:
            replacing = asyncio.create_task(self._replace(reader))
            self._replacing.add(replacing)
            replacing.add_done_callback(self._replacing.discard)
        else:
            self._idle.put_nowait(reader)
        return result

    async def _replace(self, reader: "_ReaderProcess") -> None:
        """A new process takes no task before it is ready, so that its start does not count against a task."""
        while not self._closed:
            try:
                await self._loop.run_in_executor(self._threads, reader.start_again)
            except NotStarted:
                _log.exception("the next try is in %g s", PAUSE)
                await asyncio.sleep(PAUSE)
            else:
                self._idle.put_nowait(reader)
                return

    def close(self) -> None:
        """Ends all processes."""
        self._closed = True
        for reader in self._all:
            reader.close()
        self._threads.shutdown()
        for reader in self._all:  # one may have been started meanwhile
            reader.close()


class _ReaderProcess:
    """One process and the pipe to it; used by one thread at a time."""

    def __init__(self, rules: Rules, numbers: Numbers, serve: Serve) -> None:
        self._rules, self._numbers, self._serve = rules, numbers, serve
        self.broken = False
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")  # a fork of a process with threads can hang
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=self._serve, args=(theirs, self._rules), daemon=True)
        self.process.start()
        theirs.close()

    def wait_ready(self) -> None:
        try:
            if not self._connection.poll(START):
                raise NotStarted(
                    f"a process that reads clips did not start within {START:g} s; end what keeps this machine busy, "
                    "or give fewer of them with --concurrency"
                )
            self._connection.recv()
        except (EOFError, OSError) as error:
            raise NotStarted("a process that reads clips died while it started; its error is above") from error

    def start_again(self) -> None:
        self._numbers.restart()
        self._end()
        self._start()
        self.wait_ready()
        self.broken = False

    def do(self, task: ReadTask, seconds: float) -> Result:
        late = False
        try:
            self._connection.send(task)
            if self._connection.poll(max(0.0, seconds)):
                return self._connection.recv()
            late, why = True, f"took longer than the {seconds:.1f} s that were left, and was stopped"
        except (EOFError, OSError):
            self.process.join(1)
            why = f"crashed the decoder (exit code {self.process.exitcode})"
        self.broken = True
        self.process.kill()
        self.process.join(1)  # or it may write into the request's folder while that is removed
        names = ", ".join(file.shown for file in task.files)
        _log.warning("%s of %s %s; the process is replaced", task.work, names, why)
        return RefusedClip(f"{names}: {'explaining' if task.work == 'explain' else 'reading'} it {why}", late=late)

    def _end(self) -> None:
        self._connection.close()
        self.process.kill()
        self.process.join()
        self.process.close()

    def close(self) -> None:
        self._connection.close()
        self.process.kill()  # it has no state to save
        self.process.join()
