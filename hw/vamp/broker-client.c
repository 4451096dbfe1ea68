/*
 * VAMP: a QEMU's side of the conversation with qemu-vamp-broker
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/vamp-fd.h"
#include "core/policy.h"
#include "hw/vamp/broker-client.h"

/* A writer is inside for microseconds; beyond this many looks it is dead. */
#define READ_TRIES 1000

struct VampBrokerClient {
    int fd;
    uint32_t serial;
    size_t page_size;
    const struct vamp_broker_page *page;    /* the broker writes it */
};

typedef union vamp_bmsg Packet;

static int open_socket(const char *path, Error **errp)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };
    int fd;

    if (strlen(path) >= sizeof(un.sun_path)) {
        error_setg(errp, "the broker's path '%.120s' is too long, valid are "
                   "at most %zu characters", path, sizeof(un.sun_path) - 1);
        return -1;
    }
    strcpy(un.sun_path, path);
    /* Not waiting for one whose queue of newcomers is full. */
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
        error_setg_errno(errp, errno, "cannot create a socket");
        return -1;
    }
    if (connect(fd, (struct sockaddr *)&un, sizeof(un)) < 0) {
        error_setg_errno(errp, errno, "cannot connect to %s (does "
                         "qemu-vamp-broker run?)", path);
        close(fd);
        return -1;
    }
    return fd;
}

bool vamp_broker_probe(const char *path, Error **errp)
{
    int fd = open_socket(path, errp);

    if (fd < 0) {
        return false;
    }
    close(fd);
    return true;
}

/*
 * Sends @packet and waits for its answer, which replaces it. False on any
 * failure, also when the answer is an error. @passed: a descriptor that came
 * with the answer, the caller's to close; -1: none.
 */
static bool request(VampBrokerClient *c, Packet *packet, uint32_t type,
                    uint32_t expect, int *passed, Error **errp)
{
    struct pollfd pfd = { .fd = c->fd, .events = POLLIN };
    enum vamp_bmsg_fault fault;
    uint32_t serial = ++c->serial;
    ssize_t size;

    *passed = -1;
    packet->head = (struct vamp_bmsg_head) {
        .magic = VAMP_BROKER_MAGIC,
        .type = type,
        .size = vamp_bmsg_size(type),
        .serial = serial,
    };
    size = vamp_fd_send(c->fd, packet, packet->head.size, -1, MSG_DONTWAIT);
    if (size < 0) {
        error_setg_errno(errp, -size, "cannot speak to the broker");
        return false;
    }
    if (RETRY_ON_EINTR(poll(&pfd, 1, VAMP_BROKER_TIMEOUT_MS)) <= 0) {
        error_setg(errp, "the broker did not answer within %d ms",
                   VAMP_BROKER_TIMEOUT_MS);
        /* Nobody shall wait for it a second time. */
        shutdown(c->fd, SHUT_RDWR);
        return false;
    }
    size = vamp_fd_receive(c->fd, packet, sizeof(*packet), passed,
                           MSG_DONTWAIT);
    if (size <= 0) {
        error_setg_errno(errp, size ? -size : ECONNRESET,
                         "the broker did not answer");
        return false;
    }
    fault = vamp_bmsg_check(packet, size, false);
    if (fault != VAMP_BMSG_FINE) {
        error_setg(errp, "the broker's answer is no valid message: %s",
                   vamp_bmsg_fault_text(fault));
    } else if (packet->head.serial != serial) {
        error_setg(errp, "the broker answered something else than was asked");
    } else if (packet->head.type == VAMP_BMSG_ERROR) {
        error_setg(errp, "the broker refuses: %s", packet->error.text);
    } else if (packet->head.type != expect) {
        error_setg(errp, "the broker's answer is of another kind (%u) than "
                   "expected (%u)", packet->head.type, expect);
    } else {
        return true;
    }
    if (*passed >= 0) {
        close(*passed);
        *passed = -1;
    }
    return false;
}

static bool map_page(VampBrokerClient *c, int fd, size_t size, Error **errp)
{
    struct stat st;
    void *page;

    /* A shorter file would be a SIGBUS when it is read. */
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < size ||
        size > sizeof(struct vamp_broker_page) + VAMP_BROKER_THREADS_MAX *
               sizeof(struct vamp_broker_page_thread) ||
        !(fcntl(fd, F_GET_SEALS) & F_SEAL_SHRINK)) {
        error_setg(errp, "the broker sent no valid status page");
        return false;
    }
    page = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (page == MAP_FAILED) {
        error_setg_errno(errp, errno, "cannot map the broker's status page");
        return false;
    }
    c->page = page;
    c->page_size = size;
    return true;
}

VampBrokerClient *vamp_broker_connect(const char *path, const char *name,
                                      unsigned ratio, Error **errp)
{
    VampBrokerClient *c;
    Packet packet = { 0 };
    bool ok;
    int page;
    int fd = open_socket(path, errp);

    if (fd < 0) {
        return NULL;
    }
    c = g_new0(VampBrokerClient, 1);
    c->fd = fd;
    packet.hello.version = VAMP_BROKER_VERSION;
    packet.hello.ratio = ratio;
    for (int i = 0; name && name[i] && i < VAMP_BROKER_NAME_LEN - 1; i++) {
        packet.hello.name[i] = g_ascii_isprint(name[i]) ? name[i] : '?';
    }
    if (!request(c, &packet, VAMP_BMSG_HELLO, VAMP_BMSG_WELCOME, &page, errp)) {
        vamp_broker_close(c);
        return NULL;
    }
    if (packet.welcome.version != VAMP_BROKER_VERSION) {
        error_setg(errp, "the broker speaks version %u of the protocol, valid "
                   "is %u", packet.welcome.version, VAMP_BROKER_VERSION);
        ok = false;
    } else {
        ok = map_page(c, page, packet.welcome.page_size, errp);
    }
    if (page >= 0) {
        close(page);
    }
    if (!ok) {
        vamp_broker_close(c);
        return NULL;
    }
    return c;
}

void vamp_broker_close(VampBrokerClient *c)
{
    if (!c) {
        return;
    }
    if (c->page) {
        munmap((void *)c->page, c->page_size);
    }
    close(c->fd);
    g_free(c);
}

static bool simple_request(VampBrokerClient *c, Packet *packet, uint32_t type,
                           Error **errp)
{
    int passed;
    bool ok = request(c, packet, type, VAMP_BMSG_OK, &passed, errp);

    if (passed >= 0) {
        close(passed);
    }
    return ok;
}

bool vamp_broker_add(VampBrokerClient *c, enum vamp_broker_role role,
                     unsigned slot, pid_t tid, Error **errp)
{
    Packet packet = {
        .thread = { .role = role, .slot = slot, .tid = tid },
    };

    return simple_request(c, &packet, VAMP_BMSG_THREAD_ADD, errp);
}

bool vamp_broker_del(VampBrokerClient *c, enum vamp_broker_role role,
                     unsigned slot, Error **errp)
{
    Packet packet = { .thread = { .role = role, .slot = slot } };

    return simple_request(c, &packet, VAMP_BMSG_THREAD_DEL, errp);
}

bool vamp_broker_set_ratio(VampBrokerClient *c, unsigned ratio, Error **errp)
{
    Packet packet = { .ratio = { .ratio = ratio } };

    return simple_request(c, &packet, VAMP_BMSG_RATIO, errp);
}

void vamp_broker_class(VampBrokerClient *c, unsigned slot,
                       enum vamp_class vclass)
{
    struct vamp_bmsg_class msg = {
        .head = {
            .magic = VAMP_BROKER_MAGIC,
            .type = VAMP_BMSG_CLASS,
            .size = sizeof(msg),
        },
        .slot = slot,
        .vclass = vclass,
    };

    if (RETRY_ON_EINTR(send(c->fd, &msg, sizeof(msg),
                            MSG_DONTWAIT | MSG_NOSIGNAL)) < 0) {
        /* Whatever it is, the main loop now sees the end of the connection. */
        shutdown(c->fd, SHUT_RDWR);
    }
}

int vamp_broker_fd(const VampBrokerClient *c)
{
    return c->fd;
}

const char *vamp_broker_lost(VampBrokerClient *c)
{
    Packet packet;
    int passed;
    ssize_t size = vamp_fd_receive(c->fd, &packet, sizeof(packet), &passed,
                                   MSG_DONTWAIT);

    if (passed >= 0) {
        close(passed);
    }
    if (size == -EAGAIN) {
        return NULL;
    }
    return size > 0 ? "the broker spoke without being asked"
                    : "the connection to the broker ended";
}

/*
 * Copies @size bytes at @from, a place of the page, while the broker is not
 * writing there.
 */
static bool read_page(const VampBrokerClient *c, void *to, const void *from,
                      size_t size)
{
    for (int i = 0; i < READ_TRIES; i++) {
        uint32_t seq = qatomic_load_acquire(&c->page->seq);

        if (seq & 1) {
            continue;
        }
        memcpy(to, from, size);
        /* What was copied was there before we look at @seq again. */
        smp_rmb();
        if (qatomic_read(&c->page->seq) == seq) {
            return true;
        }
    }
    return false;
}

bool vamp_broker_read(const VampBrokerClient *c, struct vamp_broker_page *page)
{
    if (!read_page(c, page, c->page, sizeof(*page)) ||
        page->magic != VAMP_BROKER_MAGIC || page->state > VAMP_BROKER_WEIGHTS) {
        return false;
    }
    page->reason[sizeof(page->reason) - 1] = 0;
    return true;
}

bool vamp_broker_read_thread(const VampBrokerClient *c,
                             enum vamp_broker_role role, unsigned slot,
                             struct vamp_broker_page_thread *thread)
{
    size_t room = (c->page_size - sizeof(*c->page)) / sizeof(*thread);
    size_t n = MIN(qatomic_read(&c->page->nr_threads), room);

    for (size_t i = 0; i < n; i++) {
        if (!read_page(c, thread, &c->page->thread[i], sizeof(*thread))) {
            return false;
        }
        if (thread->tid > 0 && thread->role == role && thread->slot == slot) {
            return true;
        }
    }
    return false;
}
