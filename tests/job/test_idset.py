"""What must hold of idsets as text, `0-3,7` (Flux RFC 22)."""

from __future__ import annotations

from itertools import pairwise

import libflux
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxpmix.job import idset

some_ids = st.sets(st.integers(0, 300)) | st.sets(st.integers(0, idset.LARGEST), max_size=20)
ACCEPTED = {
    "": (),
    "[]": (),
    "0": (0,),
    "[0]": (0,),
    "0-3,7": (0, 1, 2, 3, 7),
    "[0-3]": (0, 1, 2, 3),
    "2,5-6,10": (2, 5, 6, 10),
    "2147483647": (2147483647,),
}
REFUSED = ["3-1", "3-3", "1,1", "0-3,2", "5,1", "1-", "-1", "00", "01-2", "1-02", " 1", "1, 2", "1,", ",1", "1,,2"]
REFUSED += ["a", "0x1", "+1", "1--2", "1-2-3", "[0", "0]", "[[0]]", "[0],1", "²", "٣", "2147483648", "9" * 5000]


@given(some_ids)
def test_what_was_written_is_read_back(ids: set[int]) -> None:
    text = idset.encode(ids)
    assert idset.parse(text) == idset.parse(f"[{text}]") == tuple(sorted(ids))


@given(some_ids)
def test_a_text_has_no_range_that_could_be_longer(ids: set[int]) -> None:
    ranges = idset.ranges(idset.encode(ids))
    assert all(after[0] > before[1] + 1 for before, after in pairwise(ranges))
    assert sum(high - low + 1 for low, high in ranges) == len(ids)


@given(st.lists(st.integers(0, 50)))
def test_order_and_repetition_do_not_matter_to_writing(ids: list[int]) -> None:
    assert idset.encode(ids) == idset.encode(sorted(set(ids)))


@pytest.mark.parametrize(("text", "ids"), ACCEPTED.items())
def test_what_the_rfc_allows_is_read(text: str, ids: tuple[int, ...]) -> None:
    assert idset.parse(text) == ids


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:9])
def test_what_the_rfc_forbids_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        idset.parse(text)
    assert repr(text) in str(caught.value)


@given(st.text("0123456789,-[] ", max_size=12))
def test_any_text_is_read_or_refused_by_name(text: str) -> None:
    try:
        ids = idset.ranges(text)
    except ValueError as error:
        assert repr(text) in str(error)
    else:
        assert ",".join(str(low) if low == high else f"{low}-{high}" for low, high in ids) == text.strip("[]")


def test_a_range_too_long_for_the_memory_is_refused_and_still_known_as_a_range() -> None:
    assert idset.ranges("0-2147483647") == [(0, 2147483647)]
    with pytest.raises(ValueError, match="'0-2147483647': 2147483648 ids are more than"):
        idset.parse("0-2147483647")


@pytest.mark.flux
@pytest.mark.skipif(not libflux.PRESENT, reason="no flux on PATH")
class TestFlux:
    @given(st.sets(st.integers(0, 5000)))
    def test_flux_reads_what_we_write_and_writes_the_same(self, ids: set[int]) -> None:
        text = idset.encode(ids)
        assert libflux.idset(text) == text

    @given(st.text("0123,-[]", max_size=8))
    def test_flux_reads_whatever_we_read_alike(self, text: str) -> None:
        try:
            ids = idset.parse(text)
        except ValueError:
            return  # Flux passes over stray commas, the RFC does not
        assert libflux.idset(text) == idset.encode(ids)

    @pytest.mark.parametrize("text", [text for text in REFUSED if "," not in text], ids=lambda text: text[:9])
    def test_flux_refuses_what_we_refuse(self, text: str) -> None:
        if text != "2147483648":  # Flux goes on to 2^32 - 4
            assert libflux.idset(text) is None
