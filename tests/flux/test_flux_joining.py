"""Flux jobs that were started apart and meet: one names the other (-o pmix.join), and their processes know both."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import pytest
from instance import CLIENTS, Instance, mpi_data_says

pytestmark = pytest.mark.flux
CLIENT = (sys.executable, CLIENTS / "joins.py")
MPI = (sys.executable, CLIENTS / "mpi_data.py", "meets")


@pytest.fixture
def four(instance: Callable[[int], Instance]) -> Instance:
    return instance(4)


def start(four: Instance, *words: object) -> tuple[subprocess.Popen[str], str]:
    """Start a job; return it and its id, once its tasks run."""
    before = set(four.flux("jobs", "-a", "-n", "-o", "{id}").split())
    child = four.start(*words)
    new = four.until(lambda: set(four.flux("jobs", "-a", "-n", "-o", "{id}").split()) - before, "no job came")
    (job,) = new
    four.flux("job", "wait-event", "-p", "exec", job, "shell.start")
    return child, job


@pytest.mark.mpi5
def test_mpi_jobs_meet_by_a_published_name_accept_and_connect(four: Instance) -> None:
    pytest.importorskip("mpi4py")
    server, job = start(four, "-N2", "-n2", *MPI, "server")
    client = four.run("-N2", "-n2", "-o", f"pmix.join={job}", *MPI, "client")
    assert client.lines == [f"client {rank} 2 {rank + 2} 6" for rank in range(2)]
    assert four.finish(server).lines == [f"server {rank} 2 {rank} 6" for rank in range(2)]


def test_one_job_after_another_joins_and_reads_what_the_first_has(four: Instance, server: str) -> None:
    words = ("-N2", "-n2", "-o", f"pmix.libpmix={server}", f"--env=FLUXPMIX_LIBPMIX={server}")
    first, job = start(four, *words, *CLIENT, "first", 2)
    number = four.flux("job", "id", "--to=dec", job)
    for turn, name in enumerate((job, number)):
        other = four.run(*words, "-o", f"pmix.join={name}", *CLIENT, "other", turn)
        assert other.lines == ["other: from the first, put by the first's 1, spawned False, parent none"]
    said = "from rank 1 of 2, put by the other's 1"
    assert four.finish(first).out.splitlines()[:3] == [
        "first: ready",
        f"first: answer 0 {said}",
        f"first: answer 1 {said}",
    ]


def test_the_end_of_one_that_joined_is_not_the_end_of_the_first(four: Instance) -> None:
    first, job = start(four, "-N2", "-n2", *CLIENT, "first", 1)
    four.run("-N2", "-n2", "-o", f"pmix.join={job}", *CLIENT, "other", 0, "dies", code=134)
    assert four.finish(first).lines == [
        "first: answer 0 from rank 1 of 2, put by the other's 1",
        *["first: done"] * 2,
        "first: ready",
    ]


def test_what_cannot_be_joined_is_said(four: Instance) -> None:
    def said(name: str) -> str:
        return four.run("-n1", "-o", f"pmix.join={name}", "true", code=1).err

    assert "there is no such job of yours" in said("f1")
    assert "job id 'x': no F58" in said("x")
    four.run("-n1", "true")
    over = four.flux("job", "last")
    assert "it does not run, or has no PMIx" in said(over)
    plain = four.flux("submit", "sleep", "60")
    four.flux("job", "wait-event", "-p", "exec", plain, "shell.start")
    assert "it does not run, or has no PMIx" in said(plain)
    four.flux("cancel", plain)
    four.flux("job", "wait-event", plain, "clean")


def test_a_job_that_has_joined_names_the_one_to_join(four: Instance) -> None:
    first, job = start(four, "-n1", "sleep", "60")
    other, joined = start(four, "-n1", "-o", f"pmix.join={job}", "sleep", "60")
    err = four.run("-n1", "-o", f"pmix.join={joined}", "true", code=1).err
    assert "it has joined another job itself" in err
    four.flux("cancel", joined, job)
    for child in (first, other):
        four.finish(child, 143)


@pytest.mark.mpi5
def test_a_job_and_the_flux_job_that_it_spawned_meet_by_a_published_name(four: Instance) -> None:
    pytest.importorskip("mpi4py")
    command = ("-o", "pmix.spawn=job", sys.executable, CLIENTS / "mpi_data.py", "jobs")
    assert four.run("-N2", "-n4", *command).lines == mpi_data_says("jobs")
