"""`flux-pmix check` and `flux-pmix pmi` as programs of real jobs, and the judgement on answers that are wrong."""

from __future__ import annotations

import itertools
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree
from html import escape
from pathlib import Path

import pytest
from installed import VERSIONS, number
from launching import Launch, libpmix

from fluxpmix.cli.check import page, report
from fluxpmix.cli.check.judging import judge
from fluxpmix.cli.check.records import Answer, Report, Row, Summary, Tried, Verdict, decode, encode
from fluxpmix.pmix.record import replace

COMMAND = [sys.executable, "-m", "fluxpmix.cli.main"]


def summary_of(job: Launch, *words: str, code: int = 0, options: tuple[str, ...] = ("-N2", "-n4")) -> Summary:
    """Run the check in a job and return its report."""
    job.run(*options, *COMMAND, "check", "--json", job.directory / "report.json", *words, code=code)
    return report.from_json((job.directory / "report.json").read_text())


@pytest.mark.pmix
@pytest.mark.parametrize("version", VERSIONS)
def test_our_own_launcher_gives_every_required_attribute(job: Launch, version: str) -> None:
    path = libpmix(version)
    options = ("-N2", "-n4", "-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}")
    summary = summary_of(job, "--no-operations", options=options)
    wrong = [row for row in summary.rows if row.verdict is Verdict.WRONG and row.need == "required"]
    assert summary.passed and not wrong, [*map(report.explanation, wrong)]


@pytest.mark.pmix
def test_every_required_operation_is_right(job: Launch) -> None:
    summary = summary_of(job)
    tried = {row.name: row for row in summary.rows if row.section == "operations"}
    assert not [row for row in tried.values() if row.need == "required" and row.verdict is not Verdict.RIGHT]
    assert tried["fence with a time limit"].verdict is Verdict.RIGHT
    wrong = [row for row in tried.values() if row.verdict not in (Verdict.RIGHT, Verdict.MISSING)]
    assert not wrong, [*map(report.explanation, wrong)]
    assert next(row for row in summary.rows if row.name == "events").verdict is Verdict.RIGHT


# What a single machine does not have; what clients of libpmix are not told, or cannot ask.
NOT_HERE = {"spawn as a job of its own", "allocation of a core"}
NOT_TOLD = {
    version: {"session control" if number(version) < (6, 0) else "input of another process"} for version in VERSIONS
}


@pytest.mark.pmix
@pytest.mark.parametrize("version", VERSIONS)
def test_every_operation_there_is_is_right(job: Launch, version: str) -> None:
    path = libpmix(version)
    libraries = ("-o", f"libpmix={path}", f"--env=FLUXPMIX_LIBPMIX={path}")
    theirs, ours = os.pipe()  # an input that stays open
    with os.fdopen(theirs), os.fdopen(ours, "w"):
        words = (*COMMAND, "check", "--monitors", "--kill", "--json", job.directory / "report.json")
        result = job.run("-N2", "-n4", "-t5m", *libraries, *words, code=137, stdin=theirs)
    assert "task 2.2 was killed by SIGKILL" in result.err, result
    summary = report.from_json((job.directory / "report.json").read_text())
    tried = {row.name: row for row in summary.rows if row.section.startswith("operations")}
    missing = {name for name, row in tried.items() if row.verdict is Verdict.MISSING}
    assert missing == NOT_HERE | NOT_TOLD[version]
    wrong = [row for row in tried.values() if row.verdict not in (Verdict.RIGHT, Verdict.MISSING)]
    assert not wrong, [*map(report.explanation, wrong)]
    answered = [name for name, row in tried.items() if row.found.startswith("answered")]
    assert not answered and tried["more time"].found.endswith(" s are left")
    assert tried["spawned: kill"].found == "told as ERR_PROC_KILLED_BY_CMD"


@pytest.mark.pmix
def test_one_report_is_printed_for_the_whole_job(job: Launch) -> None:
    out = job.run("-n3", *COMMAND, "check", "--no-operations", "--title", "ours").out
    assert out.count("ours") == 1 and out.splitlines()[-1].startswith("compliant: required ")


@pytest.mark.pmix
def test_the_files_are_there_before_operations_that_may_end_the_job(job: Launch) -> None:
    # The last operation does: the launcher is told to end the job, and what was written before stays.
    result = job.run("-n2", *COMMAND, "check", "--abort", "--json", job.directory / "r.json", code=3)
    assert "so far compliant" in result.out and "flux-pmix check --abort" in result.err, result
    rows = {row.name: row for row in report.from_json((job.directory / "r.json").read_text()).rows}
    assert (rows["abort"].verdict, rows["abort"].found) == (Verdict.RIGHT, "the job ended")
    assert rows["events"].verdict is Verdict.RIGHT


@pytest.mark.pmix
def test_a_report_does_not_show_the_credential_of_the_job(job: Launch) -> None:
    row = next(row for row in summary_of(job, "--no-operations").rows if row.name == "PMIX_CREDENTIAL")
    assert (row.verdict, row.found) == (Verdict.RIGHT, "given")


@pytest.mark.pmix
def test_all_forms_say_the_same(job: Launch) -> None:
    words = ["--junit", job.directory / "r.xml", "--html", job.directory / "r.html", "--no-operations"]
    summary = summary_of(job, *map(str, words))
    suite = xml.etree.ElementTree.parse(job.directory / "r.xml").getroot()
    assert int(suite.attrib["tests"]) == len(summary.rows) == len(suite.findall("testcase"))
    html = (job.directory / "r.html").read_text()
    assert html == page.html(summary) and "http" not in html and html.count("<tr>") == len(summary.rows)


@pytest.mark.parametrize("words", [["check"], ["pmi", "barrier"]], ids=lambda words: words[0])
def test_outside_a_job_it_says_how_to_run_it(words: list[str]) -> None:
    env = {name: value for name, value in os.environ.items() if not name.startswith("PMIX_")}
    done = subprocess.run([*COMMAND, *words], env=env, capture_output=True, text=True, timeout=60, check=False)
    says = f"prterun -n 4 flux-pmix {' '.join(words)}"
    assert done.returncode == 2 and says in done.stderr and done.stderr.count("\n") == 1


@pytest.mark.pmix
@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["--timeout", "soon"], 2, "--timeout 'soon'"),
        (["extra"], 2, "takes no argument"),
        (["--compare", "A.json"], 2, "wants two reports or more"),
        (["--json", "/nowhere/r.json", "--timeout", "2s"], 1, "name a file that you can write"),
    ],
)
def test_a_check_that_makes_no_sense_is_one_line(job: Launch, words: list[str], code: int, says: str) -> None:
    err = job.run("-n1", *COMMAND, "check", *words, code=code).err
    ours = [line for line in err.splitlines() if line.startswith("flux-pmix: error: ")]
    assert len([line for line in ours if says in line]) == 1 and "Traceback" not in err, err


@pytest.mark.pmix
@pytest.mark.parametrize("nodes", [1, 2, 4])
@pytest.mark.parametrize("words", ["--no-operations", ""], ids=["asking", "trying"])
def test_a_rank_that_dies_is_reported_by_the_others(job: Launch, words: str, nodes: int) -> None:
    # With 10 s for each operation, and 30 s until the launcher ends the job: nobody waits for those that are gone.
    script = f"test $FLUX_TASK_RANK = 2 && kill -9 $$; exec {' '.join(COMMAND)} check {words}"
    result = job.run(f"-N{nodes}", "-n4", "sh", "-c", script, code=137)
    assert "no report came from rank(s) 2" in result.out and "NOT compliant" in result.out, result


@pytest.mark.pmix
def test_a_rank_that_dies_on_the_way_costs_no_other_its_report(job: Launch) -> None:
    # When rank 0 writes its report a second time all have tried everything but the last: rank 2 dies there.
    report_ = job.directory / "r.json"
    script = f"""if test $FLUX_TASK_RANK = 2; then
        me=$$; (until test -s {report_}; do sleep 0.02; done; kill -9 $me) &
    fi
    exec {" ".join(COMMAND)} check --timeout 2s --json {report_}"""
    job.run("-N3", "-n4", "-o", "exit-timeout=none", "sh", "-c", script, code=137)
    summary = report.from_json(report_.read_text())
    fences = [row.verdict for row in summary.rows if row.name.startswith("fence")]
    assert summary.facts["nodes"] == 3 and fences and set(fences) == {Verdict.RIGHT}


def good_reports() -> list[Report]:
    """What two ranks of one node would say of a few attributes."""
    answers = [
        Answer("job", "f1", "PMIX_JOB_SIZE", "uint32", 2),
        Answer("node", "host", "PMIX_LOCAL_PEERS", "string", "0,1"),
        Answer("node", "host", "PMIX_LOCALLDR", "proc_rank", 0),
    ]
    return [
        Report(
            rank,
            {"host": "host", "cpus": "0-1", "bound": False},
            (
                *answers,
                Answer("process", str(rank), "PMIX_NODEID", "uint32", 0),
                Answer("process", str(rank), "PMIX_APPNUM", "uint32", 0),
                Answer("process", str(rank), "PMIX_HOSTNAME", "string", "host"),
                Answer("process", str(rank), "PMIX_LOCAL_RANK", "uint16", rank),
                Answer("local process", str(rank), "PMIX_CPUSET", "string", "hwloc:0-1"),
                Answer("local process", str(rank), "PMIX_LOCALITY_STRING", "string", "SK0:L30:CR0-1:HT0-1"),
            ),
            (),
        )
        for rank in range(2)
    ]


def judged(reports: list[Report]) -> dict[str, Row]:
    return {row.name: row for row in judge(reports)}


def test_right_answers_are_right() -> None:
    rows = judged(good_reports())
    names = (
        "PMIX_JOB_SIZE",
        "PMIX_LOCAL_PEERS",
        "PMIX_LOCALLDR",
        "PMIX_LOCAL_RANK",
        "PMIX_CPUSET",
        "PMIX_LOCALITY_STRING",
    )
    assert {rows[name].verdict for name in names} == {Verdict.RIGHT}


@pytest.mark.parametrize(
    ("name", "type_", "value", "says"),
    [
        ("PMIX_JOB_SIZE", "uint32", 3, "told different things"),
        ("PMIX_JOB_SIZE", "int", 2, "uint32"),
        ("PMIX_LOCAL_PEERS", "string", "0,1,2", "told different things"),
        ("PMIX_LOCALLDR", "proc_rank", 1, "told different things"),
        ("PMIX_LOCAL_RANK", "uint16", 0, "no other rank"),
        ("PMIX_LOCAL_RANK", "uint16", 9, "at most 1"),
        ("PMIX_CPUSET", "string", "hwloc:5", "as the kernel says"),
        ("PMIX_CPUSET", "string", "nonsense", "a list of CPUs"),
        ("PMIX_LOCALITY_STRING", "string", "SK0:CR0:HT1", "2 hardware threads (HT), as many as the kernel says"),
        ("PMIX_LOCALITY_STRING", "string", "SK0:HTx", "where it is bound"),
    ],
)
def test_a_wrong_answer_is_a_row_with_what_was_expected(name: str, type_: str, value: object, says: str) -> None:
    first, second = good_reports()
    answers = [replace(each, type=type_, value=value) if each.name == name else each for each in second.answers]
    row = judged([first, replace(second, answers=tuple(answers))])[name]
    assert row.verdict is Verdict.WRONG and says in report.explanation(row)


NONSENSE = [None, True, -1, 2**64, float("nan"), "", "\udcff", "x" * 500, [], [1, "a"], [[None]], {"a": 1}]


@pytest.mark.parametrize("name", sorted({each.name for each in good_reports()[0].answers}))
def test_no_nonsense_ends_in_a_traceback(name: str) -> None:
    for value, kind, whose in itertools.product(NONSENSE, ("", "blob"), ((0,), (0, 1))):
        reports = good_reports()
        for rank in whose:
            answers = [
                replace(each, value=value, type=kind or each.type) if each.name == name else each
                for each in reports[rank].answers
            ]
            reports[rank] = decode(encode(replace(reports[rank], answers=tuple(answers))))
        rows = tuple(judge(reports))
        summary = Summary("nonsense", {}, rows)
        assert len(rows) == len(tuple(judge(good_reports())))
        for text in (page.html(summary), report.junit(summary), "".join(report.text(summary))):
            assert text.encode()
        assert report.from_json(report.to_json(summary)).rows == rows


@pytest.mark.parametrize(
    ("name", "path", "seen", "says"),
    [
        ("PMIX_TMPDIR", "tmp", (0o700, 7), "absolute path"),
        ("PMIX_TMPDIR", "/tmp/a", None, "a directory that exists"),
        ("PMIX_TMPDIR", "/tmp/a", (0o755, 7), "owner alone, not mode 0755"),
        ("PMIX_TMPDIR", "/tmp/a", (0o700, 8), "of user 8"),
        ("PMIX_NSDIR", "/other", (0o700, 7), "a directory below PMIX_TMPDIR, /tmp/a"),
        ("PMIX_NSDIR", "/tmp/a/ns", (0o700, 7), ""),
    ],
)
def test_directories_exist_are_private_and_lie_in_each_other(
    name: str, path: str, seen: tuple[int, int] | None, says: str
) -> None:
    reports = []
    for one in good_reports():
        told = {"PMIX_TMPDIR": "/tmp/a", name: path}
        answers = [Answer("own node", "host", each, "string", value) for each, value in told.items()]
        facts = {**one.facts, "uid": 7, "directories": {"/tmp/a": (0o700, 7), path: seen}}
        reports.append(replace(one, answers=(*one.answers, *answers), facts=facts))
    row = judged(reports)[name]
    assert row.verdict is (Verdict.WRONG if says else Verdict.RIGHT) and says in report.explanation(row)


def test_a_report_survives_its_travel() -> None:
    sent = replace(good_reports()[1], tried=(Tried("fence", Verdict.UNANSWERED, "no answer in 1 s", 1.0),))
    assert decode(encode(sent)) == sent
    with pytest.raises(ValueError, match="not a report"):
        decode(b"nonsense")


def test_two_reports_stand_side_by_side(tmp_path: Path) -> None:
    rows = tuple(judge(good_reports()))
    one, other = (
        Summary("one", {}, rows),
        Summary("other", {}, tuple(replace(row, verdict=Verdict.RIGHT) for row in rows)),
    )
    for summary in (one, other):
        (tmp_path / f"{summary.title}.json").write_text(report.to_json(summary))
    words = [*COMMAND, "check", "--compare", str(tmp_path / "one.json"), str(tmp_path / "other.json")]
    out = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    lines = [line for line in out.splitlines() if "PMIX_LOCAL_SIZE" in line]
    assert lines and lines[0].startswith("*") and lines[0].split()[-2:] == ["missing", "right"]
    three = subprocess.run([*words, words[-1]], capture_output=True, text=True, timeout=60, check=True).stdout
    assert [line.split()[-3:] for line in three.splitlines() if "PMIX_LOCAL_SIZE" in line] == [
        ["missing", "right", "right"]
    ]
    bad = subprocess.run([*words[:-1], "/nosuch"], capture_output=True, text=True, timeout=60, check=False)
    assert bad.returncode == 1 and "--json FILE makes one" in bad.stderr


PHONE = """<!doctype html><iframe width=390 height=800 srcdoc="{page}"></iframe><script>onload = () => {{
const it = document.querySelector("iframe").contentDocument.documentElement;
document.title = it.scrollWidth + " of " + it.clientWidth + ", " + it.querySelectorAll("tr").length + " rows";
}}</script>"""


@pytest.mark.skipif(shutil.which("chromium") is None, reason="chromium is not installed")
def test_the_page_fits_a_phone_in_a_real_browser(tmp_path: Path) -> None:
    rows = tuple(replace(row, found="x" * 200) for row in judge(good_reports()))
    phone = tmp_path / "phone.html"
    summary = Summary("a-launcher-" * 20, {"ranks": 2}, rows, ("no report came from rank(s) 1",))
    phone.write_text(PHONE.format(page=escape(page.html(summary), quote=True)))
    words = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/profile"]
    done = subprocess.run(
        [*words, "--virtual-time-budget=5000", "--dump-dom", phone.as_uri()],
        check=True,
        capture_output=True,
        text=True,
        timeout=100,
    )
    found = re.search(r"<title>(\d+) of (\d+), (\d+) rows", done.stdout)
    assert found is not None, done.stderr
    needed, there, shown = map(int, found.groups())
    assert needed <= there <= 390 and shown == len(rows)


@pytest.mark.pmix
@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["barrier", "--count", "5"], ["barrier of 4 ranks: ", "median of 5"]),
        (
            ["exchange", "--bytes", "64K", "--count", "2"],
            [
                "exchange of 65536 bytes from each of 4 ranks, 4 gets:",
                "\n  put  ",
                "\n  commit  ",
                "\n  fence ",
                "\n  get  ",
            ],
        ),
        (["exchange", "--sparse"], ["2 gets by direct modex:", "\n  direct modex "]),
        (["info"], ["size       4"]),
    ],
)
def test_one_operation_and_its_time(job: Launch, words: list[str], says: list[str]) -> None:
    out = job.run("-N2", "-n4", *COMMAND, "pmi", *words).out
    assert [each for each in says if each not in out] == [], out


@pytest.mark.pmix
@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "an operation is missing"),
        (["barier"], "did you mean barrier?"),
        (["barrier", "extra"], "'extra' was given"),
        (["barrier", "--count", "0"], "1 or more"),
        (["exchange", "--bytes", "2G"], "up to 1024M"),
        (["exchange", "--bytes", "2000M"], "up to 1024M"),
        (["get"], "needs a key"),
        (["get", "key", "--rank", "5000000000"], "a rank is a whole number"),
        (["get", "key", "--timeout", "soon"], "--timeout 'soon'"),
    ],
)
def test_what_makes_no_sense_is_one_line(job: Launch, words: list[str], says: str) -> None:
    err = job.run("-n1", *COMMAND, "pmi", *words, code=2).err
    assert says in err.splitlines()[0] and len(err.splitlines()) == 2, err  # the other is the launcher's


@pytest.mark.pmix
def test_a_key_that_nobody_knows_is_an_error(job: Launch) -> None:
    assert job.run("-n2", *COMMAND, "pmi", "get", "pmix.job.size").lines == ["2", "2"]
    result = job.run("-n1", *COMMAND, "pmi", "get", "no.such.key", "--timeout", "1s", code=1)
    assert "pmi get: PMIx_Get: PMIX_ERR_NOT_FOUND" in result.err
