"""`flux-pmix check` under servers that are no good: nonsense for values, and hosts that never answer."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from installed import VERSIONS
from live import NSPACE, Live, library

from fluxpmix.cli.check import report
from fluxpmix.cli.check.records import Row, Summary, Verdict
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix import upcalls
from fluxpmix.pmix.types import DataType, Info, Proc, Value

pytestmark = pytest.mark.pmix
OWN_PROCESS = True

OK = (0, None)
CHECK = [sys.executable, "-m", "fluxpmix.cli.main", "check"]


class Nonsense(Live):
    """A server that registers what nobody asked for."""

    def __init__(self, *arguments: Any, values: list[Info], **options: Any) -> None:
        self._values = values
        super().__init__(*arguments, **options)

    def _register(self, others: int) -> None:
        ranks = ",".join(map(str, range(self.size)))
        maps = [
            Info(a.NODE_MAP, self.server.generate_regex("node0")),
            Info(a.PROC_MAP, self.server.generate_ppn(ranks)),
            Info(a.TMPDIR, str(self.tmpdir)),
            Info(a.NSDIR, str(self.tmpdir)),
        ]
        self.server.register_nspace(NSPACE, self.size, [*maps, *self._values])
        for rank in range(self.size):
            self.server.register_client(Proc(NSPACE, rank), os.getuid(), os.getgid())


def checked(live: Live, tmp_path: Path, *words: str, size: int = 1) -> Summary:
    command = [*CHECK, "--json", str(tmp_path / "report.json"), *words]
    started = [live.start(rank, command) for rank in range(size)]
    for rank, process in enumerate(started):
        out, err = process.communicate(timeout=80)
        assert process.returncode == (0 if rank else 1) and "Traceback" not in err, (out, err)
    assert not live.errors
    return report.from_json((tmp_path / "report.json").read_text())


def row(summary: Summary, name: str) -> Row:
    return next(each for each in summary.rows if each.name == name)


@pytest.mark.parametrize("version", VERSIONS)
def test_nonsense_is_a_row_of_the_report(version: str, tmp_path: Path) -> None:
    values = [
        Info(a.JOB_SIZE, 2),
        Info(a.UNIV_SIZE, Value(DataType.STRING, "many")),
        Info(a.JOBID, Value(DataType.DOUBLE, float("nan"))),
        Info(a.MAX_PROCS, Value(DataType.UINT32, 0)),
        Info(a.NUM_NODES, Value(DataType.INT64, -(2**63))),
        Info(a.PROC_INFO_ARRAY, proc(0)),
        Info(a.PROC_INFO_ARRAY, proc(1)),
    ]
    with Nonsense(
        library(version), tmp_path, size=2, host={upcalls.Fence: lambda each: (0, [each.data])}, values=values
    ) as live:
        summary = checked(live, tmp_path, "--no-operations", size=2)
    wrong = {each.name for each in summary.rows if each.verdict is Verdict.WRONG}
    assert wrong >= {"PMIX_UNIV_SIZE", "PMIX_JOBID", "PMIX_MAX_PROCS", "PMIX_NUM_NODES", "PMIX_APPNUM"}, wrong
    assert not summary.passed


def proc(rank: int) -> Any:
    from fluxpmix.pmix.types import DataArray

    told = (
        Info(a.RANK, rank),
        Info(a.APPNUM, Value(DataType.BYTE_OBJECT, b"\xff\x00")),
        Info(a.LOCAL_RANK, Value(DataType.UINT16, 9)),
        Info(a.NODEID, Value(DataType.STRING, "here\udcff")),
    )
    return DataArray(DataType.INFO, told)


@pytest.mark.parametrize("size", [0, 2**20 + 1], ids=["none", "too many"])
def test_a_job_size_that_cannot_be_is_said(size: int, tmp_path: Path) -> None:
    with Nonsense(library("5.0"), tmp_path, host={}, values=[Info(a.JOB_SIZE, size)]) as live:
        summary = checked(live, tmp_path, "--timeout", "1s")
    if size:
        assert "PMIX_JOB_SIZE cannot be 1048577" in summary.complaints[0]
    assert not summary.passed


def test_a_host_that_never_answers_is_reported_and_the_report_ends(tmp_path: Path) -> None:
    never = {
        kind: lambda upcall: None
        for kind in (
            upcalls.Publish,
            upcalls.Lookup,
            upcalls.Unpublish,
            upcalls.Query,
            upcalls.JobControl,
            upcalls.Spawn,
        )
    }
    host = never | {
        upcalls.ClientConnected: lambda each: OK,
        upcalls.ClientFinalized: lambda each: OK,
        upcalls.Fence: lambda each: (0, [each.data]),
    }
    with Live(library("5.0"), tmp_path, host=host) as live:
        summary = checked(live, tmp_path, "--timeout", "2s")
    assert row(summary, "fence").verdict is row(summary, "direct modex of what is there").verdict is Verdict.RIGHT
    first, second = row(summary, "publish, range rm"), row(summary, "publish, range local")
    assert first.verdict is second.verdict is Verdict.UNANSWERED
    assert (first.found, second.found) == ("no answer in 2 s", "no answer in 1 s")
    assert row(summary, "publish, until session").found.startswith("not tried: 3 of its kind")
    for name in ("signal to a process", "spawn"):
        assert row(summary, name).verdict is Verdict.UNANSWERED, name
    assert row(summary, "events").verdict is not Verdict.UNANSWERED
