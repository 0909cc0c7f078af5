"""Data between processes: publish and lookup, groups, direct modex, and wiring up with few instead of all.

`python bench/data.py [rounds]`. Goals: 10,000 pairs of publish and lookup a second across 4 shells, 1,000 groups of 8
ranks a second, a direct modex of 4 KiB under 1 ms, and 64 ranks over 8 shells that talk to two neighbours each: less
time and a tenth of the bytes by direct modex. The wheel's prterun does the same where it can, on its one node.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measure import HERE, OURS, PRTERUN, as_root, figure, prterun, table
from measure import rounds as how_often

CLIENT = HERE / "data_client.py"
NAMES = {
    "pairs": "publish and lookup, 4 ranks, shells: {} (prterun: one node)",
    "batches": "the same, 100 keys in a call, shells: {} (prterun: one node)",
    "groups": "groups of 8 ranks, shells: {} (prterun: one node)",
}
# Has each shell write what it has sent to its peers into a file, and then is `flux-pmix run`.
COUNTING = """
import os, sys
from fluxpmix.shell.local import shell
from fluxpmix.cli.main import main
send, end, sent = shell.JobShell.send, shell.JobShell._end, [0]
def counted(self, peer, frame, *more):
    sent[0] += sum(map(len, frame))
    send(self, peer, frame, *more)
def told(self):
    with open(os.path.join(os.environ["COUNTED"], str(self.rank)), "w") as file:
        file.write(str(sent[0]))
    return end(self)
shell.JobShell.send, shell.JobShell._end = counted, told
sys.exit(main(["run", *sys.argv[1:]]))
"""


def ours(shells: int, ranks: int, *words: object) -> tuple[float, int]:
    """Run the client on emulated nodes. Returns what it measured, and the bytes sent between the shells."""
    with tempfile.TemporaryDirectory() as directory:
        command = [sys.executable, "-c", COUNTING, f"-N{shells}", f"-n{ranks}", sys.executable, CLIENT, *words]
        found = _measured(command, os.environ | {"COUNTED": directory})
        return found, sum(int(path.read_text()) for path in Path(directory).iterdir())


def theirs(ranks: int, *words: object) -> float:
    """Run the client under prterun, which has one node here."""
    return _measured([*prterun(ranks), sys.executable, CLIENT, *words], as_root())


def _measured(command: Sequence[object], env: dict[str, str]) -> float:
    words = list(map(str, command))
    done = subprocess.run(
        words, check=True, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, timeout=300
    )
    return float(done.stdout.split()[0])


def main() -> None:
    rounds = how_often(3, 1)
    rows = [("", "flux-pmix", "prterun, one node", "goal")]
    for name, what, count, shells, ranks, goal in (
        ("pairs a second, 1 shell, 4 ranks", "pairs", 500, 1, 4, ""),
        ("pairs a second, 4 shells, 4 ranks", "pairs", 500, 4, 4, "10,000"),
        ("pairs a second in calls of 100 keys", "batches", 10, 4, 4, ""),
        ("groups of 8 ranks a second, 1 shell", "groups", 200, 1, 8, "1,000"),
        ("groups of 8 ranks a second, 2 shells", "groups", 200, 2, 8, ""),
    ):
        both = [(ours(shells, ranks, what, count)[0], theirs(ranks, what, count)) for _ in range(rounds)]
        mine, prte = (statistics.median(column) for column in zip(*both, strict=True))
        rows.append((name, f"{mine:,.0f}", f"{prte:,.0f}", goal))
        figure(NAMES[what].format(shells), OURS, mine, "a second")
        figure(NAMES[what].format(shells), PRTERUN, prte, "a second")
    times = [ours(2, 16, "modex", 15)[0] for _ in range(rounds)]
    rows.append(("direct modex of 4 KiB, 2 shells", f"{statistics.median(times):.2f} ms", "", "1 ms"))
    figure("direct modex of 4 KiB between 2 shells", OURS, statistics.median(times), "ms")
    table(f"medians of {rounds} runs", rows)

    rows = [("64 ranks over 8 shells, two neighbours each", "time", "bytes between shells")]
    for name, what in (("collecting fence", "collected"), ("barrier, direct modex", "sparse")):
        found = [ours(8, 64, what, 1) for _ in range(rounds)]
        took, sent = (statistics.median(column) for column in zip(*found, strict=True))
        rows.append((name, f"{took * 1e3:.0f} ms", f"{sent:,.0f}"))
    table("", rows)


main()
