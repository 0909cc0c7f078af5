"""How many events a second one process tells to those of four shells, and how soon a death is heard of elsewhere.

Usage: python bench/events.py [ROUNDS [EVENTS]].
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

from measure import BIN, HERE, OURS, QUICK, figure, table

DEATHS = 10


def run(*words: str) -> list[list[str]]:
    """Run the client under `flux-pmix run` and return the words of its lines."""
    with tempfile.TemporaryDirectory() as directory:
        done = subprocess.run(
            [str(BIN / "flux-pmix"), "run", *words],
            env=os.environ | {"SAID": directory},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    lines = [line.split() for line in done.stdout.splitlines()]
    assert lines, done
    return lines


def main() -> None:
    """Measure and print the table."""
    given = [int(word) for word in sys.argv[1:]]
    rounds, events = (*given, *((1, 2000) if QUICK else (3, 10000))[len(given) :])
    client = [sys.executable, str(HERE / "events_client.py")]
    rates = []
    for _ in range(rounds):
        ((_, sending, all_),) = run("-N4", "-n4", *client, "fan", str(events))
        rates.append((events / float(sending), events / float(all_)))
    lines = run(
        "-N2",
        "--taskmap=manual:[[0,1,1,1],[1,1,10,1]]",
        "-n",
        str(DEATHS + 1),
        "-o",
        "exit-timeout=none",
        *client,
        "die",
        str(DEATHS + 1),
    )
    figure(
        "events of one process to three others, heard by all", OURS, statistics.median(r for _, r in rates), "a second"
    )
    taken = sorted(float(seconds) * 1e3 for _, seconds in lines)
    table(
        f"{events} events of one process to three others, each on a shell of its own; median of {rounds}",
        [
            ("raised", f"{statistics.median(rate for rate, _ in rates):.0f} a second"),
            ("heard by all", f"{statistics.median(rate for _, rate in rates):.0f} a second"),
        ],
    )
    figure("a process's death to the event on another shell", OURS, statistics.median(taken), "ms")
    table(
        f"from a process's death (SIGKILL) to the event on another shell, {len(taken)} times",
        [("median", f"{statistics.median(taken):.1f} ms"), ("longest", f"{taken[-1]:.1f} ms")],
    )


if __name__ == "__main__":
    main()
