/*
 * Entry header of the family "verbs": libibverbs and librdmacm. The data path (post_send, poll_cq, the
 * ibv_wr_* builders) is static inline in C: Java calls the function pointers in ibv_context.ops and ibv_qp_ex.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

/* The extended calls sit in the verbs_context that surrounds ibv_context (verbs_get_ctx). */
enum dyad_verbs_constants {
    DYAD_VERBS_CONTEXT_OFFSET = offsetof(struct verbs_context, context),
};
