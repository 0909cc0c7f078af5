"""Processes ask Flux about its queues and jobs, by a query."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from instance import CLIENTS, Instance

pytestmark = pytest.mark.flux
QUEUES = "[queues.batch]\n[queues.debug]\n"


@pytest.fixture(scope="module")
def queues(plugin: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instance]:
    """An instance with two queues, of which one is disabled and stopped."""
    if shutil.which("flux") is None:
        pytest.skip("flux is not on PATH")
    config = tmp_path_factory.mktemp("config") / "queues.toml"
    config.write_text(QUEUES)
    instance = Instance(1, plugin)
    instance.flux("config", "load", config)
    instance.flux("queue", "start", "--all")
    instance.flux("queue", "disable", "--queue=debug", "--message=for repair")
    instance.flux("queue", "stop", "--queue=debug")
    yield instance
    instance.check()
    instance.close()


def ask(instance: Instance, *questions: str, options: tuple[str, ...] = ()) -> list[str]:
    out = instance.run("-n1", *options, sys.executable, CLIENTS / "scheduler.py", *questions).out
    return [line.partition(": ")[2] for line in out.splitlines()]


def test_queues_are_listed_and_each_has_a_status(queues: Instance, server: str) -> None:
    options = ("-q", "batch", "-o", f"pmix.libpmix={server}")
    questions = ("QUEUE_LIST", "QUEUE_STATUS", "QUEUE_STATUS debug", "QUEUE_STATUS nosuch")
    listed, own, other, missing = ask(queues, *questions, options=options)
    assert sorted(listed.split(",")) == ["batch", "debug"]
    assert [own, other, missing] == ["enabled,started", "disabled (for repair),stopped", "PMIX_ERR_NOT_FOUND"]


def test_an_allocation_is_told_by_its_job(two: Instance, server: str) -> None:
    two.run("-n1", "false", code=1)
    failed = two.flux("job", "last")
    number = two.flux("job", "id", "--to=dec", failed)
    questions = ("ALLOC_STATUS", f"ALLOC_STATUS {failed}", f"ALLOC_STATUS {number}")
    never = ("ALLOC_STATUS f1", "ALLOC_STATUS nonsense")
    answers = ask(two, *questions, *never, options=("-o", f"pmix.libpmix={server}"))
    assert answers == ["RUN", "FAILED", "FAILED", "PMIX_ERR_NOT_FOUND", "PMIX_ERR_NOT_FOUND"]


def test_a_queue_without_a_name_has_a_status_too(two: Instance) -> None:
    assert ask(two, "QUEUE_LIST", "QUEUE_STATUS") == ["", "enabled,started"]
