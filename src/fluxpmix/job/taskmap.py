"""Which task runs on which node: the task map of Flux RFC 34.

A map is a list of blocks `[nodeid, nnodes, ppn, repeat]`: `ppn` tasks on each of `nnodes` nodes from
`nodeid` on, the whole `repeat` times, task ids counting on. A million tasks on ten thousand nodes are one
block; the bulk queries return `array`s.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TypeAlias, TypeVar

from fluxpmix.job import idset

_T = TypeVar("_T")
Block: TypeAlias = tuple[int, int, int, int]
FORMS = ("wrapped", "list", "pmi", "raw", "raw-deranged")


class TaskMap:
    """An immutable task map. Compare, hash and print it by its blocks."""

    __slots__ = ("_local_ranks", "_nodes", "_tasks", "blocks", "nnodes", "ntasks")

    blocks: tuple[Block, ...]
    nnodes: int
    ntasks: int

    def __init__(self, blocks: Iterable[Sequence[int]]) -> None:
        self.blocks = _merged(_block(block) for block in blocks)
        self.nnodes = max((nodeid + nnodes for nodeid, nnodes, _, _ in self.blocks), default=0)
        self.ntasks = sum(nnodes * ppn * repeat for _, nnodes, ppn, repeat in self.blocks)
        self._nodes: array[int] | None = None
        self._local_ranks: array[int] | None = None
        self._tasks: tuple[array[int], ...] | None = None

    # -- constructors ----------------------------------------------------------------------------

    @classmethod
    def block(cls, counts: Sequence[int]) -> TaskMap:
        """Consecutive tasks: `counts[n]` of them on node n."""
        return cls([(node, 1, count, 1) for node, count in enumerate(counts) if count])

    @classmethod
    def cyclic(cls, counts: Sequence[int], stride: int = 1) -> TaskMap:
        """`stride` tasks on each node in turn, until node n has `counts[n]`."""
        if stride < 1:
            raise ValueError(f"cyclic:{stride}: the stride is at least 1")
        left = list(counts)
        blocks: list[Block] = []
        while any(left):
            for node, remaining in enumerate(left):
                if taken := min(stride, remaining):
                    blocks.append((node, 1, taken, 1))
                    left[node] -= taken
        return cls(blocks)

    @classmethod
    def nodes(cls, placement: Iterable[int]) -> TaskMap:
        """Task by task: `placement[t]` is the node of task t, as a host file says it."""
        return cls([(node, 1, 1, 1) for node in placement])

    @classmethod
    def parse(cls, text: str) -> TaskMap:
        """Read a map in any form of RFC 34: JSON (wrapped or a list), PMI vector, raw idsets.

        Raises ValueError that names the text and what is wrong with it.
        """
        stripped = text.strip()
        if stripped.startswith(("{", "[")) and not _is_raw(stripped):
            return cls._from_json(stripped)
        if stripped.startswith("("):
            return cls._from_pmi(stripped)
        return cls._from_raw(stripped)

    # -- queries ---------------------------------------------------------------------------------

    def node_of(self, task: int) -> int:
        """Return the node that runs `task`. Raises ValueError for a task that the map does not have."""
        if not 0 <= task < self.ntasks:
            raise ValueError(f"no task {task} in a map of {self.ntasks} tasks")
        return self.node_column()[task]

    def tasks(self, node: int) -> Sequence[int]:
        """Return the tasks on `node`, ascending. Raises ValueError for an unknown node."""
        if not 0 <= node < self.nnodes:
            raise ValueError(f"no node {node} in a map of {self.nnodes} nodes")
        if self._tasks is None:
            lists = tuple(array("I") for _ in range(self.nnodes))
            for first, node_, count in self._runs():
                lists[node_].extend(range(first, first + count))
            self._tasks = lists
        return self._tasks[node]

    def node_column(self) -> array[int]:
        """Return the node of each task: `array('I')` of length `ntasks`."""
        if self._nodes is None:
            column = array("I")
            for _, node, count in self._runs():
                column.extend(array("I", [node]) * count)
            self._nodes = column
        return self._nodes

    def local_rank_column(self) -> array[int]:
        """Return each task's place among the tasks of its node: `array('H')` of length `ntasks`."""
        if self._local_ranks is None:
            seen = [0] * self.nnodes
            column = array("H")
            for _, node, count in self._runs():
                column.extend(range(seen[node], seen[node] + count))
                seen[node] += count
            self._local_ranks = column
        return self._local_ranks

    def counts(self) -> list[int]:
        """Return the number of tasks on each node."""
        counts = [0] * self.nnodes
        for nodeid, nnodes, ppn, repeat in self.blocks:
            for node in range(nodeid, nodeid + nnodes):
                counts[node] += ppn * repeat
        return counts

    def encode(self, form: str = "wrapped") -> str:
        """Return the map as text in one of `FORMS`.

        `wrapped` is `{"version":1,"map":[[0,2,1,1]]}`, `list` its list alone, `pmi` the vector of
        PMI_process_mapping, `raw` idsets by node `0-1;2-3`, `raw-deranged` the same without ranges.
        """
        if form in ("wrapped", "list"):
            body = ",".join(f"[{','.join(map(str, block))}]" for block in self.blocks)
            return f'{{"version":1,"map":[{body}]}}' if form == "wrapped" else f"[{body}]"
        if form == "pmi":
            parts = [f"({b[0]},{b[1]},{b[2]})" for b in self.blocks for _ in range(b[3])]
            return f"({','.join(['vector', *parts])})"
        if form == "raw":
            return ";".join(idset.encode(self.tasks(node)) for node in range(self.nnodes))
        if form == "raw-deranged":
            return ";".join(",".join(map(str, self.tasks(node))) for node in range(self.nnodes))
        raise ValueError(f"task map form {form!r}: one of {', '.join(FORMS)}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TaskMap) and self.blocks == other.blocks

    def __hash__(self) -> int:
        return hash(self.blocks)

    def __repr__(self) -> str:
        return f"TaskMap({self.encode('list')})"

    # -- inside ----------------------------------------------------------------------------------

    def _runs(self) -> Iterator[tuple[int, int, int]]:
        """Yield (first task, node, number of tasks) of each run of tasks on one node."""
        task = 0
        for nodeid, nnodes, ppn, repeat in self.blocks:
            for _ in range(repeat):
                for node in range(nodeid, nodeid + nnodes):
                    yield task, node, ppn
                    task += ppn

    @classmethod
    def _from_json(cls, text: str) -> TaskMap:
        import json

        try:
            value = json.loads(text)
        except ValueError as error:
            raise ValueError(f"task map {text!r}: {error}") from None
        if isinstance(value, dict):
            if value.get("version") != 1 or "map" not in value:
                raise ValueError(f'task map {text!r}: wanted {{"version":1,"map":[...]}}')
            value = value["map"]
        if not isinstance(value, list):
            raise ValueError(f"task map {text!r}: a list of blocks [nodeid,nnodes,ppn,repeat] is wanted")
        return _named(text, lambda: cls(value))

    @classmethod
    def _from_pmi(cls, text: str) -> TaskMap:
        compact = text.replace(" ", "")
        if not (compact.startswith("(vector") and compact.endswith(")")):
            raise ValueError(f"task map {text!r}: a PMI vector is written (vector,(nodeid,nnodes,ppn),...)")
        body = compact[len("(vector") : -1].lstrip(",")
        blocks: list[list[int]] = []
        for part in body.replace("),(", ")|(").split("|") if body else []:
            numbers = part[1:-1].split(",") if part.startswith("(") and part.endswith(")") else []
            if len(numbers) != 3 or not all(each.isdigit() for each in numbers):
                raise ValueError(f"task map {text!r}: {part!r} is no (nodeid,nnodes,ppn)")
            blocks.append([*map(int, numbers), 1])
        return _named(text, lambda: cls(blocks))

    @classmethod
    def _from_raw(cls, text: str) -> TaskMap:
        if not text:
            return cls([])
        owner: dict[int, int] = {}
        for node, part in enumerate(text.split(";")):
            for task in _named(text, partial(idset.parse, part)):
                if task in owner:
                    raise ValueError(f"task map {text!r}: task {task} is on two nodes")
                owner[task] = node
        missing = next((task for task in range(len(owner)) if task not in owner), None)
        if missing is not None:
            raise ValueError(f"task map {text!r}: task {missing} is on no node")
        return cls.nodes(owner[task] for task in range(len(owner)))


def _named(text: str, make: Callable[[], _T]) -> _T:
    """Have a ValueError name the whole text."""
    try:
        return make()
    except ValueError as error:
        if repr(text) in str(error):
            raise
        raise ValueError(f"task map {text!r}: {error}") from None


def _is_raw(text: str) -> bool:
    """Whether text that starts with a bracket is raw idsets, `[0-3];[4]`, and not JSON."""
    return text.startswith("[") and text[1:2] not in ("[", "]", "") and ("-" in text or ";" in text)


def _block(block: Sequence[int]) -> Block:
    fits = len(block) == 4 and all(isinstance(n, int) and not isinstance(n, bool) for n in block)
    if not fits or block[0] < 0 or min(block[1:]) < 1:
        raise ValueError(f"{block!r} is no block [nodeid,nnodes,ppn,repeat] of whole numbers")
    return block[0], block[1], block[2], block[3]


def _merged(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Join neighbours that say the same in one block."""
    made: list[Block] = []
    for block in blocks:
        made.append(block)
        while len(made) > 1:
            joined = _joined(made[-2], made[-1])
            if joined is None:
                break
            made[-2:] = [joined]
    return _repeated(made)


def _joined(one: Block, two: Block) -> Block | None:
    if one[3] == two[3] == 1:
        if one[0] == two[0] and one[1] == two[1] == 1:
            return one[0], 1, one[2] + two[2], 1
        if two[0] == one[0] + one[1] and one[2] == two[2]:
            return one[0], one[1] + two[1], one[2], 1
    return None


def _repeated(blocks: Sequence[Block]) -> tuple[Block, ...]:
    """Count equal neighbours as repeats of one block."""
    made: list[Block] = []
    for block in blocks:
        if made and made[-1][:3] == block[:3]:
            made[-1] = (*block[:3], made[-1][3] + block[3])
        else:
            made.append(block)
    return tuple(made)
