"""Who is on which node in a real Flux: of a job and of one that it has spawned."""

from __future__ import annotations

import sys

import pytest
from instance import CLIENTS, Instance
from test_resolving import PLACES, resolved

pytestmark = pytest.mark.flux


def test_processes_of_two_jobs_learn_who_is_where(two: Instance, server: str) -> None:
    words = ("-o", "pmix.oversubscribe=on", "-o", f"pmix.libpmix={server}", f"--env=FLUXPMIX_LIBPMIX={server}")
    lines = two.run("-N2", "-n4", *words, sys.executable, CLIENTS / "resolve.py").lines
    for asker in PLACES:
        resolved(asker, lines)
