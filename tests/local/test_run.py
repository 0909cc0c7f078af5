"""`flux-pmix run` does to tasks what `flux run` does: exit codes, signals, limits, environment."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from launching import CLIENTS, Launch

pytestmark = pytest.mark.pmix
SAY_PID = 'echo $$ > "$SAID/tmp$FLUX_TASK_RANK"; mv "$SAID/tmp$FLUX_TASK_RANK" "$SAID/$FLUX_TASK_RANK";'


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ("exit 0", 0, ""),
        ("exit $((FLUX_TASK_RANK * 7))", 21, "flux-pmix: task 3 exited with exit code 21\n"),
        ("kill -9 $$", 137, "flux-pmix: tasks 0-3 were killed by SIGKILL (Killed)\n"),
        ("test $FLUX_TASK_RANK = 1 && kill -SEGV $$; exit 3", 139, "flux-pmix: task 1 was killed by SIGSEGV"),
    ],
)
@pytest.mark.parametrize("nodes", [1, 2])
def test_the_exit_code_is_the_largest_of_the_tasks(
    job: Launch, nodes: int, script: str, code: int, message: str
) -> None:
    result = job.run(f"-N{nodes}", "-n4", "sh", "-c", script, code=code)
    assert result.err.startswith(message) and result.err.count("\n") <= 1


def test_quiet_says_nothing_of_the_end(job: Launch) -> None:
    assert job.run("--quiet", "sh", "-c", "exit 5", code=5).err == ""


def test_exit_on_error_ends_the_job_with_the_code_of_the_task(job: Launch) -> None:
    result = job.run(
        "-n2", "-o", "exit-on-error", "sh", "-c", "test $FLUX_TASK_RANK = 1 && exit 5; exec sleep 60", code=5
    )
    assert "task 1 exited with exit code 5" in result.err


@pytest.mark.parametrize(("first", "code"), [("exit 5", 5), ("exit 0", 1)])
def test_the_exit_timeout_ends_what_outlives_the_first_task(job: Launch, first: str, code: int) -> None:
    script = f"test $FLUX_TASK_RANK = 1 && {first}; exec sleep 60"
    result = job.run("-N2", "-n4", "-o", "exit-timeout=200ms", "sh", "-c", script, code=code)
    assert "tasks 0,2-3 still run" in result.err and "exit-timeout=none" in result.err


def test_without_an_exit_timeout_the_rest_goes_on(job: Launch) -> None:
    script = "test $FLUX_TASK_RANK = 1 && exit 0; sleep 0.3; echo done"
    assert job.run("-n3", "-o", "exit-timeout=none", "sh", "-c", script).lines == ["done", "done"]


def test_the_time_limit_ends_the_job_with_142(job: Launch) -> None:
    started = time.monotonic()
    result = job.run("-n2", "-t", "300ms", "sleep", "60", code=142)
    assert "time limit of 0.3 s" in result.err and time.monotonic() - started < 20


def test_a_warning_signal_comes_before_the_time_limit(job: Launch) -> None:
    script = "trap 'echo warned; exit 0' USR2; while :; do sleep 0.02; done"
    assert job.run("-t", "10s", "--signal=USR2@9.8s", "sh", "-c", script).out == "warned\n"


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGALRM, signal.SIGUSR1, signal.SIGUSR2])
def test_signals_are_passed_on_to_every_task(job: Launch, signum: signal.Signals) -> None:
    script = f"trap 'echo got; exit 7' {signum.name[3:]}; {SAY_PID} while :; do sleep 0.02; done"
    child = job.start("-N2", "-n2", "sh", "-c", script)
    job.wait_for("0")
    job.wait_for("1")
    child.send_signal(signum)
    assert job.finish(child, 7).lines == ["got", "got"]


def test_the_first_ctrl_c_interrupts_the_tasks(job: Launch) -> None:
    script = f"trap 'echo caught; exit 4' INT; {SAY_PID} while :; do sleep 0.02; done"
    child = job.start("-n2", "sh", "-c", script)
    job.wait_for("0")
    job.wait_for("1")
    child.send_signal(signal.SIGINT)
    result = job.finish(child, 4)
    assert result.lines == ["caught", "caught"] and "one more ctrl-C within 2 s" in result.err


def test_the_second_ctrl_c_kills_them(job: Launch) -> None:
    child = job.start(
        "-n2", "sh", "-c", f"trap 'echo > $SAID/int$FLUX_TASK_RANK' INT; {SAY_PID} while :; do sleep 0.02; done"
    )
    job.wait_for("0")
    job.wait_for("1")
    child.send_signal(signal.SIGINT)
    job.wait_for("int0")
    child.send_signal(signal.SIGINT)
    job.finish(child, 137)


def test_a_task_that_ignores_the_end_is_killed(job: Launch) -> None:
    script = f"trap '' TERM ALRM; {SAY_PID} while :; do sleep 0.02; done"
    job.run("-t", "200ms", "sh", "-c", script, code=142)


def test_each_task_knows_its_place(job: Launch) -> None:
    names = "$FLUX_TASK_RANK $FLUX_TASK_LOCAL_ID $FLUX_JOB_SIZE $FLUX_JOB_NNODES"
    result = job.run("-N2", "-n4", "sh", "-c", f"echo {names}; test -d $FLUX_JOB_TMPDIR && test -w $FLUX_JOB_TMPDIR")
    assert result.lines == ["0 0 4 2", "1 1 4 2", "2 0 4 2", "3 1 4 2"]


def test_environment_rules_and_templates_reach_the_tasks(job: Launch) -> None:
    rules = ["--env-remove=HOME", "--env=WHERE=$SAID/x", "--env=ME=task {{taskid}} of {{size}} on {{node.name}}"]
    result = job.run("-n2", *rules, "sh", "-c", 'echo "${HOME-none} $WHERE $ME"')
    host = os.uname().nodename
    assert result.lines == [f"none {job.said}/x task {rank} of 2 on {host}" for rank in range(2)]


def test_templates_in_the_command_are_filled(job: Launch) -> None:
    assert job.run("-n2", "echo", "{{taskid}}", "{{other}}").lines == ["0 {{other}}", "1 {{other}}"]


def test_applications_run_in_their_directories(job: Launch, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    result = job.run("-n1", "--cwd=a", "pwd", ":", "-n2", "sh", "-c", 'echo "$FLUX_TASK_RANK $PWD"')
    assert result.lines == sorted([str(tmp_path / "a"), f"1 {tmp_path}", f"2 {tmp_path}"])


def test_tasks_are_bound_as_asked(job: Launch) -> None:
    cpus = sorted(os.sched_getaffinity(0))
    result = job.run(
        "-n2", "-l", "-o", f"cpu-affinity=map:{cpus[-1]};{cpus[0]}", "grep", "Cpus_allowed_list", "/proc/self/status"
    )
    assert [line.split()[-1] for line in result.lines] == [str(cpus[-1]), str(cpus[0])]


def test_a_task_starts_with_no_signal_blocked_or_ignored(job: Launch) -> None:
    result = job.run("grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status")
    ours = ~(3 << 31)  # 32 and 33 are the C library's own
    assert [int(line.split()[1], 16) & ours for line in result.lines] == [0, 0]


def test_a_task_inherits_its_standard_streams_and_nothing_else(job: Launch) -> None:
    assert job.run("python", "-c", "import os; print(*sorted(os.listdir('/proc/self/fd')))").out == "0 1 2 3\n"


def test_a_task_has_a_process_group_of_its_own_unless_it_is_not_to(job: Launch) -> None:
    script = "import os; print(os.getpgrp() == os.getpid())"
    assert job.run("python", "-c", script).out == "True\n"
    assert job.run("-o", "nosetpgrp", "python", "-c", script).out == "False\n"


def test_verbose_says_who_runs_where(job: Launch) -> None:
    result = job.run("-vv", "-N2", "-n2", "true")
    assert "task 1 is process" in result.err and "2 task(s) on 2 node(s)" in result.err


def test_what_a_task_leaves_running_is_killed(job: Launch) -> None:
    """Also what left its process group and its session; the fixture looks for it."""
    job.run("-N2", "-n2", "sh", "-c", "setsid sleep 60 >/dev/null 2>&1 & sleep 60 & echo started")


def test_a_hundred_tasks_run(job: Launch) -> None:
    assert len(job.run("-N4", "-n100", "sh", "-c", "echo $FLUX_TASK_RANK").lines) == 100


@pytest.mark.parametrize("exchange", ["tree", "bruck", "auto"])
def test_fences_bring_the_same_data_however_they_move(job: Launch, exchange: str) -> None:
    words = ["-N5", "-n5", "-o", f"pmix.exchange={exchange}", "-o", "pmix.fanout=2"]
    job.run(*words, "python", CLIENTS / "fence.py", 70_000)


def test_an_operation_ends_at_the_jobs_default_limit(job: Launch) -> None:
    script = "test $FLUX_TASK_RANK = 1 && exec sleep 60; exec python -m fluxpmix.cli.main pmi barrier"
    result = job.run("-N2", "-n2", "-o", "pmix.timeout=300ms", "-o", "exit-timeout=0s", "sh", "-c", script, code=1)
    assert "PMIX_ERR_TIMEOUT" in result.err and "waiting for shell 1 (ranks 1" in result.err
