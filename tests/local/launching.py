"""`flux-pmix run` with real processes, for tests: every job must leave nothing behind, whatever became of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from installed import libpmix as libpmix

SOURCE = str(Path(__file__).resolve().parent.parent.parent / "src")
CLIENTS = Path(__file__).resolve().parent.parent / "clients"
PATIENCE = 60.0  # seconds; nothing takes as long when all is well


class Launch:
    """`flux-pmix` in a directory of its own; `check()` says what it left behind."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tmpdir = directory / "tmp"
        self.tmpdir.mkdir()
        self.mark = uuid.uuid4().hex
        self.shared = set(os.listdir("/dev/shm"))
        self.children: list[subprocess.Popen[str]] = []
        # Where a rank says something to the test: named by the rank.
        self.said = directory / "said"
        self.said.mkdir()

    def environment(self, **more: str) -> dict[str, str]:
        kept = ("PATH", "HOME", "LD_LIBRARY_PATH", "FLUXPMIX_LIBPMIX", "VIRTUAL_ENV")
        env = {name: os.environ[name] for name in kept if name in os.environ}
        env |= {"PYTHONPATH": SOURCE, "TMPDIR": str(self.tmpdir), "FLUXPMIX_TEST": self.mark, "SAID": str(self.said)}
        env["PATH"] = f"{os.path.dirname(sys.executable)}:{env.get('PATH', '/usr/bin:/bin')}"
        return env | more

    def start(self, *arguments: str | Path, env: dict[str, str] | None = None, **options: Any) -> subprocess.Popen[str]:
        """Start `flux-pmix run` with these arguments."""
        command = [sys.executable, "-m", "fluxpmix.cli.main", "run", *map(str, arguments)]
        settings: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        settings |= options
        child = subprocess.Popen(
            command,
            env=self.environment(**(env or {})),
            text=True,
            cwd=self.directory,
            start_new_session=True,
            **settings,
        )
        self.children.append(child)
        return child

    def finish(self, child: subprocess.Popen[str], code: int = 0, **options: Any) -> Result:
        """Wait for a job and check its exit code."""
        out, err = child.communicate(timeout=PATIENCE, **options)
        result = Result(child.returncode, out or "", err or "")
        assert child.returncode == code, result
        return result

    def run(self, *arguments: str | Path, code: int = 0, input: str | None = None, **options: Any) -> Result:
        """Run a job that must end with `code`."""
        if input is not None:
            options["stdin"] = subprocess.PIPE
        return self.finish(self.start(*arguments, **options), code, **({} if input is None else {"input": input}))

    def program(self, text: str, code: int = 0) -> str:
        """Run a Python program that uses fluxpmix, and return its output."""
        done = subprocess.run(
            [sys.executable, "-c", f"import fluxpmix\n{text}"],
            env=self.environment(),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        assert done.returncode == code, done
        return done.stdout

    def wait_for(self, name: str) -> str:
        """Wait until a task has written the file `said/name`, and return its text."""
        path = self.said / name
        self.until(path.exists, f"{name} was never written")
        return path.read_text()

    def until(self, what: Callable[[], Any], why: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not what():
            assert time.monotonic() < deadline, why
            time.sleep(0.005)

    def processes(self) -> dict[int, str]:
        """The processes that this test has started, directly or not, by their environment."""
        found = {}
        for name in filter(str.isdigit, os.listdir("/proc")):
            try:
                if f"FLUXPMIX_TEST={self.mark}".encode() in Path(f"/proc/{name}/environ").read_bytes():
                    found[int(name)] = Path(f"/proc/{name}/cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
        return found

    def check(self) -> None:
        """Nothing may be left: no process, file or shared memory."""
        self.until(lambda: not self.processes(), f"processes are left: {self.processes()}")
        left = sorted(str(path.relative_to(self.tmpdir)) for path in self.tmpdir.rglob("*"))
        assert not left, f"files are left: {left}"
        # Other jobs on this machine may come and go meanwhile: what stays is ours.
        fresh = set(os.listdir("/dev/shm")) - self.shared
        self.until(lambda: not fresh & set(os.listdir("/dev/shm")), f"shared memory is left: {sorted(fresh)}")

    def close(self) -> None:
        for child in self.children:
            if child.poll() is None:
                child.kill()
            child.communicate()
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)


class Result:
    """What became of a job."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code = code
        self.out = out
        self.err = err

    @property
    def lines(self) -> list[str]:
        return sorted(self.out.splitlines())

    def __repr__(self) -> str:
        return f"exit code {self.code}\n--- stdout\n{self.out}\n--- stderr\n{self.err}"


def sets_seen(server: str) -> list[str]:
    """What `clients/psets.py` prints, sorted, in a job with the sets `left` (0, 1) and `odd.ones` (1, 3)."""
    lines = [f"{rank} 2 left,odd.ones [1, 3]" for rank in range(4)]
    lines.append("2 defined PMIX_ERR_EXISTS defined PMIX_ERR_BAD_PARAM PMIX_ERR_BAD_PARAM")
    lines.append("2 PMIX_ERR_NOT_FOUND")
    lines += [f"{rank} left over: left,odd.ones" for rank in (0, 1)]
    if server == "4.2":  # a server of 4.2 has nothing but the sets that local processes started with
        own = {0: "left", 1: "left,odd.ones", 2: "PMIX_ERR_NOT_FOUND", 3: "odd.ones"}
        far = {0: "left", 1: "left", 2: "PMIX_ERR_NOT_FOUND", 3: "PMIX_ERR_NOT_FOUND"}
    else:
        own = {0: "left", 1: "left,odd.ones", 2: "late", 3: "odd.ones,late"}
        far = dict.fromkeys(range(4), "left")
    lines += [f"{rank} is in {own[rank]} 0 is in {far[rank]}" for rank in range(4)]
    return sorted(lines)


# What two ranks of `clients/facilities.py heartbeats` print, sorted.
HEARTBEATS_SEEN = sorted(
    [
        *("0 without a time PMIX_ERR_BAD_PARAM", "0 cancelled 0", "1 heard -3500 0 mine"),
        *("0 while beating 0", "0 silent -3500 0 mine") * 2,
    ]
)

# Open MPI without data in its fence: all by direct modex.
SPARSE = ("--env=OMPI_MCA_pmix_base_collect_data=0", "--env=OMPI_MCA_pmix_base_async_modex=1")


def mpi_data_says(what: str) -> list[str]:
    """What four ranks of `clients/mpi_data.py` print, sorted."""
    ranks = range(4)
    lines = {
        "sessions": [f"{rank} 6" for rank in ranks],
        "names": [f"{rank} 2 4 6" for rank in ranks],
        "join": [f"{rank} 1 21" for rank in (0, 1)],
        "jobs": [
            *(f"first {rank} 2 {rank} 15" for rank in ranks),
            *(f"spawned {rank} 4 {rank + 4} 15" for rank in (0, 1)),
        ],
        "sums": [f"{rank} {' '.join(str(100 * other + rank) for other in ranks)}" for rank in ranks],
    }
    return lines[what]


# What `clients/jobs.py` prints, sorted.
JOBS_SEEN = [
    "first: from the second True 1",
    "second: PMIX_ERR_NOT_FOUND",
    "second: from the first True",
]

# What `clients/groups.py led` prints after the rank: two leaders that fail, and the second's beginning.
LED = "PMIX_GROUP_LEADER_FAILED 0 PMIX_GROUP_LEADER_SELECTED 1 PMIX_GROUP_LEADER_FAILED 1"

# What each of the two listeners of `clients/ends.py` prints after its rank.
ENDS_HEARD = [
    "PMIX_ERR_EXIT_NONZERO_TERM 6 5 True rank 6 exited with code 5",
    "PMIX_ERR_PROC_ABORTED_BY_SIG 2 137 True rank 2 was killed by signal 9 default",
    "PMIX_ERR_PROC_ABORTED_BY_SIG 5 143 True rank 5 was killed by signal 15 default",
    "PMIX_ERR_PROC_KILLED_BY_CMD 1 137 True rank 1 was killed by signal 9 default",
    "PMIX_ERR_PROC_TERM_WO_SYNC 3 7 True rank 3 exited with code 7 and had not finalized default",
    "PMIX_EVENT_JOB_START True",
    "PMIX_EVENT_PROC_TERMINATED 7 0 True rank 7 exited with code 0",
]


def models_heard(rank: int, mpi: bool = False) -> str:
    """What a rank of `clients/models.py` prints: each model of its own once, and the one that rank 0 tells all."""
    texts = [f"{rank}:TASKS,ours,1.2,None", f"{rank}:OPENMP,gomp,None,pthread", "0:MPI,all,None,None"]
    return " ".join([str(rank), *sorted([*texts, *([f"{rank}:MPI,OpenMPI,VERSION,PTHREAD"] if mpi else [])])])


def strays_seen(server: str) -> tuple[list[str], list[str]]:
    """What `clients/strays.py` prints, sorted, and what the job's log says meanwhile, without the namespace."""
    told = {"gone": "done", "no rank": "PMIX_ERR_BAD_PARAM", "no job": "PMIX_ERR_NOT_FOUND", "one": "done"}
    if server == "4.2":  # it does not hand on what the host says
        told = dict.fromkeys(told, "done")
    lines = [f"tell {whom} {what}" for whom, what in told.items()]
    lines += [f"kill {whom} PMIX_ERR_NOT_FOUND" for whom in ("gone", "no rank", "no job")]
    log = [f"{who} is not known here" for who in ("9", "no.such.job:0") for _ in ("tell", "kill")]
    return sorted([*lines, "1 all one", "2 all"]), log
