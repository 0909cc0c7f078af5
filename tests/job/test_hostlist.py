"""What must hold of lists of hosts as text, `node[001-003],login` (Flux RFC 29)."""

from __future__ import annotations

import time

import libflux
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxpmix.job import hostlist

# Few letters and numbers at the borders of padding: neighbours meet often.
numbers = st.sampled_from(["", "0", "1", "2", "8", "9", "10", "11", "99", "100", "00", "01", "08", "09", "009", "010"])
names = st.builds(
    "".join, st.tuples(st.sampled_from(["n", "m", "n0", "a-b", "x."]), numbers, st.sampled_from(["", "-ib"]))
)
host_lists = st.lists(names, max_size=12) | st.lists(st.from_regex(r"[a-z0-9.-]{1,12}", fullmatch=True), max_size=6)
READ = {
    "": (),
    "login": ("login",),
    "n[1-3]": ("n1", "n2", "n3"),
    "n[001-003]": ("n001", "n002", "n003"),
    "n[08-11]": ("n08", "n09", "n10", "n11"),
    "n[9-10]": ("n9", "n10"),
    "n[1,3,2,2]": ("n1", "n3", "n2", "n2"),
    "n[1-2]-ib,login": ("n1-ib", "n2-ib", "login"),
    "vm,vm": ("vm", "vm"),
    "[1-2]": ("1", "2"),
    "a[1-2]b[3-4]": ("a1b[3-4]", "a2b[3-4]"),
}
REFUSED = ["a[", "a]", "a[]", "a[1", "a[[1]]", "a[x]", "a[1-]", "a[-1]", "a[3-1]", "a[1-2-3]", "a]b[", "a[²]"]
REFUSED += [",a", "a,", "a,,b", " a", "a b", "a, b", "a\tb", "a[1, 2]", "a[0-1000000]", "a[0-99999999999999999999]"]


@given(host_lists)
def test_what_was_written_is_read_back(hosts: list[str]) -> None:
    assert hostlist.expand(hostlist.compress(hosts)) == tuple(hosts)


@pytest.mark.parametrize(("text", "hosts"), READ.items())
def test_order_repetition_and_padding_are_kept(text: str, hosts: tuple[str, ...]) -> None:
    assert hostlist.expand(text) == hosts


@pytest.mark.parametrize(("first", "last", "text"), [(1, 9999, "n[1-9999]"), (98, 101, "n[98-101]")])
def test_hosts_that_count_upwards_are_one_bracket(first: int, last: int, text: str) -> None:
    assert hostlist.compress(f"n{number}" for number in range(first, last + 1)) == text


@pytest.mark.parametrize("text", REFUSED)
def test_what_is_no_host_list_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        hostlist.expand(text)
    assert repr(text) in str(caught.value)


@given(st.text("n12,-[] ", max_size=12))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    try:
        hosts = hostlist.expand(text)
    except ValueError as error:
        assert repr(text) in str(error)
    else:
        assert not any(host == "" or " " in host for host in hosts)


@given(st.lists(st.sampled_from(["vm", "vm0", "vm1", "a", "a0"]), max_size=10))
def test_unique_names_are_unique_and_change_only_what_was_repeated(hosts: list[str]) -> None:
    made = hostlist.unique(hosts)
    assert len(set(made)) == len(hosts)
    for host, name in zip(hosts, made, strict=True):
        assert name == host if hosts.count(host) == 1 else name.startswith(host) and name != host


def test_names_are_made_unique_in_their_order() -> None:
    assert hostlist.unique(["vm", "vm", "a"]) == ("vm0", "vm1", "a")
    assert hostlist.unique(["vm", "vm0", "vm"]) == ("vm1", "vm0", "vm2")


def test_ten_thousand_equal_names_are_quick() -> None:
    start = time.process_time()
    assert len(set(hostlist.unique(["vm"] * 10_000))) == 10_000
    assert hostlist.compress(hostlist.unique(["vm"] * 10_000)) == "vm[0-9999]"
    assert time.process_time() - start < 2


@pytest.mark.flux
@pytest.mark.skipif(not libflux.PRESENT, reason="no flux on PATH")
class TestFlux:
    @given(host_lists)
    def test_each_reads_what_the_other_writes(self, hosts: list[str]) -> None:
        assert libflux.expand(hostlist.compress(hosts)) == tuple(hosts)
        assert hostlist.expand(libflux.compress(hosts) or "") == tuple(hosts)

    @given(st.text("n012,-[]", max_size=10))
    def test_flux_reads_whatever_we_read_alike(self, text: str) -> None:
        try:
            hosts = hostlist.expand(text)
        except ValueError:
            return
        assert libflux.expand(text) == hosts
