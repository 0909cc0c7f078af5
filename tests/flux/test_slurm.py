"""Under Slurm: the check, single operations, and Flux that Slurm starts, in a real Slurm of eight nodes."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from installed import VERSIONS
from instance import ATTRIBUTES, PATIENCE, run
from launching import libpmix
from slurm_cluster import Slurm

from fluxpmix.cli.check import report
from fluxpmix.cli.check.records import Verdict

pytestmark = [pytest.mark.slurm, pytest.mark.pmix]
needs_flux = pytest.mark.skipif(shutil.which("flux") is None, reason="flux is not on PATH")
COMMAND = (sys.executable, "-m", "fluxpmix.cli.main")


@pytest.fixture
def inside(environment: dict[str, str], slurm: Slurm) -> dict[str, str]:
    return environment | slurm.environment()


@pytest.mark.flux
@needs_flux
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_an_instance_forms_under_slurm_and_knows_its_nodes(inside: dict[str, str], slurm: Slurm, size: int) -> None:
    # One broker a node: Slurm's tasks of a node share a process group, which its leading broker hangs up at its end.
    words = slurm.srun(f"-N{size}", f"-n{size}", "flux", "start", "-Sbroker.boot-method=pmix")
    said, _ = run(inside, *words, "sh", "-c", f"{ATTRIBUTES}; ! env | grep ^PMIX_")
    assert said == [str(size), f"[[0,{size},1,1]]", "0"]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_task_map_is_that_of_the_nodes(inside: dict[str, str], slurm: Slurm, version: str) -> None:
    script = "from fluxpmix.shell.flux.upmi.bootstrap import Bootstrap; it = Bootstrap()"
    script += "; print(it.get('flux.taskmap', -1)); it.barrier(); it.finalize()"
    env = inside | {"FLUXPMIX_LIBPMIX": libpmix(version)}
    where = ("-N2", "-n4", "--ntasks-per-node=2", "--distribution=cyclic")
    said, _ = run(env, *slurm.srun(*where, sys.executable, "-c", script))
    assert said == ['{"version":1,"map":[[0,2,1,2]]}'] * 4


def test_the_check_reports_slurm(inside: dict[str, str], slurm: Slurm, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    words = slurm.srun("-N2", "-n4", "--ntasks-per-node=2")
    run(inside, *words, *COMMAND, "check", "--no-operations", "--json", str(path), code=1)
    summary = report.from_json(path.read_text())
    rows = {(row.section, row.name): row.verdict for row in summary.rows}
    assert summary.title == "PMIx of Slurm" and not summary.complaints
    assert (summary.facts["ranks"], summary.facts["nodes"]) == (4, 2)
    assert rows["job", "PMIX_JOB_SIZE"] is rows["node", "PMIX_LOCAL_PEERS"] is Verdict.RIGHT


def test_what_was_found_stays_where_slurm_ends_the_job(inside: dict[str, str], slurm: Slurm, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    words = (*slurm.srun("-N2", "-n2"), *COMMAND, "check", "--json", str(path))
    done = subprocess.run(words, env=inside, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode and "so far NOT compliant" in done.stdout, done
    rows = {row.name: row for row in report.from_json(path.read_text()).rows}
    assert rows["fence of some processes, with data"].verdict is Verdict.RIGHT
    assert rows["spawn"].verdict is Verdict.MISSING
    # Slurm 22.05 ends the job at the first event; one that does not may take this line away.
    assert (rows["events"].verdict, rows["events"].found) == (Verdict.UNANSWERED, "the launcher ended the job")


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("barrier",), "barrier of 4 ranks: "),
        (("exchange", "--bytes", "4K"), "exchange of 4096 bytes from each of 4 ranks, 4 gets"),
        (("exchange", "--sparse"), "by direct modex"),
        (("info",), "size       4"),
    ],
)
def test_one_operation_under_slurm(inside: dict[str, str], slurm: Slurm, words: tuple[str, ...], says: str) -> None:
    said, _ = run(inside, *slurm.srun("-N2", "-n4", "--ntasks-per-node=2"), *COMMAND, "pmi", *words)
    assert any(says in line for line in said)
