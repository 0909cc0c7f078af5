"""Direct modex, published data, queries and logging between the shells of a real Flux."""

from __future__ import annotations

import json
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from installed import find_libpmix as libpmix
from instance import CLIENTS, Instance, sets_seen

from fluxpmix.shell.flux import resources

pytestmark = pytest.mark.flux


@pytest.fixture
def said(tmp_path: Path) -> list[str]:
    """The option that gives the clients a directory to meet in."""
    return [f"--env=SAID={tmp_path}"]


def test_a_get_fetches_what_a_rank_of_another_shell_has_put(two: Instance, server: str, said: list[str]) -> None:
    library = ["-o", f"pmix.libpmix={server}"]
    result = two.run("-N2", "-n4", *library, *said, sys.executable, CLIENTS / "dmodex.py", "everybody")
    assert result.lines == sorted(
        f"{me} turn-{turn} {rank} {turn}.{rank}" for turn in (0, 1) for me in range(4) for rank in range(4)
    )
    result = two.run("-N2", "-n2", *library, *said, sys.executable, CLIENTS / "dmodex.py", "early")
    assert result.lines == ["0 first 1 1", "0 second 1 2"]


def test_a_get_of_what_is_never_there_ends(two: Instance, said: list[str]) -> None:
    result = two.run("-N2", "-n2", *said, sys.executable, CLIENTS / "dmodex.py", "never")
    statuses = [line.split()[-1] for line in result.out.splitlines()]
    assert statuses == ["PMIX_ERR_TIMEOUT", *["PMIX_ERR_NOT_FOUND"] * 7]


def test_what_a_rank_publishes_ranks_on_other_shells_find(two: Instance, server: str) -> None:
    library = ["-o", f"pmix.libpmix={server}"]
    result = two.run("-N2", "-n3", *library, sys.executable, CLIENTS / "names.py", "values")
    found = "number, text, bytes, real, flag, proc, numbers, infos, small, big"
    assert result.lines == [f"1 {found}", f"2 {found}"]
    result = two.run("-N2", "-n4", *library, sys.executable, CLIENTS / "names.py", "wait")
    everything = " ".join(f"turn-{rank}={rank}@{rank}" for rank in range(4))
    assert [line for line in result.lines if everything in line] == [f"{rank} {everything}" for rank in range(4)]


def test_a_rank_learns_of_all_processes_of_its_job(two: Instance) -> None:
    result = two.run("-N2", "-n3", sys.executable, CLIENTS / "query.py")
    answers = list(map(json.loads, result.out.splitlines()))
    nodes = answers[-1][0]
    rows = [[rank, nodes[node], True, 0, 6] for rank, node in ((0, 0), (1, 0), (2, 1))]
    assert answers[1] == [["PMIX_QUERY_PROC_TABLE", rows]]


def test_a_rank_learns_how_much_memory_all_nodes_use(two: Instance, server: str) -> None:
    script = (
        "from fluxpmix import Client\nfrom fluxpmix.pmix import attributes as a\n"
        "from fluxpmix.pmix.types import QueryItem\n"
        "with Client() as client:\n    client.fence()\n"
        "    found = client.query([QueryItem((a.QUERY_MEMORY_USAGE,))])[0].value.items\n"
        "    print(*(2 < info.value < 500 for node in found for info in node.value.items[1:]))\n    client.fence()\n"
    )
    result = two.run("-N2", "-n2", "-o", f"pmix.libpmix={server}", sys.executable, "-c", script)
    assert result.lines == ["True True True True"] * 2


def test_process_sets_are_told_queried_and_defined_on_all_nodes(two: Instance, server: str) -> None:
    sets = ("-o", "pmix.pset.left=0-1", "-o", "pmix.pset.odd.ones=1,3")
    result = two.run("-N2", "-n4", *sets, "-o", f"pmix.libpmix={server}", sys.executable, CLIENTS / "psets.py")
    assert result.lines == sets_seen("4.2" if server == libpmix("4.2") else "5.0")


def test_a_process_set_that_makes_no_sense_ends_the_job(two: Instance) -> None:
    assert "no commas" in two.run("-n1", "-o", "pmix.pset.a,b=0", "true", code=1).err
    assert "the job's ranks are 0 to 0" in two.run("-n1", "-o", "pmix.pset.a=1", "true", code=1).err


LOG = (
    "from fluxpmix import Client\nfrom fluxpmix.pmix import attributes as a\nfrom fluxpmix.pmix.types import Info\n"
    "with Client() as client:\n"
    "    client.log([Info(a.LOG_STDOUT, 'to the outpüt'), Info(a.LOG_STDERR, 'to the errors')])\n"
    "    client.log([Info(a.LOG_JOB_RECORD, True), Info(a.LOG_MSG, b'to the record')])\n"
    "    client.fence()\n"
)


def test_what_a_rank_logs_is_its_output(two: Instance, server: str, tmp_path: Path) -> None:
    """Labelled as the rank's own words are, and in the file that the job has for them."""
    words = ["-N2", "-n3", "-o", f"pmix.libpmix={server}"]
    result = two.run(*words, "--label-io", "-o", "verbose=1", sys.executable, "-c", LOG)
    assert result.lines == [f"{rank}: to the outpüt" for rank in range(3)]
    for rank in range(3):
        assert f"{rank}: to the errors\n" in result.err
        assert f"rank {rank}: to the record" in result.err
    two.run(*words, f"--output={tmp_path}/{{{{taskid}}}}", sys.executable, "-c", LOG)
    for rank in range(3):
        said = (tmp_path / str(rank)).read_text().splitlines()
        # A shell's own log goes to the file of its first task.
        assert [line for line in said if "flux-shell" not in line] == ["to the outpüt", "to the errors"]


def test_a_rank_learns_how_much_time_its_job_has(two: Instance) -> None:
    """Also when the job is given more while it runs."""
    script = (
        "import sys\nfrom fluxpmix import Client\nfrom fluxpmix.pmix import attributes as a\n"
        "from fluxpmix.pmix.types import QueryItem\n"
        "with Client() as client:\n"
        "    def left(): return client.query([QueryItem((a.TIME_REMAINING,), ())])[0].value\n"
        "    first = left()\n"
        "    print(first, flush=True)\n"
        "    while left() <= first: pass\n"
        "    print(left(), flush=True)\n"
    )
    child = two.start("-n1", "-t5m", sys.executable, "-c", script)
    assert child.stdout is not None
    assert 200 < int(child.stdout.readline()) <= 300
    two.flux("update", two.flux("job", "last"), "duration=+10m")
    assert 800 < int(two.finish(child).out) <= 900
    with_none = script.replace("first = left()", "print(a.by_key(left().key))")
    assert "PMIX_ERR_NOT_FOUND" in two.run("-n1", sys.executable, "-c", with_none, code=1).err, "no limit, no time"


@pytest.mark.parametrize("exchange", ["auto", "bruck", "tree"])
def test_data_moves_between_shells_as_the_option_says(
    instance: Callable[[int], Instance], server: str, exchange: str
) -> None:
    words = ["-o", f"pmix.libpmix={server}", "-o", f"pmix.exchange={exchange}", "-o", "pmix.fanout=2"]
    instance(4).run("-N4", "-n8", *words, sys.executable, CLIENTS / "fence.py", 70000)


def test_messages_follow_the_tree_of_the_overlay(plugin: Path) -> None:
    if shutil.which("flux") is None:
        pytest.skip("flux is not on PATH")
    instance = Instance(7, plugin, "-Stbon.topo=kary:2")
    words = ["-N7", "-n7", "-o", "verbose=2", sys.executable, CLIENTS / "fence.py"]
    said = instance.run(*words).err
    pairs = set(re.findall(r"flux-shell\[(\d)\]: TRACE: pmix: got (?!0 )\d+ bytes from shell (\d)", said))
    tree = {(str(a), str(b)) for a in range(7) for b in range(7) if (a - 1) // 2 == b or (b - 1) // 2 == a}
    assert pairs >= tree
    assert all("0" in pair for pair in pairs - tree), "only the first shell is told things directly"
    instance.check()
    instance.close()


@pytest.mark.parametrize(
    ("topology", "width"),
    [("kary:2", 2), ("kary:32", 32), ("kary:0", 32), ("kary:1", 32), ("binomial", 32), ("custom", 32), (None, 32)],
)
def test_the_tree_is_as_wide_as_the_overlay(topology: str | None, width: int) -> None:
    assert resources.fanout(topology) == width


@pytest.mark.mpi5
def test_open_mpi_5_wires_itself_up_by_direct_modex(two: Instance) -> None:
    pytest.importorskip("mpi4py")
    script = "from mpi4py import MPI; print(MPI.COMM_WORLD.allreduce(MPI.COMM_WORLD.rank))"
    sparse = ["--env=OMPI_MCA_pmix_base_collect_data=0", "--env=OMPI_MCA_pmix_base_async_modex=1"]
    assert two.run("-N2", "-n4", *sparse, sys.executable, "-c", script).lines == ["6"] * 4
