"""What must hold of job ids in F58 and in dotted hexadecimal (Flux RFC 19)."""

from __future__ import annotations

import os
import subprocess
from shutil import which

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxpmix.job import jobid

numbers = st.integers(0, jobid.LARGEST)


@given(numbers)
def test_an_id_is_read_back_with_either_prefix(number: int) -> None:
    text = jobid.encode(number)
    assert jobid.decode(text) == jobid.decode("ƒ" + text[1:]) == number
    assert text.isascii() and text.isalnum()


@given(numbers)
def test_dotted_hexadecimal_is_the_number_in_four_groups(number: int) -> None:
    text = jobid.dothex(number)
    assert [len(group) for group in text.split(".")] == [4] * 4
    assert int(text.replace(".", ""), 16) == number


@pytest.mark.parametrize("number", [-1, 2**64])
def test_a_number_outside_64_bits_is_refused_by_name(number: int) -> None:
    with pytest.raises(ValueError, match=str(number)):
        jobid.encode(number)


@pytest.mark.parametrize("text", ["", "f", "ƒ", "1", "x1", "f0", "fO", "fI", "fl", "f1.2", "f 1", "f" + "z" * 12])
def test_what_is_no_id_is_refused_by_name(text: str) -> None:
    with pytest.raises(ValueError) as caught:
        jobid.decode(text)
    assert repr(text) in str(caught.value)


@pytest.mark.flux
@pytest.mark.skipif(which("flux") is None, reason="no flux on PATH")
@pytest.mark.parametrize("form", ["f58", "dothex"])
def test_ids_look_as_flux_shows_them(form: str) -> None:
    numbers = [0, 1, 57, 58, 3363, 123456789, 6234567890123456789, 2**63]
    result = subprocess.run(
        ["flux", "job", "id", f"--to={form}", *map(str, numbers)],
        env={**os.environ, "FLUX_F58_FORCE_ASCII": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    ours = jobid.encode if form == "f58" else jobid.dothex
    assert [ours(number) for number in numbers] == result.stdout.split()
