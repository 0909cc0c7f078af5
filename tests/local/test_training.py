"""PyTorch over PMIx: the store of the package `rixa` publishes and looks up, gloo does the rest."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from installed import VERSIONS
from launching import CLIENTS, Launch, libpmix

pytestmark = pytest.mark.pmix


@pytest.fixture(scope="module")
def extension(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return compiled_extension(tmp_path_factory)


def compiled_extension(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Compile rixa's extension for torch, once, outside of any job; return the variables that lead to it."""
    for name in ("torch", "rixa", "ninja"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed: pip install torch rixa ninja")
    directory = str(tmp_path_factory.mktemp("extensions"))
    env = Launch(tmp_path_factory.mktemp("compiling")).environment(TORCH_EXTENSIONS_DIR=directory)
    done = subprocess.run([sys.executable, "-c", "import rixa"], env=env, capture_output=True, text=True, check=False)
    if done.returncode or not any(Path(directory).rglob("*.so")):
        pytest.skip(f"rixa's extension cannot be compiled here: {done.stderr.strip()[-300:]}")
    return {"TORCH_EXTENSIONS_DIR": directory, "TORCHINDUCTOR_CACHE_DIR": directory, "GLOO_SOCKET_IFNAME": "lo"}


def check_losses(out: str, env: dict[str, str]) -> None:
    """Hold what four ranks printed against one process that trains alone."""
    command = [sys.executable, CLIENTS / "train.py"]
    alone = subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout.split()
    lines = [line.split() for line in out.splitlines()]
    assert len(lines) == 4 and all(line == lines[0] for line in lines)
    assert [round(float(loss), 6) for loss in lines[0]] == [round(float(loss), 6) for loss in alone]
    assert float(alone[-1]) < 0.9 * float(alone[0])


@pytest.mark.timeout(600)
@pytest.mark.parametrize("version", VERSIONS)
def test_four_ranks_train_to_the_losses_of_one_process(job: Launch, extension: dict[str, str], version: str) -> None:
    server = ("-o", f"libpmix={libpmix(version)}")
    child = job.start("-N2", "-n4", *server, sys.executable, CLIENTS / "train.py", env=extension)
    out, err = child.communicate(timeout=280)  # most of it is the import of torch
    assert child.returncode == 0, err
    check_losses(out, job.environment(**extension))
