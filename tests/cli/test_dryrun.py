"""What must hold of `flux-pmix run --dry-run`: it prints the job and what PMIx is told of it, and runs nothing."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fluxpmix.job.registration import MAPS, TABLE, Need, Realm

TITLES = {
    Realm.SESSION: "Session (session realm)",
    Realm.JOB: "Job (job realm)",
    Realm.APP: "Applications (application realm)",
    Realm.NODE: "Nodes (node realm)",
    Realm.PROC: "Processes (process realm)",
    Realm.OWN_NODE: "Each server's own node (own node realm)",
    Realm.LOCAL_PROC: "Each server's own processes (local process realm)",
}
ACROSS = (Realm.NODE, Realm.PROC, Realm.LOCAL_PROC)  # names in lower case, at the heads of columns


def dry_run(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "FLUX_URI"}
    command = [sys.executable, "-m", "fluxpmix.cli.main", "run", "--dry-run", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=cwd, env=environment, timeout=60)


def tables(text: str) -> dict[str, list[list[str]]]:
    """The tables by their titles, as cells."""
    _, *blocks = text.rstrip("\n").split("\n\n")
    lines = [block.splitlines() for block in blocks]
    return {title: [re.split(r" {2,}", row.strip()) for row in rows] for title, *rows in lines}


def column(table: list[list[str]], name: str) -> list[str]:
    """The cells under a head; the second line of such a table has the types."""
    at = table[0].index(name)
    return [row[at] for row in table[2:]]


@pytest.fixture(scope="module")
def shown() -> str:
    line = ["-N2", "-n4", "--taskmap=cyclic", "-t", "1.5h", "echo", "a b", ":", "-n2", "--cwd=/", "--env=-*", "date"]
    result = dry_run(*line)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout


def test_the_summary_says_what_will_run_where(shown: str) -> None:
    summary = shown.split("\n\n")[0]
    assert re.match(r"job f\w+: 6 tasks on 2 nodes, 1 core a task, \d+ slots?", summary)
    assert "task map [[0,2,1,3]]  time limit 5400 s" in summary
    assert f"app 0: ranks 0-3 in {os.getcwd()}, " in summary and ": echo 'a b'\n" in summary
    assert summary.endswith("app 1: ranks 4-5 in /, 1 variable: date")


def test_every_realm_has_its_table_with_every_required_attribute(shown: str) -> None:
    found = tables(shown)
    assert list(found) == list(TITLES.values())
    for line in (*TABLE, *MAPS):
        if line.need is not Need.REQUIRED:
            continue
        table, name = found[TITLES[line.realm]], line.attribute.name
        if line.realm in ACROSS:
            at = table[0].index(name.removeprefix("PMIX_").lower())
            type_ = table[1][at - 1]  # no cell stands under the first head
        else:
            (type_,) = {row[row.index(name) + 1] for row in table if name in row}
        assert type_ == line.attribute.type.name.lower()


def test_processes_and_nodes_are_shown_as_they_are_placed(shown: str) -> None:
    found = tables(shown)
    processes, nodes = found[TITLES[Realm.PROC]], found[TITLES[Realm.NODE]]
    assert column(processes, "rank") == ["0", "1", "2", "3", "4", "5"]
    assert column(processes, "nodeid") == ["0", "1"] * 3
    assert column(processes, "appnum") == ["0"] * 4 + ["1"] * 2
    assert column(processes, "app_rank") == ["0", "1", "2", "3", "0", "1"]
    assert column(processes, "local_rank") == ["0", "0", "1", "1", "2", "2"]
    assert column(nodes, "local_peers") == ["0,2,4", "1,3,5"]


def test_each_server_s_own_rows_are_there_once(shown: str) -> None:
    local = tables(shown)[TITLES[Realm.LOCAL_PROC]]
    assert sorted(row[0] for row in local[2:]) == ["0", "1", "2", "3", "4", "5"]
    assert len(set(column(local, "procdir"))) == 6


def test_a_job_of_one_task_is_said_in_the_singular() -> None:
    result = dry_run("true")
    assert re.match(r"job f\w+: 1 task on 1 node, 1 core a task", result.stdout)
    assert "app 0: rank 0 in " in result.stdout and "time limit none" in result.stdout


def test_nothing_runs_and_no_file_is_made(tmp_path: Path) -> None:
    result = dry_run("-n2", "--output=out.{{taskid}}", "touch", "ran", cwd=tmp_path)
    assert result.returncode == 0
    assert list(tmp_path.iterdir()) == []


def test_a_command_that_is_not_there_is_found_only_by_running() -> None:
    assert dry_run("/no/such/program").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [(["-n0", "x"], 2, "-n '0'"), (["-N2", "-n1", "x"], 1, "ask for -n 2"), (["--input=/none", "x"], 1, "/none")],
)
def test_what_a_run_would_refuse_a_dry_run_refuses_too(arguments: list[str], code: int, said: str) -> None:
    result = dry_run(*arguments)
    assert (result.returncode, result.stdout) == (code, "")
    assert said in result.stderr


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = f"{sys.executable} -m fluxpmix.cli.main run --local --dry-run -n2000 true"
    script = f"{command} | head -1; exit ${{PIPESTATUS[0]}}"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False, timeout=60)
    assert (result.returncode, result.stderr, len(result.stdout.splitlines())) == (0, "", 1)
