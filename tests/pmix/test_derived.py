"""What libpmix derives of each process from the node and the process map: the table in docs/scale.md.

A client on the first of two nodes reads each attribute of a rank beside it and of one on the other node.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from installed import VERSIONS, number
from live import PRELUDE, SOURCE, directories, library

from fluxpmix.pmix import attributes
from fluxpmix.pmix.server import Server
from fluxpmix.pmix.types import DataArray, DataType, Info, Proc

pytestmark = pytest.mark.pmix
OWN_PROCESS = True

KEYS = ("hname", "nodeid", "lrank", "nrank", "rank", "grank", "apprank", "appnum", "reinc")
READ = f"""
from fluxpmix import PmixError
client = Client()
for rank in (1, 2):
    for key in {KEYS!r}:
        try: found = client.get("pmix." + key, Proc("job", rank), directives={{"pmix.optional": True}})
        except PmixError: found = "-"
        print(found, end=" ")
    print()
client.finalize()
"""
# For a rank of the same node, and for one of another: "-" is what a client is not told.
DERIVED = {
    "4.2": ("node0 0 1 1 - - - - -", "node1 - 0 0 - - - - -"),
    "5.0": ("node0 0 1 1 - - - - -", "node1 1 0 0 - - - - -"),
    "6.1": ("node0 0 1 1 - - - - -", "node1 1 0 0 - - - - -"),
}


def of_rank(rank: int, *infos: Info) -> Info:
    rows = (Info(attributes.RANK, rank), *infos)
    return Info(attributes.PROC_INFO_ARRAY, DataArray(DataType.INFO, rows), DataType.DATA_ARRAY)


def told(version: str, tmpdir: Path, more: list[Info], later: list[Info]) -> tuple[str, ...]:
    """Register ranks 0 and 1 on node0, 2 and 3 on node1, and return what rank 0 reads."""
    found = library(version)
    with Server(found, lambda upcall: None, serves=(), directives=directories(tmpdir)) as server:
        first = [
            Info(attributes.NODE_MAP, server.generate_regex("node0,node1")),
            Info(attributes.PROC_MAP, server.generate_ppn("0,1;2,3")),
            Info(attributes.JOB_SIZE, 4),
            Info(attributes.TMPDIR, str(tmpdir)),
            Info(attributes.NSDIR, str(tmpdir)),
        ]
        server.register_nspace("job", 2, first + more)
        if later:
            server.register_nspace("job", 2, later)
        for rank in (0, 1):
            server.register_client(Proc("job", rank), os.getuid(), os.getgid())
        environment = {**os.environ, **server.setup_fork(Proc("job", 0)), "PYTHONPATH": SOURCE}
        environment["FLUXPMIX_LIBPMIX"] = found.path
        words = [sys.executable, "-c", PRELUDE + READ]
        seen = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert seen.returncode == 0, seen.stderr
        for rank in (0, 1):
            server.deregister_client(Proc("job", rank))
        server.deregister_nspace("job")
    return tuple(line.strip() for line in seen.stdout.splitlines())


@pytest.mark.parametrize("version", VERSIONS)
def test_the_maps_alone_tell_where_each_process_is_and_no_more(version: str, tmp_path: Path) -> None:
    assert told(version, tmp_path, [], []) == DERIVED[version]


@pytest.mark.parametrize("version", VERSIONS)
def test_one_process_array_ends_what_the_maps_tell_of_all(version: str, tmp_path: Path) -> None:
    one = of_rank(1, Info(attributes.APPNUM, 0), Info(attributes.GLOBAL_RANK, 1))
    assert told(version, tmp_path, [one], []) == ("node0 - - - - 1 - 0 -", "node1 - - - - - - - -")


@pytest.mark.parametrize("version", [version for version in VERSIONS if number(version) >= (5, 0)])
def test_from_5_0_on_a_second_registration_adds_to_the_first(version: str, tmp_path: Path) -> None:
    one = of_rank(1, Info(attributes.APPNUM, 0), Info(attributes.GLOBAL_RANK, 1))
    assert told(version, tmp_path, [], [one]) == ("node0 0 1 1 - 1 - 0 -", DERIVED[version][1])
