"""Many small jobs: how many 4-rank jobs a second one program starts, against prterun and prte with prun.

Run it with the Python of an environment where fluxpmix[mpi] is installed: `python bench/pool.py [jobs]`. Two
programs: `true`, where only the launch counts, and `barrier`, whose ranks each start libpmix. All take turns,
`jobs` jobs (default 30) at a time. Goal: over 100 jobs a second of `true` on two cores.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from measure import BIN, as_root, barrier_program, in_turns, prterun, table, wall

import fluxpmix

TASKS = 4
ROUNDS = 3


@contextmanager
def prte(env: dict[str, str]) -> Iterator[list[str] | None]:
    """Start prte's daemon and yield the start of prun's command line; None where there is none."""
    if not (BIN / "prun").exists():
        yield None
        return
    with tempfile.TemporaryDirectory() as directory:
        uri = Path(directory) / "uri"
        command = [str(BIN / "prte"), "--report-uri", str(uri), "--map-by", ":oversubscribe"]
        daemon = subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 20
            while not (uri.exists() and uri.read_text().strip()):
                assert time.monotonic() < until, "prte did not start"
                time.sleep(0.01)
            yield [str(BIN / "prun"), "--dvm-uri", f"file:{uri}", "--map-by", ":oversubscribe", "-n", str(TASKS)]
        finally:
            daemon.terminate()
            with suppress(subprocess.TimeoutExpired):
                daemon.wait(10)
            daemon.kill()
            daemon.wait()


def seconds(jobs: int, run: Callable[[], object], threads: int = 1) -> float:
    """Return the seconds that `jobs` jobs take, shared by so many threads."""

    def some() -> None:
        for _ in range(jobs // threads):
            run()

    started = time.perf_counter()
    if threads == 1:
        some()  # in a program without threads, as `fluxpmix.run` is fastest
    else:
        workers = [threading.Thread(target=some) for _ in range(threads)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    return (time.perf_counter() - started) / (jobs // threads * threads)


def compare(program: str, jobs: int, launcher: fluxpmix.Launcher, prun: list[str] | None) -> None:
    """Print how fast each launches this program."""
    env = as_root()
    cpus = len(os.sched_getaffinity(0))

    def ours() -> None:
        assert launcher.run([program], ntasks=TASKS) == 0

    contestants = {"prterun": lambda: seconds(jobs, lambda: wall([*prterun(TASKS), program], env))}
    if prun is not None:
        contestants["prte and prun"] = lambda: seconds(jobs, lambda: wall([*prun, program], env))
        contestants[f"prte and prun, {cpus} at once"] = lambda: seconds(jobs, lambda: wall([*prun, program], env), cpus)
    contestants["fluxpmix.run"] = lambda: seconds(jobs, lambda: fluxpmix.run([program], ntasks=TASKS))
    contestants["Launcher"] = lambda: seconds(jobs, ours)
    contestants[f"Launcher, {cpus} at once"] = lambda: seconds(jobs, ours, cpus)
    found = in_turns(ROUNDS, contestants)
    rows = [("", "a job", "jobs a second", "to prterun")]
    for name, each in found.items():
        rows.append((name, f"{each * 1e3:.1f} ms", f"{1 / each:.0f}", f"{each / found['prterun']:.2f}"))
    table(f"{TASKS} ranks of {os.path.basename(program)} ({ROUNDS} rounds of {jobs} jobs in turns)", rows)


def main() -> None:
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    with barrier_program() as barrier, fluxpmix.Launcher() as launcher, prte(as_root()) as prun:
        if prun is None:
            print("prun is not installed: it is left out")
        for program in ("true", str(barrier)):
            compare(program, jobs, launcher, prun)


main()
