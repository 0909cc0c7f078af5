"""All benchmarks in one run: `python bench/all.py [--into DIR] [--only NAMES] [--flux-pmix PREFIX] [--time SECONDS]`.

Runs every script here, one after the other, each with the peers that it finds (prterun, Debian's mpirun, Slurm, the C
flux-pmix), and writes DIR/results.md: machine, versions, all tables, and a plot of those that have ratios. A
benchmark is a file here that prints by `measure.table`; a file without one, as the clients and this, is none. A
column of a table that is headed "to X" holds ratios to X. PREFIX is where the C flux-pmix is installed: a benchmark
that compares with it says in C_PLUGIN which path below it is to be its --c-plugin. What cannot run here is named with
its last word.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.sax.saxutils import escape

from measure import BIN, HERE, RECORD, as_root

VERSIONS = {
    "prterun": [str(BIN / "prterun"), "--version"],
    "Debian's mpirun": ["/usr/bin/mpirun", "--version"],
    "Slurm": ["sinfo", "--version"],
    "Flux": ["flux", "--version"],
}
COLOURS = ("#2a6fd6", "#c97a00")  # up to the peer's time, and above it


def option(name: str, default: str) -> str:
    """Return `--name=VALUE` or `--name VALUE` of the command line."""
    words = sys.argv[1:]
    for at, word in enumerate(words):
        if word == f"--{name}" and at + 1 < len(words):
            return words[at + 1]
        if word.startswith(f"--{name}="):
            return word.partition("=")[2]
    return default


def benchmarks() -> list[Path]:
    """Return the scripts that are benchmarks."""
    return [
        path
        for path in sorted(HERE.glob("*.py"))
        if path.name not in ("all.py", "measure.py") and "import" in path.read_text() and " table" in path.read_text()
    ]


def run(script: Path, prefix: str, limit: float) -> tuple[list[dict[str, object]], str]:
    """Run one and return its tables, and its last word where it failed."""
    words = [sys.executable, str(script)]
    wanted = re.search(r'^C_PLUGIN = "(.+)"', script.read_text(), re.MULTILINE)
    if prefix and wanted:
        words.append(f"--c-plugin={prefix}/{wanted[1]}")
    with tempfile.NamedTemporaryFile("r") as record:
        env = os.environ | {RECORD: record.name}
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        child = subprocess.Popen(words, env=env, text=True, start_new_session=True, **streams)
        try:
            _, said = child.communicate(timeout=limit)
            lines = [line for line in said.splitlines() if line.strip()] or ["no reason given"]
            why = lines[-1] if child.returncode else ""
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)  # and what it has started
            child.communicate()
            why = f"it took more than {limit:g} s"
        return [json.loads(line) for line in record], why


def versions() -> list[tuple[str, str]]:
    """Return what runs here, and of which version."""
    import fluxpmix
    from fluxpmix.cli.main import version

    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as file:
        model = next((line.partition(":")[2].strip() for line in file if line.startswith("model name")), "")
    found = [
        ("processors", f"{len(os.sched_getaffinity(0))} of {model or platform.machine()}"),
        ("Linux", platform.release()),
        ("Python", platform.python_version()),
        ("fluxpmix", version()),
        ("libpmix", fluxpmix.load_library().version_text.partition("(")[0].strip()),
        ("load before", " ".join(f"{each:.1f}" for each in os.getloadavg())),
    ]
    for name, words in VERSIONS.items():
        if shutil.which(words[0]):
            done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=as_root())
            lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
            found.append((name, next((line for line in lines if any(map(str.isdigit, line))), "there")))
        else:
            found.append((name, "not here"))
    return found


def as_markdown(table: dict[str, object]) -> str:
    """Return a table as Markdown."""
    head, *rows = table["rows"]  # type: ignore[misc]
    lines = [f"### {table['title']}", "", f"| {' | '.join(head)} |", "|" + " --- |" * len(head)]
    lines += [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def ratios(table: dict[str, object]) -> tuple[str, list[tuple[str, float]]]:
    """Return whom a table compares with, and the ratio of each row; nothing where it compares with nobody."""
    head, *rows = table["rows"]  # type: ignore[misc]
    for at, title in enumerate(head):
        if title.startswith("to "):
            found = []
            for row in rows:
                try:
                    found.append((row[0], float(row[at])))
                except ValueError:
                    continue
            return title[3:], found
    return "", []


def plot(tables: list[dict[str, object]]) -> str:
    """Return an SVG with a bar for each ratio."""
    parts, y, width = [], 10, 760
    for table in tables:
        peer, found = ratios(table)
        if not found:
            continue
        y += 22
        parts.append(f'<text x="8" y="{y}" class="head">{escape(str(table["title"]))}, to {escape(peer)}</text>')
        most = max(1.0, *(ratio for _, ratio in found))
        for name, ratio in found:
            y += 20
            length = ratio / most * (width - 330)
            shade = COLOURS[ratio > 1.0]
            parts.append(f'<text x="250" y="{y}" text-anchor="end">{escape(name)}</text>')
            parts.append(f'<rect x="258" y="{y - 11}" width="{length:.1f}" height="14" fill="{shade}"/>')
            parts.append(f'<text x="{262 + length:.1f}" y="{y}">{ratio:g}</text>')
        mark = 258 + (width - 330) / most
        parts.append(f'<path d="M{mark:.1f} {y - 20 * len(found) + 4}V{y + 6}" stroke="#888" stroke-dasharray="3 3"/>')
        y += 14
    style = "text{font:12px system-ui,sans-serif;fill:#777}.head{font-weight:600}"
    size = f'width="{width}" height="{y + 12}" viewBox="0 0 {width} {y + 12}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{"".join(parts)}</svg>\n'


def main() -> None:
    into = Path(option("into", "bench-results"))
    only = set(filter(None, option("only", "").split(",")))
    limit = float(option("time", "900"))
    scripts = [path for path in benchmarks() if not only or path.stem in only]
    if unknown := only - {path.stem for path in scripts}:
        raise SystemExit(
            f"--only {','.join(sorted(unknown))}: there are {', '.join(path.stem for path in benchmarks())}"
        )
    into.mkdir(parents=True, exist_ok=True)
    text = ["# Benchmarks", "", *(f"- {name}: {what}" for name, what in versions()), ""]
    everything = []
    for script in scripts:
        print(f"{script.stem} ...", end=" ", flush=True)
        started = time.perf_counter()
        tables, why = run(script, option("flux-pmix", ""), limit)
        print(f"{time.perf_counter() - started:.0f} s{f', failed: {why}' if why else ''}", flush=True)
        text += [f"## {script.stem}", "", *map(as_markdown, tables)]
        if why:
            text += [f"It failed: {why}", ""]
        everything += tables
    (into / "ratios.svg").write_text(plot(everything))
    text += ["## Ratios to the peers", "", "![ratios](ratios.svg)", ""]
    (into / "results.md").write_text("\n".join(text))
    print(f"{into / 'results.md'}: {len(everything)} tables")


if __name__ == "__main__":
    main()
