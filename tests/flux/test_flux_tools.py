"""Tools beside a job of real Flux: they find its servers, see its processes, read its output and feed its input."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from installed import find_libpmix as libpmix
from instance import CLIENTS, PATIENCE, Instance
from test_guard import foreign_tool
from test_guard import liar as liar
from test_tools import STAYS, tagged, taggers

pytestmark = pytest.mark.flux
TASK = "echo first; while ! test -e {go}; do sleep 0.05; done; echo one $FLUX_TASK_RANK; echo error >&2"


def flux_pmix(two: Instance, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fluxpmix.cli.main", *words],
        env=two.job_environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def rendezvous(two: Instance) -> list[Path]:
    files = two.until(lambda: sorted(two.directory.rglob("pmix.*.tool")), "no rendezvous file")
    assert isinstance(files, list)
    return files


def test_the_commands_find_a_job_and_show_it(two: Instance, server: str, tmp_path: Path) -> None:
    go = tmp_path / "go"
    child = two.start("-N2", "-n4", "-o", f"pmix.libpmix={server}", "sh", "-c", TASK.format(go=go))
    rendezvous(two)
    job = two.flux("job", "last")
    two.until(lambda: "4 running" in flux_pmix(two, "ps", job).stdout, "the tasks do not run")
    rows = [line.split() for line in flux_pmix(two, "ps", job).stdout.splitlines()[2:]]
    assert [(row[0], row[3], row[4]) for row in rows] == [(str(rank), "running", "sh") for rank in range(4)]
    for row in rows:
        assert f"FLUX_TASK_RANK={row[0]}" in Path(f"/proc/{row[2]}/environ").read_text().split("\0")
    number = two.flux("job", "id", "--to=dec", job)
    assert flux_pmix(two, "attach", number).stdout.count("gdb -p") == 4
    following = subprocess.Popen(
        [sys.executable, "-m", "fluxpmix.cli.main", "output", "-l", "--ranks=1-2", job],
        env=two.job_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    two.children.append(following)
    assert following.stdout is not None
    before = [following.stdout.readline() for _ in range(2)]
    assert sorted(before) == ["1: first\n", "2: first\n"], "what was printed before is there too"
    go.touch()
    out, err = following.communicate(timeout=PATIENCE)
    assert sorted(out.splitlines()) == ["1: one 1", "2: one 2"], (out, err)
    assert sorted(err.splitlines()) == ["1: error", "2: error"]
    assert len(two.finish(child).lines) == 8


def test_a_tool_in_c_pulls_and_pushes(two: Instance, server: str, tmp_path: Path) -> None:
    program = tmp_path / "ctool"
    path = server if os.sep in server else "-l:libpmix.so.2"
    build = ["cc", "-o", str(program), str(CLIENTS / "tool.c"), path, f"-Wl,-rpath,{os.path.dirname(server)}"]
    subprocess.run(build, check=True, capture_output=True)
    child = subprocess.Popen(
        ["flux", "run", "-o", "pmi=pmix", "-N2", "-n4", "-o", f"pmix.libpmix={server}", "sh", "-c", "cat; echo done"],
        env=two.job_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    two.children.append(child)
    path = str(rendezvous(two)[0])
    name = two.flux("job", "id", "--to=f58plain", two.flux("job", "last"))
    done = subprocess.run(
        [program, path, name, "pushed\n"],
        env=two.job_environment(PMIX_SECURITY_MODE="native"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    lines = done.stdout.splitlines()
    assert lines[0] == "processes 4"
    assert {f"{rank} 2 {word}" for rank in range(4) for word in ("pushed", "done")} <= set(lines), done
    assert two.finish(child).out.count("pushed\n") == 4


def test_a_tools_libpmix_prints_what_it_pulls_with_tags_and_times(two: Instance, server: str, tmp_path: Path) -> None:
    library = libpmix("5.0")
    if library is None:
        pytest.skip("libpmix 5.0 is not installed: 4.2's tools do not look at these attributes")
    program, go = tmp_path / "ctool", tmp_path / "go"
    build = ["cc", "-o", str(program), str(CLIENTS / "tool.c"), library, f"-Wl,-rpath,{os.path.dirname(library)}"]
    subprocess.run(build, check=True, capture_output=True)
    child = two.start("-N2", "-n2", "-o", f"pmix.libpmix={server}", "sh", "-c", TASK.format(go=go))
    path = str(rendezvous(two)[0])
    name = two.flux("job", "id", "--to=f58plain", two.flux("job", "last"))
    tools = taggers(program, path, name, two.job_environment(PMIX_SECURITY_MODE="native"), two.children)
    go.touch()
    tagged(tools, name)
    two.finish(child)


@pytest.mark.parametrize("stop", ["init", "app"])
def test_a_job_waits_for_a_debugger_until_it_is_released(two: Instance, server: str, stop: str, tmp_path: Path) -> None:
    came = tmp_path / "came"
    words = ("-N2", "-n2", "-o", f"pmix.stop={stop}", "-o", f"pmix.libpmix={server}")
    child = two.start(*words, sys.executable, CLIENTS / "waits.py", came, stop, env={"FLUXPMIX_LIBPMIX": server})
    wanted = "x" if stop == "init" else "w"
    two.until(lambda: came.exists() and came.read_text().count(wanted) == 2, "the programs do not run")
    job = two.flux("job", "last")
    two.until(lambda: flux_pmix(two, "ps", job).stdout.count("connected") == 2, "they do not get to PMIx_Init")
    out = flux_pmix(two, "attach", "--release", job, "--", "echo", "rank {{rank}}").stdout
    assert out == "rank 0\nrank 1\n"
    assert two.finish(child).lines == (["released", "released"] if stop == "app" else [])


@pytest.mark.root
@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to start a process of another user")
def test_a_tool_of_another_user_is_refused(two: Instance, server: str, liar: Path, tmp_path: Path) -> None:
    go = tmp_path / "go"
    child = two.start("-n1", "-o", f"pmix.libpmix={server}", "sh", "-c", TASK.format(go=go))
    (file,) = rendezvous(two)
    done = foreign_tool(tmp_path, server, liar, file.read_text(), two.job_environment())
    assert done.returncode == 1 and b"init:" in done.stdout, done
    go.touch()
    assert "it belongs to user 65534, the job to user 0" in two.finish(child).err


def test_a_process_pulls_what_those_print_that_it_has_spawned(two: Instance, server: str, tmp_path: Path) -> None:
    words = ("-l", "-N2", "-n2", "-o", "pmix.oversubscribe=on", "-o", f"pmix.libpmix={server}")
    text = 'test $FLUX_TASK_RANK = 0 && exec "$@"; while ! test -e "$0/end"; do sleep 0.02; done'
    task = ("sh", "-c", text, tmp_path, sys.executable, CLIENTS / "overhear.py", tmp_path)
    result = two.run(*words, *task, env={"FLUXPMIX_LIBPMIX": server})
    printed = [f"{rank} {line} {rank}" for rank in (0, 1) for line in ("STDERR error", "STDOUT one", "STDOUT two")]
    assert [line for line in result.lines if line.startswith("0:")] == [f"0: heard {line}" for line in printed]
    assert [line for line in result.lines if line.startswith("1.")] == [
        f"1.{rank}: {word} {rank}" for rank in (0, 1) for word in ("one", "two")
    ]


def test_the_commands_show_spawned_processes_and_follow_what_they_print(
    two: Instance, server: str, tmp_path: Path
) -> None:
    words = ("-N2", "-n2", "-o", "pmix.oversubscribe=on", "-o", f"pmix.libpmix={server}")
    text = 'test $FLUX_TASK_RANK = 0 && exec "$@"; exec sleep 100'
    task = ("sh", "-c", text, "sh", sys.executable, "-c", STAYS, tmp_path)
    child = two.start(*words, *task, env={"FLUXPMIX_LIBPMIX": server})
    rendezvous(two)
    job = two.flux("job", "last")
    two.until(lambda: "4 running" in flux_pmix(two, "ps", job).stdout, "they do not run")
    rows = flux_pmix(two, "ps", job).stdout.splitlines()[2:]
    assert [row.split()[0] for row in rows] == ["0", "1", "1.0", "1.1"]
    rows = flux_pmix(two, "ps", f"{job}.1").stdout.splitlines()[2:]
    assert [row.split()[0] for row in rows] == ["1.0", "1.1"]
    following = subprocess.Popen(
        [sys.executable, "-m", "fluxpmix.cli.main", "output", "-l", "--stdout", f"{job}.1"],
        env=two.job_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    two.children.append(following)
    (tmp_path / "go").touch()
    assert following.stdout is not None
    lines = [following.stdout.readline() for _ in range(2)]
    assert sorted(lines) == ["1.0: one 0\n", "1.1: one 1\n"]
    two.flux("cancel", job)
    child.communicate(timeout=PATIENCE)
    following.communicate(timeout=PATIENCE)
