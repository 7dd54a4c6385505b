"""Reading processes: a task and a time limit come in, a result comes out; a process that dies or hangs is replaced."""

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from sparsefuse.serve.numbers import Numbers
from sparsefuse.serve.reader import Refused, Result, Rules, Task, serve_tasks

START = 120.0
"""Seconds a process may take to start; on a busy small machine, importing torch alone takes many."""

_log = logging.getLogger(__name__)


class Readers:
    """A fixed number of processes that read one clip at a time each."""

    def __init__(self, rules: Rules, count: int, numbers: Numbers) -> None:
        self._all = [_Reader(rules, numbers) for _ in range(count)]
        self._threads = ThreadPoolExecutor(count, thread_name_prefix="reader")
        self._idle: asyncio.Queue[_Reader] = asyncio.Queue()
        self._jobs: set[asyncio.Task[Result]] = set()

    async def start(self) -> None:
        """Returns when all of them are ready. Raises RuntimeError when one does not start."""
        loop = asyncio.get_running_loop()
        await asyncio.gather(*(loop.run_in_executor(self._threads, reader.wait_ready) for reader in self._all))
        for reader in self._all:
            self._idle.put_nowait(reader)

    @property
    def pids(self) -> list[int]:
        """The processes."""
        return [reader.process.pid for reader in self._all if reader.process.pid is not None]

    async def do(self, task: Task, deadline: float) -> Result:
        """The result of a task; Refused when the process died, or had not ended by the deadline (loop time).

        Raises TimeoutError when no process was free before the deadline.
        """
        async with asyncio.timeout_at(deadline):
            reader = await self._idle.get()
        # A request that is given up leaves its reader busy until it answers.
        job = asyncio.create_task(self._run(reader, task, deadline))
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return await asyncio.shield(job)

    async def _run(self, reader: "_Reader", task: Task, deadline: float) -> Result:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._threads, reader.do, task, deadline - loop.time())
        finally:
            self._idle.put_nowait(reader)

    def close(self) -> None:
        """Ends all processes."""
        for reader in self._all:
            reader.close()
        self._threads.shutdown()


class _Reader:
    """One process and our end of the pipe to it; used by one thread at a time."""

    def __init__(self, rules: Rules, numbers: Numbers) -> None:
        self._rules, self._numbers = rules, numbers
        self.process: BaseProcess
        self._connection: Connection
        self._ready = False
        self._start()

    def _start(self) -> None:
        context = get_context("spawn")  # a fork of a process with threads can hang
        self._connection, theirs = context.Pipe()
        self.process = context.Process(target=serve_tasks, args=(theirs, self._rules), daemon=True)
        self.process.start()
        theirs.close()
        self._ready = False

    def wait_ready(self) -> None:
        if self._ready:
            return
        try:
            if not self._connection.poll(START):
                raise RuntimeError(f"a reading process did not start within {START:g} s")
            self._connection.recv()
        except EOFError as error:
            raise RuntimeError("a reading process died while it started; its error is above") from error
        self._ready = True

    def do(self, task: Task, seconds: float) -> Result:
        before = time.monotonic()
        try:
            self.wait_ready()
            self._connection.send(task)
            if self._connection.poll(max(0.0, seconds - (time.monotonic() - before))):
                return self._connection.recv()
            why = f"took longer than the {seconds:.1f} s that were left, and was stopped"
        except (EOFError, OSError):
            self.process.join(1)
            why = f"crashed the decoder (exit code {self.process.exitcode})"
        names = ", ".join(file.shown for file in task.files)
        _log.warning("%s of %s %s; the process is replaced", task.work, names, why)
        self._numbers.restart()
        self._end()
        self._start()
        return Refused(f"{names}: {'explaining' if task.work == 'explain' else 'reading'} it {why}")

    def _end(self) -> None:
        self._connection.close()
        self.process.kill()
        self.process.join()
        self.process.close()

    def close(self) -> None:
        self._connection.close()
        self.process.kill()  # it holds nothing that is worth an orderly end
        self.process.join()
