"""`flux-pmix install --prefix=PREFIX`: links our plugins into a Flux installation, for all who use it.

Three links: the plugin below flux-shell's plugin directory, the file that loads it in `lua.d`, and the plugin of
brokers and `flux pmi` among those of PMI clients. There the first of a name counts, by file name: ours comes
before the C flux-pmix's.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from fluxpmix.cli.errors import CommandError, UsageError
from fluxpmix.cli.options import Option, help_page, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fluxpmix.shell.flux.location import Prefix

OPTIONS = (
    Option(("--prefix",), "PREFIX", "where Flux is installed, e.g. /usr"),
    Option(("--remove",), None, "remove the links again"),
    Option(("-h", "--help"), None, "show this page"),
)


def main(arguments: Sequence[str]) -> int:
    """Link or unlink, say what, and return the exit code."""
    parsed = parse(OPTIONS, arguments)
    if "help" in parsed.values:
        usage = "flux-pmix install --prefix PREFIX [--remove]"
        print(help_page(usage, "Link the plugins into a Flux installation, or remove them from one.", OPTIONS))
        return 0
    if parsed.rest:
        raise UsageError(f"install takes no argument, {parsed.rest[0]!r} was given; write --prefix=PREFIX")
    prefix = parsed.values.get("prefix")
    if not prefix:
        raise UsageError(
            "install needs --prefix=PREFIX, where Flux is installed, e.g. /usr: the directory above the one with flux"
        )
    from fluxpmix.shell.flux import location

    there = location.of_prefix(os.path.abspath(prefix))
    plugin = location.find()
    if "remove" in parsed.values:
        for path in _links(there):
            _remove(path)
        return 0
    if plugin is None:
        raise CommandError("the plugin is not built: flux-pmix build-plugins builds it")
    if not os.path.isdir(os.path.dirname(there.lua)):
        raise CommandError(f"--prefix={prefix}: no Flux is installed there: {os.path.dirname(there.lua)} is missing")
    if not os.path.exists(plugin.upmi):
        raise CommandError(f"{plugin.upmi} is missing: flux-pmix build-plugins builds both plugins")
    for path, target in zip(_links(there), (plugin.file, plugin.lua, plugin.upmi), strict=True):
        _link(path, target)
    return 0


def _links(there: Prefix) -> tuple[str, str, str]:
    return (
        os.path.join(there.plugins, "fluxpmix", "pmix.so"),
        os.path.join(there.lua, "fluxpmix.lua"),
        os.path.join(there.upmi, "fluxpmix.so"),
    )


def _link(path: str, target: str) -> None:
    if os.path.lexists(path) and not os.path.islink(path):
        raise CommandError(f"{path} is there already and is no link: remove it first, if it may go")
    fresh = f"{path}.{os.getpid()}"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        os.symlink(target, fresh)
        os.replace(fresh, path)
    except OSError as error:
        raise CommandError(f"cannot write {path}: {error.strerror}; run this as who may write there") from None
    print(f"{path} -> {target}")


def _remove(path: str) -> None:
    if not os.path.lexists(path):
        return
    if not os.path.islink(path):
        raise CommandError(f"{path} is no link: it is not ours, and stays")
    try:
        os.unlink(path)
    except OSError as error:
        raise CommandError(f"cannot remove {path}: {error.strerror}; run this as who may write there") from None
    print(f"removed {path}")
