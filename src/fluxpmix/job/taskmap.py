"""Which task runs on which node: the task map of Flux RFC 34.

A map is a list of blocks `[nodeid, nnodes, ppn, repeat]`: `ppn` tasks on each of `nnodes` nodes from
`nodeid` on, the whole `repeat` times, task ids counting on. A million tasks on ten thousand nodes are one
block; the bulk queries return `array`s.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import groupby, zip_longest

from fluxpmix.job import idset

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias


Block: TypeAlias = tuple[int, int, int, int]
FORMS = ("wrapped", "list", "pmi", "raw", "raw-deranged")


class TaskMap:
    """An immutable task map. Maps that put the same tasks on the same nodes are equal."""

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
        left = {node: count for node, count in enumerate(counts) if count}
        blocks: list[Block] = []
        while left:
            rounds = min(left.values()) // stride
            first, last = min(left), max(left)
            if rounds and last - first + 1 == len(left):  # many rounds are one block
                blocks.append((first, len(left), stride, rounds))
                left = {node: count - rounds * stride for node, count in left.items()}
            else:
                blocks += [(node, 1, min(stride, count), 1) for node, count in left.items()]
                left = {node: count - stride for node, count in left.items()}
            left = {node: count for node, count in left.items() if count > 0}
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
        """Return each task's place among the tasks of its node: `array('H')` of length `ntasks`.

        Raises ValueError for more tasks on a node than 16 bits count.
        """
        if self._local_ranks is None:
            seen = [0] * self.nnodes
            column = array("H")
            for _, node, count in self._runs():
                if seen[node] + count > 2**16:
                    raise ValueError(f"node {node} has more than 65536 tasks, and PMIX_LOCAL_RANK counts no further")
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
            return f"({','.join(['vector', *parts])})" if parts else ""
        if form == "raw":
            return ";".join(idset.encode(self.tasks(node)) for node in range(self.nnodes))
        if form == "raw-deranged":
            return ";".join(",".join(map(str, self.tasks(node))) for node in range(self.nnodes))
        raise ValueError(f"task map form {form!r}: one of {', '.join(FORMS)}")

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, TaskMap):
            return NotImplemented
        if self.blocks == other.blocks:
            return True
        if (self.ntasks, self.nnodes) != (other.ntasks, other.nnodes):
            return False
        return all(one == two for one, two in zip_longest(self._whole_runs(), other._whole_runs()))

    def __hash__(self) -> int:
        return hash((self.ntasks, self.nnodes))

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

    def _whole_runs(self) -> Iterator[tuple[int, int]]:
        """Yield (node, number of tasks) of the longest runs there are, however the blocks cut them."""
        for node, runs in groupby(self._runs(), lambda run: run[1]):
            yield node, sum(count for _, _, count in runs)

    @classmethod
    def _from_json(cls, text: str) -> TaskMap:
        import json

        try:
            value = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"task map {text!r}: {error}") from None
        if isinstance(value, dict):
            version = value.get("version")
            if type(version) is not int or version != 1 or "map" not in value:
                raise ValueError(f'task map {text!r}: wanted {{"version":1,"map":[...]}}')
            value = value["map"]
        if not isinstance(value, list):
            raise ValueError(f"task map {text!r}: a list of blocks [nodeid,nnodes,ppn,repeat] is wanted")
        made: TaskMap = _named(text, lambda: cls(value))
        return made

    @classmethod
    def _from_pmi(cls, text: str) -> TaskMap:
        compact = "".join(text.split())
        body = compact[len("(vector,") : -1].removesuffix(",")
        if not (compact.startswith("(vector,") and compact.endswith(")") and body):
            raise ValueError(f"task map {text!r}: a PMI vector is written (vector,(nodeid,nnodes,ppn),...)")
        blocks: list[list[int]] = []
        for part in body.replace("),(", ")|(").split("|"):
            numbers = part[1:-1].split(",") if part.startswith("(") and part.endswith(")") else []
            if len(numbers) != 3 or not all(map(_number, numbers)):
                raise ValueError(f"task map {text!r}: {part!r} is no (nodeid,nnodes,ppn)")
            blocks.append([*map(int, numbers), 1])
        made: TaskMap = _named(text, lambda: cls(blocks))
        return made

    @classmethod
    def _from_raw(cls, text: str) -> TaskMap:
        if not text:
            return cls([])
        parts = _named(text, lambda: [idset.ranges(part) for part in text.split(";")])
        runs = sorted((low, high, node) for node, ranges in enumerate(parts) for low, high in ranges)
        following = 0
        for low, high, _ in runs:
            if low != following:
                task, where = (low, "on two nodes") if low < following else (following, "on no node")
                raise ValueError(f"task map {text!r}: task {task} is {where}")
            following = high + 1
        return cls((node, 1, high - low + 1, 1) for low, high, node in runs)


def _named(text: str, make: Callable[[], Any]) -> Any:
    """Have a ValueError name the whole text."""
    try:
        return make()
    except ValueError as error:
        if repr(text) in str(error):
            raise
        raise ValueError(f"task map {text!r}: {error}") from None


def _number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 10


def _is_raw(text: str) -> bool:
    """Whether text that starts with a bracket is raw idsets, `[0-3];[4]`, and not JSON."""
    return text.startswith("[") and text[1:2] not in ("[", "]", "") and ("-" in text or ";" in text)


def _block(block: Sequence[int]) -> Block:
    fits = isinstance(block, (list, tuple)) and len(block) == 4 and all(type(number) is int for number in block)
    if not fits or block[0] < 0 or min(block[1:]) < 1:
        raise ValueError(f"{block!r} is no block [nodeid,nnodes,ppn,repeat] of whole numbers")
    return block[0], block[1], block[2], block[3]


def _merged(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Join neighbours that say the same in one block."""
    made: list[Block] = []
    for block in _one_node_joined(blocks):
        if made:
            nodeid, nnodes, ppn, repeat = made[-1]
            if block[0] == nodeid + nnodes and block[2] == ppn and block[3] == repeat == 1:
                made[-1] = (nodeid, nnodes + block[1], ppn, 1)
                continue
        made.append(block)
    return _repeated(made)


def _one_node_joined(blocks: Iterable[Block]) -> Iterator[Block]:
    """Count neighbours on one and the same node as more tasks there."""
    waiting: Block | None = None
    for nodeid, nnodes, ppn, repeat in blocks:
        if nnodes > 1:
            if waiting:
                yield waiting
                waiting = None
            yield nodeid, nnodes, ppn, repeat
        elif waiting and waiting[0] == nodeid:
            waiting = (nodeid, 1, waiting[2] + ppn * repeat, 1)
        else:
            if waiting:
                yield waiting
            waiting = (nodeid, 1, ppn * repeat, 1)
    if waiting:
        yield waiting


def _repeated(blocks: Iterable[Block]) -> tuple[Block, ...]:
    """Count equal neighbours as repeats of one block."""
    made: list[Block] = []
    for block in blocks:
        if made and made[-1][:3] == block[:3]:
            made[-1] = (*block[:3], made[-1][3] + block[3])
        else:
            made.append(block)
    return tuple(made)
