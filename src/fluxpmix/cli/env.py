"""`eval "$(flux-pmix env)"`: the variables by which Flux finds our plugins and our command.

FLUX_SHELL_RC_PATH is read by flux-shell, FLUX_PMI_CLIENT_SEARCHPATH by the broker and `flux pmi`,
FLUX_EXEC_PATH by `flux`, so that `flux pmix ...` works. What they hold already is kept, once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from fluxpmix.cli.errors import CommandError, UsageError
from fluxpmix.cli.options import Option, help_page, parse

OPTIONS = (
    Option(("--unset",), None, "take our part out again"),
    Option(("-h", "--help"), None, "show this page"),
)


def main(arguments: Sequence[str]) -> int:
    """Print shell commands and return the exit code."""
    parsed = parse(OPTIONS, arguments)
    if "help" in parsed.values:
        print(
            help_page(
                'eval "$(flux-pmix env [--unset])"',
                "Print shell commands that make flux run -o pmi=pmix and flux pmix work.",
                OPTIONS,
            )
        )
        return 0
    if parsed.rest:
        raise UsageError(f"env takes no argument, {parsed.rest[0]!r} was given")
    for name, value in settings("unset" in parsed.values).items():
        print(f"export {name}={_quoted(value)}" if value else f"unset {name}")
    return 0


def settings(unset: bool = False) -> dict[str, str]:
    """Return the variables and their values; an empty value is none. Raises `CommandError`."""
    from fluxpmix.shell.flux import location

    plugin = location.find()
    if plugin is None:
        raise CommandError(
            "the plugin is not built: flux-pmix build-plugins builds it (a C compiler and Python's headers are needed)"
        )
    ours = {"FLUX_SHELL_RC_PATH": os.path.dirname(plugin.lua)}
    if os.path.exists(plugin.upmi):
        ours["FLUX_PMI_CLIENT_SEARCHPATH"] = os.path.dirname(plugin.upmi)
    ours["FLUX_EXEC_PATH"] = os.path.dirname(_command())
    found = {}
    for name, directory in ours.items():
        kept = [each for each in os.environ.get(name, "").split(":") if each and each != directory]
        found[name] = ":".join(kept if unset else [directory, *kept])
    return found


def _command() -> str:
    """Return the path of the command `flux-pmix`: beside the Python that runs it, or as it was called."""
    beside = os.path.join(os.path.dirname(sys.executable), "flux-pmix")
    if os.path.exists(beside):
        return beside
    import shutil

    return os.path.abspath(shutil.which(sys.argv[0]) or shutil.which("flux-pmix") or beside)


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)
