"""PMIx status codes, and the exceptions that carry them.

Everybody above imports `Status`; the binding turns a failed call into a `PmixError` by `check`. Codes
are the union of OpenPMIx 4.2, 5.0 and 6.1 (where two names share a number the first is its name).
Standard 4.2, section 3.1 ("Status codes") and chapter 9 (events).
"""

from __future__ import annotations

from fluxpmix.pmix.enumeration import IntEnum


class Status(IntEnum):
    """`pmix_status_t`, named without `PMIX_`."""

    SUCCESS = 0
    ERROR = -1
    ERR_SILENT = -2
    ERR_DEBUGGER_RELEASE = -3
    DEBUGGER_RELEASE = -3
    ERR_PROC_RESTART = -4
    ERR_PROC_CHECKPOINT = -5
    ERR_PROC_MIGRATE = -6
    ERR_PROC_ABORTED = -7
    ERR_PROC_REQUESTED_ABORT = -8
    ERR_PROC_ABORTING = -9
    ERR_SERVER_FAILED_REQUEST = -10
    ERR_EXISTS = -11
    EXISTS = -11
    ERR_INVALID_CRED = -12
    ERR_HANDSHAKE_FAILED = -13
    ERR_READY_FOR_HANDSHAKE = -14
    ERR_WOULD_BLOCK = -15
    ERR_UNKNOWN_DATA_TYPE = -16
    ERR_PROC_ENTRY_NOT_FOUND = -17
    ERR_TYPE_MISMATCH = -18
    ERR_UNPACK_INADEQUATE_SPACE = -19
    ERR_UNPACK_FAILURE = -20
    ERR_PACK_FAILURE = -21
    ERR_PACK_MISMATCH = -22
    ERR_NO_PERMISSIONS = -23
    ERR_TIMEOUT = -24
    ERR_UNREACH = -25
    ERR_IN_ERRNO = -26
    ERR_BAD_PARAM = -27
    ERR_RESOURCE_BUSY = -28
    ERR_OUT_OF_RESOURCE = -29
    ERR_DATA_VALUE_NOT_FOUND = -30
    ERR_INIT = -31
    ERR_NOMEM = -32
    ERR_INVALID_ARG = -33
    ERR_INVALID_KEY = -34
    ERR_INVALID_KEY_LENGTH = -35
    ERR_INVALID_VAL = -36
    ERR_INVALID_VAL_LENGTH = -37
    ERR_INVALID_LENGTH = -38
    ERR_INVALID_NUM_ARGS = -39
    ERR_INVALID_ARGS = -40
    ERR_INVALID_NUM_PARSED = -41
    ERR_INVALID_KEYVALP = -42
    ERR_INVALID_SIZE = -43
    ERR_INVALID_NAMESPACE = -44
    ERR_SERVER_NOT_AVAIL = -45
    ERR_NOT_FOUND = -46
    ERR_NOT_SUPPORTED = -47
    ERR_NOT_IMPLEMENTED = -48
    ERR_COMM_FAILURE = -49
    ERR_UNPACK_READ_PAST_END_OF_BUFFER = -50
    ERR_CONFLICTING_CLEANUP_DIRECTIVES = -51
    ERR_PARTIAL_SUCCESS = -52
    ERR_DUPLICATE_KEY = -53
    PROCESS_SET_DEFINE = -55
    PROCESS_SET_DELETE = -56
    READY_FOR_DEBUG = -58
    DEBUG_WAITING_FOR_NOTIFY = -58
    ERR_PARAM_VALUE_NOT_SUPPORTED = -59
    ERR_EMPTY = -60
    ERR_LOST_CONNECTION = -61
    ERR_EXISTS_OUTSIDE_SCOPE = -62
    ERR_FATAL = -63
    ERR_NOT_AVAILABLE = -64
    ERR_VALUE_OUT_OF_BOUNDS = -65
    ERR_FILE_OPEN_FAILURE = -67
    ERR_FILE_READ_FAILURE = -68
    ERR_FILE_WRITE_FAILURE = -69
    ERR_SYS_LIMITS_PIPES = -70
    ERR_SYS_LIMITS_CHILDREN = -71
    ERR_PIPE_SETUP_FAILURE = -72
    ERR_EXE_NOT_ACCESSIBLE = -73
    ERR_JOB_WDIR_NOT_ACCESSIBLE = -74
    ERR_SYS_LIMITS_FILES = -75
    ERR_LOST_CONNECTION_TO_SERVER = -101
    ERR_LOST_PEER_CONNECTION = -102
    ERR_LOST_CONNECTION_TO_CLIENT = -103
    QUERY_PARTIAL_SUCCESS = -104
    NOTIFY_ALLOC_COMPLETE = -105
    JCTRL_CHECKPOINT = -106
    JCTRL_CHECKPOINT_COMPLETE = -107
    JCTRL_PREEMPT_ALERT = -108
    MONITOR_HEARTBEAT_ALERT = -109
    MONITOR_FILE_ALERT = -110
    PROC_TERMINATED = -111
    ERR_INVALID_TERMINATION = -112
    FABRIC_UPDATE_ENDPOINTS = -113
    MONITOR_RESUSAGE_UPDATE = -114
    ERR_EVENT_REGISTRATION = -144
    EVENT_JOB_END = -145
    ERR_JOB_TERMINATED = -145
    ERR_UPDATE_ENDPOINTS = -146
    MODEL_DECLARED = -147
    GDS_ACTION_COMPLETE = -148
    PROC_HAS_CONNECTED = -149
    CONNECT_REQUESTED = -150
    MODEL_RESOURCES = -151
    OPENMP_PARALLEL_ENTERED = -152
    OPENMP_PARALLEL_EXITED = -153
    LAUNCHER_READY = -155
    OPERATION_IN_PROGRESS = -156
    OPERATION_SUCCEEDED = -157
    ERR_INVALID_OPERATION = -158
    GROUP_INVITED = -159
    GROUP_LEFT = -160
    GROUP_INVITE_ACCEPTED = -161
    GROUP_INVITE_DECLINED = -162
    GROUP_INVITE_FAILED = -163
    GROUP_MEMBERSHIP_UPDATE = -164
    GROUP_CONSTRUCT_ABORT = -165
    GROUP_CONSTRUCT_COMPLETE = -166
    GROUP_LEADER_SELECTED = -167
    GROUP_LEADER_FAILED = -168
    GROUP_CONTEXT_ID_ASSIGNED = -169
    GROUP_MEMBER_FAILED = -170
    ERR_REPEAT_ATTR_REGISTRATION = -171
    ERR_IOF_FAILURE = -172
    ERR_IOF_COMPLETE = -173
    LAUNCH_COMPLETE = -174
    FABRIC_UPDATED = -175
    FABRIC_UPDATE_PENDING = -176
    ERR_JOB_APP_NOT_EXECUTABLE = -177
    ERR_JOB_NO_EXE_SPECIFIED = -178
    ERR_JOB_FAILED_TO_MAP = -179
    ERR_JOB_CANCELED = -180
    ERR_JOB_FAILED_TO_LAUNCH = -181
    ERR_JOB_ABORTED = -182
    ERR_JOB_KILLED_BY_CMD = -183
    ERR_JOB_ABORTED_BY_SIG = -184
    ERR_JOB_TERM_WO_SYNC = -185
    ERR_JOB_SENSOR_BOUND_EXCEEDED = -186
    ERR_JOB_NON_ZERO_TERM = -187
    ERR_JOB_ALLOC_FAILED = -188
    ERR_JOB_ABORTED_BY_SYS_EVENT = -189
    ERR_JOB_EXE_NOT_FOUND = -190
    EVENT_JOB_START = -191
    EVENT_SESSION_START = -192
    EVENT_SESSION_END = -193
    ERR_PROC_TERM_WO_SYNC = -200
    EVENT_PROC_TERMINATED = -201
    EVENT_SYS_BASE = -230
    EVENT_NODE_DOWN = -231
    ERR_NODE_DOWN = -231
    EVENT_NODE_OFFLINE = -232
    ERR_NODE_OFFLINE = -232
    ERR_JOB_WDIR_NOT_FOUND = -233
    ERR_JOB_INSUFFICIENT_RESOURCES = -234
    ERR_JOB_SYS_OP_FAILED = -235
    EVENT_SYS_OTHER = -330
    EVENT_NO_ACTION_TAKEN = -331
    EVENT_PARTIAL_ACTION_TAKEN = -332
    EVENT_ACTION_DEFERRED = -333
    EVENT_ACTION_COMPLETE = -334
    ERR_PROC_KILLED_BY_CMD = -400
    ERR_LOST_PRECISION = -400
    ERR_PROC_FAILED_TO_START = -401
    ERR_CHANGE_SIGN = -401
    ERR_PROC_ABORTED_BY_SIG = -402
    ERR_PROC_SENSOR_BOUND_EXCEEDED = -403
    ERR_EXIT_NONZERO_TERM = -404
    EXTERNAL_ERR_BASE = -3000


_NAMES: dict[int, str] = {int(status): status.name for status in Status}


def describe(code: int) -> str:
    """Return the Standard's name of a status, e.g. `PMIX_ERR_TIMEOUT`, or the number of an unknown one."""
    name = _NAMES.get(code)
    return f"PMIX_{name}" if name else f"PMIx status {code}"


class PmixError(Exception):
    """A PMIx call failed: `call` is its name, `status` what it returned, `detail` what else is known."""

    def __init__(self, status: int, call: str, detail: str = "") -> None:
        self.status: int = Status(status) if status in _NAMES else status
        self.call = call
        self.detail = detail
        super().__init__(f"{call}: {describe(status)} ({int(status)}){f': {detail}' if detail else ''}")

    def __reduce__(self) -> tuple[type[PmixError], tuple[int, str, str]]:
        return type(self), (int(self.status), self.call, self.detail)


class PmixTimeout(PmixError, TimeoutError):
    """PMIX_ERR_TIMEOUT."""


class PmixNotFound(PmixError, LookupError):
    """What was asked for is not there."""


class PmixNotSupported(PmixError):
    """This library or host does not do this."""


class PmixBadParameter(PmixError, ValueError):
    """An argument that PMIx refuses."""


class PmixUnreachable(PmixError, ConnectionError):
    """No server, or no way to the one asked for."""


class PmixNoPermission(PmixError, PermissionError):
    """Refused for who is asking."""


class PmixExists(PmixError):
    """It is there already."""


class PmixOutOfResource(PmixError):
    """Not enough memory, slots or files."""


_ERRORS: dict[int, type[PmixError]] = {
    Status.ERR_TIMEOUT: PmixTimeout,
    Status.ERR_NOT_FOUND: PmixNotFound,
    Status.ERR_DATA_VALUE_NOT_FOUND: PmixNotFound,
    Status.ERR_PROC_ENTRY_NOT_FOUND: PmixNotFound,
    Status.ERR_EXISTS_OUTSIDE_SCOPE: PmixNotFound,
    Status.ERR_NOT_SUPPORTED: PmixNotSupported,
    Status.ERR_NOT_IMPLEMENTED: PmixNotSupported,
    Status.ERR_NOT_AVAILABLE: PmixNotSupported,
    Status.ERR_PARAM_VALUE_NOT_SUPPORTED: PmixNotSupported,
    Status.ERR_BAD_PARAM: PmixBadParameter,
    Status.ERR_INVALID_ARG: PmixBadParameter,
    Status.ERR_INVALID_NAMESPACE: PmixBadParameter,
    Status.ERR_UNREACH: PmixUnreachable,
    Status.ERR_INIT: PmixUnreachable,
    Status.ERR_SERVER_NOT_AVAIL: PmixUnreachable,
    Status.ERR_LOST_CONNECTION: PmixUnreachable,
    Status.ERR_LOST_CONNECTION_TO_SERVER: PmixUnreachable,
    Status.ERR_COMM_FAILURE: PmixUnreachable,
    Status.ERR_NO_PERMISSIONS: PmixNoPermission,
    Status.ERR_INVALID_CRED: PmixNoPermission,
    Status.ERR_EXISTS: PmixExists,
    Status.ERR_DUPLICATE_KEY: PmixExists,
    Status.ERR_OUT_OF_RESOURCE: PmixOutOfResource,
    Status.ERR_NOMEM: PmixOutOfResource,
}


def error(status: int, call: str, detail: str = "") -> PmixError:
    """Return the exception for a status, of the type that a caller can act on."""
    return _ERRORS.get(status, PmixError)(status, call, detail)


def check(status: int, call: str, *accepted: int) -> int:
    """Return `status` where it means success (or is one of `accepted`), else raise its `PmixError`."""
    if status in (Status.SUCCESS, Status.OPERATION_SUCCEEDED) or status in accepted:
        return status
    raise error(status, call)
