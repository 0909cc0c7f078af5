"""What `flux-pmix doctor` says of Flux: the compiler, the plugins, flux itself, and proofs of each plugin.

The proofs are an instance of Flux's own with one broker and a job in it, and a `flux pmi` in a job of our own
launcher; they take three seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.flux.embedding import Kind
    from fluxpmix.shell.flux.location import Plugin

_PATIENCE = 60.0  # seconds for the instance and its job


def report() -> Iterator[tuple[str, str]]:
    """Yield (what, what was found) lines."""
    import shutil

    from fluxpmix.shell.flux import embedding, location

    flux = shutil.which("flux")
    plugin = location.find()
    try:
        yield "compiler", " ".join(embedding.find_compiler())
    except embedding.BuildError as error:
        yield "compiler", f"{error}; needed only to build the plugin"
    for path, kind, of_whom in _plugins(plugin):
        if not os.path.exists(path):
            said = f"not built: {_obstacle() or 'flux-pmix build-plugins builds it'}"
        elif embedding.is_current(path, kind):
            said = path
        else:
            said = f"{path}; not of these sources: flux-pmix build-plugins builds it anew"
        yield "plugin", f"{said} ({of_whom})"
    if flux is None:
        yield "flux", "not found; none is needed to run on this machine"
        return
    yield "flux", f"{_version(flux)} at {flux}"
    yield "links", _links()
    if plugin is not None:
        yield "job", _prove(flux, os.path.dirname(plugin.lua))
        if os.path.exists(plugin.upmi):
            yield "flux pmi", _prove_client(flux, os.path.dirname(plugin.upmi))


def _plugins(plugin: Plugin | None) -> Iterator[tuple[str, Kind, str]]:
    from fluxpmix.shell.flux import embedding

    yield plugin.file if plugin else "", embedding.SHELL, "of jobs"
    yield plugin.upmi if plugin else "", embedding.UPMI, "of brokers and flux pmi"


def _links() -> str:
    """Say whether shells can send large data to each other directly."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return f"of shells to each other, for large data: with cryptography {version('cryptography')}"
    except PackageNotFoundError:
        return "none, large data go through Flux: pip install 'fluxpmix[flux]' brings what they need"


def _obstacle() -> str | None:
    from fluxpmix.shell.flux import embedding

    try:
        embedding.this_python()
        embedding.find_compiler()
    except embedding.BuildError as error:
        return str(error)
    return None


def _version(flux: str) -> str:
    import subprocess

    done = subprocess.run([flux, "version"], capture_output=True, text=True, check=False)
    found = [line.split()[-1] for line in done.stdout.splitlines() if line.startswith("commands:")]
    return found[0] if found else "of unknown version"


def _prove(flux: str, rc_path: str) -> str:
    """Run a job with the plugin in an instance of its own; say how it went."""
    command = [flux, "start", "--test-size=1", flux, "run", "-o", "pmi=pmix", "printenv", "PMIX_VERSION"]
    return _try(command, {"FLUX_SHELL_RC_PATH": rc_path}, "flux run -o pmi=pmix started a task with libpmix")


def _prove_client(flux: str, search_path: str) -> str:
    """Run `flux pmi` with the plugin of PMI clients in a job of our own launcher; say how it went."""
    import sys

    command = [sys.executable, "-m", "fluxpmix.cli.main", "run", "-n1", flux, "pmi", "--method=pmix", "barrier"]
    return _try(command, {"FLUX_PMI_CLIENT_SEARCHPATH": search_path}, "flux pmi --method=pmix says:")


def _try(command: list[str], settings: dict[str, str], what: str) -> str:
    import subprocess

    env = {name: value for name, value in os.environ.items() if not name.startswith(("FLUX_", "PMI"))}
    try:
        done = subprocess.run(
            command,
            env=env | settings,
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            timeout=_PATIENCE,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"failed: {error}"
    if done.returncode == 0 and done.stdout.strip():
        return f"good: {what} {done.stdout.strip()}"
    lines = [line for line in done.stderr.splitlines() if "pmix" in line] or done.stderr.splitlines()
    reason = next((line for line in lines if "job.exception" in line), lines[0] if lines else "it says nothing")
    return f"failed: {reason.strip()}"
