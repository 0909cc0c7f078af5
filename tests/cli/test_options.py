"""What must hold of the reading of options: every spelling that `flux run` takes, and errors that name the word."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluxpmix.cli.errors import UsageError
from fluxpmix.cli.options import Option, Parsed, count, help_page, parse

OPTIONS = (
    Option(("-n", "--ntasks"), "N", "how many", "Size", count),
    Option(("-o", "--setopt"), "OPT", "an option", repeats=True),
    Option(("--env",), "RULE", "a rule", repeats=True),
    Option(("--env-remove",), "PATTERN", None, convert=lambda text: "-" + text, repeats=True, dest="env"),
    Option(("-l", "--label-io"), None, "label"),
    Option(("-v", "--verbose"), None, "more"),
)
words = st.text("abc=:-", min_size=1, max_size=5)


def read(*arguments: str) -> Parsed:
    return parse(OPTIONS, arguments, {"-q": "there is no queue", "--queue": "there is no queue"})


def refused(*arguments: str) -> str:
    with pytest.raises(UsageError) as caught:
        read(*arguments)
    assert caught.value.exit_code == 2
    return str(caught.value)


@pytest.mark.parametrize("arguments", [["-n", "4"], ["-n4"], ["--ntasks", "4"], ["--ntasks=4"], ["-n3", "-n4"]])
def test_every_spelling_of_an_option_gives_its_value(arguments: list[str]) -> None:
    parsed = read(*arguments, "prog", "-n9")
    assert parsed.values == {"ntasks": 4}
    assert parsed.rest == ("prog", "-n9")


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["-lv"], {"label-io": 1, "verbose": 1}),
        (["-vvv"], {"verbose": 3}),
        (["-v", "--verbose", "-l"], {"verbose": 2, "label-io": 1}),
        (["-lvn4"], {"label-io": 1, "verbose": 1, "ntasks": 4}),
        (["-lvn", "4"], {"label-io": 1, "verbose": 1, "ntasks": 4}),
        (["-o", "a=b", "-oc", "--setopt=-d"], {"setopt": ["a=b", "c", "-d"]}),
        (["--env=A=1", "--env-remove=B", "--env", "C"], {"env": ["A=1", "-B", "C"]}),
        (["--env="], {"env": [""]}),
        (["--env", "-"], {"env": ["-"]}),
        ([], {}),
    ],
)
def test_options_cluster_count_and_repeat(arguments: list[str], values: dict[str, Any]) -> None:
    parsed = read(*arguments)
    assert (parsed.values, parsed.rest, parsed.dashes) == (values, (), False)


@given(st.lists(words))
def test_options_end_at_the_first_word_that_is_none(rest: list[str]) -> None:
    for command in ("prog", "-", ":"):
        parsed = read("-l", command, *rest)
        assert parsed.rest == (command, *rest) and not parsed.dashes


@given(st.lists(words))
def test_options_end_at_two_dashes_whatever_follows(rest: list[str]) -> None:
    parsed = read("-l", "--", *rest)
    assert parsed.rest == tuple(rest) and parsed.dashes


@given(st.lists(st.sampled_from([("-n4",), ("-n", "4"), ("--ntasks=4",), ("-l",), ("--env", "A"), ("-o", "x")])))
def test_what_was_given_is_kept_word_for_word(groups: list[tuple[str, ...]]) -> None:
    line = [word for group in groups for word in group]
    assert [word for given_ in read(*line, "prog").given for word in given_.words] == line


def test_a_value_without_its_own_spelling_of_the_option_is_kept_as_typed() -> None:
    (given_,) = read("--env-remove", "X").given
    assert (given_.key, given_.text, given_.words) == ("env", "X", ("--env-remove", "X"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ntask", "4"], "unknown option --ntask, did you mean --ntasks?"),
        (["--zzz"], "unknown option --zzz; --help lists the options"),
        (["--ZZZ=5"], "unknown option --ZZZ; --help lists the options"),
        (["-z"], "unknown option -z; --help lists the options"),
        (["-lz"], "unknown option -z; --help lists the options"),
        (["-q", "batch"], "-q: there is no queue"),
        (["--queue=batch"], "--queue: there is no queue"),
        (["--label-io=yes"], "--label-io takes no value, 'yes' was given: write --label-io alone"),
        (["-n"], "-n needs a value: -n N"),
        (["--ntasks"], "--ntasks needs a value: --ntasks N"),
        (["-n", "-l"], "-n needs a value: -n N; for one that starts with a dash write -nN"),
        (["--env", "-LD_*"], "--env needs a value: --env RULE; for one that starts with a dash write --env=RULE"),
        (["--env", "--"], "--env needs a value"),
        (["-nfour"], "-n 'four': a whole number, 1 or more, is expected"),
        (["--ntasks="], "--ntasks '': a whole number, 1 or more, is expected"),
        (["-n=4"], "-n '=4': a whole number, 1 or more, is expected"),
    ],
)
def test_a_word_that_cannot_be_read_is_a_usage_error_with_the_remedy(arguments: list[str], message: str) -> None:
    assert message in refused(*arguments)


@pytest.mark.parametrize("text", ["0", "00", "-1", "+1", "1.5", "1e3", " 1", "1_0", "x", "", "²", "٣"])
def test_what_is_no_count_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a whole number, 1 or more, is expected"):
        count(text)


@pytest.mark.parametrize("text", ["1000000000", "9" * 5_000])
def test_a_count_beyond_any_machine_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="a number below 1000000000 is expected"):
        count(text)


@given(st.integers(1, 999_999_999))
def test_a_count_is_its_number(number: int) -> None:
    assert count(str(number)) == number


def test_the_help_page_shows_options_by_group_but_for_hidden_ones() -> None:
    page = help_page("prog [OPTIONS]", "Does things.", OPTIONS, "The end.")
    assert page.splitlines() == [
        "usage: prog [OPTIONS]",
        "Does things.",
        "",
        "Size:",
        "  -n, --ntasks=N                how many",
        "Options:",
        "  -o, --setopt=OPT              an option",
        "      --env=RULE                a rule",
        "  -l, --label-io                label",
        "  -v, --verbose                 more",
        "The end.",
    ]
