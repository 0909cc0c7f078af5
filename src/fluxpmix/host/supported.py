"""Which attributes this host honours, function by function: what PMIX_QUERY_ATTRIBUTE_SUPPORT tells of it.

`shell/server.py` registers the table with libpmix, which answers such queries by itself. What stands
here is done in this directory, and what is done stands here: the capabilities take their own lists from here, as
a shell needs all of these at its start, and of the capabilities few. Standard 4.2, section 5.7.
"""

from __future__ import annotations

from fluxpmix.host import scheduled
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
ANSWERED = (
    *(a.QUERY_SUPPORTED_KEYS, a.QUERY_NAMESPACES, a.QUERY_NAMESPACE_INFO, a.QUERY_JOB_STATUS, a.QUERY_PROC_TABLE),
    *(a.QUERY_LOCAL_PROC_TABLE, a.PROC_STATE_STATUS, a.PROC_PID, a.EXIT_CODE, a.TIME_REMAINING),
    *(a.QUERY_MEMORY_USAGE, a.QUERY_SPAWN_SUPPORT, a.QUERY_NUM_PSETS, a.QUERY_PSET_NAMES, a.QUERY_PSET_MEMBERSHIP),
    *(a.QUERY_NUM_GROUPS, a.QUERY_GROUP_NAMES, a.QUERY_GROUP_MEMBERSHIP, a.QUERY_RESOLVE_PEERS),
    *(a.QUERY_RESOLVE_NODE, a.NODE_LIST, a.NSPACE, a.JOBID, a.JOB_SIZE, a.JOB_NUM_APPS, a.NUM_NODES, a.UNIV_SIZE),
    a.SESSION_ID,
)
_QUERY = (*ANSWERED, *(key for key in _QUALIFIERS if key not in ANSWERED))
ALLOCATION = (a.ALLOC_TIME, a.ALLOC_REQ_ID, a.ALLOC_ID)
CREDENTIAL = (a.CRED_TYPE, a.TIMEOUT)
MONITOR = (
    *(a.MONITOR_ID, a.MONITOR_CANCEL, a.MONITOR_FILE, a.MONITOR_FILE_SIZE, a.MONITOR_FILE_ACCESS),
    *(a.MONITOR_FILE_MODIFY, a.MONITOR_FILE_CHECK_TIME, a.MONITOR_FILE_DROPS),
    *(a.MONITOR_HEARTBEAT, a.MONITOR_HEARTBEAT_TIME, a.MONITOR_HEARTBEAT_DROPS),
)
JOB_CONTROL = (
    *(a.JOB_CTRL_ID, a.JOB_CTRL_CANCEL, a.JOB_CTRL_SIGNAL, a.JOB_CTRL_KILL, a.JOB_CTRL_TERMINATE),
    *(a.JOB_CTRL_PAUSE, a.JOB_CTRL_RESUME, a.JOB_CTRL_DEFINE_PSET, a.TIMEOUT),
)
CHECKPOINT = (
    *(a.JOB_CTRL_ID, a.JOB_CTRL_CHECKPOINT, a.JOB_CTRL_CHECKPOINT_EVENT, a.JOB_CTRL_CHECKPOINT_SIGNAL),
    *(a.JOB_CTRL_CHECKPOINT_TIMEOUT, a.JOB_CTRL_CHECKPOINT_METHOD, a.TIMEOUT),
)
RESTART = (a.JOB_CTRL_ID, a.JOB_CTRL_RESTART, a.TIMEOUT)
# All that PMIx_Job_control may ask for.
_CONTROL = tuple(dict.fromkeys((*JOB_CONTROL, *CHECKPOINT, *RESTART)))
# What a spawned job, or an allocation, may have of its own: `wantedresources.py`.
RESOURCES = (a.ALLOC_NUM_NODES, a.ALLOC_NUM_CPUS, a.ALLOC_NODE_LIST, a.ALLOC_EXCLUDE, a.ALLOC_TIME, a.ALLOC_QUEUE)
# Of output libpmix takes care.
SPAWN = (
    *(a.HOST, a.HOSTFILE, a.ADD_HOST, a.PREFIX, a.WDIR, a.PPR, a.MAPBY, a.RANKBY, a.NO_OVERSUBSCRIBE),
    *(a.PARENT_ID, a.NOTIFY_COMPLETION, a.SPAWN_CHILD_SEP, a.INDEX_ARGV, a.SPAWN_TIMEOUT, a.TIMEOUT),
    *(a.JOB_TIMEOUT, a.NOTIFY_JOB_EVENTS, a.STDIN_TGT),
    *(a.IOF_TAG_OUTPUT, a.IOF_TAG_DETAILED_OUTPUT, a.IOF_TAG_FULLNAME_OUTPUT, a.IOF_RANK_OUTPUT, a.TAG_OUTPUT),
    *(a.IOF_TIMESTAMP_OUTPUT, a.TIMESTAMP_OUTPUT, a.IOF_MERGE_STDERR_STDOUT, a.MERGE_STDERR_STDOUT),
    *(a.IOF_OUTPUT_TO_FILE, a.OUTPUT_TO_FILE, a.IOF_FILE_PATTERN, a.IOF_FILE_ONLY, a.OUTPUT_NOCOPY),
    *(a.IOF_OUTPUT_TO_DIRECTORY, a.OUTPUT_TO_DIRECTORY),
    *(a.SET_ENVAR, a.ADD_ENVAR, a.UNSET_ENVAR, a.PREPEND_ENVAR, a.APPEND_ENVAR, a.FIRST_ENVAR),
)

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
    "PMIx_Allocation_request": ALLOCATION,
    "PMIx_Allocation_request_nb": ALLOCATION,
    "PMIx_Get_credential": CREDENTIAL,
    "PMIx_Get_credential_nb": CREDENTIAL,
    "PMIx_Validate_credential": CREDENTIAL,
    "PMIx_Validate_credential_nb": CREDENTIAL,
    "PMIx_Process_monitor": MONITOR,
    "PMIx_Process_monitor_nb": MONITOR,
    "PMIx_IOF_pull": _PULL,
    "PMIx_IOF_deregister": (a.IOF_STOP,),
    "PMIx_IOF_push": (a.TIMEOUT,),
    "PMIx_tool_init": (a.TOOL_NSPACE, a.TOOL_RANK),
    "PMIx_Job_control": _CONTROL,
    "PMIx_Job_control_nb": _CONTROL,
    "PMIx_Spawn": SPAWN,
    "PMIx_Spawn_nb": SPAWN,
    "PMIx_Log": _LOG,
    "PMIx_Log_nb": _LOG,
}

# Where there is a scheduler, too, that can be asked.
_ASKED = (*_QUERY, *scheduled.KEYS, *(each for qualifiers in scheduled.KEYS.values() for each in qualifiers))
_SPAWN = (*SPAWN, *RESOURCES, a.ALLOC_ID)
_ALLOCATION = (*ALLOCATION, *RESOURCES, a.ALLOC_CHILD_SEP)
WITH_A_SCHEDULER = {
    **SUPPORTED,
    "PMIx_Allocation_request": _ALLOCATION,
    "PMIx_Allocation_request_nb": _ALLOCATION,
    "PMIx_Spawn": _SPAWN,
    "PMIx_Spawn_nb": _SPAWN,
    "PMIx_Query_info": _ASKED,
    "PMIx_Query_info_nb": _ASKED,
}
