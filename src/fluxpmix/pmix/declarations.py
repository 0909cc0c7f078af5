"""The C declarations of libpmix, and the program that compiles them: `python -m fluxpmix.pmix.declarations`.

Nobody imports this but its test: `library.py` imports what it writes, `_declarations.py`. One set serves
4.2 to 6.1: the layouts of the structs are the same in all of them (the tests compare sizes against the
library itself), and a function that a version lacks fails only when it is called. Functions that libpmix
calls back are `void *` here; `completions.py`, `module_table.py` and `events.py` state their types.
"""

from __future__ import annotations

CDEF = """
typedef int32_t pid_t;
typedef uint32_t uid_t;
typedef uint32_t gid_t;
typedef int64_t time_t;
struct timeval { int64_t tv_sec; int64_t tv_usec; };

typedef int pmix_status_t;
typedef uint32_t pmix_rank_t;
typedef uint16_t pmix_data_type_t;
typedef struct { char nspace[256]; uint32_t rank; } pmix_proc_t;
typedef struct { char *bytes; size_t size; } pmix_byte_object_t;
typedef struct { uint16_t type; size_t size; void *array; } pmix_data_array_t;
typedef struct { char *envar; char *value; char separator; } pmix_envar_t;
typedef struct { char *source; void *topology; } pmix_topology_t;
typedef struct { char *source; void *bitmap; } pmix_cpuset_t;
typedef struct {
    pmix_proc_t proc; char *hostname; char *executable_name; pid_t pid; int exit_code; uint8_t state;
} pmix_proc_info_t;
typedef struct { uint8_t view; uint32_t *coord; size_t dims; } pmix_coord_t;
typedef struct {
    size_t fabric; char *uuid; char *osname; pmix_coord_t *coordinates; size_t ncoords;
} pmix_geometry_t;
typedef struct { char *uuid; char *osname; uint64_t type; uint16_t mindist; uint16_t maxdist; } pmix_device_distance_t;
typedef struct { char *uuid; char *osname; pmix_byte_object_t endpt; } pmix_endpoint_t;
typedef struct {
    char *base_ptr; char *pack_ptr; char *unpack_ptr; size_t bytes_allocated; size_t bytes_used;
} pmix_data_buffer_t;

typedef struct {
    uint16_t type;
    union {
        bool flag; uint8_t byte; char *string; size_t size; pid_t pid; int integer;
        int8_t int8; int16_t int16; int32_t int32; int64_t int64;
        unsigned int uint; uint8_t uint8; uint16_t uint16; uint32_t uint32; uint64_t uint64;
        float fval; double dval; struct timeval tv; time_t time; int status; uint32_t rank;
        char *nspace; pmix_proc_t *proc; pmix_byte_object_t bo; uint8_t persist; uint8_t scope;
        uint8_t range; uint8_t state; pmix_proc_info_t *pinfo; pmix_data_array_t *darray; void *ptr;
        uint8_t adir; pmix_envar_t envar; pmix_coord_t *coord; uint8_t linkstate; uint8_t jstate;
        pmix_topology_t *topo; pmix_cpuset_t *cpuset; uint16_t locality; pmix_geometry_t *geometry;
        uint64_t devtype; pmix_device_distance_t *devdist; pmix_endpoint_t *endpoint;
        pmix_data_buffer_t *dbuf; char raw[24];
    } data;
} pmix_value_t;
typedef struct { char key[512]; uint32_t flags; pmix_value_t value; } pmix_info_t;
typedef struct { pmix_proc_t proc; char key[512]; pmix_value_t value; } pmix_pdata_t;
typedef struct {
    char *cmd; char **argv; char **env; char *cwd; int maxprocs; pmix_info_t *info; size_t ninfo;
} pmix_app_t;
typedef struct { char **keys; pmix_info_t *qualifiers; size_t nqual; } pmix_query_t;
typedef struct { char *name; char string[512]; uint16_t type; char **description; } pmix_regattr_t;
typedef struct { char *name; size_t index; pmix_info_t *info; size_t ninfo; void *module; } pmix_fabric_t;
typedef struct { void *entries[64]; } pmix_server_module_t;

/* of the C library, through libpmix's own handle: memory that crosses the border is malloc's */
void *malloc(size_t);
void *calloc(size_t, size_t);
void free(void *);
char *strdup(const char *);
int setenv(const char *, const char *, int);
int unsetenv(const char *);
/* for gate.py */
int accept(int, void *, void *);
void *dlopen(const char *, int);
int dlclose(void *);
int dlinfo(void *, int, void *);
int mprotect(void *, size_t, int);
/* for cleanup.py and spared.py */
void *opendir(const char *);
int unlink(const char *);
int pmix_server_job_ctrl(void *, void *, void *, void *);
extern struct { void *words[7]; size_t size; } pmix_buffer_t_class; /* libpmix's description of its messages */
/* for sensor.py: libpmix's own table of the functions that start and stop its monitors */
extern struct { void *start; void *stop; } pmix_psensor;
/* for sensor6.py: what libpmix 6 asks instead */
int pmix_server_monitor(void *, void *, void *, void *);
extern struct { void *init; void *query; void *finalize; } pmix_pstat;
/* for munge.py */
int munge_encode(char **, void *, const void *, int);
int munge_decode(const char *, void *, void **, int *, uid_t *, gid_t *);
/* for process.py */
int prctl(int, unsigned long, unsigned long, unsigned long, unsigned long);
long ptrace(int, pid_t, void *, void *);

const char *PMIx_Get_version(void);
const char *PMIx_Error_string(int);
const char *PMIx_Data_type_string(uint16_t);
void PMIx_Progress(void);
int PMIx_Initialized(void);

int PMIx_Init(pmix_proc_t *, pmix_info_t *, size_t);
int PMIx_Finalize(const pmix_info_t *, size_t);
int PMIx_Abort(int, const char *, pmix_proc_t *, size_t);
int PMIx_Put(uint8_t, const char *, pmix_value_t *);
int PMIx_Commit(void);
int PMIx_Fence(const pmix_proc_t *, size_t, const pmix_info_t *, size_t);
int PMIx_Fence_nb(const pmix_proc_t *, size_t, const pmix_info_t *, size_t, void *, void *);
int PMIx_Get(const pmix_proc_t *, const char *, const pmix_info_t *, size_t, pmix_value_t **);
int PMIx_Get_nb(const pmix_proc_t *, const char *, const pmix_info_t *, size_t, void *, void *);
int PMIx_Store_internal(const pmix_proc_t *, const char *, pmix_value_t *);
int PMIx_Publish(const pmix_info_t *, size_t);
int PMIx_Publish_nb(const pmix_info_t *, size_t, void *, void *);
int PMIx_Lookup(pmix_pdata_t *, size_t, const pmix_info_t *, size_t);
int PMIx_Lookup_nb(char **, const pmix_info_t *, size_t, void *, void *);
int PMIx_Unpublish(char **, const pmix_info_t *, size_t);
int PMIx_Unpublish_nb(char **, const pmix_info_t *, size_t, void *, void *);
int PMIx_Spawn(const pmix_info_t *, size_t, const pmix_app_t *, size_t, char *);
int PMIx_Spawn_nb(const pmix_info_t *, size_t, const pmix_app_t *, size_t, void *, void *);
int PMIx_Connect(const pmix_proc_t *, size_t, const pmix_info_t *, size_t);
int PMIx_Connect_nb(const pmix_proc_t *, size_t, const pmix_info_t *, size_t, void *, void *);
int PMIx_Disconnect(const pmix_proc_t *, size_t, const pmix_info_t *, size_t);
int PMIx_Disconnect_nb(const pmix_proc_t *, size_t, const pmix_info_t *, size_t, void *, void *);
int PMIx_Resolve_peers(const char *, const char *, pmix_proc_t **, size_t *);
int PMIx_Resolve_nodes(const char *, char **);
int PMIx_Query_info(pmix_query_t *, size_t, pmix_info_t **, size_t *);
int PMIx_Query_info_nb(pmix_query_t *, size_t, void *, void *);
int PMIx_Log(const pmix_info_t *, size_t, const pmix_info_t *, size_t);
int PMIx_Log_nb(const pmix_info_t *, size_t, const pmix_info_t *, size_t, void *, void *);
int PMIx_Allocation_request(uint8_t, pmix_info_t *, size_t, pmix_info_t **, size_t *);
int PMIx_Allocation_request_nb(uint8_t, pmix_info_t *, size_t, void *, void *);
int PMIx_Job_control(const pmix_proc_t *, size_t, const pmix_info_t *, size_t, pmix_info_t **, size_t *);
int PMIx_Job_control_nb(const pmix_proc_t *, size_t, const pmix_info_t *, size_t, void *, void *);
int PMIx_Process_monitor(const pmix_info_t *, int, const pmix_info_t *, size_t, pmix_info_t **, size_t *);
int PMIx_Process_monitor_nb(const pmix_info_t *, int, const pmix_info_t *, size_t, void *, void *);
int PMIx_Get_credential(const pmix_info_t *, size_t, pmix_byte_object_t *);
int PMIx_Get_credential_nb(const pmix_info_t *, size_t, void *, void *);
int PMIx_Validate_credential(const pmix_byte_object_t *, const pmix_info_t *, size_t, pmix_info_t **, size_t *);
int PMIx_Validate_credential_nb(const pmix_byte_object_t *, const pmix_info_t *, size_t, void *, void *);
int PMIx_Session_control(uint32_t, const pmix_info_t *, size_t, void *, void *);
int PMIx_Group_construct(const char *, const pmix_proc_t *, size_t, const pmix_info_t *, size_t, pmix_info_t **,
    size_t *);
int PMIx_Group_construct_nb(const char *, const pmix_proc_t *, size_t, const pmix_info_t *, size_t, void *, void *);
int PMIx_Group_invite(const char *, const pmix_proc_t *, size_t, const pmix_info_t *, size_t, pmix_info_t **, size_t *);
int PMIx_Group_invite_nb(const char *, const pmix_proc_t *, size_t, const pmix_info_t *, size_t, void *, void *);
int PMIx_Group_join(const char *, const pmix_proc_t *, int, const pmix_info_t *, size_t, pmix_info_t **, size_t *);
int PMIx_Group_join_nb(const char *, const pmix_proc_t *, int, const pmix_info_t *, size_t, void *, void *);
int PMIx_Group_leave(const char *, const pmix_info_t *, size_t);
int PMIx_Group_leave_nb(const char *, const pmix_info_t *, size_t, void *, void *);
int PMIx_Group_destruct(const char *, const pmix_info_t *, size_t);
int PMIx_Group_destruct_nb(const char *, const pmix_info_t *, size_t, void *, void *);
int PMIx_Register_event_handler(int *, size_t, pmix_info_t *, size_t, void *, void *, void *);
int PMIx_Deregister_event_handler(size_t, void *, void *);
int PMIx_Notify_event(int, const pmix_proc_t *, uint8_t, const pmix_info_t *, size_t, void *, void *);
int PMIx_IOF_pull(const pmix_proc_t *, size_t, const pmix_info_t *, size_t, uint16_t, void *, void *, void *);
int PMIx_IOF_deregister(size_t, const pmix_info_t *, size_t, void *, void *);
int PMIx_IOF_push(const pmix_proc_t *, size_t, pmix_byte_object_t *, const pmix_info_t *, size_t, void *, void *);
int PMIx_Fabric_register(pmix_fabric_t *, const pmix_info_t *, size_t);
int PMIx_Fabric_update(pmix_fabric_t *);
int PMIx_Fabric_deregister(pmix_fabric_t *);

int PMIx_Load_topology(pmix_topology_t *);
void PMIx_Topology_destruct(pmix_topology_t *);
int PMIx_Parse_cpuset_string(const char *, pmix_cpuset_t *);
int PMIx_Get_cpuset(pmix_cpuset_t *, int);
void PMIx_Cpuset_destruct(pmix_cpuset_t *);
int PMIx_Get_relative_locality(const char *, const char *, uint16_t *);
int PMIx_Compute_distances(pmix_topology_t *, pmix_cpuset_t *, pmix_info_t *, size_t, pmix_device_distance_t **,
    size_t *);

int PMIx_Value_load(pmix_value_t *, const void *, uint16_t);
void PMIx_Value_destruct(pmix_value_t *);
int PMIx_Value_xfer(pmix_value_t *, const pmix_value_t *);
int PMIx_Info_load(pmix_info_t *, const char *, const void *, uint16_t);
int PMIx_Info_xfer(pmix_info_t *, const pmix_info_t *);
void PMIx_Data_array_destruct(pmix_data_array_t *);
int PMIx_Data_pack(const pmix_proc_t *, pmix_data_buffer_t *, void *, int32_t, uint16_t);
int PMIx_Data_unpack(const pmix_proc_t *, pmix_data_buffer_t *, void *, int32_t *, uint16_t);
int PMIx_Data_unload(pmix_data_buffer_t *, pmix_byte_object_t *);
int PMIx_Data_load(pmix_data_buffer_t *, pmix_byte_object_t *);
bool PMIx_Data_compress(const uint8_t *, size_t, uint8_t **, size_t *);
bool PMIx_Data_decompress(const uint8_t *, size_t, uint8_t **, size_t *);

int PMIx_server_init(pmix_server_module_t *, pmix_info_t *, size_t);
int PMIx_server_finalize(void);
int PMIx_generate_regex(const char *, char **);
int PMIx_generate_ppn(const char *, char **);
int PMIx_server_register_nspace(const char *, int, pmix_info_t *, size_t, void *, void *);
void PMIx_server_deregister_nspace(const char *, void *, void *);
int PMIx_server_register_client(const pmix_proc_t *, uid_t, gid_t, void *, void *, void *);
void PMIx_server_deregister_client(const pmix_proc_t *, void *, void *);
int PMIx_server_setup_fork(const pmix_proc_t *, char ***);
int PMIx_server_dmodex_request(const pmix_proc_t *, void *, void *);
int PMIx_server_setup_application(const char *, pmix_info_t *, size_t, void *, void *);
int PMIx_server_setup_local_support(const char *, pmix_info_t *, size_t, void *, void *);
int PMIx_server_IOF_deliver(const pmix_proc_t *, uint16_t, const pmix_byte_object_t *, const pmix_info_t *, size_t,
    void *, void *);
int PMIx_server_collect_inventory(pmix_info_t *, size_t, void *, void *);
int PMIx_server_deliver_inventory(pmix_info_t *, size_t, pmix_info_t *, size_t, void *, void *);
int PMIx_Register_attributes(char *, char **);
int PMIx_server_generate_locality_string(const pmix_cpuset_t *, char **);
int PMIx_server_generate_cpuset_string(const pmix_cpuset_t *, char **);
int PMIx_server_define_process_set(const pmix_proc_t *, size_t, const char *);
int PMIx_server_delete_process_set(char *);
int PMIx_server_register_resources(pmix_info_t *, size_t, void *, void *);
int PMIx_server_deregister_resources(pmix_info_t *, size_t, void *, void *);

int PMIx_tool_init(pmix_proc_t *, pmix_info_t *, size_t);
int PMIx_tool_finalize(void);
int PMIx_tool_attach_to_server(pmix_proc_t *, pmix_proc_t *, pmix_info_t *, size_t);
int PMIx_tool_disconnect(const pmix_proc_t *);
int PMIx_tool_get_servers(pmix_proc_t **, size_t *);
int PMIx_tool_set_server(const pmix_proc_t *, pmix_info_t *, size_t);
"""


def generate(path: str) -> None:
    """Write the compiled declarations to `path`; needs pycparser, as cffi's parser does."""
    import cffi

    builder = cffi.FFI()
    builder.cdef(CDEF)
    builder.set_source("fluxpmix.pmix._declarations", None)
    builder.emit_python_code(path)


if __name__ == "__main__":
    import os

    generate(os.path.join(os.path.dirname(os.path.abspath(__file__)), "_declarations.py"))
