"""What rank 0 does with the report: files, and lines on standard output, as they come.

The files are there before the operations are tried that end the job under some launchers, and say so of them
until they have come back.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from fluxpmix.cli.check import gathering, page, report
from fluxpmix.cli.check.judging import Truth, judge
from fluxpmix.cli.check.operations import FAMILIES, OPTIONAL, stages
from fluxpmix.cli.check.records import Report, Row, Summary, Verdict
from fluxpmix.cli.errors import CommandError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fluxpmix.cli.check.trying import Family
    from fluxpmix.pmix.client import Client

_AT_LAST = "operations tried last"
_FORMATS = {"json": report.to_json, "junit": report.junit, "html": page.html}


class Writer:
    """Writes one report, in the order `begin`, `add` for each stage, `end`, and `survived` after an abort.

    Raises `CommandError`.
    """

    def __init__(self, options: Mapping[str, Any], client: Client, size: int) -> None:
        self._options = options
        self._operations = "no-operations" not in options
        self._title = options.get("title") or f"PMIx of {_launcher(client.proc.nspace)}"
        self._facts: dict[str, Any] = {
            "ranks": size,
            "nodes": 1,
            "client": f"libpmix {'.'.join(map(str, client.library.version))}",
        }
        self._stages = stages(options)
        self._rows: tuple[Row, ...] = ()
        self._last: tuple[Row, ...] = ()
        self._complaints: tuple[str, ...] = ()
        self._shown = not any(options.get(name) == "-" for name in _FORMATS)

    def begin(self, reports: Sequence[Report], complaints: Sequence[str]) -> None:
        """Write what the ranks were told and what they tried first."""
        self._facts["nodes"] = Truth(reports).nodes
        self._complaints = tuple(complaints)
        self._rows = (*judge(reports), *gathering.rows(reports, FAMILIES, "operations"))
        if self._operations:
            ended = "the launcher ended the job"
            operations = [each for stage in self._stages for family in stage for each in family.operations]
            self._last = tuple(
                Row(_AT_LAST, each.name, each.need, Verdict.UNANSWERED, found=ended) for each in operations
            )
        self._say(self._title, *report.body(self._rows, verbose=self._verbose))
        if self._operations:
            with suppress(CommandError):  # said at the end: the other ranks wait for this one
                self._files()
            so_far = report.score(Summary(self._title, self._facts, self._rows, self._complaints))
            self._say(f"\nso far {so_far}", f"\n{_AT_LAST}, for some launchers come to their end in them:")

    def add(self, stage: Sequence[Family], reports: Sequence[Report], complaints: Sequence[str]) -> None:
        """Add what became of one of the `stages` of what is tried last."""
        self._complaints = tuple(dict.fromkeys((*self._complaints, *complaints)))
        found = {row.name: row for row in gathering.rows(reports, stage, _AT_LAST)}
        width = max(len(row.name) for row in self._last)
        self._last = tuple(found.get(row.name, row) for row in self._last)
        self._say(*report.lines([*found.values()], verbose=self._verbose, width=width))
        with suppress(CommandError):  # said at the end
            self._files()

    def end(self) -> int:
        """Write the whole report and return the exit code."""
        left = [f"--{name}" for name in ("monitors", "kill", "abort") if name not in self._options]
        if self._operations and left:
            self._say(f"  tried when asked for: {', '.join(left)} (flux-pmix check --help)")
        self._say(*report.ending(self._summary()))
        if "abort" in self._options:
            self._last += (Row(_AT_LAST, "abort", OPTIONAL, Verdict.RIGHT, found="the job ended"),)
        summary = self._summary()
        self._files()
        for name, render in _FORMATS.items():
            if self._options.get(name) == "-":
                print(render(summary), flush=True)
        return 0 if summary.passed else 1

    def survived(self, seconds: float) -> int:
        """Wait for the end that PMIx_Abort was to bring; write that it did not come, and return the exit code."""
        time.sleep(seconds)
        row = Row(_AT_LAST, "abort", OPTIONAL, Verdict.WRONG, found=f"the job lives on after {seconds:g} s")
        self._last = (*self._last[:-1], row)
        self._files()
        self._say(*report.lines([row], verbose=True))
        return 1

    # -- inside ----------------------------------------------------------------------------------

    @property
    def _verbose(self) -> bool:
        return "verbose" in self._options

    def _summary(self) -> Summary:
        return Summary(self._title, self._facts, (*self._rows, *self._last), self._complaints)

    def _say(self, *lines: str) -> None:
        if self._shown and lines:
            print("\n".join(lines), flush=True)

    def _files(self) -> None:
        for name, render in _FORMATS.items():
            path = self._options.get(name)
            if path and path != "-":
                try:
                    with open(path, "w", encoding="utf-8") as file:
                        file.write(render(self._summary()))
                except OSError as error:
                    raise CommandError(f"--{name} {path!r}: {error.strerror}; name a file that you can write") from None


def _launcher(nspace: str) -> str:
    """Return who started this job, by the names that they give their jobs and what they leave in the environment."""
    if nspace.startswith("slurm.pmix."):
        return "Slurm"
    if nspace.startswith("prterun-"):
        return "prterun"
    if "FLUX_KVS_NAMESPACE" in os.environ and nspace == os.environ.get("FLUX_JOB_ID", "").replace("ƒ", "f"):
        return "Flux"
    if "FLUX_TASK_RANK" in os.environ:
        return "flux-pmix run"
    return "mpirun" if "OMPI_COMM_WORLD_SIZE" in os.environ else "an unknown launcher"
