"""Tools beside a job of real Flux: they find its servers, see its processes, read its output and feed its input."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from instance import CLIENTS, PATIENCE, Instance

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
