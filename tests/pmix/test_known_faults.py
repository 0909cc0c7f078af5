"""Faults of libpmix that a host can do nothing about, by version: docs/libpmix.md tells users of them.

A version that mends one fails here; the page, and what goes round the fault, can then go by version.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from installed import VERSIONS, number
from live import HERE, SOURCE, Live, library

from fluxpmix.pmix import upcalls
from fluxpmix.pmix.status import Status

pytestmark = pytest.mark.pmix
OWN_PROCESS = True
EACH = pytest.mark.parametrize("version", VERSIONS)

FENCES = """
from fluxpmix import PmixError
with Client() as client:
    try:
        client.fence()
        print("fenced")
    except PmixError as error:
        print(error.status)
"""
AGAIN = """
import sys, tempfile
from pathlib import Path
from live import lone_server
from fluxpmix.pmix import server
from fluxpmix.pmix.library import load
for turn in range(2):
    server._used = False
    lone_server(load(sys.argv[1]), Path(tempfile.mkdtemp(dir=sys.argv[2]))).close()
    print("closed")
"""


@EACH
def test_from_5_0_on_a_failed_fence_has_succeeded_for_all_but_one_of_a_node(version: str, tmp_path: Path) -> None:
    fails = {upcalls.Fence: lambda upcall: (int(Status.ERR_TIMEOUT), None)}
    finishes = {upcalls.ClientFinalized: lambda upcall: (0, None)}
    with Live(library(version), tmp_path, size=3, others=1, host=fails | finishes) as live:
        told = sorted(live.run(FENCES, FENCES, FENCES))
    failed, fenced = f"{int(Status.ERR_TIMEOUT)}\n", "fenced\n"
    assert told == ([failed] * 3 if number(version) < (5, 0) else [failed, fenced, fenced])


@pytest.mark.parametrize("version", [each for each in VERSIONS if number(each) >= (6, 0)])
def test_from_6_0_on_a_second_server_in_a_process_is_refused(version: str, tmp_path: Path) -> None:
    """Those before begin one, and abort at one time or another."""
    words = [sys.executable, "-c", AGAIN, library(version).path, str(tmp_path)]
    env = {"PYTHONPATH": f"{SOURCE}:{HERE}"}
    done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "PMIX_ERR_INIT" in done.stderr, done
