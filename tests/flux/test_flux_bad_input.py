"""What may be wrong where a real Flux starts the plugin: it fails the job at once, with a line that says what it is."""

from __future__ import annotations

import shutil
import subprocess
import sys
import venv
from pathlib import Path

import pytest
from instance import CLIENTS, PATIENCE, SOURCE, Instance

from fluxpmix.pmix.record import replace
from fluxpmix.shell.flux import embedding, location

pytestmark = pytest.mark.flux


def failure(instance: Instance, *words: str, **env: str) -> str:
    """Run a job that fails for what is wrong, and return the note of its exception; a good one runs after it."""
    # One shell: of several, Flux may end some before they have said their word. It may end this one, too (143).
    child = instance.start("-n1", *words, "true", env=env)
    result = instance.finish(child, 143 if child.wait(PATIENCE) == 143 else 1)
    assert "Traceback" not in result.err
    (note,) = instance.exceptions()
    assert f"severity=0 {note}\n" in result.err
    instance.run("-N2", "-n2", sys.executable, CLIENTS / "fence.py")
    return note


def stub(directory: Path, version: str) -> Path:
    """A library that says it is this version of libpmix."""
    source, library = directory / "old.c", directory / "libpmix.so.2"
    source.write_text(f'const char *PMIx_Get_version(void) {{ return "OpenPMIx {version}, repo rev: x"; }}\n')
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def test_no_libpmix(two: Instance) -> None:
    note = failure(two, "--env=FLUXPMIX_LIBPMIX=/nonexistent/libpmix.so")
    assert note.startswith("pmix: no usable libpmix, version 4.2 or newer; tried /nonexistent/libpmix.so")
    assert "pip install" in note


def test_a_libpmix_that_is_too_old(two: Instance, tmp_path: Path) -> None:
    path = stub(tmp_path, "3.2.5")
    note = failure(two, "-o", f"pmix.libpmix={path}")
    assert f"{path} (asked for): version 3.2.5 is too old" in note and "4.2 or newer" in note


def test_a_plugin_whose_python_is_gone(two: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = replace(embedding.this_python(), executable="/nonexistent/python3", base="/nonexistent/base")
    monkeypatch.setattr(embedding, "this_python", lambda: gone)
    embedding.build(location.prepare(str(tmp_path)).directory)
    note = failure(two, FLUX_SHELL_RC_PATH=str(tmp_path / "lua.d"))
    assert note == (
        "pmix: the Python that this plugin was built for is gone: /nonexistent/python3; run flux-pmix build-plugins"
    )


@pytest.fixture
def site(plugin: Path, tmp_path: Path) -> Path:
    """The package with its plugin in a new virtual environment that has nothing else."""
    venv.create(tmp_path / "env", symlinks=True)
    site = next((tmp_path / "env/lib").glob("python3*")) / "site-packages"
    shutil.copytree(Path(SOURCE) / "fluxpmix", site / "fluxpmix", ignore=shutil.ignore_patterns("*.so", "__pycache__"))
    shutil.copy(plugin / "pmix.so", site / "fluxpmix/shell/flux/pmix.so")
    return site


def test_an_environment_without_cffi(two: Instance, site: Path) -> None:
    note = failure(two, FLUX_SHELL_RC_PATH=str(site / "fluxpmix/shell/flux/lua.d"))
    python = site.parent.parent.parent / "bin/python3"
    assert note == f"pmix: Python at {python}: No module named '_cffi_backend'; install cffi there: pip install cffi"


def test_a_package_that_lacks_a_part(two: Instance, site: Path) -> None:
    import _cffi_backend

    shutil.copy(_cffi_backend.__file__, site)
    (site / "fluxpmix/host/host.py").unlink()
    note = failure(two, FLUX_SHELL_RC_PATH=str(site / "fluxpmix/shell/flux/lua.d"))
    assert note.startswith("pmix: the plugin's Python part (") and "No module named 'fluxpmix.host.host'" in note


def test_a_plugin_that_is_not_there(two: Instance, tmp_path: Path) -> None:
    location.prepare(str(tmp_path))  # what loads it, and nothing to load
    note = failure(two, FLUX_SHELL_RC_PATH=str(tmp_path / "lua.d"))
    assert "pmix: " in note and "flux-pmix build-plugins builds the plugin" in note


def test_a_directory_that_cannot_be_written(two: Instance, tmp_path: Path) -> None:
    # Its owner may be root, who writes anywhere but where there is nothing.
    (tmp_path / "a.lua").write_text(
        'plugin.register{ name = "away", handlers = {{ topic = "shell.init", '
        'fn = function () shell.setenv("FLUX_JOB_TMPDIR", "/nonexistent") end }}}\n'
    )
    note = failure(two, FLUX_SHELL_RC_PATH=f"{tmp_path}:{two.plugin / 'lua.d'}")
    assert note == "pmix: FLUX_JOB_TMPDIR=/nonexistent cannot be written; see the broker attribute rundir"
