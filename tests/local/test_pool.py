"""`fluxpmix.Launcher`: many jobs on shells that stay. Nothing of one job may reach the next, or outlive the pool."""

from __future__ import annotations

import sys

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix

pytestmark = pytest.mark.pmix

FENCE = [sys.executable, str(CLIENTS / "fence.py")]


@pytest.fixture(params=VERSIONS)
def library(request: pytest.FixtureRequest) -> str:
    return libpmix(request.param)


def test_jobs_differ_in_all_that_a_job_may_differ_in(job: Launch) -> None:
    (job.directory / "elsewhere").mkdir()
    (job.directory / "in").write_text("hello\n")
    text = """
import os
with fluxpmix.Launcher() as l:
    print(l.run(['sh', '-c', 'echo $FLUX_TASK_RANK $A; exit 3'], ntasks=2, label_io=True, env=['A=x']), flush=True)
    print(l.run(['sh', '-c', 'echo $A-; pwd'], cwd='elsewhere'), flush=True)
    print(l.run(['cat'], input='in', ntasks=1), flush=True)
    print(l.run(['sh', '-c', 'echo $FLUX_JOB_NNODES $FLUX_JOB_SIZE'], nodes=2, ntasks=3, output='out'), flush=True)
    os.dup2(os.open('there', os.O_CREAT | os.O_WRONLY), 1)
    l.run(['echo', 'moved'])
"""
    lines = job.program(text).splitlines()
    assert sorted(lines[:2]) == ["0: 0 x", "1: 1 x"]
    assert lines[2:] == ["3", "-", str(job.directory / "elsewhere"), "0", "hello", "0", "0"]
    assert (job.directory / "out").read_text() == "2 3\n" * 3
    assert (job.directory / "there").read_text() == "moved\n"


def test_its_jobs_exchange_their_own_data(job: Launch, library: str) -> None:
    text = f"""
with fluxpmix.Launcher() as l:
    for nodes in (1, 2, 1, 2):
        assert l.run({FENCE!r}, ntasks=4, nodes=nodes, setopt={{'libpmix': {library!r}}}) == 0, nodes
"""
    job.program(text)


def test_many_jobs_leave_no_process_file_or_descriptor(job: Launch, library: str) -> None:
    text = f"""
import os, time
def below(pid):
    found = []
    for child in map(int, open(f'/proc/{{pid}}/task/{{pid}}/children').read().split()):
        found += [child, *below(child)]
    return found
def state():
    until = time.monotonic() + 20
    while left := [name for name in os.listdir(os.environ['TMPDIR']) if 'flux-pmix' in name and '-pool-' not in name]:
        assert time.monotonic() < until, left  # files of the last job are removed while the program goes on
    processes = below(os.getpid())
    pages = [int(open(f'/proc/{{pid}}/statm').read().split()[1]) for pid in processes]
    return processes, [len(os.listdir(f'/proc/{{pid}}/fd')) for pid in processes], sum(pages) // 256
barrier = {[sys.executable, "-m", "fluxpmix.cli.main", "pmi", "barrier"]!r}
with fluxpmix.Launcher() as l:
    for turn in range(3):
        assert l.run(barrier, ntasks=2, quiet=True, output='/dev/null', setopt={{'libpmix': {library!r}}}) == 0
    before = min(time.sleep(0.05) or state() for _ in range(20))  # when all has been put away
    for turn in range(30):
        assert l.run(['true'], ntasks=4, setopt={{'libpmix': {library!r}}}) == 0
        assert l.run(barrier, ntasks=1, output='/dev/null', setopt={{'libpmix': {library!r}}}) == 0
    until = time.monotonic() + 20
    while (after := state())[:2] != before[:2]:  # a shell puts its things away while the program goes on
        assert time.monotonic() < until, (before, after)
    assert after[2] - before[2] < 16, (before, after)  # MiB, of what is shared too
    files = [name for _, _, names in os.walk(os.environ['TMPDIR']) for name in names]
    assert len(files) < 10, files
assert below(os.getpid()) == []
"""
    job.program(text)


@pytest.mark.parametrize(
    ("command", "options", "code"),
    [
        (["sh", "-c", "kill -9 $$"], {}, 137),
        (["sleep", "60"], {"time_limit": "200ms"}, 142),
        (["sh", "-c", "[ $FLUX_TASK_RANK = 1 ] || kill -9 $PPID; sleep 60"], {}, 1),
        ([sys.executable, "-c", "from fluxpmix import Client; Client().abort(7, 'no')"], {}, 7),
        ([sys.executable, "-c", "from fluxpmix import Client; import os; Client(); os._exit(3)"], {}, 3),
    ],
    ids=["killed", "time", "shell killed", "abort", "no finalize"],
)
def test_the_next_job_does_not_notice_how_one_failed(
    job: Launch, command: list[str], options: dict[str, str], code: int
) -> None:
    text = f"""
with fluxpmix.Launcher() as l:
    for turn in range(2):
        print(l.run({command!r}, ntasks=2, **{options!r}))
        print(l.run({FENCE!r}, ntasks=4))
"""
    assert job.program(text).split() == [str(code), "0"] * 2


def test_what_cannot_start_raises_and_the_launcher_goes_on(job: Launch) -> None:
    text = """
with fluxpmix.Launcher() as l:
    tries = [(['nosuch'], {}), (['true'], {'setopt': {'libpmix': '/nosuch'}}), (['true'], {'bogus': 1})]
    for command, options in tries:
        try: l.run(command, **options)
        except (fluxpmix.LaunchError, fluxpmix.LibraryError, ValueError) as error:
            print(type(error).__name__, getattr(error, 'exit_code', ''))
        print(l.run(['true']))
try: l.run(['true'])
except RuntimeError as error: print(error)
try: fluxpmix.Launcher(at_once=0)
except ValueError as error: print(error)
"""
    assert job.program(text).splitlines() == [
        *("LaunchError 127", "0", "LibraryNotFound ", "0", "ValueError ", "0"),
        "the launcher is closed; make another",
        "at_once=0: at least 1 is expected",
    ]


def test_ctrl_c_interrupts_a_job_and_the_launcher_goes_on(job: Launch) -> None:
    text = """
import os, signal
signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
with fluxpmix.Launcher() as l:
    for turn in range(2):
        signal.setitimer(signal.ITIMER_REAL, 0.5)
        try: l.run(['sh', '-c', 'trap "echo caught; exit 0" INT; while :; do sleep 0.02; done'])
        except KeyboardInterrupt: print('interrupted', flush=True)
    print(l.run(['true']))
"""
    assert job.program(text).splitlines() == ["caught", "interrupted"] * 2 + ["0"]


def test_threads_share_a_launcher(job: Launch) -> None:
    text = f"""
import threading, os
codes = []
def some(first):
    for turn in range(5): codes.append(l.run(['sh', '-c', f'exit {{first + turn}}'], quiet=True))
    codes.append(l.run({FENCE!r}, ntasks=2))
for at_once in (1, 2):
    with fluxpmix.Launcher(at_once=at_once) as l:
        threads = [threading.Thread(target=some, args=(first,)) for first in (10, 20, 30)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        children = open(f'/proc/{{os.getpid()}}/task/{{os.getpid()}}/children').read().split()
        print(sorted(codes) == [0] * 3 + [*range(10, 15), *range(20, 25), *range(30, 35)], len(children))
    codes.clear()
"""
    first, second = job.program(text).splitlines()
    assert first == "True 1"
    assert second in ("True 1", "True 2")


@pytest.mark.parametrize("how", ["os.kill(os.getpid(), 9)", "os._exit(0)", "sys.exit()"])
def test_it_ends_with_its_program(job: Launch, how: str) -> None:
    # A job that runs in a thread meanwhile is ended, but for the orderly end, which waits for it.
    text = f"""
import os, sys, threading, time
l = fluxpmix.Launcher()
l.run(['true'])
pause = 'sleep 60' if 'sys' not in {how!r} else 'sleep 0.2'
threading.Thread(target=l.run, args=(['sh', '-c', f'echo > said/up; {{pause}}'],), daemon=True).start()
while not os.path.exists('said/up'): time.sleep(0.01)
{how}
"""
    job.program(text, -9 if "kill" in how else 0)
    job.check()
