"""What must hold of templates, `out.{{taskid}}`: every tag of `flux run`, and braces that are none of ours."""

from __future__ import annotations

import os
import subprocess
import time
from shutil import which

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jobs import make_job

from fluxpmix.job import jobid, template
from fluxpmix.job.taskmap import TaskMap
from fluxpmix.job.template import JOB_TAGS, NODE_TAGS, TAGS, TASK_TAGS, TemplateError

literals = st.text("ab.%/- \n}", max_size=5)
tags = st.sampled_from(TAGS)


@given(st.lists(st.tuples(literals, tags), max_size=5), literals)
def test_a_template_keeps_its_text_and_fills_its_tags(pairs: list[tuple[str, str]], last: str) -> None:
    text = "".join(f"{before}{{{{{tag}}}}}" for before, tag in pairs) + last
    parsed = template.parse(text)
    assert parsed.text == text
    assert parsed.tags == tuple(tag for _, tag in pairs)
    assert parsed.fill({tag: tag.upper() for tag in TAGS}) == "".join(a + tag.upper() for a, tag in pairs) + last
    assert template.fill_known(text, {tag: tag.upper() for tag in TAGS}) == parsed.fill({t: t.upper() for t in TAGS})


@pytest.mark.parametrize(
    ("text", "per_node", "per_task"),
    [("out", False, False), ("{{id}}", False, False), *((f"{{{{{tag}}}}}", False, False) for tag in JOB_TAGS)]
    + [(f"x{{{{{tag}}}}}", True, False) for tag in NODE_TAGS]
    + [(f"{{{{id}}}}{{{{{tag}}}}}", True, True) for tag in TASK_TAGS],
)
def test_a_template_knows_whether_nodes_or_tasks_share_its_text(text: str, per_node: bool, per_task: bool) -> None:
    parsed = template.parse(text)
    assert (parsed.per_node, parsed.per_task) == (per_node, per_task)


@pytest.mark.parametrize(
    ("text", "named"),
    [("{{taskd}}", "{{taskd}}"), ("{{}}", "{{}}"), ("{{ taskid }}", "{{ taskid }}"), ("a{{id", "{{id")],
)
def test_what_is_no_template_is_refused_with_what_there_is(text: str, named: str) -> None:
    with pytest.raises(TemplateError) as caught:
        template.parse(text)
    assert repr(text) in str(caught.value) and named in str(caught.value) and "{{taskid}}" in str(caught.value)


def test_a_tag_without_a_value_is_refused_by_name() -> None:
    with pytest.raises(TemplateError, match=r"\{\{taskid\}\} has no value here"):
        template.parse("{{id}}.{{taskid}}").fill({"id": "f1"})


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("{{id}}", "f1"),
        ("a{{id}}b{{id}}c", "af1bf1c"),
        ("{{{id}}}", "{f1}"),
        ("{{{{id}}}}", "{{f1}}"),
        ("{{other}} {{id}}", "{{other}} f1"),
        ("{{ {{id}} }}", "{{ f1 }}"),
        ("{{id", "{{id"),
        ("id}} {{ {}", "id}} {{ {}"),
        ("awk '{print $1}}' {{", "awk '{print $1}}' {{"),
        ("{{i{{d}}}}", "{{i{{d}}}}"),
        ("}}{{id}}", "}}f1"),
    ],
)
def test_a_command_s_own_braces_are_left_alone(text: str, filled: str) -> None:
    assert template.fill_known(text, {"id": "f1"}) == filled


@given(st.text("{}id ", max_size=20))
def test_text_without_known_tags_is_not_touched(text: str) -> None:
    assert template.fill_known(text, {"taskid": "0"}) == text


@pytest.mark.parametrize("piece", ["{", "}", "{{", "}}", "{}", "{{x}}"])
def test_a_longest_possible_argument_of_braces_is_quick(piece: str) -> None:
    text = piece * (2**17 // len(piece))
    start = time.process_time()
    assert template.fill_known(text, {"id": "f1"}) == text
    assert time.process_time() - start < 2


def test_every_tag_has_a_value() -> None:
    job = make_job(TaskMap.cyclic([2, 1]))
    filled = {
        **template.job_values(job, "prog"),
        **template.node_values(job, 1, "/tmp/x"),
        **template.task_values(2, 1),
    }
    number = jobid.decode(job.jobid)
    wanted = {"id": job.jobid, "jobid": job.jobid, "name": "prog", "nnodes": "2", "size": "3", "ntasks": "3"}
    wanted |= {"id.f58": job.jobid, "id.dec": str(number), "id.hex": hex(number), "id.dothex": jobid.dothex(number)}
    wanted |= {"node.id": "1", "node.name": "n1", "node.ncores": "8", "node.cores": "0-7", "tmpdir": "/tmp/x"}
    wanted |= {"taskid": "2", "task.id": "2", "task.rank": "2", "task.index": "1", "task.localid": "1"}
    assert filled == wanted
    assert set(filled) == set(TAGS)


def test_a_job_that_a_program_named_itself_has_that_name_in_every_form() -> None:
    job = make_job(TaskMap.block([1]), jobid="my job")
    forms = [value for tag, value in template.job_values(job, "x").items() if tag.startswith("id")]
    assert forms == ["my job"] * 5


@pytest.mark.flux
@pytest.mark.skipif(which("flux") is None, reason="no flux on PATH")
def test_flux_fills_the_same_tags_alike() -> None:
    shared = [tag for tag in TAGS if tag not in ("tmpdir", "node.name", "node.cores", "node.ncores")]
    wanted = "|".join(f"{tag}={{{{{tag}}}}}" for tag in shared)
    result = subprocess.run(
        ["flux", "start", "flux", "run", "-n1", "--job-name=prog", "echo", wanted],
        env={**os.environ, "FLUX_F58_FORCE_ASCII": "1"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    shown = dict(pair.split("=") for pair in result.stdout.strip().split("|"))
    job = make_job(TaskMap.block([1]), jobid=shown["id"])
    ours = {**template.job_values(job, "prog"), **template.node_values(job, 0, ""), **template.task_values(0, 0)}
    assert shown == {tag: ours[tag] for tag in shared}
