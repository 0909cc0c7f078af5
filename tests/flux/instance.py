"""Real Flux instances of one to eight brokers on this machine, for tests: `flux start --test-size=N`.

An instance lasts for the whole test run; jobs are submitted to it with the plugin that the tests have built.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from launching import CLIENTS as CLIENTS
from launching import HEARTBEATS_SEEN as HEARTBEATS_SEEN
from launching import SOURCE, Result
from launching import mpi_data_says as mpi_data_says
from launching import sets_seen as sets_seen

PATIENCE = 90.0  # seconds; nothing takes as long when all is well
ATTRIBUTES = "flux getattr size; flux getattr broker.mapping; flux getattr instance-level"


class Instance:
    """A Flux instance, and jobs in it."""

    def __init__(
        self,
        size: int,
        plugin: Path,
        *options: str,
        variables: dict[str, str] | None = None,
    ) -> None:
        self.size = size
        self.variables = variables or {}
        self.plugin = plugin
        self.mark = uuid.uuid4().hex
        self.directory = Path(tempfile.mkdtemp(prefix="fpmix-"))  # short: sockets lie below it
        self.children: list[subprocess.Popen[str]] = []
        self._broker = subprocess.Popen(
            ["flux", "start", f"--test-size={size}", *options, "sh", "-c", "echo $FLUX_URI; exec cat"],
            env=self.environment(),
            cwd=self.directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self._broker.stdout is not None
        self.uri = self._broker.stdout.readline().strip()
        assert self.uri, "the instance did not start"
        self._shared = set(os.listdir("/dev/shm"))

    def environment(self, **more: str) -> dict[str, str]:
        kept = ("PATH", "HOME", "LD_LIBRARY_PATH")
        env = {name: os.environ[name] for name in kept if name in os.environ}
        env["PATH"] = f"{os.path.dirname(sys.executable)}:{env.get('PATH', '/usr/bin:/bin')}"
        env |= {"TMPDIR": str(self.directory), "LANG": "C.UTF-8", "FLUXPMIX_INSTANCE": self.mark}
        return env | self.variables | more

    def job_environment(self, **more: str) -> dict[str, str]:
        settings = {
            "FLUX_URI": self.uri,
            "FLUX_SHELL_RC_PATH": str(self.plugin / "lua.d"),
            "PYTHONPATH": SOURCE,
            # Several brokers on one machine: Open MPI takes them for machines.
            "OMPI_MCA_btl_tcp_if_include": "lo",
        }
        return self.environment() | settings | more

    # -- jobs --------------------------------------------------------------------------------------

    def start(self, *words: Any, env: dict[str, str] | None = None, pmix: bool = True) -> subprocess.Popen[str]:
        """Start `flux run` with these words."""
        command = ["flux", "run", *(["-o", "pmi=pmix"] if pmix else []), *map(str, words)]
        child = subprocess.Popen(
            command,
            env=self.job_environment(**(env or {})),
            cwd=self.directory,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.children.append(child)
        return child

    def finish(self, child: subprocess.Popen[str], code: int = 0) -> Result:
        """Wait for a job and check its exit code."""
        out, err = child.communicate(timeout=PATIENCE)
        self.children.remove(child)
        result = Result(child.returncode, out, err)
        assert child.returncode == code, result
        return result

    def run(self, *words: Any, code: int = 0, **options: Any) -> Result:
        """Run a job that must end with `code`."""
        return self.finish(self.start(*words, **options), code)

    def flux(self, *words: Any) -> str:
        """Run a flux command in the instance and return what it says."""
        done = subprocess.run(
            ["flux", *map(str, words)], env=self.job_environment(), capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    def events(self, name: str) -> list[dict[str, Any]]:
        """Those of the last job's events that have this name."""
        log = self.flux("job", "eventlog", "--format=json", self.flux("job", "last"))
        return [event for event in map(json.loads, log.splitlines()) if event["name"] == name]

    def exceptions(self) -> list[str]:
        """The notes of the last job's exceptions."""
        return [event["context"]["note"] for event in self.events("exception")]

    # -- looking -----------------------------------------------------------------------------------

    def until(self, what: Callable[[], Any], why: str) -> Any:
        deadline = time.monotonic() + PATIENCE
        while not (found := what()):
            assert time.monotonic() < deadline, why
            time.sleep(0.01)
        return found

    def processes(self, name: str) -> list[int]:
        """The instance's processes of this name, oldest first."""
        found = []
        for pid in sorted(map(int, filter(str.isdigit, os.listdir("/proc")))):
            try:
                if (
                    Path(f"/proc/{pid}/comm").read_text().strip() == name
                    and f"FLUXPMIX_INSTANCE={self.mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes()
                ):
                    found.append(pid)
            except OSError:
                continue
        return found

    def shells(self) -> dict[int, int]:
        """The running job shells: broker rank to process."""
        found = {}
        for pid in self.processes("flux-shell"):
            try:
                variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            except OSError:
                continue
            uri = next((each for each in variables if each.startswith(b"FLUX_URI=")), b"")
            found[int(uri.rpartition(b"local-")[2])] = pid
        return found

    def started(self) -> dict[int, str]:
        """The processes of jobs, tasks and what shells have started, by their environment; shells are none of these."""
        found = {}
        for pid in map(int, filter(str.isdigit, os.listdir("/proc"))):
            try:
                variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
                words = Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
            except OSError:
                continue
            if f"FLUXPMIX_INSTANCE={self.mark}".encode() in variables and (
                "fluxpmix.shell.flux.starter" in words or any(each.startswith(b"FLUX_TASK_RANK=") for each in variables)
            ):
                found[pid] = words
        return found

    def check(self) -> None:
        """Nothing of a job may be left: no process, file or shared memory."""
        for child in list(self.children):
            child.kill()
            child.communicate()
            self.children.remove(child)
        self.until(lambda: not self.processes("flux-shell"), f"shells are left: {self.shells()}")
        self.until(lambda: not self.leftovers(), f"left: {self.leftovers()}")
        self.until(lambda: not self.started(), f"processes are left: {self.started()}")
        # Other jobs on this machine may come and go meanwhile: what stays is ours.
        fresh = set(os.listdir("/dev/shm")) - self._shared
        self._shared |= fresh  # the tests that follow have not left it
        self.until(lambda: not fresh & set(os.listdir("/dev/shm")), f"shared memory is left: {sorted(fresh)}")

    def leftovers(self) -> list[str]:
        """Directories of jobs; all that libpmix and Open MPI put into files lies below them."""
        return [str(path) for path in self.directory.rglob("jobtmp-*")]

    def clean_up_after_a_killed_shell(self) -> None:
        """Remove the directory that only a shell removes that is alive to do it, and end the tasks that it had."""
        self.until(lambda: not self.processes("flux-shell"), f"shells are left: {self.shells()}")
        for pid in self.started():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        for path in self.leftovers():
            shutil.rmtree(path)

    def close(self) -> None:
        assert self._broker.stdin is not None
        self._broker.stdin.close()
        try:
            self._broker.wait(timeout=30)
        except subprocess.TimeoutExpired:
            os.killpg(self._broker.pid, signal.SIGKILL)
            self._broker.wait()
        shutil.rmtree(self.directory, ignore_errors=True)


def run(env: dict[str, str], *words: str, code: int = 0) -> tuple[list[str], str]:
    """Run a command that must end with `code`; return its lines and what it complained of."""
    done = subprocess.run(
        words, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == code, (done.stdout, done.stderr)
    return done.stdout.splitlines(), done.stderr
