"""Tools beside a running job: they find it, see it, follow its output and feed its input; others are kept out."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from installed import PAIRS, VERSIONS, number
from launching import CLIENTS, PATIENCE, Launch, libpmix

pytestmark = pytest.mark.pmix
EACH = pytest.mark.parametrize("server", VERSIONS)
# Says that it runs, prints when `go` is there, and ends.
TASK = """
touch $SAID/$FLUX_TASK_RANK
while ! test -e $SAID/go; do sleep 0.02; done
for line in one two; do echo $line $FLUX_TASK_RANK; done; echo error >&2
while ! test -e $SAID/end; do sleep 0.02; done
"""


def started(job: Launch, *words: str, tasks: int = 4, text: str = TASK, **options: Any) -> subprocess.Popen[str]:
    """Start a job and wait until all its tasks run."""
    child = job.start(*words, "-n", str(tasks), "sh", "-c", text, **options)
    for rank in range(tasks):
        job.wait_for(str(rank))
    return child


def flux_pmix(job: Launch, *words: str, code: int = 0, **variables: str) -> str:
    child = tool(job, *words, **variables)
    out, err = child.communicate(timeout=PATIENCE)
    assert child.returncode == code, (out, err)
    return out + err


def tool(job: Launch, *words: str, **variables: str) -> subprocess.Popen[str]:
    child = subprocess.Popen(
        [sys.executable, "-m", "fluxpmix.cli.main", *words],
        env=job.environment(**variables),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    job.children.append(child)
    return child


def rendezvous(job: Launch, shell: int = 0) -> tuple[str, str]:
    """The file of a shell's server, and the job's namespace."""
    (path,) = job.tmpdir.glob(f"flux-pmix-*/{shell}/pmix.*.tool")
    return str(path), path.read_text().partition(".shell.")[0]


def end(job: Launch) -> None:
    (job.said / "go").touch()
    (job.said / "end").touch()


@EACH
def test_ps_shows_every_process_of_every_node(job: Launch, server: str) -> None:
    child = started(job, "-N2", "-o", f"libpmix={libpmix(server)}")
    _, name = rendezvous(job)
    for words in ((), (name,)):
        title, head, *rows = flux_pmix(job, "ps", *words).splitlines()
        assert title == f"job {name}: 4 process(es) on 2 node(s), 4 running"
        assert head.split() == ["RANK", "HOST", "PID", "STATE", "PROGRAM"]
        fields = [row.split() for row in rows]
        assert [row[0] for row in fields] == ["0", "1", "2", "3"]
        assert {row[3] for row in fields} == {"running"} and {row[4] for row in fields} == {"sh"}
        assert len({row[1] for row in fields}) == 2
        for row in fields:
            assert f"PMIX_RANK={row[0]}" in Path(f"/proc/{row[2]}/environ").read_text().split("\0")
    assert name in flux_pmix(job, "ps", "--all")
    end(job)
    job.finish(child)


def test_ps_watches_until_the_job_has_ended(job: Launch) -> None:
    child = started(job, tasks=1)
    watching = tool(job, "ps", "--watch", "--interval=0.1s")
    assert watching.stdout is not None and watching.stdout.readline().endswith("1 running\n")
    end(job)
    job.finish(child)
    out, _ = watching.communicate(timeout=PATIENCE)
    assert out.endswith("has ended\n") and watching.returncode == 0


@EACH
def test_output_follows_the_ranks_that_are_named_over_nodes(job: Launch, server: str) -> None:
    said = job.said / "err"
    with said.open("w") as log:
        child = started(job, "-vv", "-N2", "-o", f"libpmix={libpmix(server)}", stderr=log)
    following = tool(job, "output", "--ranks=1-2", "-l")
    job.until(lambda: "is pulled" in said.read_text(), "the output is not pulled")
    end(job)
    out, err = following.communicate(timeout=PATIENCE)
    assert sorted(out.splitlines()) == ["1: one 1", "1: two 1", "2: one 2", "2: two 2"]
    assert sorted(err.splitlines()) == ["1: error", "2: error"]
    assert following.returncode == 0
    assert len(job.finish(child).lines) == 8, "the job's own output is as ever"


@EACH
def test_attach_runs_a_command_for_each_rank_or_says_how(job: Launch, server: str) -> None:
    child = started(job, "-N2", "-o", f"libpmix={libpmix(server)}")
    lines = flux_pmix(job, "attach").splitlines()
    assert [line.split("#")[1].split(":")[0].strip() for line in lines] == [f"rank {rank}" for rank in range(4)]
    pids = [line.split()[2] for line in lines]
    assert all(line.startswith("gdb -p ") for line in lines)
    out = flux_pmix(job, "attach", "--ranks=1,3", "--", "echo", "{{rank}}={{pid}} {other}")
    assert out.splitlines() == [f"1={pids[1]} {{other}}", f"3={pids[3]} {{other}}"]
    assert "rank 9 is not running" in flux_pmix(job, "attach", "--ranks=9", code=1)
    end(job)
    job.finish(child)


def test_a_job_that_is_not_there_is_a_line(job: Launch) -> None:
    assert "no job of yours runs" in flux_pmix(job, "ps", code=1)
    assert "does not run on this machine" in flux_pmix(job, "output", "fNoSuch", code=1)
    child = started(job, tasks=1)
    _, name = rendezvous(job)
    text = flux_pmix(job, "ps", "fNoSuch", code=1)
    assert name in text and text.count("\n") == 1
    end(job)
    job.finish(child)


# -- a tool in C ----------------------------------------------------------------------------------------


def compiled(job: Launch, path: str) -> Path:
    program = job.directory / "ctool"
    library = [path, f"-Wl,-rpath,{os.path.dirname(path)}"] if os.sep in path else [f"-l:{path}"]
    build = ["cc", "-o", str(program), str(CLIENTS / "tool.c"), *library]
    try:
        subprocess.run(build, check=True, capture_output=True)
    except OSError as error:
        pytest.skip(f"no C compiler: {error}")
    return program


@pytest.mark.parametrize(("server", "client"), PAIRS)
def test_a_tool_in_c_asks_pulls_and_pushes(job: Launch, server: str, client: str) -> None:
    program = compiled(job, libpmix(client))
    text = "touch $SAID/$FLUX_TASK_RANK; cat; echo done $FLUX_TASK_RANK; echo error >&2"
    child = started(job, "-N2", "-o", f"libpmix={libpmix(server)}", text=text, stdin=subprocess.PIPE)
    path, name = rendezvous(job, shell=1)
    # What is older than a tool does not read what it packs, unless it is told to pack as before.
    older = {"PMIX_MCA_bfrops": "v41"} if number(server) < (6, 0) <= number(client) else {}
    done = subprocess.run(
        [program, path, name, "pushed\n"],
        env=job.environment(PMIX_SECURITY_MODE="native", **older),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done
    lines = done.stdout.splitlines()
    assert lines[0] == "processes 4"
    expected = [f"{rank} 2 pushed" for rank in range(4)] + [f"{rank} 2 done {rank}" for rank in range(4)]
    expected += [f"{rank} 4 error" for rank in range(4)]
    assert set(expected) <= set(lines), done
    assert job.finish(child).out.count("pushed\n") == 4


def test_input_for_tasks_that_have_none_is_refused(job: Launch) -> None:
    child = started(job, tasks=1)  # standard input is /dev/null
    path, name = rendezvous(job)
    script = (
        "import sys\n"
        "from fluxpmix.pmix.status import PmixError, describe\n"
        "from fluxpmix.pmix.tool import Tool\n"
        "from fluxpmix.pmix.types import Proc\n"
        f"with Tool(file={path!r}) as tool:\n"
        "    for rank in (0, 7):\n"
        "        try:\n"
        f"            tool.iof_push([Proc({name!r}, rank)], b'x')\n"
        "        except PmixError as error:\n"
        "            print(describe(error.status))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env=job.environment(), capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.split() == ["PMIX_ERR_NOT_AVAILABLE", "PMIX_ERR_NOT_FOUND"], done
    end(job)
    job.finish(child)


def test_a_tool_that_proves_who_it_is_in_another_way_is_refused_and_told_the_remedy(job: Launch) -> None:
    """libpmix would crash."""
    program = compiled(job, libpmix("4.2"))
    child = started(job, tasks=1)
    path, name = rendezvous(job)
    if shutil.which("munge") is None or subprocess.run(["munge", "-n"], capture_output=True, check=False).returncode:
        end(job)
        job.finish(child)
        pytest.skip("needs munge, with munged running")
    command = [program, path, name]
    done = subprocess.run(command, env=job.environment(), capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1 and b"init:" in done.stdout
    assert "1 running" in flux_pmix(job, "ps")
    end(job)
    assert "set PMIX_SECURITY_MODE=native" in job.finish(child).err


@pytest.mark.parametrize(("server", "client"), [each for each in PAIRS if number(each[0]) < (6, 0) <= number(each[1])])
def test_a_tool_whose_data_the_server_cannot_read_is_refused_and_told_the_remedy(
    job: Launch, server: str, client: str
) -> None:
    """libpmix would crash."""
    program = compiled(job, libpmix(client))
    child = started(job, "-o", f"libpmix={libpmix(server)}", tasks=1)
    path, name = rendezvous(job)
    env = job.environment(PMIX_SECURITY_MODE="native")
    done = subprocess.run([program, path, name], env=env, capture_output=True, timeout=PATIENCE, check=False)
    assert done.returncode == 1 and b"init:" in done.stdout
    assert "1 running" in flux_pmix(job, "ps")
    end(job)
    assert "set PMIX_MCA_bfrops=v41" in job.finish(child).err


@pytest.mark.parametrize(("server", "client"), PAIRS)
def test_a_tool_in_python_looks_into_jobs_of_any_version(job: Launch, server: str, client: str) -> None:
    child = started(job, "-o", f"libpmix={libpmix(server)}", tasks=2)
    rendezvous(job)
    assert "2 running" in flux_pmix(job, "ps", FLUXPMIX_LIBPMIX=libpmix(client))
    end(job)
    job.finish(child)


# -- who may not ----------------------------------------------------------------------------------------

CLAIM = """
import sys
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.status import PmixError
from fluxpmix.pmix.tool import Tool
from fluxpmix.pmix.types import DataType, Info
name = [Info(a.TOOL_NSPACE, sys.argv[2]), Info(a.TOOL_RANK, int(sys.argv[3]), DataType.PROC_RANK)]
try:
    with Tool(file=sys.argv[1], directives=name) as tool:
        print('in', tool.proc)
except PmixError as error:
    print('refused')
"""


@EACH
def test_a_tool_may_name_itself_but_not_as_a_task_of_the_job(job: Launch, server: str) -> None:
    child = started(job, "-o", f"libpmix={libpmix(server)}", tasks=2)
    path, name = rendezvous(job)

    def claim(nspace: str, rank: int) -> str:
        command = [sys.executable, "-c", CLAIM, path, nspace, str(rank)]
        done = subprocess.run(command, env=job.environment(), capture_output=True, text=True, timeout=60, check=False)
        return done.stdout.strip()

    assert claim("my-own", 5) == "in my-own:5"
    assert claim(name, 1) == "refused"
    # libpmix says a second later that somebody has left.
    job.until(lambda: claim("my-own", 5) == "in my-own:5", "the name is not free again")
    end(job)
    result = job.finish(child)
    assert f"a tool calls itself {name}:1, a process of the job" in result.err


@EACH
def test_a_tool_that_is_killed_while_it_reads_leaves_nothing(job: Launch, server: str) -> None:
    text = "touch $SAID/$FLUX_TASK_RANK; while ! test -e $SAID/end; do echo line; done"
    child = started(job, "-N2", "-o", f"libpmix={libpmix(server)}", text=text, tasks=2, stdout=subprocess.DEVNULL)
    following = tool(job, "output")
    assert following.stdout is not None and following.stdout.readline()
    following.kill()
    following.communicate()
    assert "2 running" in flux_pmix(job, "ps")
    end(job)
    job.finish(child)


# -- waiting for a debugger -----------------------------------------------------------------------------

WAITS = "import sys; open(sys.argv[1], 'a').write('x'); from fluxpmix import Client\nwith Client(): print('in')"


@pytest.mark.parametrize(("server", "stop"), [*product(VERSIONS, ("init", "exec"))])
def test_a_job_waits_for_a_debugger_until_it_is_released(job: Launch, server: str, stop: str) -> None:
    came = job.said / "came"
    path = libpmix(server)
    words = ["-N2", "-n2", "-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}", "-o", f"pmix.stop={stop}"]
    child = job.start(*words, sys.executable, "-c", WAITS, came)
    job.until(lambda: "2 running" in tool(job, "ps").communicate(timeout=PATIENCE)[0], "it does not start")
    if stop == "init":
        job.until(lambda: came.exists() and came.read_text() == "xx", "the programs do not run")
        job.until(lambda: flux_pmix(job, "ps").count("connected") == 2, "they do not get to PMIx_Init")
    else:
        rows = [line.split() for line in flux_pmix(job, "ps").splitlines()[2:]]
        for row in rows:
            state = Path(f"/proc/{row[2]}/stat").read_text().rpartition(")")[2].split()[0]
            assert state in "Tt", "stopped"
            assert os.path.samefile(f"/proc/{row[2]}/exe", sys.executable), "in the program itself"
        assert not came.exists()
    out = flux_pmix(job, "attach", "--release", "--", "echo", "rank {{rank}}")
    assert out == "rank 0\nrank 1\n"
    assert job.finish(child).lines == ["in", "in"]


@EACH
def test_programs_that_wait_by_themselves_are_released(job: Launch, server: str) -> None:
    came, path = job.said / "came", libpmix(server)
    words = ["-N2", "-n2", "-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}", "-o", "pmix.stop=app"]
    child = job.start(*words, sys.executable, CLIENTS / "waits.py", came, "app")
    job.until(lambda: came.exists() and came.read_text().count("w") == 2, "the programs do not wait")
    flux_pmix(job, "attach", "--release")
    assert job.finish(child).lines == ["released", "released"]


def test_a_job_that_waits_can_be_ended(job: Launch) -> None:
    child = job.start("-n2", "-t", "1s", "-o", "pmix.stop=exec", "sleep", "100")
    job.finish(child, code=142)


def test_a_program_that_cannot_run_is_a_line_when_it_is_to_be_stopped_too(job: Launch) -> None:
    program = job.directory / "broken"
    program.write_bytes(b"\x7fELF nothing")
    program.chmod(0o755)
    result = job.run("-o", "pmix.stop=exec", program, code=126)
    assert "cannot be started" in result.err


# -- what passes through ---------------------------------------------------------------------------------


# What rank 1's line of standard output is to look like, by the attribute of the pull.
TAGS = {
    "pmix.iof.tag": r"\[{name},1\]<stdout>: one 1",
    "pmix.iof.rank": r"\[1\]<stdout>: one 1",
    "pmix.iof.ts": r"\[.*:\d\d:\d\d.*\]<stdout>: one 1",
    "pmix.iof.mrg": "error",
}


def taggers(
    program: Path, path: str, name: str, environment: Mapping[str, str], children: list[subprocess.Popen[str]]
) -> dict[str, subprocess.Popen[str]]:
    """Tools in C that each pull the output of job `name` with an attribute; they have begun when this returns."""
    tools = {}
    for key in TAGS:
        tools[key] = subprocess.Popen(
            [program, path, name, "-p", key],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        children.append(tools[key])
        stdout = tools[key].stdout
        assert stdout is not None
        lines = [stdout.readline(), stdout.readline()]
        assert lines == ["processes 2\n", "pull done\n"]
    return tools


def tagged(tools: dict[str, subprocess.Popen[str]], name: str) -> None:
    """See that each has printed rank 1's line as its attribute says."""
    for key, tool_ in tools.items():
        out, err = tool_.communicate(timeout=PATIENCE)
        assert re.search(f"^{TAGS[key].format(name=name)}$", out, re.M), (key, out, err)
        assert ("error" in err) == (key != "pmix.iof.mrg"), (key, out, err)


@EACH
def test_a_tools_libpmix_prints_what_it_pulls_with_tags_and_times(job: Launch, server: str) -> None:
    """As 5.0 and newer do; 4.2's does not look at these attributes."""
    program = compiled(job, libpmix("5.0"))
    log = job.said / "err"
    with log.open("w") as said:
        child = started(job, "-vv", "-N2", "-o", f"libpmix={libpmix(server)}", tasks=2, stderr=said)
    path, name = rendezvous(job)
    tools = taggers(program, path, name, job.environment(PMIX_SECURITY_MODE="native"), job.children)
    end(job)
    job.finish(child)
    tagged(tools, name)


PUSHES = """
import sys
from fluxpmix.pmix.status import PmixError, describe
from fluxpmix.pmix.tool import Tool
from fluxpmix.pmix.types import RANK_WILDCARD, Proc

path, name = sys.argv[1:]
with Tool(file=path) as tool:
    def push(rank, data):
        try:
            tool.iof_push([Proc(name, rank)], data)
            print(rank if rank != RANK_WILDCARD else 'all', 'taken')
        except PmixError as error:
            print(rank, describe(error.status))
        sys.stdout.flush()
    push(3, b'to one\\n')
    push(2, b'')
    push(2, b'too late\\n')
    for _ in range(3):
        push(1, b'x' * 100000)
    push(RANK_WILDCARD, b'to all\\n')
    push(0, b'')
    push(3, b'')
"""


@EACH
def test_input_goes_to_whom_it_is_for_and_is_refused_by_whom_has_closed_it(job: Launch, server: str) -> None:
    # Rank 1 has closed its input, rank 2 comes to its end at once.
    text = 'test $FLUX_TASK_RANK = 1 && exec <&-; touch "$SAID/$FLUX_TASK_RANK"; cat; echo done'
    text += '; while ! test -e "$SAID/end"; do sleep 0.02; done'
    child = started(job, "-l", "-N2", "-o", f"libpmix={libpmix(server)}", text=text, stdin=subprocess.PIPE)
    path, name = rendezvous(job)
    command = [sys.executable, "-c", PUSHES, path, name]
    done = subprocess.run(command, env=job.environment(), capture_output=True, text=True, timeout=60, check=False)
    said = done.stdout.splitlines()
    assert said == [
        "3 taken",
        "2 taken",
        "2 PMIX_ERR_NOT_AVAILABLE",
        "1 PMIX_ERR_NOT_AVAILABLE",
        "1 PMIX_ERR_NOT_AVAILABLE",
        "1 PMIX_ERR_NOT_AVAILABLE",
        "all taken",
        "0 taken",
        "3 taken",
    ], done
    end(job)
    lines = job.finish(child).lines
    assert [line for line in lines if not line.endswith("done")] == ["0: to all", "3: to all", "3: to one"]


@EACH
def test_a_tool_that_stops_reading_slows_nobody_and_is_told_what_it_missed(job: Launch, server: str) -> None:
    text = """
touch $SAID/$FLUX_TASK_RANK
while ! test -e $SAID/go; do sleep 0.02; done
yes 0123456789 | head -c 66000000
touch $SAID/printed
while ! test -e $SAID/end; do sleep 0.02; echo tick; done
echo last
"""
    log = job.said / "err"
    with log.open("w") as said, (job.said / "out").open("wb") as sink:
        words = ("-vv", "-o", f"libpmix={libpmix(server)}")
        child = started(job, *words, tasks=1, text=text, stdout=sink, stderr=said)
        following = tool(job, "output", "--stdout")
        job.until(lambda: "is pulled" in log.read_text(), "the output is not pulled")
        os.kill(following.pid, signal.SIGSTOP)
        (job.said / "go").touch()
        job.wait_for("printed")
        os.kill(following.pid, signal.SIGCONT)
        assert following.stdout is not None
        got, missed = 0, ""
        for line in following.stdout:
            if "were dropped" in line:
                missed = line
                break
            got += len(line)
        (job.said / "end").touch()
        out, _ = following.communicate(timeout=PATIENCE)
        job.finish(child)
    number_ = re.match(r"\[flux-pmix: (\d+) bytes of rank 0's output were dropped: this reader is too slow\]", missed)
    assert number_ is not None, missed
    assert 8 << 20 < got < 66_000_000
    assert out.endswith("last\n")
    assert (job.said / "out").stat().st_size > 66_000_000, "the job's own output is whole"


@EACH
def test_a_process_that_pulls_and_is_stopped_is_told_what_it_missed(job: Launch, server: str) -> None:
    lines, width = 8000, 8000
    words = ("-n2", "-o", f"libpmix={libpmix(server)}", f"--env=FLUXPMIX_LIBPMIX={libpmix(server)}")
    result = job.run(*words, sys.executable, CLIENTS / "lazy.py", str(lines), str(width), job.said / "told")
    assert len(result.out) == lines * width + len("last\n"), "the job's own output is whole"
    found = re.search(r"heard (\d+) missed (\d+)", result.err)
    assert found and int(found[2]) > 0, result.err
    whole = int(found[1]) + int(found[1]) // (width - 1) + int(found[2])
    assert whole == lines * width, "what was not heard is all that was missed"


def test_a_job_ends_though_a_tool_never_reads(job: Launch) -> None:
    text = "touch $SAID/$FLUX_TASK_RANK; while ! test -e $SAID/go; do sleep 0.02; done; yes | head -c 40000000"
    log = job.said / "err"
    with log.open("w") as said:
        child = started(job, "-vv", tasks=1, text=text, stdout=subprocess.DEVNULL, stderr=said)
        following = tool(job, "output")
        job.until(lambda: "is pulled" in log.read_text(), "the output is not pulled")
        os.kill(following.pid, signal.SIGSTOP)
        (job.said / "go").touch()
        assert child.wait(PATIENCE) == 0
    assert re.search(r"\d+ bytes of output were dropped: no tool read them before the job ended", log.read_text())
    following.kill()


# -- spawned jobs ----------------------------------------------------------------------------------------

SPAWNS = (sys.executable, CLIENTS / "overhear.py")


@EACH
def test_a_process_pulls_what_those_print_that_it_has_spawned(job: Launch, server: str) -> None:
    path = libpmix(server)
    words = ("-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}", "-N2", "-n2", "--taskmap=manual:[[0,2,1,1]]")
    text = 'test $FLUX_TASK_RANK = 0 && exec "$@"; while ! test -e "$SAID/end"; do sleep 0.02; done'
    result = job.run(*words, "-l", "sh", "-c", text, "sh", *SPAWNS, job.said)
    printed = [f"{rank} {line} {rank}" for rank in (0, 1) for line in ("STDERR error", "STDOUT one", "STDOUT two")]
    assert [line for line in result.lines if line.startswith("0:")] == [f"0: heard {line}" for line in printed]
    assert [line for line in result.lines if line.startswith("1.")] == [
        f"1.{rank}: {word} {rank}" for rank in (0, 1) for word in ("one", "two")
    ]


@EACH
def test_the_commands_show_spawned_processes_and_follow_what_they_print(job: Launch, server: str) -> None:
    path, log = libpmix(server), job.said / "err"
    words = ("-vv", "-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}", "-N2", "-n2")
    text = 'test $FLUX_TASK_RANK = 0 && exec "$@"; exec sleep 100'
    with log.open("w") as said:
        child = job.start(*words, "sh", "-c", text, "sh", sys.executable, "-c", STAYS, job.said, stderr=said)
    job.until(lambda: "4 running" in tool(job, "ps").communicate(timeout=PATIENCE)[0], "they do not run")
    _, name = rendezvous(job)
    title, _, *rows = flux_pmix(job, "ps").splitlines()
    assert title == f"job {name}: 4 process(es) on 2 node(s), 4 running"
    assert [row.split()[0] for row in rows] == ["0", "1", "1.0", "1.1"]
    title, _, *rows = flux_pmix(job, "ps", f"{name}.1").splitlines()
    assert title.startswith(f"job {name}.1: 2 process(es)") and [row.split()[0] for row in rows] == ["1.0", "1.1"]
    assert "NOT_FOUND" in flux_pmix(job, "ps", f"{name}.7", code=1)
    following = tool(job, "output", "-l", "--stdout", f"{name}.1")
    job.until(lambda: "is pulled" in log.read_text(), "the output is not pulled")
    (job.said / "go").touch()
    out, err = following.communicate(timeout=PATIENCE)
    assert sorted(out.splitlines()) == ["1.0: one 0", "1.1: one 1"], (out, err)
    child.send_signal(signal.SIGTERM)
    child.communicate(timeout=PATIENCE)


STAYS = """
import sys
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.types import AppSpec
text = f"while ! test -e {sys.argv[1]}/go; do sleep 0.02; done; echo one $PMIX_RANK"
client = Client()
client.spawn([AppSpec("sh", ("sh", "-c", text), maxprocs=2)])
import signal
signal.pause()
"""
