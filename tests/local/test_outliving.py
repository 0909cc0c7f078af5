"""Spawned jobs that outlive the first: they keep all that they had, for the shells stay as long as they do."""

from __future__ import annotations

import sys

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix

pytestmark = pytest.mark.pmix
SURVIVES = {
    "parents_end": "['PMIX_EVENT_PROC_TERMINATED']",
    "modex": "of {other}",
    "data": "True True",
    "of_the_first": "PMIX_ERR_NOT_FOUND",
    "published": "['kept', 'value of {other}', 1]",
    "publish": "published",
    "event": "True",
    "control": "signalled",
    "sets": "[2, True]",
    "query": "[True, 2]",
    "group": "1",
    "log": "logged",
    "credential": "True",
    "spawn": "met, 1, True",
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("nodes", [1, 2])
def test_a_job_keeps_all_that_it_has_when_its_parent_is_over(job: Launch, version: str, nodes: int) -> None:
    if version == "4.2" and nodes == 1:
        pytest.skip("libpmix 4.2 does not wait for what a process of its own node has not committed yet")
    library = ("-o", f"libpmix={libpmix(version)}", f"--env=FLUXPMIX_LIBPMIX={libpmix(version)}")
    (job.directory / "go").touch()  # they hear of the end
    words = ("first", job.directory, "2", ",".join(SURVIVES), "pmix.mapby=node")
    result = job.run(f"-N{nodes}", f"-n{nodes}", *library, sys.executable, CLIENTS / "outlives.py", *words)
    said = [f"{rank} {name}: {text.format(other=1 - rank)}" for name, text in SURVIVES.items() for rank in range(2)]
    said[said.index("0 spawn: met, 1, True")] = "0 spawn: not here"
    assert sorted(result.lines) == sorted(said)
    assert sorted(result.err.splitlines()) == ["logged by 0", "logged by 1"]
