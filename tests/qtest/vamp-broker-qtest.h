/*
 * QTest: a stand-in for qemu-vamp-broker, in a thread of the test
 *
 * It does as it should, or one thing wrong (Mode).
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_BROKER_QTEST_H
#define VAMP_BROKER_QTEST_H

#include <glib/gstdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qemu/atomic.h"
#include "qemu/memfd.h"
#include "qemu/vamp-fd.h"
#include "core/brokermsg.h"
#include "core/policy.h"
#include "vamp-qtest.h"

/* How long anything may take, on a machine that does something else. */
#define PATIENCE_S 30

/* What the stand-in does wrong. */
typedef enum Mode {
    GOOD,
    REFUSES,            /* HELLO is answered with an error */
    REFUSES_THREADS,    /* THREAD_ADD is */
    SAYS_GARBAGE,
    SAYS_LESS,          /* half a message */
    OTHER_SERIAL,
    OTHER_TYPE,
    OTHER_VERSION,
    NO_PAGE,
    SHORT_PAGE,
    UNSEALED_PAGE,
    BAD_PAGE,           /* always being written */
    SILENT,
    HANGS_UP,
    DEAF,               /* reads nothing after the threads */
} Mode;

typedef union vamp_bmsg Packet;

typedef struct Broker {
    Mode mode;
    char *dir, *path;
    int listener;
    int client;                 /* atomic; -1: none */
    int threads;
    size_t page_size;
    int page_fd;
    struct vamp_broker_page *page;
    GAsyncQueue *heard;         /* Packet, as they came */
    GThread *thread;
} Broker;

static inline size_t size_of(uint32_t type)
{
    switch (type) {
    case VAMP_BMSG_WELCOME:
        return sizeof(struct vamp_bmsg_welcome);
    case VAMP_BMSG_ERROR:
        return sizeof(struct vamp_bmsg_error);
    default:
        return sizeof(struct vamp_bmsg_ok);
    }
}

static inline void answer(Broker *b, uint32_t type, uint32_t serial,
                          Packet *p, int fd)
{
    size_t size = size_of(type);

    p->head = (struct vamp_bmsg_head) { VAMP_BROKER_MAGIC, type, size, serial };
    if (b->mode == SAYS_GARBAGE) {
        memset(p, 0xa5, sizeof(*p));
    } else if (b->mode == SAYS_LESS) {
        size = sizeof(p->head) - 1;
    } else if (b->mode == OTHER_SERIAL) {
        p->head.serial++;
    }
    vamp_fd_send(b->client, p, size, fd, 0);
}

static inline void answer_error(Broker *b, uint32_t serial, const char *text)
{
    Packet p = { .error = { .err = EPERM } };

    g_strlcpy(p.error.text, text, sizeof(p.error.text));
    answer(b, VAMP_BMSG_ERROR, serial, &p, -1);
}

static inline void answer_hello(Broker *b, uint32_t serial)
{
    Packet p = {
        .welcome = {
            .version = VAMP_BROKER_VERSION + (b->mode == OTHER_VERSION),
            .period_ms = 50,
            .page_size = b->page_size,
        },
    };

    if (b->mode == REFUSES) {
        answer_error(b, serial, "the test does not like it");
    } else if (b->mode == OTHER_TYPE) {
        answer(b, VAMP_BMSG_OK, serial, &p, -1);
    } else {
        answer(b, VAMP_BMSG_WELCOME, serial, &p,
               b->mode == NO_PAGE ? -1 : b->page_fd);
    }
}

/* Speaks with one QEMU until it goes. */
static inline void serve(Broker *b)
{
    for (;;) {
        g_autofree Packet *p = g_new0(Packet, 1);
        Packet ok = { 0 };
        uint32_t type, serial;
        ssize_t size;

        if (b->mode == DEAF && b->threads == 3) {
            return;
        }
        size = recv(b->client, p, sizeof(*p), 0);
        if (size <= 0) {
            return;
        }
        g_assert_cmpuint(p->head.magic, ==, VAMP_BROKER_MAGIC);
        g_assert_cmpuint(p->head.size, ==, size);
        type = p->head.type;
        serial = p->head.serial;
        g_async_queue_push(b->heard, g_steal_pointer(&p));
        if (b->mode == HANGS_UP) {
            return;
        }
        if (b->mode == SILENT || type == VAMP_BMSG_CLASS) {
            continue;
        }
        if (type == VAMP_BMSG_HELLO) {
            answer_hello(b, serial);
            continue;
        }
        b->threads += type == VAMP_BMSG_THREAD_ADD;
        if (type == VAMP_BMSG_THREAD_ADD && b->mode == REFUSES_THREADS) {
            answer_error(b, serial, "no such thread here");
        } else {
            answer(b, VAMP_BMSG_OK, serial, &ok, -1);
        }
    }
}

static inline gpointer broker_main(gpointer opaque)
{
    Broker *b = opaque;
    int fd;

    while ((fd = accept(b->listener, NULL, NULL)) >= 0) {
        b->threads = 0;
        qatomic_set(&b->client, fd);
        serve(b);
        if (b->mode != DEAF) {
            qatomic_set(&b->client, -1);
            close(fd);
        }
    }
    return NULL;
}

static inline void broker_listen(Broker *b)
{
    struct sockaddr_un un = { .sun_family = AF_UNIX };

    g_strlcpy(un.sun_path, b->path, sizeof(un.sun_path));
    b->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    g_assert_cmpint(b->listener, >=, 0);
    g_assert_cmpint(bind(b->listener, (struct sockaddr *)&un, sizeof(un)), ==,
                    0);
    g_assert_cmpint(listen(b->listener, 8), ==, 0);
    b->thread = g_thread_new("broker", broker_main, b);
}

static inline Broker *broker_new(Mode mode)
{
    Broker *b = g_new0(Broker, 1);
    unsigned seals = F_SEAL_SHRINK | F_SEAL_GROW;

    b->mode = mode;
    b->client = -1;
    b->dir = g_dir_make_tmp("vamp-broker-XXXXXX", NULL);
    b->path = g_build_filename(b->dir, "sock", NULL);
    b->heard = g_async_queue_new_full(g_free);
    b->page_size = sizeof(*b->page) + 8 * sizeof(b->page->thread[0]);
    b->page_fd = memfd_create("page", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    g_assert_cmpint(b->page_fd, >=, 0);
    g_assert_cmpint(ftruncate(b->page_fd, b->page_size), ==, 0);
    b->page = mmap(NULL, b->page_size, PROT_READ | PROT_WRITE, MAP_SHARED,
                   b->page_fd, 0);
    g_assert(b->page != MAP_FAILED);
    b->page->magic = VAMP_BROKER_MAGIC;
    b->page->version = VAMP_BROKER_VERSION;
    b->page->seq = mode == BAD_PAGE;
    if (mode == SHORT_PAGE) {
        b->page_size *= 2;
    }
    if (mode != UNSEALED_PAGE) {
        g_assert_cmpint(fcntl(b->page_fd, F_ADD_SEALS, seals), ==, 0);
    }
    broker_listen(b);
    return b;
}

/* It dies: the connection ends, and nobody listens. */
static inline void broker_stop(Broker *b)
{
    int fd = qatomic_read(&b->client);

    unlink(b->path);
    shutdown(b->listener, SHUT_RDWR);
    if (fd >= 0) {
        shutdown(fd, SHUT_RDWR);
    }
    g_thread_join(b->thread);
    close(b->listener);
}

static inline void broker_free(Broker *b)
{
    broker_stop(b);
    close(b->page_fd);
    g_async_queue_unref(b->heard);
    rmdir(b->dir);
    g_free(b->dir);
    g_free(b->path);
    g_free(b);
}

/* The next thing that it heard; the caller frees. */
static inline Packet *heard(Broker *b, uint32_t type)
{
    Packet *p = g_async_queue_timeout_pop(b->heard,
                                          PATIENCE_S * G_USEC_PER_SEC);

    g_assert(p);
    g_assert_cmpuint(p->head.type, ==, type);
    return p;
}

static inline void heard_thread(Broker *b, uint32_t type, uint32_t role,
                                uint32_t slot, int tid)
{
    g_autofree Packet *p = heard(b, type);

    g_assert_cmpuint(p->thread.role, ==, role);
    g_assert_cmpuint(p->thread.slot, ==, slot);
    g_assert_cmpint(p->thread.tid, ==, tid);
}

static inline void heard_class(Broker *b, unsigned vcpu, int vclass)
{
    g_autofree Packet *p = heard(b, VAMP_BMSG_CLASS);

    g_assert_cmpuint(p->vclass.slot, ==, vcpu);
    g_assert_cmpuint(p->vclass.vclass, ==, vclass);
}

static inline void heard_classes(Broker *b, int class0, int class1)
{
    heard_class(b, 0, class0);
    heard_class(b, 1, class1);
}

static inline void forget(Broker *b)
{
    Packet *p;

    while ((p = g_async_queue_try_pop(b->heard))) {
        g_free(p);
    }
}

#endif /* VAMP_BROKER_QTEST_H */
