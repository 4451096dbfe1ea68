/*
 * The conversation with one peer
 *
 * Nothing here waits: a peer that does not read, or floods, is dropped.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/vamp-fd.h"
#include "broker/broker.h"

#ifndef SO_PEERPIDFD            /* Linux 6.5 */
#define SO_PEERPIDFD 77
#endif

#define SEC 1000000000ll

/* 500 QEMUs, and those who ask for the status. */
#define CLIENTS_MAX     1024
/* The last ones are root's: --status works on a full broker, too. */
#define CLIENTS_ROOT    16
/* Who has not said HELLO by then is dropped. */
#define HELLO_NS        (30 * SEC)
/* Messages of one peer in a row, before others get their turn. */
#define READS_MAX       32

/*
 * Messages a second and at once. A vCPU changes its class with its guest's
 * task switches, a few thousand a second at most; the others come once for
 * each thread. What costs as much as a look at all VMs, or at all threads of
 * one, comes now and then.
 */
typedef struct Bucket {
    double left;
    int64_t filled_ns;
} Bucket;

enum { BUCKET_CLASS, BUCKET_CONTROL, BUCKET_COSTLY, BUCKETS };

static const struct {
    double rate, burst;
    const char *what;
} bucket_limit[BUCKETS] = {
    [BUCKET_CLASS] = { 20000, 20000, "class messages" },
    [BUCKET_CONTROL] = { 200, 2.0 * VAMP_BROKER_THREADS_MAX,
                         "messages about threads" },
    [BUCKET_COSTLY] = { 10, 20, "questions for the status and new ratios" },
};

typedef struct Conn Conn;

/* The peer's process; it becomes readable when that ends. */
typedef struct PidSource {
    LoopSource source;
    Conn *conn;
} PidSource;

struct Conn {
    LoopSource source;
    Broker *b;
    PidSource *process;
    struct ucred cred;
    Vm *vm;
    int64_t since_ns;
    Bucket bucket[BUCKETS];
};

static GPtrArray *conns;

/* --- ends ---------------------------------------------------------------- */

static void pid_destroy(LoopSource *s)
{
    close(s->fd);
    g_free(s);
}

static void conn_destroy(LoopSource *s)
{
    close(s->fd);
    g_free(s);
}

/* At most some lines a second: a hostile peer can come again and again. */
static void say_dropped(const Conn *c, const char *why)
{
    static int64_t second;
    static unsigned lines;
    int64_t now = loop_now() / SEC;

    if (now != second) {
        second = now;
        lines = 0;
    }
    if (lines++ < 10) {
        info_report("process %d (user %u) is dropped: %s", (int)c->cred.pid,
                    (unsigned)c->cred.uid, why);
    }
}

static void conn_end(Conn *c)
{
    Broker *b = c->b;

    if (c->source.removed) {
        return;
    }
    if (c->vm) {
        vm_free(c->vm);
        c->vm = NULL;
    }
    loop_remove(b->loop, &c->process->source);
    loop_remove(b->loop, &c->source);
    g_ptr_array_remove_fast(conns, c);
    b->clients = conns->len;
}

/* --- sending ------------------------------------------------------------- */

/* False: the peer does not read, or is gone. */
static bool send_msg(Conn *c, void *msg, uint32_t type, uint32_t serial, int fd)
{
    struct vamp_bmsg_head *head = msg;

    head->magic = VAMP_BROKER_MAGIC;
    head->type = type;
    head->size = vamp_bmsg_size(type);
    head->serial = serial;
    return vamp_fd_send(c->source.fd, msg, head->size, fd, MSG_DONTWAIT) ==
           head->size;
}

static bool send_ok(Conn *c, uint32_t serial)
{
    struct vamp_bmsg_ok m = { 0 };

    return send_msg(c, &m, VAMP_BMSG_OK, serial, -1);
}

static bool send_error(Conn *c, uint32_t serial, int err, const char *text)
{
    struct vamp_bmsg_error m = { .err = err };
    size_t i;

    pstrcpy(m.text, sizeof(m.text), text);
    /* A group's path may have any byte in it: the peer takes ASCII only. */
    for (i = 0; m.text[i]; i++) {
        m.text[i] = m.text[i] < ' ' || m.text[i] > '~' ? '?' : m.text[i];
    }
    return send_msg(c, &m, VAMP_BMSG_ERROR, serial, -1);
}

static void drop(Conn *c, uint32_t serial, int err, const char *why)
{
    say_dropped(c, why);
    c->b->dropped++;
    send_error(c, serial, err, why);
    conn_end(c);
}

/* --- the conversation ---------------------------------------------------- */

static bool take(Conn *c, unsigned kind)
{
    Bucket *k = &c->bucket[kind];
    int64_t now = loop_now();

    k->left += (now - k->filled_ns) * bucket_limit[kind].rate / SEC;
    k->left = MIN(k->left, bucket_limit[kind].burst);
    k->filled_ns = now;
    if (k->left < 1) {
        return false;
    }
    k->left -= 1;
    return true;
}

static bool may_register(const Broker *b, uid_t uid)
{
    unsigned i;

    for (i = 0; b->opt.uids && i < b->opt.uids->len; i++) {
        if (g_array_index(b->opt.uids, uid_t, i) == uid) {
            return true;
        }
    }
    return !b->opt.uids;
}

/* Has the process that connected ended? */
static bool process_ended(const Conn *c)
{
    struct pollfd p = { .fd = c->process->source.fd, .events = POLLIN };

    return RETRY_ON_EINTR(poll(&p, 1, 0)) != 0;
}

static bool hello(Conn *c, const struct vamp_bmsg_hello *m)
{
    struct vamp_bmsg_welcome w = { .version = VAMP_BROKER_VERSION };
    g_autofree char *text = NULL;
    Error *err = NULL;

    if (c->vm) {
        return send_error(c, m->head.serial, EEXIST, "HELLO was said before");
    }
    if (m->version != VAMP_BROKER_VERSION) {
        text = g_strdup_printf("version %u is not spoken here (%u is)",
                               m->version, VAMP_BROKER_VERSION);
        return send_error(c, m->head.serial, EPROTO, text);
    }
    if (!may_register(c->b, c->cred.uid)) {
        text = g_strdup_printf("user %u is not served (--uid names those who "
                               "are)", (unsigned)c->cred.uid);
        return send_error(c, m->head.serial, EACCES, text);
    }
    if (!process_ended(c)) {
        c->vm = vm_new(c->b, c->cred.pid, c->cred.uid, m, &err);
    } else {
        error_setg(&err, "process %d has ended", (int)c->cred.pid);
    }
    if (!c->vm) {
        bool ok = send_error(c, m->head.serial, EBUSY, error_get_pretty(err));

        error_free(err);
        return ok;
    }
    w.period_ms = ledger_period_ms(c->b);
    w.page_size = c->vm->page_size;
    if (!send_msg(c, &w, VAMP_BMSG_WELCOME, m->head.serial, c->vm->page_fd)) {
        return false;
    }
    close(c->vm->page_fd);
    c->vm->page_fd = -1;
    return true;
}

static bool status(Conn *c, const struct vamp_bmsg_status *m)
{
    bool all = c->cred.uid == 0 || c->cred.uid == geteuid();
    g_autoptr(GString) text = NULL;
    struct vamp_bmsg_report r = { 0 };
    bool ok = false;
    int fd;

    text = m->format == VAMP_BROKER_JSON
           ? report_json(c->b, all ? 0 : c->cred.uid)
           : report_metrics(c->b, all ? 0 : c->cred.uid);
    fd = memfd_create("vamp-report", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || qemu_write_full(fd, text->str, text->len) != text->len ||
        lseek(fd, 0, SEEK_SET) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE |
              F_SEAL_SEAL) < 0) {
        ok = send_error(c, m->head.serial, errno, "no memory for a report");
    } else {
        r.length = text->len;
        ok = send_msg(c, &r, VAMP_BMSG_REPORT, m->head.serial, fd);
    }
    if (fd >= 0) {
        close(fd);
    }
    return ok;
}

static bool answer(Conn *c, uint32_t serial, int ret, Error *err)
{
    bool ok;

    if (ret == 0) {
        return send_ok(c, serial);
    }
    ok = send_error(c, serial, -ret, error_get_pretty(err));
    error_free(err);
    return ok;
}

/* @msg is valid. False: the peer cannot be answered. */
static bool handle(Conn *c, const void *msg)
{
    const struct vamp_bmsg_head *head = msg;
    Error *err = NULL;
    int ret;

    if (head->type == VAMP_BMSG_HELLO) {
        return hello(c, msg);
    }
    if (head->type == VAMP_BMSG_STATUS) {
        return status(c, msg);
    }
    if (!c->vm) {
        return send_error(c, head->serial, EPROTO, "HELLO must be said first");
    }
    switch (head->type) {
    case VAMP_BMSG_THREAD_ADD:
        if (process_ended(c)) {
            return false;
        }
        ret = vm_thread_add(c->vm, msg, &err);
        return answer(c, head->serial, ret, err);
    case VAMP_BMSG_THREAD_DEL:
        ret = vm_thread_del(c->vm, msg, &err);
        return answer(c, head->serial, ret, err);
    case VAMP_BMSG_RATIO:
        vm_set_ratio(c->vm, ((const struct vamp_bmsg_ratio *)msg)->ratio);
        return send_ok(c, head->serial);
    case VAMP_BMSG_CLASS: {
        const struct vamp_bmsg_class *m = msg;

        /* Of a vCPU that was just removed: the next message says so. */
        vm_set_class(c->vm, m->slot, m->vclass);
        return true;
    }
    default:
        g_assert_not_reached();
    }
}

static unsigned bucket_of(uint32_t type)
{
    switch (type) {
    case VAMP_BMSG_CLASS:
        return BUCKET_CLASS;
    case VAMP_BMSG_STATUS:
    case VAMP_BMSG_RATIO:
        return BUCKET_COSTLY;
    default:
        return BUCKET_CONTROL;
    }
}

static void conn_ready(LoopSource *s, uint32_t events)
{
    Conn *c = container_of(s, Conn, source);
    uint64_t buf[VAMP_BMSG_MAX / sizeof(uint64_t)];
    const struct vamp_bmsg_head *head = (const void *)buf;
    unsigned i, kind;

    for (i = 0; i < READS_MAX; i++) {
        enum vamp_bmsg_fault fault;
        /* No room for descriptors: the kernel closes what comes along. */
        ssize_t n = recv(s->fd, buf, sizeof(buf), MSG_DONTWAIT | MSG_TRUNC);

        if (n < 0 && (errno == EAGAIN || errno == EINTR)) {
            break;
        }
        if (n <= 0) {
            conn_end(c);
            return;
        }
        c->b->messages++;
        fault = n > sizeof(buf) ? VAMP_BMSG_SIZE_WRONG
                                : vamp_bmsg_check(buf, n, true);
        if (fault != VAMP_BMSG_FINE) {
            g_autofree char *text = g_strdup_printf(
                "a message of %zd bytes is refused: %s", n,
                vamp_bmsg_fault_text(fault));

            drop(c, n >= sizeof(*head) ? head->serial : 0, EBADMSG, text);
            return;
        }
        kind = bucket_of(head->type);
        if (!take(c, kind)) {
            g_autofree char *text = g_strdup_printf(
                "more than %.0f %s a second are refused",
                bucket_limit[kind].rate, bucket_limit[kind].what);

            drop(c, head->serial, EDQUOT, text);
            return;
        }
        if (!handle(c, buf)) {
            say_dropped(c, "it does not read its answers, or has ended");
            c->b->dropped++;
            conn_end(c);
            return;
        }
    }
    if (i == 0 && (events & (EPOLLHUP | EPOLLERR | EPOLLRDHUP))) {
        conn_end(c);
    }
}

static void pid_ready(LoopSource *s, uint32_t events)
{
    /* The socket may live on in a child: the VM does not. */
    conn_end(container_of(s, PidSource, source)->conn);
}

/* --- connecting ---------------------------------------------------------- */

/* The peer's process, as the kernel knows it since connect(). -errno */
static int peer_pidfd(int fd, const struct ucred *cred)
{
    struct pollfd p = { .fd = fd };
    socklen_t len = sizeof(int);
    int pidfd = -1;

    if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &len) == 0) {
        return pidfd;
    }
    if (errno != ENOPROTOOPT) {
        return -errno;
    }
    /*
     * An older kernel: by number. If that process had ended before, its end
     * of the socket would be closed, unless a child has it; then the number
     * could be another's only after all others have been used.
     */
    pidfd = syscall(SYS_pidfd_open, cred->pid, 0);
    if (pidfd < 0) {
        return -errno;
    }
    if (RETRY_ON_EINTR(poll(&p, 1, 0)) < 0 || (p.revents & POLLHUP)) {
        close(pidfd);
        return -ESRCH;
    }
    return pidfd;
}

void conn_new(Broker *b, int fd)
{
    Conn *c = g_new0(Conn, 1);
    socklen_t len = sizeof(c->cred);
    int pidfd = -ESRCH;
    unsigned i;

    c->source = (LoopSource) {
        .fd = fd, .ready = conn_ready, .destroy = conn_destroy,
    };
    c->b = b;
    c->since_ns = loop_now();
    for (i = 0; i < BUCKETS; i++) {
        c->bucket[i] = (Bucket) { bucket_limit[i].burst, c->since_ns };
    }
    /* pid 0: of another pid namespace, one that we cannot see into. */
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &c->cred, &len) == 0 &&
        c->cred.pid > 0) {
        pidfd = peer_pidfd(fd, &c->cred);
    }
    if (pidfd < 0) {
        g_autofree char *text = g_strdup_printf(
            "the process that connected cannot be known: %s", strerror(-pidfd));

        send_error(c, 0, -pidfd, text);
        goto fail;
    }
    if (conns->len >= CLIENTS_MAX - (c->cred.uid ? CLIENTS_ROOT : 0)) {
        g_autofree char *text = g_strdup_printf("%u connections are open, "
                                                "there are no more",
                                                conns->len);

        say_dropped(c, text);
        send_error(c, 0, EMFILE, text);
        close(pidfd);
        goto fail;
    }
    c->process = g_new0(PidSource, 1);
    c->process->conn = c;
    c->process->source = (LoopSource) {
        .fd = pidfd, .ready = pid_ready, .destroy = pid_destroy,
    };
    if (loop_add(b->loop, &c->source) < 0) {
        pid_destroy(&c->process->source);
        goto fail;
    }
    if (loop_add(b->loop, &c->process->source) < 0) {
        pid_destroy(&c->process->source);
        loop_remove(b->loop, &c->source);
        return;
    }
    g_ptr_array_add(conns, c);
    b->clients = conns->len;
    return;

fail:
    conn_destroy(&c->source);
}

void conns_begin(void)
{
    conns = g_ptr_array_new();
}

void conns_end(void)
{
    while (conns->len) {
        conn_end(g_ptr_array_index(conns, conns->len - 1));
    }
    g_ptr_array_unref(conns);
}

void conns_slow(Broker *b, int64_t now_ns)
{
    unsigned i;

    for (i = conns->len; i-- > 0; ) {
        Conn *c = g_ptr_array_index(conns, i);

        if (!c->vm && now_ns - c->since_ns > HELLO_NS) {
            drop(c, 0, ETIMEDOUT, "it has not said HELLO for 30 s");
        }
    }
}
