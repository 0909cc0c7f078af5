"""Fixtures: the plugin built from this tree, and real Flux instances where there is a Flux."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from installed import VERSIONS
from installed import find_libpmix as libpmix
from instance import SOURCE, Instance
from slurm_cluster import Slurm, Unavailable

from fluxpmix.shell.flux import embedding, location


@pytest.fixture(scope="session")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with pmix.so, built from this tree, and lua.d."""
    directory = tmp_path_factory.mktemp("plugin")
    try:
        embedding.build(str(directory))
    except embedding.BuildError as error:
        pytest.skip(f"the plugin cannot be built here: {error}")
    shutil.copytree(Path(embedding.__file__).parent / "lua.d", directory / "lua.d")
    return directory


@pytest.fixture(scope="session")
def _instances(plugin: Path) -> Iterator[Callable[[int], Instance]]:
    running: dict[int, Instance] = {}

    def get(size: int) -> Instance:
        if shutil.which("flux") is None:
            pytest.skip("flux is not on PATH")
        if size not in running:
            running[size] = Instance(size, plugin)
        return running[size]

    yield get
    for instance in running.values():
        instance.close()


@pytest.fixture
def instance(_instances: Callable[[int], Instance]) -> Iterator[Callable[[int], Instance]]:
    """Gives the instance of so many brokers; after the test nothing of its jobs may be left."""
    used: list[Instance] = []

    def get(size: int) -> Instance:
        used.append(_instances(size))
        return used[-1]

    yield get
    for each in used:
        each.check()


@pytest.fixture
def two(instance: Callable[[int], Instance]) -> Instance:
    """An instance of two brokers."""
    return instance(2)


@pytest.fixture(params=VERSIONS)
def server(request: pytest.FixtureRequest) -> str:
    """The path of the libpmix that serves."""
    path = libpmix(request.param)
    if path is None:
        pytest.skip(f"libpmix {request.param} is not installed")
    return path


@pytest.fixture(scope="session")
def upmi(plugin: Path) -> Path:
    """The directory with the PMI client plugin, built from this tree beside the shell's."""
    directory = plugin / embedding.UPMI_DIRECTORY
    directory.mkdir(exist_ok=True)
    embedding.build(str(directory), kind=embedding.UPMI)
    assert location.Plugin(str(plugin)).upmi == str(directory / "pmix.so")
    return directory


@pytest.fixture
def environment(plugin: Path, upmi: Path) -> dict[str, str]:
    """What Flux needs to start under a PMIx launcher, and to run jobs with PMIx."""
    env = {name: os.environ[name] for name in ("HOME", "LD_LIBRARY_PATH", "FLUXPMIX_LIBPMIX") if name in os.environ}
    return env | {
        "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
        "LANG": "C.UTF-8",
        "PYTHONPATH": SOURCE,
        "FLUX_PMI_CLIENT_SEARCHPATH": str(upmi),
        "FLUX_PMI_CLIENT_METHODS": "simple pmix single",
        "FLUX_SHELL_RC_PATH": str(plugin / "lua.d"),
        "PRTE_ALLOW_RUN_AS_ROOT": "1",
        "PRTE_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    }


@pytest.fixture(scope="session")
def slurm() -> Iterator[Slurm]:
    """A Slurm of eight nodes."""
    try:
        cluster = Slurm()
    except Unavailable as reason:
        pytest.skip(f"no Slurm: {reason}")
    yield cluster
    cluster.close()
