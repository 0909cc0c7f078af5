"""Many small jobs: how many 4-rank jobs a second one program starts, against prterun and prte with prun.

Run it with the Python of an environment where fluxpmix[mpi] is installed: `python bench/pool.py [jobs]`. Two
programs: `true`, where only the launch counts, and `barrier`, whose ranks each start libpmix. All take turns,
`jobs` jobs (default 30) at a time. Goal: over 100 jobs a second of `true` on two cores.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from measure import BIN, OURS, PRTERUN, PRUN, as_root, figure, in_turns, prterun, table, wall
from measure import program as compiled
from measure import rounds as how_often

import fluxpmix

TASKS = 4
ROUNDS = 3


@contextmanager
def prte(env: dict[str, str]) -> Iterator[list[str] | None]:
    """Start prte's daemon and yield the start of prun's command line; None where there is none."""
    prun = shutil.which("prun", path=f"{BIN}:{env['PATH']}")
    if prun is None:
        yield None
        return
    with tempfile.TemporaryDirectory() as directory:
        uri = Path(directory) / "uri"
        command = [str(Path(prun).parent / "prte"), "--report-uri", str(uri)]
        quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        daemon = subprocess.Popen(command, env=env, **quiet)
        try:
            until = time.monotonic() + 20
            while not (uri.exists() and uri.read_text().strip()):
                assert time.monotonic() < until, "prte did not start"
                time.sleep(0.01)
            yield [prun, "--dvm-uri", f"file:{uri}", "--map-by", ":oversubscribe", "-n", str(TASKS)]
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
    name = f"4-rank jobs of {os.path.basename(program)} from one program"
    for who, best in ((OURS, "Launcher"), (PRTERUN, "prterun"), (PRUN, "prte and prun")):
        if best in found:
            figure(name, who, 1 / min(each for given, each in found.items() if given.startswith(best)), "a second")
    rows = [("", "a job", "jobs a second", "to prterun")]
    for name, each in found.items():
        rows.append((name, f"{each * 1e3:.1f} ms", f"{1 / each:.0f}", f"{each / found['prterun']:.2f}"))
    table(f"{TASKS} ranks of {os.path.basename(program)} ({ROUNDS} rounds of {jobs} jobs in turns)", rows)


def below(pid: int) -> list[int]:
    """Return the processes below one, parents before children."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        return [each for child in map(int, file.read().split()) for each in (child, *below(child))]


def spent(processes: list[int]) -> list[float]:
    """Return the processor's milliseconds of the program, the launcher, the shell by thread, and its tasks."""
    found = []
    for pid in processes:
        for thread in sorted(map(int, os.listdir(f"/proc/{pid}/task")))[:2]:
            with open(f"/proc/{pid}/task/{thread}/schedstat") as file:
                found.append(int(file.read().split()[0]) / 1e6)
    with open(f"/proc/{processes[-1]}/stat") as file:
        fields = file.read().rpartition(")")[2].split()
    return [*found, sum(map(int, fields[13:15])) * 1e3 / os.sysconf("SC_CLK_TCK")]


def shares(programs: tuple[str, ...], jobs: int) -> None:
    """Print what a pooled job takes of the processors, and where."""
    rows = [("", "program", "launcher", "job shell", "libpmix's thread in it", "the 4 tasks", "in all")]
    with fluxpmix.Launcher(at_once=1) as launcher:
        for program in programs:
            for _ in range(3):
                launcher.run([program], ntasks=TASKS)
            processes = [os.getpid(), *below(os.getpid())]
            before = spent(processes)
            for _ in range(jobs):
                launcher.run([program], ntasks=TASKS)
            each = [(then - now) / jobs for now, then in zip(before, spent(processes), strict=True)]
            rows.append((os.path.basename(program), *(f"{ms:.1f} ms" for ms in (*each, sum(each)))))
    table(f"processor time of a job of {TASKS} ranks, of {jobs} one after another", rows)


def main() -> None:
    jobs = how_often(30, 10)
    with compiled("barrier") as barrier, fluxpmix.Launcher() as launcher, prte(as_root()) as prun:
        if prun is None:
            print("prun is not installed: it is left out")
        for program in ("true", str(barrier)):
            compare(program, jobs, launcher, prun)
    with compiled("barrier") as barrier:
        shares(("true", str(barrier)), 2 * jobs)


main()
