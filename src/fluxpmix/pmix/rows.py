"""Info arrays by the hundred thousand: built by columns, never one C call a field.

`values.InfoArray` calls `fill_rows` for each `Rows` in a registration. Every row is the same but for
its numbers, so one row is written through cffi, copied as bytes, and each column then written by one
strided assignment: 100,000 ranks of nine attributes are a few hundredths of a second a column. `batches`
makes several registrations of one that would take much memory (`host_calls.py`).
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence

from fluxpmix.pmix import attributes
from fluxpmix.pmix.types import Column, DataType, Info, Rows
from fluxpmix.pmix.values import fill_info, resolve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


_CHUNK = 256  # rows copied at a time: no second copy of it all

# Item codes of `array` by the width in bytes of the C type.
_CODES = {1: "B", 2: "H", 4: "I", 8: "Q"}
_WIDTHS = {
    DataType.BOOL: 1,
    DataType.UINT8: 1,
    DataType.UINT16: 2,
    DataType.UINT32: 4,
    DataType.PROC_RANK: 4,
    DataType.UINT64: 8,
    DataType.SIZE: 8,
}


def fill_rows(ffi: Any, outer: Any, rows: Rows, keep: list[Any]) -> None:
    """Write `rows.count` infos at `outer`, each with a data array of the columns' infos."""
    if not rows.count:
        return
    info_size, array_size = ffi.sizeof("pmix_info_t"), ffi.sizeof("pmix_data_array_t")
    width = len(rows.columns)
    allocate = ffi.new_allocator(should_clear_after_alloc=False)
    inner = allocate("pmix_info_t[]", rows.count * width)
    arrays = allocate("pmix_data_array_t[]", rows.count)
    keep += (inner, arrays)

    for at, column in enumerate(rows.columns):
        scalar = column.values
        if isinstance(scalar, array):
            _check(column.key, scalar, rows.count)
            scalar = scalar[0]
        ffi.memmove(inner + at, ffi.new("pmix_info_t *"), info_size)
        fill_info(ffi, inner[at], Info(column.key, scalar, column.type), keep)
    _repeat(ffi, inner, info_size * width, rows.count)
    value = ffi.offsetof("pmix_info_t", "value") + ffi.offsetof("pmix_value_t", "data")
    view = memoryview(ffi.buffer(inner, rows.count * width * info_size)).cast("B")
    for at, column in enumerate(rows.columns):
        if isinstance(column.values, array):
            _assign(view, at * info_size + value, width * info_size, _same_width(column))

    inner_at, outer_at = int(ffi.cast("uintptr_t", inner)), int(ffi.cast("uintptr_t", arrays))
    arrays[0].type, arrays[0].size, arrays[0].array = int(DataType.INFO), width, ffi.cast("void *", inner)
    _repeat(ffi, arrays, array_size, rows.count)
    view = memoryview(ffi.buffer(arrays, rows.count * array_size)).cast("B")
    stride = width * info_size
    pointers = array("Q", range(inner_at, inner_at + rows.count * stride, stride))
    _assign(view, ffi.offsetof("pmix_data_array_t", "array"), array_size, pointers)

    fill_info(ffi, outer[0], Info(rows.key, (), DataType.DATA_ARRAY), keep)
    _repeat(ffi, outer, info_size, rows.count)
    view = memoryview(ffi.buffer(outer, rows.count * info_size)).cast("B")
    pointers = array("Q", range(outer_at, outer_at + rows.count * array_size, array_size))
    _assign(view, value, info_size, pointers)


def batches(items: Sequence[Info | Rows], most: int) -> Iterator[list[Info | Rows]]:
    """Yield a registration in parts of at most `most` processes' arrays each; what is not of processes comes first."""
    part = [item for item in items if item.key != attributes.PROC_INFO_ARRAY]
    room = most
    for item in items:
        if item.key != attributes.PROC_INFO_ARRAY:
            continue
        count = item.count if isinstance(item, Rows) else 1
        for start in range(0, count, most):
            size = min(most, count - start)
            if size > room:
                yield part
                part, room = [], most
            part.append(_slice(item, start, start + size) if isinstance(item, Rows) else item)
            room -= size
    yield part


def _slice(rows: Rows, start: int, end: int) -> Rows:
    """Return some of the rows, which share no memory with them."""
    if end - start == rows.count:
        return rows
    columns = [
        Column(each.key, each.type, each.values[start:end] if isinstance(each.values, array) else each.values)
        for each in rows.columns
    ]
    return Rows(rows.key, end - start, tuple(columns))


def _repeat(ffi: Any, pointer: Any, size: int, count: int) -> None:
    """Copy the first `size` bytes at `pointer` over the `count` - 1 places after it."""
    view = memoryview(ffi.buffer(ffi.cast("char *", pointer), size * count)).cast("B")
    chunk = bytes(view[:size]) * min(count, _CHUNK)
    for at in range(0, size * count, len(chunk)):
        part = view[at : at + len(chunk)]
        part[:] = chunk[: len(part)]


def _assign(view: memoryview, offset: int, stride: int, values: array[Any]) -> None:
    """Write `values` into every `stride`th place of a block of bytes, from `offset` on."""
    size = values.itemsize
    code: Any = _CODES[size]
    view.cast(code)[offset // size :: stride // size] = memoryview(values).cast("B").cast(code)


def _check(key: str, values: array[Any], count: int) -> None:
    if len(values) != count:
        raise ValueError(f"{key}: {len(values)} values for {count} rows")


def _same_width(column: Any) -> array[Any]:
    type_, _ = resolve(column.key, column.values[0], column.type)
    width = _WIDTHS.get(type_)
    if width != column.values.itemsize:
        raise ValueError(
            f"{column.key}: a column of {type_.name} wants an array of {width}-byte items, "
            f"not of {column.values.itemsize}"
        )
    values: array[Any] = column.values
    return values
