"""Builds the Flux plugins while the package is installed, where that is possible; all else is in pyproject.toml.

Without a C compiler, Python's headers or a shared libpython the rest installs all the same, and
`flux-pmix build-plugins` builds the plugins later.
"""

from __future__ import annotations

import os
import sys

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

HERE = os.path.dirname(os.path.abspath(__file__))
PLUGIN = "fluxpmix.shell.flux.pmix"
UPMI_PLUGIN = "fluxpmix.shell.flux.upmi.pmix"


class BuildPlugin(build_ext):
    """Builds each pmix.so, which is no extension module, where one would go."""

    def get_ext_filename(self, fullname: str) -> str:
        if fullname.rpartition(".")[2] == "pmix":
            return os.path.join(*fullname.split(".")) + ".so"
        return str(super().get_ext_filename(fullname))

    def build_extension(self, ext: Extension) -> None:
        sys.path.insert(0, os.path.join(HERE, "src"))
        target = self.get_ext_fullpath(ext.name)
        os.makedirs(os.path.dirname(target), exist_ok=True)
        try:
            from fluxpmix.shell.flux import embedding

            kind = embedding.UPMI if ext.name == UPMI_PLUGIN else embedding.SHELL
            embedding.build(os.path.dirname(target), kind=kind)
        except Exception as error:  # whatever it is: the rest is of use without
            self.warn(f"the Flux plugin is not built: {error}; later: flux-pmix build-plugins")
        finally:
            del sys.path[0]


setup(
    ext_modules=[Extension(name, sources=[], optional=True) for name in (PLUGIN, UPMI_PLUGIN)],
    cmdclass={"build_ext": BuildPlugin},
)
