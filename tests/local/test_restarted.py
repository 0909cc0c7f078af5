"""Processes that take checkpoints and are restarted from them: over two nodes, and with each libpmix."""

from __future__ import annotations

import sys

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix
from restarting import expected

CLIENT = CLIENTS / "restarts.py"

pytestmark = pytest.mark.pmix


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("how", "by"), [("alive", "event"), ("dead", "signal")])
def test_a_restarted_process_goes_on_from_its_checkpoint_and_its_peers_read_its_new_data(
    job: Launch, version: str, how: str, by: str
) -> None:
    path = libpmix(version)
    library = ["-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}"]
    result = job.run("-N2", "-n4", "-o", "exit-timeout=none", *library, sys.executable, CLIENT, how, by)
    assert result.lines == expected(how)
    assert result.err.count("cannot be restarted: it has no checkpoint 'two'") == 1


BEGINS_ANEW = """
import os, sys, time
from pathlib import Path
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.types import Proc

first = Path(os.environ["SAID"]) / "first"
with Client() as client:
    me = client.proc.rank
    print(me, sys.stdin.readline().strip(), os.getcwd() == os.environ["PWD_WANTED"], sorted(os.sched_getaffinity(0)))
    sys.stdout.flush()
    if me == 1 and not first.exists():
        first.touch()
        sys.stdin.read()
        time.sleep(60)
    if me == 0:
        while not first.exists():
            time.sleep(0.01)
        client.job_control([Proc(client.proc.nspace, 1)], {a.JOB_CTRL_RESTART: ""})
"""


def test_a_process_begins_anew_in_its_place_and_with_its_input_and_output(job: Launch) -> None:
    (job.directory / "in").write_text("line\n")
    env = f"--env=PWD_WANTED={job.directory}"
    result = job.run("-n2", "--input=in", "-o", "cpu-affinity=map:0;0", env, sys.executable, "-c", BEGINS_ANEW)
    assert result.lines == ["0 line True [0]", "1 line True [0]", "1 line True [0]"]
    assert result.err == ""


SPAWNS = """
import os, sys, time
from pathlib import Path
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.types import AppSpec, Proc

said = Path(os.environ["SAID"])
with Client() as client:
    child = [sys.executable, "-c", "from pathlib import Path; import os, sys, time; "
             "here = Path(os.environ['SAID']); print(os.environ['FLUX_TASK_RANK'], flush=True); "
             "again = (here / 'once').exists(); (here / 'once').touch(); "
             "time.sleep(0 if again else 60)"]
    nspace = client.spawn([AppSpec(child[0], tuple(child))])
    while not (said / "once").exists():
        time.sleep(0.01)
    client.job_control([Proc(nspace, 0)], {a.JOB_CTRL_RESTART: ""})
"""


def test_a_spawned_process_is_restarted(job: Launch) -> None:
    result = job.run("-n1", "-l", sys.executable, "-c", SPAWNS)
    assert result.lines == ["1.0: 0", "1.0: 0"]


def test_one_that_cannot_be_started_again_has_ended(job: Launch) -> None:
    program = job.directory / "program"
    program.write_text(f"#!{sys.executable}\n{CANNOT_START}")
    program.chmod(0o755)
    result = job.run("-n2", "-o", "exit-timeout=none", program, code=127)
    assert result.lines == ["PMIX_ERR_JOB_EXE_NOT_FOUND"]
    assert "could not be started again" in result.err


CANNOT_START = """
import os, sys, time
from pathlib import Path
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import PmixError, describe
from fluxpmix.pmix.types import Proc

with Client() as client:
    client.fence()
    if client.proc.rank:
        time.sleep(60)
    os.rename(sys.argv[0], sys.argv[0] + ".gone")
    try:
        client.job_control([Proc(client.proc.nspace, 1)], {a.JOB_CTRL_RESTART: ""})
    except PmixError as error:
        print(describe(error.status))
"""
