"""Info arrays built by columns are those that would be built one by one."""

from __future__ import annotations

import os
import subprocess
import sys
from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from installed import VERSIONS
from live import HERE, PRELUDE, SOURCE, directories, library, lone_server

from fluxpmix.pmix import attributes, host_calls
from fluxpmix.pmix.library import Library
from fluxpmix.pmix.rows import batches
from fluxpmix.pmix.server import Server
from fluxpmix.pmix.status import check
from fluxpmix.pmix.types import Column, DataArray, DataType, Info, Infos, Proc, Rows
from fluxpmix.pmix.values import InfoArray, decode_infos, decode_value

pytestmark = pytest.mark.pmix
OWN_PROCESS = True

EACH = pytest.mark.parametrize("version", VERSIONS)
PROPERTY = settings(max_examples=100, deadline=None, database=None)
KEY = attributes.PROC_INFO_ARRAY

# A type with the item code of an array as wide as it.
CODES = {
    DataType.BOOL: "B",
    DataType.UINT8: "B",
    DataType.UINT16: "H",
    DataType.UINT32: "I",
    DataType.PROC_RANK: "I",
    DataType.UINT64: "Q",
    DataType.SIZE: "Q",
}


def one_by_one(rows: Rows) -> Infos:
    """The infos that `rows` stands for."""

    def of_row(at: int, column: Column) -> Info:
        value = column.values[at] if isinstance(column.values, array) else column.values
        return Info(column.key, bool(value) if column.type is DataType.BOOL else value, column.type)

    return tuple(
        Info(
            rows.key,
            DataArray(DataType.INFO, tuple(of_row(at, column) for column in rows.columns)),
            DataType.DATA_ARRAY,
        )
        for at in range(rows.count)
    )


def written_out(item: Info | Rows) -> Infos:
    return one_by_one(item) if isinstance(item, Rows) else (item,)


def decoded(library: Library, *items: Info | Rows) -> Infos:
    with InfoArray(library, items) as built:
        return decode_infos(library, built.pointer, built.count)


def copied(library: Library, *items: Info | Rows) -> Infos:
    """What libpmix's own copies hold."""
    ffi, lib = library.ffi, library.lib
    back = []
    with InfoArray(library, items) as built:
        for at, info in enumerate(decode_infos(library, built.pointer, built.count)):
            copy = ffi.new("pmix_value_t *")
            check(lib.PMIx_Value_xfer(copy, ffi.addressof(built.pointer[at], "value")), "PMIx_Value_xfer")
            back.append(Info(info.key, decode_value(library, copy), info.type, info.required))
            lib.PMIx_Value_destruct(copy)
    return tuple(back)


@st.composite
def rows(draw: st.DrawFn) -> Rows:
    count = draw(st.integers(0, 600))
    columns = []
    for number in range(draw(st.integers(1, 6))):
        type_ = draw(st.sampled_from(sorted(CODES)))
        high = 1 if type_ is DataType.BOOL else (1 << 8 * array(CODES[type_]).itemsize) - 1
        seed = draw(st.integers(0, high))
        if count and draw(st.booleans()):
            values: Any = array(CODES[type_], [(seed + at * 7919) % (high + 1) for at in range(count)])
        else:
            values = bool(seed) if type_ is DataType.BOOL else seed
        columns.append(Column(f"column.{number}", type_, values))
    return Rows(KEY, count, tuple(columns))


@EACH
@PROPERTY
@given(given_=rows())
def test_rows_are_the_infos_that_they_stand_for(version: str, given_: Rows) -> None:
    assert decoded(library(version), given_) == one_by_one(given_)


def ranks(count: int) -> Rows:
    return Rows(
        KEY,
        count,
        (
            Column(attributes.RANK, DataType.PROC_RANK, array("I", range(count))),
            Column(attributes.LOCAL_RANK, DataType.UINT16, array("H", [at % 128 for at in range(count)])),
            Column(attributes.GLOBAL_RANK, DataType.PROC_RANK, array("I", range(count))),
            Column(attributes.NODEID, DataType.UINT32, array("I", [at // 128 for at in range(count)])),
            Column(attributes.APPNUM, DataType.UINT32, 0),
            Column(attributes.SPAWNED, DataType.BOOL, False),
        ),
    )


@EACH
@pytest.mark.parametrize("count", [1, 255, 256, 257, 5000])
def test_libpmix_copies_rows_as_it_does_infos(version: str, count: int) -> None:
    found, given_ = library(version), ranks(count)
    assert copied(found, given_) == copied(found, *one_by_one(given_)) == one_by_one(given_)


@EACH
def test_rows_stand_among_other_infos_where_they_were_put(version: str) -> None:
    before, between, after = (Info(name, name, DataType.STRING) for name in ("before", "between", "after"))
    given_, none = ranks(3), ranks(0)
    array_ = decoded(library(version), before, given_, between, none, given_, after)
    assert array_ == (before, *one_by_one(given_), between, *one_by_one(given_), after)


@EACH
@pytest.mark.parametrize("gds", ["", "hash"])
@pytest.mark.parametrize("most", [4096, 97, 1])
def test_a_job_registered_by_rows_tells_every_rank_its_own(
    version: str, gds: str, most: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # 300 ranks, more than are copied at a time, and `most` in a call where libpmix allows; one asks for all.
    monkeypatch.setattr(host_calls, "_MOST_ROWS", most)
    if gds:
        monkeypatch.setenv("PMIX_MCA_gds", gds)
    program = """
from fluxpmix.pmix import attributes
with Client() as client:
    for rank in range(300):
        got = [client.get(key, Proc("job", rank), {"pmix.optional": True})
               for key in (attributes.LOCAL_RANK, attributes.GLOBAL_RANK, attributes.APPNUM)]
        print(rank, *got)
    print(client.get(attributes.WDIR, client.job, {"pmix.optional": True}))
"""
    found, count = library(version), 300
    nodes = [f"node{at}" for at in range(3)]
    with Server(found, lambda upcall: None, serves=(), directives=directories(tmp_path)) as server:
        server.register_nspace(
            "job",
            1,
            [
                Info(attributes.NODE_MAP, server.generate_regex(",".join(nodes))),
                Info(
                    attributes.PROC_MAP,
                    server.generate_ppn(
                        ";".join(",".join(map(str, range(at, min(at + 128, count)))) for at in (0, 128, 256))
                    ),
                ),
                Info(attributes.JOB_SIZE, count),
                Info(attributes.NSDIR, str(tmp_path)),
                Info(attributes.TMPDIR, str(tmp_path)),
                ranks(count),
                Info(attributes.WDIR, "/somewhere"),
            ],
        )
        server.register_client(Proc("job", 0), os.getuid(), os.getgid())
        environment = {"PYTHONPATH": os.pathsep.join((SOURCE, HERE)), "FLUXPMIX_LIBPMIX": found.path}
        environment |= server.setup_fork(Proc("job", 0))
        client = [sys.executable, "-c", PRELUDE + program]
        seen = subprocess.run(client, env=environment, capture_output=True, text=True, timeout=60, check=False)
        server.deregister_client(Proc("job", 0))
        server.deregister_nspace("job")
    wanted = "".join(f"{rank} {rank % 128} {rank} 0\n" for rank in range(count))
    assert (seen.stdout, seen.returncode) == (f"{wanted}/somewhere\n", 0), seen.stderr


@PROPERTY
@given(
    rows(),
    st.integers(1, 700),
    st.lists(st.sampled_from([Info("before", "x", DataType.STRING), Info(KEY, DataArray(DataType.INFO, ()))])),
)
def test_batches_tell_all_once_and_of_processes_in_order(given_: Rows, most: int, others: list[Info]) -> None:
    whole = [*others, given_, *others]
    parts = list(batches(whole, most))
    first, of_processes = parts[0], [item for part in parts for item in part if item.key == KEY]
    assert [item for part in parts for item in part if item.key != KEY] == [item for item in first if item.key != KEY]
    assert [info for item in of_processes for info in written_out(item)] == [
        info for item in whole if item.key == KEY for info in written_out(item)
    ]
    sizes = [sum(len(written_out(item)) for item in part if item.key == KEY) for part in parts]
    assert all(size <= most for size in sizes) and all(sizes[1:])


# -- what does not fit ----------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [0, 2, 4])
def test_a_column_of_another_length_is_a_value_error_that_names_it(length: int) -> None:
    given_ = Rows(KEY, 3, (Column(attributes.RANK, DataType.PROC_RANK, array("I", range(length))),))
    with pytest.raises(ValueError, match=rf"pmix\.rank: {length} values for 3 rows"):
        InfoArray(library("5.0"), [given_])


@pytest.mark.parametrize("code", ["B", "H", "Q"])
def test_a_column_of_another_width_is_a_value_error_that_names_it(code: str) -> None:
    given_ = Rows(KEY, 3, (Column(attributes.RANK, DataType.PROC_RANK, array(code, range(3))),))
    with pytest.raises(ValueError, match=r"pmix\.rank: .* PROC_RANK wants an array of 4-byte items"):
        InfoArray(library("5.0"), [given_])


@pytest.mark.parametrize(
    "column",
    [
        Column(attributes.HOSTNAME, DataType.STRING, array("Q", range(3))),
        Column("no.type", DataType.DOUBLE, array("d", [0.5] * 3)),
    ],
)
def test_a_column_of_a_type_without_columns_is_a_value_error_that_names_it(column: Column) -> None:
    with pytest.raises(ValueError, match=column.key.replace(".", r"\.")):
        InfoArray(library("5.0"), [Rows(KEY, 3, (column,))])


def test_a_value_for_all_rows_that_does_not_fit_is_a_value_error_that_names_it() -> None:
    with pytest.raises(ValueError, match=r"pmix\.appnum: -1 does not fit UINT32"):
        InfoArray(library("5.0"), [Rows(KEY, 3, (Column(attributes.APPNUM, DataType.UINT32, -1),))])


@EACH
def test_rows_of_text_shared_by_all_are_told_to_all(version: str) -> None:
    given_ = Rows(KEY, 3, (Column(attributes.HOSTNAME, DataType.STRING, "node0"),))
    assert copied(library(version), given_) == one_by_one(given_)


def test_a_server_registers_no_rows_at_all(tmp_path: Path) -> None:
    with lone_server(library("5.0"), tmp_path) as server:
        server.register_nspace("empty", 0, [ranks(0)])
        server.deregister_nspace("empty")
