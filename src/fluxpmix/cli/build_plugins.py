"""`flux-pmix build-plugins`: builds the plugins that flux-shell and brokers load, where installation could not.

Needed after an installation without a C compiler, and after Python has been replaced.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

from fluxpmix.cli.errors import CommandError, UsageError
from fluxpmix.cli.options import Option, help_page, parse

OPTIONS = (
    Option(("--into",), "DIR", "put them there (default: into the package, or your own data directory)"),
    Option(("--cc",), "COMMAND", "the C compiler (default: $CC, cc, gcc or clang)"),
    Option(("-h", "--help"), None, "show this page"),
)


def main(arguments: Sequence[str]) -> int:
    """Build, say where, and return the exit code."""
    parsed = parse(OPTIONS, arguments)
    if "help" in parsed.values:
        usage = "flux-pmix build-plugins [--into DIR] [--cc COMMAND]"
        print(help_page(usage, "Build the plugins that Flux loads, for jobs and for brokers.", OPTIONS))
        return 0
    if parsed.rest:
        raise UsageError(f"build-plugins takes no argument, {parsed.rest[0]!r} was given; --into DIR names a directory")
    from fluxpmix.shell.flux import embedding, location

    directory = os.path.abspath(parsed.values.get("into") or location.default_directory())
    try:
        plugin = location.prepare(directory)
        embedding.build_all(directory, compiler=parsed.values.get("cc"))
    except embedding.BuildError as error:
        raise CommandError(str(error)) from None
    print(plugin.file)
    print(plugin.upmi)
    return 0
