"""Where the built plugins lie, and where Flux looks for such things: for the commands that set Flux up.

A plugin directory holds `pmix.so` and, in `lua.d`, what loads it; `upmi` in it holds PMI client plugins.
The package is one; where it cannot be written, a directory in the user's own data takes its place.
"""

from __future__ import annotations

import os
import sys

from fluxpmix.pmix.record import Record
from fluxpmix.shell.flux.embedding import NAME, UPMI_DIRECTORY, BuildError

LUA = os.path.join("lua.d", "pmix.lua")


class Plugin(Record):
    """A plugin directory that holds a plugin."""

    directory: str

    @property
    def file(self) -> str:
        """The plugin."""
        return os.path.join(self.directory, NAME)

    @property
    def upmi(self) -> str:
        """The plugin of PMI clients, which may be missing."""
        return os.path.join(self.directory, UPMI_DIRECTORY, NAME)

    @property
    def lua(self) -> str:
        """The file that flux-shell reads to load it."""
        return os.path.join(self.directory, LUA)


class Prefix(Record):
    """The directories of a Flux installation in which flux-shell looks, and brokers and `flux pmi`."""

    plugins: str
    lua: str
    upmi: str


def package_directory() -> str:
    """Return the plugin directory in the package."""
    return os.path.dirname(os.path.abspath(__file__))


def user_directory() -> str:
    """Return the plugin directory in the user's own data, for this version of Python."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.expanduser("~/.local/share")
    return os.path.join(data, "fluxpmix", str(sys.implementation.cache_tag))


def default_directory() -> str:
    """Return where to build: the package, or the user's own where that cannot be written."""
    here = package_directory()
    return here if os.access(here, os.W_OK) else user_directory()


def find() -> Plugin | None:
    """Return the plugin that was built, None where none was."""
    for directory in (package_directory(), user_directory()):
        if os.path.exists(os.path.join(directory, NAME)):
            return Plugin(directory)
    return None


def prepare(directory: str) -> Plugin:
    """Make `directory` a plugin directory, but for the plugin itself. Raises `BuildError`."""
    import shutil

    ours = os.path.join(package_directory(), LUA)
    theirs = os.path.join(directory, LUA)
    try:
        os.makedirs(os.path.dirname(theirs), exist_ok=True)
        if not (os.path.exists(theirs) and os.path.samefile(ours, theirs)):
            shutil.copyfile(ours, theirs)
    except OSError as error:
        raise BuildError(
            f"cannot write {error.filename or directory}: {error.strerror}; choose another --into DIR"
        ) from None
    return Plugin(directory)


def of_prefix(prefix: str) -> Prefix:
    """Return the directories of the Flux installed below `prefix`: as its own `flux` says, else the usual ones."""
    import subprocess

    found = {
        "shell_pluginpath": os.path.join(prefix, "lib", "flux", "shell", "plugins"),
        "shell_initrc": os.path.join(prefix, "etc", "flux", "shell", "initrc.lua"),
        "upmi_pluginpath": os.path.join(prefix, "lib", "flux", "upmi", "plugins"),
    }
    flux = os.path.join(prefix, "bin", "flux")
    if os.access(flux, os.X_OK):
        for name, usual in found.items():
            done = subprocess.run([flux, "config", "builtin", name], capture_output=True, text=True, check=False)
            found[name] = done.stdout.strip().split(":")[0] or usual
    lua = os.path.join(os.path.dirname(found["shell_initrc"]), "lua.d")
    return Prefix(found["shell_pluginpath"], lua, found["upmi_pluginpath"])
