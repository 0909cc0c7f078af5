"""`flux-pmix sim`: what it prints, draws and refuses."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from fluxpmix.cli import sim, sim_values
from fluxpmix.cli.errors import CommandError, UsageError
from fluxpmix.cli.main import main


def printed(capsys: pytest.CaptureFixture[str], *words: str) -> list[list[str]]:
    assert main(["sim", *words]) == 0
    return [line.split() for line in capsys.readouterr().out.splitlines()]


def test_a_row_for_each_simulation_and_a_word_on_the_results(capsys: pytest.CaptureFixture[str]) -> None:
    rows = printed(capsys, "--shells", "2..8x2", "--bytes", "64", "--movement", "tree,barrier", "--network", "direct")
    assert rows[0][:3] == ["network", "movement", "shells"]
    assert [(row[1], row[2]) for row in rows[1:-1]] == [(m, n) for n in "248" for m in ("tree", "barrier")]
    assert " ".join(rows[-1]).startswith("checked: 28 results, all right (with ")


def test_without_a_word_it_compares_the_movements(capsys: pytest.CaptureFixture[str]) -> None:
    assert [row[1] for row in printed(capsys, "--shells", "16")[1:-1]] == ["tree", "bruck", "dmodex"]


def test_the_seed_makes_it_the_same_again(capsys: pytest.CaptureFixture[str]) -> None:
    def times(seed: str) -> str:
        return printed(capsys, "-n32", "--movement=bruck", "--loss=0.1", "--skew=1ms", "--seed", seed)[1][5]

    assert times("1") == times("1") != times("2")


def test_figures_of_a_network_can_be_set(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["-n2", "--movement=bruck", "--bytes=64", "--network=wire"]
    assert printed(capsys, *words)[1][5:7] == ["1", "us"]
    assert printed(capsys, *words, "--latency=3ms")[1][5:7] == ["3.00", "ms"]
    assert printed(capsys, *words, "--message-cost=100ms")[1][5:7] == ["200", "ms"]
    assert printed(capsys, *words, "--bandwidth=108")[1][5:7] == ["1.00", "s"]


def test_a_plot_is_one_svg_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.svg"
    printed(capsys, "--shells=2,4", "--plot", str(file))
    assert file.read_text().startswith("<svg")


def test_the_help_fits_a_screen_and_names_the_networks(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sim", "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40 and max(map(len, lines)) <= 110
    assert any("over Flux's brokers" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--network", "token-ring"], 2, "--network 'token-ring': there are direct, flux, gigabit, wire"),
        (["--network", "dirct"], 2, "did you mean direct?"),
        (["--movement", "tree,ring"], 2, "--movement 'ring': there are tree, bruck, dmodex, barrier"),
        (["--fanout", "1"], 2, "--fanout '1': a whole number, 2 or more, is expected"),
        (["--network", "flux", "--overlay", "1"], 2, "--overlay '1': a whole number, 2 or more"),
        (["--overlay", "4"], 2, "no network here has brokers"),
        (["--shells", "1"], 2, "--shells '1': 2 to 1048576 are possible"),
        (["--shells", "8..2"], 2, "a range goes up"),
        (["--shells", "2..8x1"], 2, "a range goes up, by a factor of 2 or more"),
        (["--shells", "many"], 2, "a number, a list 64,1024 or a range"),
        (["--bytes", "0"], 2, "--bytes '0': 1 to"),
        (["--loss", "1"], 2, "--loss '1': a probability, 0 to 0.9, is expected"),
        (["--loss", "nan"], 2, "a probability"),
        (["--latency", "10"], 2, "a time in ns, us, ms or s is expected"),
        (["--bandwidth", "fast"], 2, "bytes a second are expected"),
        (["--seed", "-1"], 2, "needs a value"),
        (["--nodes", "4"], 2, "use --shells"),
        (["--plot", "a.png", "--shells", "2,4"], 2, "ends in .svg"),
        (["--plot", "a.svg"], 2, "give one of them a range"),
        (["--plot", "/nowhere/at/all/a.svg", "--shells", "2,4"], 1, "--plot /nowhere/at/all/a.svg: No such file"),
        (["1024"], 2, "sim takes no argument"),
        (["--shells", "65536", "--bytes", "1M", "--movement", "bruck", "--real"], 1, "or leave --real out"),
    ],
)
def test_what_cannot_be_done_is_one_line_before_any_work(
    words: list[str], code: int, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["sim", *words]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1 and says in captured.err


def test_a_simulation_that_needs_more_memory_than_there_is_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sim_values, "available_memory", lambda: 1 << 20)
    with pytest.raises(
        CommandError, match=r"4096 shells with 4096 bytes each, bruck: .* 1 MiB are free; ask for fewer"
    ):
        sim.main(["--shells", "2..4096", "--movement", "bruck"])


def test_a_limit_of_the_process_counts_as_memory() -> None:
    script = "import resource; resource.setrlimit(resource.RLIMIT_AS, (1 << 29, 1 << 29))\n"
    script += "from fluxpmix.cli.sim_values import available_memory\nprint(available_memory())"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert 0 < int(done.stdout) < 1 << 29


def test_a_plot_that_is_refused_leaves_no_file(tmp_path: Path) -> None:
    file = tmp_path / "a.svg"
    with pytest.raises(CommandError):
        sim.main(["--shells", "2,1048576", "--bytes=1G", "--movement=bruck", "--real", "--plot", str(file)])
    assert not file.exists()


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("64", (64,)),
        ("1024,64,64", (64, 1024)),
        ("2..65536x4", (2, 8, 32, 128, 512, 2048, 8192, 32768, 65536)),
        ("2..8", (2, 4, 8)),
        ("1K..4Kx2,3", (3, 1024, 2048, 4096)),
        ("5..5", (5,)),
    ],
)
def test_ranges_are_what_they_say(text: str, values: tuple[int, ...]) -> None:
    assert sim_values.sizes(text) == values


@pytest.mark.parametrize("text", ["", ",", "2..", "..4", "2..4x", "2x4", "1e3", "-4", "4k", "٣", "1" * 20, "2..4..8"])
def test_a_range_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        sim_values.counts(text)


def test_names_are_taken_once_each() -> None:
    assert sim_values.names("--network", "b,a,b", ("a", "b")) == ("b", "a")
    with pytest.raises(UsageError, match="there are a, b"):
        sim_values.names("--network", "", ("a", "b"))


@pytest.mark.parametrize(
    ("value", "text"),
    [(12e-6, "12 us"), (0.0012, "1.20 ms"), (0.0999, "100 ms"), (0.9999, "1.00 s"), (1.5, "1.50 s"), (75, "75 s")],
)
def test_times_are_printed_for_a_person(value: float, text: str) -> None:
    assert sim_values.duration(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(64, "64 B"), (4096, "4 KiB"), (1536, "1.5 KiB"), (150 << 20, "150 MiB"), (5000 << 30, "5000 GiB")],
)
def test_sizes_are_printed_for_a_person(value: int, text: str) -> None:
    assert sim_values.amount(value) == text


def test_progress_is_told_on_a_terminal_only(monkeypatch: pytest.MonkeyPatch) -> None:
    told = sim._Progress("what")
    assert not told.wanted
    reader, writer = pty.openpty()
    with os.fdopen(writer, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        told = sim._Progress("bruck 8 shells")
        assert told.wanted
        told.tell(1, 4)  # nothing within the first second
        told._clock = lambda: told._next + 1
        told.tell(1, 4)
        told.clear()
        assert os.read(reader, 200) == b"\rbruck 8 shells: 25 %, 1 messages\x1b[K\r\x1b[K"
    os.close(reader)
