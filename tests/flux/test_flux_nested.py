"""Flux in Flux in Flux, each started over PMIx, with every launcher that can start the first."""

from __future__ import annotations

import shutil

import pytest
from instance import Instance, run

pytestmark = [
    pytest.mark.flux,
    pytest.mark.pmix,
    pytest.mark.skipif(shutil.which("flux") is None, reason="flux is not on PATH"),
]
SIZE = 2
START = ("flux", "start", "-Sbroker.boot-method=pmix", "sh", "-c")
JOB = f"flux run -N{SIZE} -n{SIZE} -o pmi=pmix flux start -Sbroker.boot-method=pmix"
LOOK = "echo $(flux getattr size) $(flux getattr broker.mapping) $(flux getattr instance-level)"
# What each instance says of itself, the outermost first, and what a task of the innermost finds of PMIx.
SCRIPT = f"""{LOOK}; {JOB} sh -c '{LOOK}; {JOB} sh -c "{LOOK.replace("$", chr(92) + "$")}; flux run sh -c env"'"""


def told(said: list[str], mapping: str, level: int) -> None:
    """Check what the three instances said, the first of which has this mapping and level."""
    inner = f"[[0,{SIZE},1,1]]"
    maps = [mapping, inner, inner]
    assert said[:3] == [f"{SIZE} {each} {level + depth}" for depth, each in enumerate(maps)], said
    assert "FLUX_JOB_SIZE=1" in said and not [line for line in said if line.startswith("PMIX_")]


def test_three_deep_under_prterun(environment: dict[str, str]) -> None:
    if shutil.which("prterun", path=environment["PATH"]) is None:
        pytest.skip("prterun is not on PATH")
    words = ("prterun", "--stdin", "none", "--map-by", ":oversubscribe", "-n", str(SIZE))
    told(run(environment, *words, *START, SCRIPT)[0], f"[[0,1,{SIZE},1]]", 0)


def test_three_deep_under_our_own_launcher(environment: dict[str, str]) -> None:
    words = ("flux-pmix", "run", f"-N{SIZE}", f"-n{SIZE}")
    told(run(environment, *words, *START, SCRIPT)[0], f"[[0,{SIZE},1,1]]", 0)


@pytest.mark.slurm
def test_three_deep_under_slurm(environment: dict[str, str], request: pytest.FixtureRequest) -> None:
    slurm = request.getfixturevalue("slurm")
    env = environment | slurm.environment()
    told(run(env, *slurm.srun(f"-N{SIZE}", f"-n{SIZE}"), *START, SCRIPT)[0], f"[[0,{SIZE},1,1]]", 0)


def test_three_deep_under_flux(two: Instance, environment: dict[str, str]) -> None:
    named = {name: value for name, value in environment.items() if name.startswith("FLUX_PMI")}
    done = two.run(f"-N{SIZE}", f"-n{SIZE}", *START, SCRIPT, env=named)
    told(done.out.splitlines(), f"[[0,{SIZE},1,1]]", 1)
