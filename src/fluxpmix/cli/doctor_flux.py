"""What `flux-pmix doctor` says of Flux: the compiler, the plugin, flux itself, and a job that proves the lot.

The proof is an instance of Flux's own with one broker, and a job in it; it takes two seconds.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

TYPE_CHECKING = False
if TYPE_CHECKING:
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
    if plugin is not None:
        yield "plugin", f"{plugin.file}{_age(plugin)}"
    else:
        yield "plugin", f"not built: {_obstacle() or 'flux-pmix build-plugins builds it'}"
    if flux is None:
        yield "flux", "not found; none is needed to run on this machine"
        return
    yield "flux", f"{_version(flux)} at {flux}"
    if plugin is not None:
        yield "job", _prove(flux, os.path.dirname(plugin.lua))


def _age(plugin: Plugin) -> str:
    from fluxpmix.shell.flux import location

    built = os.path.getmtime(plugin.file)
    source = os.path.getmtime(os.path.join(location.package_directory(), "plugin.c"))
    return "" if built >= source else "; older than its source: flux-pmix build-plugins builds it anew"


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
    import subprocess

    env = {name: value for name, value in os.environ.items() if not name.startswith(("FLUX_", "PMI"))}
    env["FLUX_SHELL_RC_PATH"] = rc_path
    command = [flux, "start", "--test-size=1", flux, "run", "-o", "pmi=pmix", "printenv", "PMIX_VERSION"]
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=_PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"failed: {error}"
    if done.returncode == 0 and done.stdout.strip():
        return f"good: flux run -o pmi=pmix started a task with libpmix {done.stdout.strip()}"
    lines = [line for line in done.stderr.splitlines() if "pmix" in line] or done.stderr.splitlines()
    reason = next((line for line in lines if "job.exception" in line), lines[0] if lines else "it says nothing")
    return f"failed: {reason.strip()}"
