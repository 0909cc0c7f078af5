"""What spawned Flux jobs print and read: shown with the output of the job that has spawned them, and fed by it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from instance import CLIENTS, PATIENCE, Instance
from test_flux_own_jobs import NODES, OWN, latest, printed
from test_flux_tools import flux_pmix
from test_spawning import shown, written

pytestmark = pytest.mark.flux
MANY = 'i=0; while [ $i -lt 4000 ]; do echo "line $i of $PMIX_RANK $(printf %0200d $i)"; i=$((i+1)); done; echo end >&2'
SPAWN = """
import sys, threading
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.client import Client
from fluxpmix.pmix.status import Status
from fluxpmix.pmix.types import AppSpec, Info
text, count, *words = sys.argv[1:]
directives = [Info(a.NOTIFY_COMPLETION, True), *(Info(word, False) for word in words)]
over = threading.Event()
with Client() as client:
    client.register_event_handler([Status.EVENT_JOB_END], lambda *_: over.set())
    client.spawn([AppSpec("sh", ("sh", "-c", text), maxprocs=int(count))], directives)
    over.wait(60)
"""


def spawn(*words: object) -> tuple[object, ...]:
    """The words of a task that spawns shells with a text, and waits for their end."""
    return sys.executable, "-c", SPAWN, *words


def test_a_spawned_job_s_output_is_shown_with_its_parent_s(two: Instance, server: str) -> None:
    words = ("-l", "-n1", *OWN, "-o", f"pmix.libpmix={server}")
    result = two.run(
        *words, *spawn("echo out $PMIX_RANK; echo err $PMIX_RANK >&2", 2), env={"FLUXPMIX_LIBPMIX": server}
    )
    assert result.lines == ["1.0: out 0", "1.1: out 1"]
    assert sorted(result.err.splitlines()) == ["1.0: err 0", "1.1: err 1"]
    assert printed(two, latest(two, 1)[0]) == ["out 0", "out 1"], "it has its own, too"


def test_nothing_is_torn_or_lost(two: Instance) -> None:
    result = two.run("-l", "-n1", *OWN, *spawn(MANY, 2))
    lines = result.out.splitlines()
    for rank in (0, 1):
        assert [line for line in lines if line.startswith(f"1.{rank}: ")] == [
            f"1.{rank}: line {i} of {rank} {i:0200d}" for i in range(4000)
        ]
    assert len(lines) == 8000 and sorted(result.err.splitlines()) == ["1.0: end", "1.1: end"]


def test_what_is_not_to_be_forwarded_is_in_its_own_log_only(two: Instance) -> None:
    result = two.run("-l", "-n1", *OWN, *spawn("echo out; echo err >&2", 1, "pmix.fwd.stdout"))
    assert (result.out, result.err) == ("", "1.0: err\n")
    assert printed(two, latest(two, 1)[0]) == ["out"]


def test_bytes_that_are_no_text_come_as_they_are(two: Instance) -> None:
    child = subprocess.run(
        ["flux", "run", "-n1", "-o", "pmi=pmix", *OWN, *map(str, spawn(r"printf 'a\377\000b\nc'", 1))],
        env=two.job_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=PATIENCE,
        check=True,
    )
    assert child.stdout == b"a\xff\0b\nc"


def test_it_goes_to_the_file_that_the_parent_s_goes_to(two: Instance) -> None:
    file = two.directory / "own-output"
    two.run("-n1", *OWN, f"--output={file}", *spawn("echo out; echo err >&2", 2))
    assert sorted(file.read_text().splitlines()) == ["err", "err", "out", "out"]


def test_it_is_shown_as_the_request_says(two: Instance, tmp_path: Path) -> None:
    for words in shown("", tmp_path):
        result = two.run("-n1", *OWN, sys.executable, CLIENTS / "shown.py", *words.split())
        *_, last = sorted(result.out.splitlines(), key=lambda line: line.startswith("nspace "))
        nspace = last.removeprefix("nspace ")
        out, err = shown(nspace, tmp_path)[words]
        assert (result.lines, sorted(result.err.splitlines())) == (sorted([*out, last]), sorted(err)), words
    written(nspace, tmp_path)


def test_what_is_spawned_in_a_spawned_job_is_shown(two: Instance) -> None:
    """In its own cores, by it; in an allocation, by the first job."""
    lines = two.run("-l", "-n1", *CLIENTS_INNER).lines
    assert lines == ["1.0: PMIX_ERR_OUT_OF_RESOURCE", "2.0: 0 on node 1"]
    lines = two.run("-l", "-n1", sys.executable, CLIENTS / "spawns.py", "allocation").lines
    assert [line for line in lines if line.startswith("2.")] == ["2.0: 0 on node 1", "2.1: 1 on node 1"]


CLIENTS_INNER = (sys.executable, CLIENTS / "spawns.py", "inner", f"{NODES}=1")


@pytest.mark.parametrize("tasks", [1, 2])
def test_a_process_pulls_what_a_job_prints_that_it_has_spawned(two: Instance, server: str, tasks: int) -> None:
    words = ("-l", f"-N{tasks}", f"-n{tasks}", *OWN, "-o", f"pmix.libpmix={server}")
    directory = two.directory / f"pull-{tasks}-{Path(server).parent.name}"
    directory.mkdir(exist_ok=True)
    text = 'test $FLUX_TASK_RANK = 0 && exec "$@"; while ! test -e "$0/end"; do sleep 0.02; done'
    task = ("sh", "-c", text, directory, sys.executable, CLIENTS / "overhear.py", directory)
    result = two.run(*words, *task, env={"FLUXPMIX_LIBPMIX": server})
    printed = [f"{rank} {line} {rank}" for rank in (0, 1) for line in ("STDERR error", "STDOUT one", "STDOUT two")]
    assert [line for line in result.lines if line.startswith("0:")] == [f"0: heard {line}" for line in printed]
    assert [line for line in result.lines if line.startswith("1.")] == [
        f"1.{rank}: {word} {rank}" for rank in (0, 1) for word in ("one", "two")
    ]


@pytest.mark.parametrize("by", ["its own id", "its parent's"])
def test_the_end_of_its_output_is_told_to_who_pulls_it(two: Instance, tmp_path: Path, by: str) -> None:
    """And all of it before: `flux-pmix output` then ends by itself, while the parent still runs."""
    go, end = tmp_path / "go", tmp_path / "end"
    text = f"while ! test -e {go}; do sleep 0.02; done; seq 3000; while ! test -e {end}; do sleep 0.02; done; echo last"
    child = two.start("-n1", *OWN, *spawn(text, 2))
    two.until(lambda: len(two.shells()) == 2 and len(latest(two, 2)) == 2, "they do not run")
    own, parent = latest(two, 2)
    job, prefix = (own, "") if by == "its own id" else (f"{parent}.1", "1.")
    two.until(lambda: "2 running" in flux_pmix(two, "ps", job).stdout, "the tasks do not run")
    rows = flux_pmix(two, "ps", job).stdout.splitlines()[2:]
    assert [row.split()[0] for row in rows] == [f"{prefix}0", f"{prefix}1"]
    following = subprocess.Popen(
        [sys.executable, "-m", "fluxpmix.cli.main", "output", "-l", job],
        env=two.job_environment(),
        stdout=subprocess.PIPE,
        text=True,
    )
    two.children.append(following)
    go.touch()
    assert following.stdout is not None
    lines = [following.stdout.readline() for _ in range(2 * 3000)]
    end.touch()
    lines += following.communicate(timeout=PATIENCE)[0].splitlines(keepends=True)
    wanted = [f"{prefix}{rank}: {line}\n" for rank in (0, 1) for line in (*range(1, 3001), "last")]
    assert sorted(lines) == sorted(wanted)
    two.finish(child)


# -- input -------------------------------------------------------------------------------------------------


def test_input_is_pushed_to_some_of_its_tasks(two: Instance, server: str) -> None:
    words = ("-l", "-n1", *OWN, "-o", f"pmix.libpmix={server}")
    pushes = ("0=one", "1=two", "*=all", "0=", "0=more", "1=")
    result = two.run(*words, sys.executable, CLIENTS / "feeds.py", 2, *pushes, env={"FLUXPMIX_LIBPMIX": server})
    assert [line for line in result.lines if line.startswith("0: ")] == sorted(
        f"0: {push}: {'PMIX_ERR_NOT_AVAILABLE' if push == '0=more' else 'SUCCESS'}" for push in pushes
    )
    assert [line for line in result.out.splitlines() if line.startswith("1.0: ")] == [
        "1.0: 0 read one",
        "1.0: 0 read all",
        "1.0: 0 at the end",
    ]
    assert [line for line in result.out.splitlines() if line.startswith("1.1: ")] == [
        "1.1: 1 read two",
        "1.1: 1 read all",
        "1.1: 1 at the end",
    ]
