"""Statuses are named and numbered as libpmix has them, and a failed call raises what can be acted on."""

from __future__ import annotations

import pickle
import re

import pytest
from installed import VERSIONS
from live import headers, library

from fluxpmix.pmix.status import (
    PmixBadParameter,
    PmixError,
    PmixExists,
    PmixNoPermission,
    PmixNotFound,
    PmixNotSupported,
    PmixOutOfResource,
    PmixTimeout,
    PmixUnreachable,
    Status,
    check,
    describe,
    error,
)

pytestmark = pytest.mark.pmix

# Of later versions than those that the tests load, or no status but the end of a range.
UNNAMED = {Status.MONITOR_RESUSAGE_UPDATE, Status.EXTERNAL_ERR_BASE}
UNKNOWN = "ERROR STRING NOT FOUND"


def names(status: int) -> set[str]:
    """Every name of a number."""
    return {f"PMIX_{name}" for name, member in Status.__members__.items() if member == status}


def test_every_status_has_the_name_that_libpmix_gives_it() -> None:
    found = library("5.0")
    told = {status: found.status_text(status) for status in Status if status not in UNNAMED}
    assert {status: text for status, text in told.items() if text not in names(status)} == {}


@pytest.mark.parametrize("version", VERSIONS)
def test_libpmix_has_no_status_that_is_missing_here(version: str) -> None:
    found = library(version)
    # What follows is OpenPMIx's own (PMIX_INTERNAL_ERR_BASE).
    known = {code for code in range(0, -1330, -1) if found.status_text(code) not in (UNKNOWN, "")}
    assert len(known) > 100
    assert known - {int(status) for status in Status} == set()


def test_the_words_of_4_2_for_a_status_are_words_of_its_name() -> None:
    # 4.2 has texts, not names ("PROC-ABORT-REQUESTED"): most of their words are the name's.
    found = library("4.2")
    apart = {}
    for status in Status:
        text = found.status_text(status)
        words = {word[:5] for word in re.split(r"[^A-Z]+", text) if word not in ("", "PMIX", "ERR", "TO")}
        known = {word[:5] for name in names(status) for word in name.split("_")}
        if text != UNKNOWN and not words & known:
            apart[status.name] = text
    assert apart == {"ERR_NOMEM": "NO-MEM"}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_headers_statuses_are_here_with_their_numbers(version: str) -> None:
    text = "\n".join(path.read_text() for path in headers(library(version)).glob("pmix*.h"))
    defined = {
        name: int(number) for name, number in re.findall(r"^#define\s+PMIX_(\w+)\s+\(?(-\d+)\)?\s", text, re.MULTILINE)
    }
    assert len(defined) > 100
    assert {name: Status.__members__.get(name) for name in defined} == defined


# -- exceptions -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "kind", "builtin"),
    [
        (Status.ERR_TIMEOUT, PmixTimeout, TimeoutError),
        (Status.ERR_NOT_FOUND, PmixNotFound, LookupError),
        (Status.ERR_PROC_ENTRY_NOT_FOUND, PmixNotFound, LookupError),
        (Status.ERR_EXISTS_OUTSIDE_SCOPE, PmixNotFound, LookupError),
        (Status.ERR_NOT_SUPPORTED, PmixNotSupported, Exception),
        (Status.ERR_NOT_IMPLEMENTED, PmixNotSupported, Exception),
        (Status.ERR_BAD_PARAM, PmixBadParameter, ValueError),
        (Status.ERR_INVALID_NAMESPACE, PmixBadParameter, ValueError),
        (Status.ERR_UNREACH, PmixUnreachable, ConnectionError),
        (Status.ERR_LOST_CONNECTION_TO_SERVER, PmixUnreachable, ConnectionError),
        (Status.ERR_NO_PERMISSIONS, PmixNoPermission, PermissionError),
        (Status.ERR_EXISTS, PmixExists, Exception),
        (Status.ERR_DUPLICATE_KEY, PmixExists, Exception),
        (Status.ERR_NOMEM, PmixOutOfResource, Exception),
        (Status.ERROR, PmixError, Exception),
        (-9999, PmixError, Exception),
    ],
    ids=lambda one: getattr(one, "name", None) or getattr(one, "__name__", str(one)),
)
def test_a_status_raises_the_kind_that_can_be_acted_on(
    status: int, kind: type[PmixError], builtin: type[Exception]
) -> None:
    with pytest.raises(builtin) as caught:
        check(status, "PMIx_Get")
    assert type(caught.value) is kind
    assert isinstance(caught.value, PmixError)
    assert (caught.value.status, caught.value.call) == (status, "PMIx_Get")


def test_an_error_says_which_call_failed_with_which_status_and_why() -> None:
    assert str(error(-24, "PMIx_Fence")) == "PMIx_Fence: PMIX_ERR_TIMEOUT (-24)"
    assert str(error(-46, "PMIx_Get", "my.key")) == "PMIx_Get: PMIX_ERR_NOT_FOUND (-46): my.key"
    assert str(error(-9999, "PMIx_Get")) == "PMIx_Get: PMIx status -9999 (-9999)"


def test_a_known_status_is_a_member_and_an_unknown_one_stays_a_number() -> None:
    assert error(-24, "PMIx_Fence").status is Status.ERR_TIMEOUT
    assert error(-9999, "PMIx_Fence").status == -9999


@pytest.mark.parametrize("status", [Status.SUCCESS, Status.OPERATION_SUCCEEDED])
def test_success_is_returned(status: int) -> None:
    assert check(status, "PMIx_Fence") == status


def test_a_status_that_is_accepted_is_returned() -> None:
    assert check(Status.ERR_PARTIAL_SUCCESS, "PMIx_Lookup", Status.ERR_PARTIAL_SUCCESS) == -52
    with pytest.raises(PmixError):
        check(Status.ERR_PARTIAL_SUCCESS, "PMIx_Lookup", Status.ERR_NOT_FOUND)


def test_a_number_with_two_names_has_the_first() -> None:
    assert describe(-145) == "PMIX_EVENT_JOB_END"
    assert Status.ERR_JOB_TERMINATED is Status.EVENT_JOB_END


def test_an_unknown_number_is_described_by_itself() -> None:
    assert describe(-9999) == "PMIx status -9999"


@pytest.mark.parametrize("sent", [error(-46, "PMIx_Get", "my.key"), error(-24, "PMIx_Fence"), error(-9999, "PMIx_Get")])
def test_an_error_says_the_same_in_another_process(sent: PmixError) -> None:
    came = pickle.loads(pickle.dumps(sent))
    assert (type(came), str(came), came.status, came.call) == (type(sent), str(sent), sent.status, sent.call)
