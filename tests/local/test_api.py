"""`fluxpmix.run`: a job from inside a Python program, whose own signals, threads and children are left alone."""

from __future__ import annotations

import pytest
from launching import Launch

pytestmark = pytest.mark.pmix


def test_it_returns_the_exit_code(job: Launch) -> None:
    text = "print(fluxpmix.run(['sh', '-c', 'echo $FLUX_TASK_RANK; exit 3'], ntasks=2, nodes=2, label_io=True))"
    assert sorted(job.program(text).splitlines()) == ["0: 0", "1: 1", "3"]


def test_options_are_those_of_the_command_line(job: Launch) -> None:
    text = (
        "print(fluxpmix.run(['sh', '-c', 'echo $A; exec sleep 60'], ntasks=2, env=['A={{taskid}}'],"
        " setopt={'exit-timeout': 'none'}, time_limit='300ms', output='out.{{taskid}}', quiet=False, cwd=None))"
    )
    assert job.program(text) == "142\n"
    assert (job.directory / "out.1").read_text() == "1\n"


@pytest.mark.parametrize("threads", [False, True])
def test_what_cannot_start_raises_with_its_exit_code(job: Launch, threads: bool) -> None:
    """With other threads, a fresh interpreter does the launching: the errors are the same."""
    text = f"""
import threading
stop = threading.Event()
if {threads}: threading.Thread(target=stop.wait).start()
no_libpmix = {{'setopt': {{'libpmix': '/nosuch'}}}}
tries = [(['nosuch'], {{}}), (['true'], no_libpmix), (['true'], {{'bogus': 1}}), ('true', {{}})]
for command, options in tries:
    try: fluxpmix.run(command, **options)
    except (fluxpmix.LaunchError, fluxpmix.LibraryError, ValueError) as error:
        print(type(error).__name__, getattr(error, 'exit_code', ''))
print(fluxpmix.run(['sh', '-c', 'exit 4'], ntasks=2))
stop.set()
"""
    assert job.program(text).splitlines() == ["LaunchError 127", "LibraryNotFound ", "ValueError ", "ValueError ", "4"]


def test_the_programs_signals_and_children_stay_its_own(job: Launch) -> None:
    text = """
import os, signal, subprocess
seen = []
signal.signal(signal.SIGTERM, lambda *_: seen.append(1))
child = subprocess.Popen(['sleep', '60'])
print(fluxpmix.run(['true'], ntasks=2), child.poll())
os.kill(os.getpid(), signal.SIGTERM)
child.kill()
print(seen, child.wait(), signal.getsignal(signal.SIGINT) is signal.default_int_handler)
"""
    assert job.program(text).splitlines() == ["0 None", "[1] -9 True"]


def test_ctrl_c_interrupts_the_tasks_and_then_the_program(job: Launch) -> None:
    text = """
import os, signal, threading
signal.signal(signal.SIGALRM, lambda *_: os.kill(os.getpid(), signal.SIGINT))
signal.setitimer(signal.ITIMER_REAL, 0.5)
try: fluxpmix.run(['sh', '-c', 'trap "echo caught; exit 0" INT; while :; do sleep 0.02; done'])
except KeyboardInterrupt: print('interrupted')
"""
    assert job.program(text).splitlines() == ["caught", "interrupted"]


def test_jobs_run_one_after_the_other_and_side_by_side(job: Launch) -> None:
    text = """
import threading
codes = []
run = lambda code: codes.append(fluxpmix.run(['sh', '-c', f'exit {code}']))
for code in range(3): run(code)
threads = [threading.Thread(target=run, args=(code,)) for code in (3, 4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(sorted(codes))
"""
    assert job.program(text) == "[0, 1, 2, 3, 4]\n"


def test_the_public_names_are_there_and_imported_late(job: Launch) -> None:
    text = """
import sys
print('cffi' in sys.modules or 'fluxpmix.pmix.server' in sys.modules)
print(all(map(fluxpmix.__getattr__, fluxpmix.__all__)))
"""
    assert job.program(text) == "False\nTrue\n"
