"""Worker processes that are forked with everything imported, watched, and replaced when a case kills them."""

import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path

from harness import LIMIT_S, Target, Verdict, limit_memory, quiet, run_case

WALL = 24  # times the limit: on a busy machine a case may wait for the processor
CASES_OF_A_WORKER = 400  # then a fresh one: what libraries keep must not add up
FORK = multiprocessing.get_context("fork")
TICK = os.sysconf("SC_CLK_TCK")

Job = tuple[Target, int]  # a target and the number of the case


class Worker:
    """A forked process and the case it is at."""

    def __init__(self, seed: int, root: Path):
        self.pipe, theirs = FORK.Pipe()
        self.process = FORK.Process(target=_work, args=(theirs, seed, root), daemon=True)
        self.process.start()
        theirs.close()
        self.job: Job | None = None
        self.done = 0

    def give(self, job: Job) -> None:
        """Start the next case."""
        self.job, self.started, self.cpu = job, time.monotonic(), self._cpu_s()
        self.pipe.send((job[0], job[1]))

    def overdue(self) -> str | None:
        """What the case has used up, if anything."""
        if self._cpu_s() - self.cpu > LIMIT_S:
            return f"more than {LIMIT_S:g} s"
        if time.monotonic() - self.started > WALL * LIMIT_S:
            return f"waits for more than {WALL * LIMIT_S:g} s"
        return None

    def end(self) -> None:
        """Kill it."""
        self.process.kill()
        self.process.join()
        self.pipe.close()

    def _cpu_s(self) -> float:
        try:
            fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="utf-8").rsplit(")", 1)[1].split()
        except OSError:
            return 0.0
        return sum(map(int, fields[11:15])) / TICK


def _work(pipe: Connection, seed: int, root: Path) -> None:
    quiet()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    limit_memory()
    with tempfile.TemporaryDirectory(prefix="fuzz-") as folder:
        while True:
            try:
                target, number = pipe.recv()
            except EOFError:
                return
            pipe.send(run_case(target, seed, number, root, Path(folder) / "case"))


def verdicts(jobs: Iterable[Job], seed: int, root: Path, processes: int) -> Iterator[tuple[Job, Verdict]]:
    """The cases' verdicts as they come."""
    jobs = iter(jobs)
    workers = [Worker(seed, root) for _ in range(processes)]
    busy = {worker.pipe: worker for worker in workers if _next(worker, jobs)}
    while busy:
        ready = wait(list(busy), timeout=0.1)
        for pipe, worker in list(busy.items()):
            verdict = None
            if pipe in ready:
                try:
                    verdict = pipe.recv()
                except (EOFError, ConnectionResetError):
                    worker.process.join()
                    verdict = Verdict("hang", f"the process ended with {worker.process.exitcode}")
            elif late := worker.overdue():
                verdict = Verdict("hang", late)
            if verdict is None:
                continue
            yield worker.job, verdict
            del busy[pipe]
            worker.done += 1
            if verdict.kind == "hang" or worker.done >= CASES_OF_A_WORKER:
                worker.end()
                worker = Worker(seed, root)
            if _next(worker, jobs):
                busy[worker.pipe] = worker
            else:
                worker.end()


def _next(worker: Worker, jobs: Iterator[Job]) -> bool:
    job = next(jobs, None)
    if job is not None:
        worker.give(job)
    return job is not None


def in_a_process(call, *args) -> None:
    """Call in a forked process: what it starts (threads, caches) is not in the workers."""
    process = FORK.Process(target=call, args=args)
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"preparing failed with status {process.exitcode}")
