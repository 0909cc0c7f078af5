"""`flux-pmix trace FILE`: what a job's time went into, from what `run --trace` or `-o pmix.trace` wrote.

Prints what the start-up spent, each fence and the other requests; `--html` draws a page that needs nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from fluxpmix.cli.errors import CommandError, UsageError
from fluxpmix.cli.options import Option, help_page, parse

USAGE = "flux-pmix trace FILE [OPTIONS...]"
PURPOSE = "Say what a job's time went into."
TAIL = (
    "FILE is what flux-pmix run --trace FILE, or flux run -o pmi=pmix -o pmix.trace=FILE, wrote;\n"
    "ui.perfetto.dev shows it too. A shell hears of a fence when the last of its own ranks has entered:\n"
    "that one, of the last shell to come, is whom the others waited for.\n"
)
OPTIONS = (
    Option(("--html",), "OUT", "draw a page that needs nothing else", "Output"),
    Option(("--fences",), "N", "print so many of the fences, the slowest (default 20; 0: none)", "Output", int),
    Option(("-h", "--help"), None, None),
)


def main(arguments: Sequence[str]) -> int:
    """Read a trace, print its tables and draw it; return the exit code."""
    first = parse(OPTIONS, arguments)
    later = parse(OPTIONS, first.rest[1:])  # options may stand on both sides of the file
    values, files = {**first.values, **later.values}, (*first.rest[:1], *later.rest)
    if "help" in values:
        print(help_page(USAGE, PURPOSE, OPTIONS, TAIL))
        return 0
    if len(files) != 1:
        raise UsageError("trace takes one file, which flux-pmix run --trace FILE has written")
    from fluxpmix.cli.trace import page, reading

    (path,) = files
    try:
        trace = reading.read(path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
    except reading.NotATrace as error:
        raise CommandError(f"{path}: {error}; flux-pmix run --trace FILE writes one") from None
    out = values.get("html")
    if out is not None:
        try:
            with open(out, "w", encoding="utf-8") as file:
                file.write(page.draw(trace))
        except OSError as error:
            raise CommandError(f"--html {out}: {error.strerror}") from None
    sys.stdout.write("\n".join(reading.tables(trace, values.get("fences", 20))))
    return 0
