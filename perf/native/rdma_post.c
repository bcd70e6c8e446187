/*
 * The yardstick: what posting RDMA writes costs the thread that posts them, in plain C.
 *
 *   rdma_post DEVICE GID_INDEX ROUNDS
 *
 * Two queue pairs of one device, connected to each other. Each round fills in a batch of writes, hands it to ibv_post_send in one call,
 * and then waits for the last of them. Measured is the thread's own CPU time of filling in and posting, not of the waiting nor of
 * reading the clock. Prints the nanoseconds for each write, the median over all rounds. The same steps as dev.dyad.perf.link.PostCost.
 */
#define _GNU_SOURCE
#include <infiniband/verbs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BATCH = 64, BYTES = 64, PORT = 1, FIRST_PACKET = 7 };

static void need(int holds, const char *what)
{
    if (!holds) {
        perror(what);
        exit(1);
    }
}

static int64_t cpu_nanos(void)
{
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static struct ibv_context *open_device(const char *name)
{
    struct ibv_device **list = ibv_get_device_list(NULL);
    need(list != NULL, "ibv_get_device_list");
    for (struct ibv_device **at = list; *at; at++) {
        if (strcmp(ibv_get_device_name(*at), name) == 0) {
            struct ibv_context *context = ibv_open_device(*at);
            need(context != NULL, "ibv_open_device");
            ibv_free_device_list(list);
            return context;
        }
    }
    fprintf(stderr, "no device %s\n", name);
    exit(1);
}

static struct ibv_qp *create(struct ibv_pd *pd, struct ibv_cq *cq)
{
    struct ibv_qp_init_attr init = {
        .send_cq = cq, .recv_cq = cq, .qp_type = IBV_QPT_RC,
        .cap = { .max_send_wr = 2 * BATCH, .max_recv_wr = 1, .max_send_sge = 1, .max_recv_sge = 1 },
    };
    struct ibv_qp *qp = ibv_create_qp(pd, &init);
    need(qp != NULL, "ibv_create_qp");
    struct ibv_qp_attr attr = { .qp_state = IBV_QPS_INIT, .port_num = PORT, .qp_access_flags = IBV_ACCESS_REMOTE_WRITE };
    need(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS) == 0, "to INIT");
    return qp;
}

static void connect_to(struct ibv_qp *qp, uint32_t peer, const union ibv_gid *gid, int gid_index, const struct ibv_port_attr *port)
{
    struct ibv_qp_attr attr = {
        .qp_state = IBV_QPS_RTR, .path_mtu = port->active_mtu, .dest_qp_num = peer, .rq_psn = FIRST_PACKET, .max_dest_rd_atomic = 1, .min_rnr_timer = 12,
        .ah_attr = { .dlid = port->lid, .is_global = 1, .port_num = PORT, .grh = { .dgid = *gid, .sgid_index = (uint8_t) gid_index, .hop_limit = 64 } },
    };
    need(ibv_modify_qp(qp, &attr, IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN | IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER) == 0, "to RTR");
    struct ibv_qp_attr ready = { .qp_state = IBV_QPS_RTS, .timeout = 17, .retry_cnt = 6, .rnr_retry = 6, .sq_psn = FIRST_PACKET, .max_rd_atomic = 1 };
    need(ibv_modify_qp(qp, &ready, IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN | IBV_QP_MAX_QP_RD_ATOMIC) == 0, "to RTS");
}

static int compare(const void *left, const void *right)
{
    int64_t difference = *(const int64_t *) left - *(const int64_t *) right;
    return difference < 0 ? -1 : difference > 0;
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "rdma_post DEVICE GID_INDEX ROUNDS\n");
        return 64;
    }
    struct ibv_context *context = open_device(argv[1]);
    int gid_index = atoi(argv[2]);
    int rounds = atoi(argv[3]);
    union ibv_gid gid;
    struct ibv_port_attr port;
    need(ibv_query_gid(context, PORT, gid_index, &gid) == 0, "ibv_query_gid");
    need(ibv_query_port(context, PORT, &port) == 0, "ibv_query_port");
    struct ibv_pd *pd = ibv_alloc_pd(context);
    need(pd != NULL, "ibv_alloc_pd");
    struct ibv_cq *cq = ibv_create_cq(context, 4 * BATCH, NULL, NULL, 0);
    need(cq != NULL, "ibv_create_cq");
    char *memory = aligned_alloc(4096, 2 * BATCH * BYTES);
    need(memory != NULL, "aligned_alloc");
    memset(memory, 1, 2 * BATCH * BYTES);
    struct ibv_mr *mr = ibv_reg_mr(pd, memory, 2 * BATCH * BYTES, IBV_ACCESS_LOCAL_WRITE | IBV_ACCESS_REMOTE_WRITE);
    need(mr != NULL, "ibv_reg_mr");
    struct ibv_qp *near = create(pd, cq);
    struct ibv_qp *far = create(pd, cq);
    connect_to(far, near->qp_num, &gid, gid_index, &port);
    connect_to(near, far->qp_num, &gid, gid_index, &port);

    static struct ibv_send_wr work[BATCH];
    static struct ibv_sge pieces[BATCH];
    int64_t *times = calloc((size_t) rounds, sizeof *times);
    int64_t *clock = calloc((size_t) rounds, sizeof *clock);
    need(times != NULL && clock != NULL, "calloc");
    /* As many rounds before, for the caches. */
    for (int round = -rounds; round < rounds; round++) {
        int64_t start = cpu_nanos();
        for (int i = 0; i < BATCH; i++) {
            pieces[i].addr = (uintptr_t) memory + (size_t) i * BYTES;
            pieces[i].length = BYTES;
            pieces[i].lkey = mr->lkey;
            work[i].wr_id = (uint64_t) i;
            work[i].next = i + 1 < BATCH ? &work[i + 1] : NULL;
            work[i].sg_list = &pieces[i];
            work[i].num_sge = 1;
            work[i].opcode = IBV_WR_RDMA_WRITE;
            work[i].send_flags = i + 1 < BATCH ? 0 : IBV_SEND_SIGNALED;
            work[i].wr.rdma.remote_addr = (uintptr_t) memory + (size_t) (BATCH + i) * BYTES;
            work[i].wr.rdma.rkey = mr->rkey;
        }
        struct ibv_send_wr *failed;
        need(ibv_post_send(near, work, &failed) == 0, "ibv_post_send");
        if (round >= 0) {
            times[round] = cpu_nanos() - start;
            clock[round] = -cpu_nanos();
            clock[round] += cpu_nanos();
        }
        struct ibv_wc done;
        int count;
        while ((count = ibv_poll_cq(cq, 1, &done)) == 0) {
        }
        if (count < 0 || done.status != IBV_WC_SUCCESS) {
            fprintf(stderr, "a write failed: %s\n", count < 0 ? "ibv_poll_cq" : ibv_wc_status_str(done.status));
            return 1;
        }
    }
    qsort(times, (size_t) rounds, sizeof *times, compare);
    qsort(clock, (size_t) rounds, sizeof *clock, compare);
    printf("%.1f\n", (double) (times[rounds / 2] - clock[rounds / 2]) / BATCH);
    return 0;
}
