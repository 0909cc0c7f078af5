"""Restarts of processes in a real Flux: of the job's own tasks with -o pmix.restarts, of spawned ones in any job."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from installed import VERSIONS, find_libpmix
from instance import CLIENTS, Instance
from restarting import expected

pytestmark = pytest.mark.flux
RESTARTS = ("-o", "pmix.restarts")
GOES_ON = ("-o", "exit-timeout=none")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("how", "by"), [("alive", "signal"), ("dead", "event")])
def test_a_restarted_task_goes_on_from_its_checkpoint_and_its_peers_read_its_new_data(
    two: Instance, tmp_path: Path, version: str, how: str, by: str
) -> None:
    env = {"SAID": str(tmp_path), "FLUXPMIX_LIBPMIX": find_libpmix(version) or ""}
    client = [sys.executable, CLIENTS / "restarts.py", how, by]
    result = two.run("-N2", "-n4", *RESTARTS, *GOES_ON, *client, env=env)
    assert sorted(result.out.splitlines()) == expected(how)


REFUSED = """
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, describe
from fluxpmix.pmix.types import Proc

with Client() as client:
    try:
        client.job_control([Proc(client.proc.nspace, 0)], {a.JOB_CTRL_RESTART: ""})
    except PmixError as error:
        print(describe(error.status))
"""


def test_without_the_option_nothing_is_restarted_and_the_log_names_it(two: Instance) -> None:
    result = two.run("-n1", sys.executable, "-c", REFUSED)
    assert result.out.splitlines() == ["PMIX_ERR_NOT_SUPPORTED"]
    assert "cannot be restarted: a job's tasks can be restarted where it is started with -o pmix.restarts" in result.err


@pytest.mark.parametrize(
    ("options", "program", "code", "says"),
    [
        ((), "echo there", 0, ""),
        ((), "exit 3", 3, "exited with exit code 3"),
        (GOES_ON, "test $FLUX_TASK_RANK = 1 && kill -9 $$; echo there", 137, "Killed"),
        ((), "kill -SEGV $$", 139, "Segmentation fault"),
        (("-o", "exit-on-error"), "test $FLUX_TASK_RANK = 1 && exit 5; sleep 60", 5, ""),
        (("-o", "exit-timeout=1s"), "test $FLUX_TASK_RANK = 1 && kill -9 $$; sleep 60", 137, "exit-timeout"),
    ],
)
def test_a_job_whose_tasks_are_not_restarted_ends_as_any_other(
    two: Instance, options: tuple[str, ...], program: str, code: int, says: str
) -> None:
    started = time.monotonic()
    result = two.run("-n2", *RESTARTS, *options, "sh", "-c", program, code=code)
    assert says in result.err and time.monotonic() - started < 30


@pytest.mark.parametrize(("program", "code"), [("/nonexistent/program", 127), ("/etc/passwd", 126)])
def test_a_program_that_cannot_run_is_said_at_once(two: Instance, program: str, code: int) -> None:
    assert "start failed" in two.run("-n1", *RESTARTS, program, code=code).err


def test_the_binding_is_the_programs_own(two: Instance) -> None:
    result = two.run("-n2", *RESTARTS, "-o", "cpu-affinity=per-task", "sh", "-c", "taskset -cp $$ | cut -d: -f2")
    assert sorted(result.out.split()) == ["0", "1"] or len(os.sched_getaffinity(0)) < 2


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR1])
def test_signals_of_flux_reach_the_program_and_none_stays(two: Instance, tmp_path: Path, signum: int) -> None:
    mark = tmp_path / "ready"
    program = f"trap 'exit 9' USR1; sleep 61 & touch {mark}; wait"
    child = two.start("-n1", *RESTARTS, *GOES_ON, "sh", "-c", program)
    two.until(mark.exists, "the task does not start")
    job = two.flux("job", "last").strip()
    two.flux("job", "kill", "-s", str(int(signum)), job)
    two.finish(child, 9 if signum == signal.SIGUSR1 else 128 + signum)


def test_stopping_tasks_in_exec_and_restarts_exclude_each_other(two: Instance) -> None:
    result = two.run("-n1", *RESTARTS, "-o", "stop-tasks-in-exec", "true", code=1)
    assert "do not go together: leave one of them out" in result.err


SPAWNS = """
import os, sys, time
from pathlib import Path
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.types import AppSpec, Proc

said = Path(os.environ["SAID"])
with Client() as client:
    child = [sys.executable, "-c", "from pathlib import Path; import os, signal, sys, time; "
             "here = Path(os.environ['SAID']); times = len(list(here.iterdir())); (here / str(times)).touch(); "
             "print(os.environ['FLUX_TASK_RANK'], times, flush=True); "
             "time.sleep(60) if times == 0 else os.kill(os.getpid(), signal.SIGKILL) if times == 1 else None"]
    nspace = client.spawn([AppSpec(child[0], tuple(child)), AppSpec("sleep", ("sleep", "3"))])
    for wanted in (1, 2):
        while len(list(said.iterdir())) < wanted:
            time.sleep(0.01)
        time.sleep(0.3)
        client.job_control([Proc(nspace, 0)], {a.JOB_CTRL_RESTART: ""})
"""


def test_a_spawned_task_is_restarted_in_any_job(two: Instance, tmp_path: Path) -> None:
    options = ["-o", "pmix.oversubscribe=on", *GOES_ON]
    result = two.run("-n1", *options, sys.executable, "-c", SPAWNS, env={"SAID": str(tmp_path)})
    assert sorted(result.out.splitlines()) == ["0 0", "0 1", "0 2"]
