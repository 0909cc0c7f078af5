"""PyTorch over PMIx in a real Flux: ranks on two nodes find each other through what they publish, and train."""

from __future__ import annotations

import sys

import pytest
from instance import CLIENTS, Instance
from test_training import check_losses, compiled_extension

pytestmark = pytest.mark.flux


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return compiled_extension(tmp_path_factory)


@pytest.mark.timeout(600)
def test_four_ranks_of_flux_train_to_the_losses_of_one_process(
    two: Instance, extension: dict[str, str], server: str
) -> None:
    words = ("-N2", "-n4", "-o", f"pmix.libpmix={server}", sys.executable, CLIENTS / "train.py")
    child = two.start(*words, env=extension)
    out, err = child.communicate(timeout=280)  # most of it is the import of torch
    two.children.remove(child)
    assert child.returncode == 0, err
    check_losses(out, two.job_environment(**extension))
