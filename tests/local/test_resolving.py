"""Who is on which node, and on which nodes a job is: of a job and of one that it has spawned."""

from __future__ import annotations

import sys

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix

pytestmark = pytest.mark.pmix

PLACES = {"first": {0: (0, 1), 1: (2, 3)}, "spawned": {0: (0, 1), 1: (2,)}}


def resolved(asker: str, lines: list[str]) -> None:
    """Hold what rank 0 of a job was told against where all processes are."""
    said = dict(line.split(": ", 1) for line in (line.partition(": ")[2] for line in lines if line.startswith(asker)))
    for job in (*PLACES, "*"):
        for node in (0, 1, "."):
            ranks = [
                f"{name} {rank}"
                for name, places in PLACES.items()
                if job in (name, "*")
                for rank in places[0 if node == "." else int(node)]
            ]
            assert said.pop(f"{job} on {node}") == f"{', '.join(ranks)} True"
        if job != "*":
            assert said.pop(f"nodes of {job}") == "2 True"
    # Here libpmix itself has the last word, with another in each version.
    assert said.pop("no.such.node None") in ("0", "PMIX_ERR_NOT_FOUND")
    assert said.pop("None no such job").startswith("PMIX_ERR_")
    assert not said


@pytest.mark.parametrize("version", VERSIONS)
def test_processes_of_two_jobs_learn_who_is_where(job: Launch, version: str) -> None:
    path = libpmix(version)
    words = ("-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}")
    lines = job.run("-N2", "-n4", *words, sys.executable, CLIENTS / "resolve.py").lines
    for asker in PLACES:
        resolved(asker, lines)
