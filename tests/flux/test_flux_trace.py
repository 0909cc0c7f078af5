"""`flux run -o pmi=pmix -o pmix.trace=FILE`: one file with every shell's time, by one clock."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
from instance import CLIENTS, Instance

from fluxpmix.cli.trace import reading

pytestmark = pytest.mark.flux


def test_all_shells_are_in_the_first_ones_file(instance: Callable[[int], Instance]) -> None:
    flux = instance(4)
    path = flux.directory / "trace.json"
    flux.run("-N4", "-n8", "-o", f"pmix.trace={path}", sys.executable, CLIENTS / "fence.py")
    trace = reading.read(str(path))
    assert sorted(trace.names) == [0, 1, 2, 3]
    assert [len(fence.came) for fence in reading.fences(trace)] == [4] * 4
    # One clock: no shell has a fence's result before the last has come to it.
    for fence in reading.fences(trace):
        ends = [span.end for span in trace.requests if span.name == "Fence" and span.begin in fence.came.values()]
        assert min(ends) > max(fence.came.values())
    steps = dict(reading.steps(trace))
    assert len(steps["registration"]) == 4 and len(steps["start task"]) == 8
    path.unlink()


def test_a_trace_that_cannot_be_written_ends_the_job_before_any_task(two: Instance) -> None:
    two.run("-N2", "-n2", "-o", "pmix.trace=/nosuch/trace.json", "touch", two.directory / "ran", code=1)
    assert any("/nosuch/trace.json: No such file" in note for note in two.exceptions())
    assert not (two.directory / "ran").exists()
