"""`flux-pmix check` as the program of a job of real Flux: all operations, with room for what it spawns and without."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from installed import VERSIONS, libpmix
from instance import Instance
from test_check import NOT_TOLD

from fluxpmix.cli.check import report
from fluxpmix.cli.check.records import Row, Verdict

pytestmark = pytest.mark.flux
CHECK = (sys.executable, "-m", "fluxpmix.cli.main", "check", "--json")
ROOM = ("-o", "pmix.oversubscribe=on")


def tried(path: Path) -> dict[str, Row]:
    """The operations of a report."""
    return {row.name: row for row in report.from_json(path.read_text()).rows if row.section.startswith("operations")}


@pytest.mark.parametrize("version", VERSIONS)
def test_every_operation_there_is_is_right(two: Instance, version: str, tmp_path: Path) -> None:
    """It ends, too: the first shell waits for spawned tasks, and the other has told of its own before it left."""
    server = libpmix(version)
    words = (*ROOM, "-o", f"pmix.libpmix={server}", f"--env=FLUXPMIX_LIBPMIX={server}", "-t5m")
    two.run("-N2", "-n2", *words, *CHECK, tmp_path / "r.json", "--monitors", "--kill", code=137)
    rows = tried(tmp_path / "r.json")
    input_ = {"input of another process"}  # flux run reads none here
    assert {name for name, row in rows.items() if row.verdict is Verdict.MISSING} == NOT_TOLD[version]
    wrong = [row for row in rows.values() if row.verdict not in (Verdict.RIGHT, Verdict.MISSING)]
    assert not wrong, [*map(report.explanation, wrong)]
    assert {name for name, row in rows.items() if row.found.startswith("answered")} <= input_
    jobs = [rows[name].found for name in ("spawn as a job of its own", "allocation of a core")]
    assert len({two.flux("job", "id", job.removeprefix("as ")) for job in jobs}) == 2
    assert two.flux("jobs", "-n") == ""


def test_what_there_is_no_room_for_is_answered(two: Instance, tmp_path: Path) -> None:
    two.run("-N2", "-n4", *CHECK, tmp_path / "r.json")
    rows = tried(tmp_path / "r.json")
    assert not [row for row in rows.values() if row.verdict not in (Verdict.RIGHT, Verdict.MISSING)]
    answered = {name for name, row in rows.items() if row.found.startswith("answered")}
    assert {"spawn", "spawn of two applications", "spawned: terminate", "allocation of a core"} <= answered
    assert two.flux("jobs", "-n") == ""
