"""Flux started by a PMIx launcher: the PMI client plugin in real brokers."""

from __future__ import annotations

import shutil
import sys

import pytest
from instance import ATTRIBUTES, Instance, run

NO_VARIABLE = "! env | grep ^PMIX_"

pytestmark = [
    pytest.mark.flux,
    pytest.mark.skipif(shutil.which("flux") is None, reason="flux is not on PATH"),
]
needs_prterun = pytest.mark.skipif(shutil.which("prterun") is None, reason="prterun is not on PATH")
PRTERUN = ("prterun", "--stdin", "none", "--map-by", ":oversubscribe")


@needs_prterun
@pytest.mark.parametrize("size", [1, 2, 4, 8])
def test_an_instance_forms_under_prterun_and_knows_where_its_brokers_are(
    environment: dict[str, str], size: int
) -> None:
    script = f"{ATTRIBUTES}; {NO_VARIABLE}"
    said, _ = run(
        environment, *PRTERUN, "-n", str(size), "flux", "start", "-Sbroker.boot-method=pmix", "sh", "-c", script
    )
    assert said == [str(size), f"[[0,1,{size},1]]", "0"]


@needs_prterun
def test_jobs_of_an_instance_under_prterun_run_and_see_no_pmix(environment: dict[str, str]) -> None:
    script = f"flux run -N2 -n2 sh -c '{NO_VARIABLE} && echo ran'"
    said, _ = run(environment, *PRTERUN, "-n", "2", "flux", "start", "sh", "-c", script)
    assert said == ["ran", "ran"]


def test_an_instance_forms_under_our_own_launcher(environment: dict[str, str]) -> None:
    said, _ = run(environment, "flux-pmix", "run", "-N2", "-n4", "flux", "start", "sh", "-c", ATTRIBUTES)
    assert said == ["4", "[[0,2,2,1]]", "0"]


def test_an_instance_forms_inside_a_job_of_flux(two: Instance, environment: dict[str, str]) -> None:
    named = {name: value for name, value in environment.items() if name.startswith("FLUX_PMI")}
    done = two.run("-N2", "-n2", "flux", "start", "sh", "-c", f"{ATTRIBUTES}; {NO_VARIABLE}", env=named)
    assert done.out.splitlines() == ["2", "[[0,2,1,1]]", "1"], done


def test_it_declines_without_a_server_and_starts_no_python(environment: dict[str, str]) -> None:
    # What our Python imports first.
    counted = "cat /proc/$(flux getattr broker.pid)/maps | grep -c _cffi_backend || true"
    said, _ = run(environment, "flux", "start", "sh", "-c", f"flux getattr size; {counted}")
    assert said == ["1", "0"]
    _, err = run(environment, "flux", "start", "-Sbroker.boot-method=pmix", "true", code=1)
    assert "no PMIx server has started this process" in err


@needs_prterun
def test_the_broker_is_afterwards_as_without_pmix(environment: dict[str, str]) -> None:
    # Its threads, the signals that it handles and blocks, and what it may run on.
    look = "cd /proc/$(flux getattr broker.pid); cat task/*/comm; grep -E '^(SigBlk|SigCgt|Cpus_allowed_list)' status"
    plain, _ = run(environment, "flux", "start", "--test-size=2", "sh", "-c", look)
    bootstrapped, _ = run(
        environment, *PRTERUN, "-n", "2", "flux", "start", "-Sbroker.boot-method=pmix", "sh", "-c", look
    )
    assert sorted(bootstrapped) == sorted(plain) and plain.count("flux-broker-0") == 1


def test_a_server_that_is_gone_is_an_error_and_no_instance_of_one(environment: dict[str, str]) -> None:
    gone = {"PMIX_SERVER_URI41": "gone.0;tcp4://127.0.0.1:1", "PMIX_NAMESPACE": "gone", "PMIX_RANK": "0"}
    _, err = run(environment | gone, "flux", "start", "true", code=1)
    assert "cannot connect to the PMIx server" in err


def test_the_library_is_the_one_that_is_named(environment: dict[str, str]) -> None:
    words = ("flux-pmix", "run", "-n1", "flux", "pmi", "--method=pmix:/nowhere/libpmix.so", "barrier")
    _, err = run(environment, *words, code=1)
    assert "/nowhere/libpmix.so" in err


ASK = """
import time
from fluxpmix.shell.flux.upmi.bootstrap import Bootstrap, BootstrapError

it = Bootstrap()
other = (it.rank + 1) % it.size
it.put(f"key.{it.rank}", "value")
it.barrier()
assert it.get(f"key.{other}", other) == "value"
started = time.monotonic()
for rank in (-1, it.rank, other):
    try:
        it.get("no.such.key", rank)
        raise SystemExit("found")
    except BootstrapError as error:
        assert "not set" in str(error), error
assert time.monotonic() - started < 2
assert it._map_of_ranks() == it._map_of_nodes()
it.barrier()
it.finalize()
print("good")
"""


@pytest.mark.parametrize("launcher", [PRTERUN, ("flux-pmix", "run", "-N2")], ids=["prterun", "ours"])
def test_keys_that_are_not_there_are_answered_at_once(environment: dict[str, str], launcher: tuple[str, ...]) -> None:
    if shutil.which(launcher[0], path=environment["PATH"]) is None:
        pytest.skip(f"{launcher[0]} is not on PATH")
    said, _ = run(environment, *launcher, "-n", "4", sys.executable, "-c", ASK)
    assert said == ["good"] * 4
