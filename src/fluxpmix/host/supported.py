"""Which attributes this host honours, function by function: what PMIX_QUERY_ATTRIBUTE_SUPPORT tells of it.

`shell/server.py` registers the table with libpmix, which answers such queries by itself. What stands
here is done in this directory, and what is done stands here. Standard 4.2, section 5.7.
"""

from __future__ import annotations

from fluxpmix.host import allocation, control, credential, monitor, scheduled, spawnrequest
from fluxpmix.host.answers import KEYS
from fluxpmix.pmix import attributes as a
from fluxpmix.pmix.attributes import Attribute

_FENCE = (a.COLLECT_DATA, a.COLLECT_GENERATED_JOB_INFO, a.TIMEOUT)
_GET = (a.TIMEOUT, a.REQUIRED_KEY)
_ACCESS = (a.ACCESS_PERMISSIONS, a.ACCESS_USERIDS, a.ACCESS_GRPIDS)
_PUBLISH = (a.RANGE, a.PERSISTENCE, a.TIMEOUT, a.EVENT_CUSTOM_RANGE, *_ACCESS)
_LOOKUP = (a.RANGE, a.WAIT, a.TIMEOUT, a.EVENT_CUSTOM_RANGE)
_UNPUBLISH = (a.RANGE, a.TIMEOUT)
_QUALIFIERS = (a.RANK, a.PROCID, a.HOSTNAME, a.PSET_NAME, a.GROUP_ID, a.QUERY_LOCAL_ONLY, a.TIMEOUT)
_LOG = (
    *(a.LOG_STDOUT, a.LOG_STDERR, a.LOG_SYSLOG, a.LOG_LOCAL_SYSLOG, a.LOG_JOB_RECORD, a.LOG_MSG, a.LOG_ONCE),
    *(a.LOG_SOURCE, a.LOG_TIMESTAMP, a.LOG_TIMESTAMP_OUTPUT, a.LOG_TAG_OUTPUT, a.LOG_XML_OUTPUT),
)
_NOTIFY = (
    *(a.EVENT_CUSTOM_RANGE, a.EVENT_AFFECTED_PROC, a.EVENT_AFFECTED_PROCS, a.EVENT_NON_DEFAULT),
    *(a.EVENT_DO_NOT_CACHE, a.EVENT_STAYS_LOCAL, a.EVENT_TEXT_MESSAGE, a.EVENT_TIMESTAMP),
)
_PULL = (a.IOF_CACHE_SIZE, a.IOF_DROP_OLDEST, a.IOF_DROP_NEWEST, a.IOF_STOP)
_QUERY = (*KEYS, *(key for key in _QUALIFIERS if key not in KEYS))

SUPPORTED: dict[str, tuple[Attribute, ...]] = {
    "PMIx_Abort": (),
    "PMIx_Fence": _FENCE,
    "PMIx_Fence_nb": _FENCE,
    "PMIx_Get": _GET,
    "PMIx_Get_nb": _GET,
    "PMIx_Publish": _PUBLISH,
    "PMIx_Publish_nb": _PUBLISH,
    "PMIx_Lookup": _LOOKUP,
    "PMIx_Lookup_nb": _LOOKUP,
    "PMIx_Unpublish": _UNPUBLISH,
    "PMIx_Unpublish_nb": _UNPUBLISH,
    "PMIx_Notify_event": _NOTIFY,
    "PMIx_Query_info": _QUERY,
    "PMIx_Query_info_nb": _QUERY,
    "PMIx_Allocation_request": allocation.HONOURED,
    "PMIx_Allocation_request_nb": allocation.HONOURED,
    "PMIx_Get_credential": credential.HONOURED,
    "PMIx_Get_credential_nb": credential.HONOURED,
    "PMIx_Validate_credential": credential.HONOURED,
    "PMIx_Validate_credential_nb": credential.HONOURED,
    "PMIx_Process_monitor": monitor.HONOURED,
    "PMIx_Process_monitor_nb": monitor.HONOURED,
    "PMIx_IOF_pull": _PULL,
    "PMIx_IOF_deregister": (a.IOF_STOP,),
    "PMIx_IOF_push": (a.TIMEOUT,),
    "PMIx_tool_init": (a.TOOL_NSPACE, a.TOOL_RANK),
    "PMIx_Job_control": control.HONOURED,
    "PMIx_Job_control_nb": control.HONOURED,
    "PMIx_Spawn": spawnrequest.HONOURED,
    "PMIx_Spawn_nb": spawnrequest.HONOURED,
    "PMIx_Log": _LOG,
    "PMIx_Log_nb": _LOG,
}

# Where there is a scheduler, too, that can be asked.
_ASKED = (*_QUERY, *scheduled.KEYS, *(each for qualifiers in scheduled.KEYS.values() for each in qualifiers))
WITH_A_SCHEDULER = {**SUPPORTED, "PMIx_Query_info": _ASKED, "PMIx_Query_info_nb": _ASKED}
