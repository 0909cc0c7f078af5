"""What `clients/restarts.py` prints, for the tests of every carrier."""

from __future__ import annotations


def expected(how: str) -> list[str]:
    """Return its lines, sorted; `how` is its first argument."""
    first = {"alive": "PMIX_EVENT_PROC_TERMINATED:3", "dead": "PMIX_ERR_PROC_ABORTED_BY_SIG:3"}[how]
    lines = ["0 checkpoint done", "0 unknown PMIX_ERR_NOT_FOUND", "0 restart done", "0 restart done"]
    for rank in range(4):
        lines += [f"{rank} fence {round_} fenced" for round_ in range(3)]
        lines += [f"{rank} read 0 3.0 3.0.0", f"{rank} read 1 3.2 3.1.2", f"{rank} read 2 3.2 3.2.2"]
        lines += [f"{rank} incarnation 0 from None at 0", f"{rank} counts 0 0 0 2"]
        if rank < 3:
            lines.append(f"{rank} heard {first} PMIX_EVENT_PROC_TERMINATED:3")
    return sorted([*lines, "3 incarnation 1 from one at 13", "3 incarnation 2 from one at 13"])
