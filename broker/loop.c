/*
 * Waiting for descriptors
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/epoll.h>
#include "broker/loop.h"

/* Of a thousand, so that timers are not kept waiting. */
#define EVENTS 64

struct Loop {
    int fd;
    GPtrArray *sources;
    GPtrArray *removed;         /* to be destroyed */
};

int64_t loop_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ll + ts.tv_nsec;
}

Loop *loop_new(void)
{
    Loop *l = g_new0(Loop, 1);

    l->fd = epoll_create1(EPOLL_CLOEXEC);
    g_assert(l->fd >= 0);
    l->sources = g_ptr_array_new();
    l->removed = g_ptr_array_new();
    return l;
}

int loop_add(Loop *l, LoopSource *s)
{
    struct epoll_event e = {
        .events = EPOLLIN | EPOLLRDHUP,
        .data.ptr = s,
    };

    if (epoll_ctl(l->fd, EPOLL_CTL_ADD, s->fd, &e) < 0) {
        return -errno;
    }
    g_ptr_array_add(l->sources, s);
    return 0;
}

void loop_remove(Loop *l, LoopSource *s)
{
    if (!s->removed) {
        s->removed = true;
        epoll_ctl(l->fd, EPOLL_CTL_DEL, s->fd, NULL);
        g_ptr_array_remove_fast(l->sources, s);
        g_ptr_array_add(l->removed, s);
    }
}

static void destroy_removed(Loop *l)
{
    while (l->removed->len) {
        LoopSource *s = g_ptr_array_steal_index_fast(l->removed,
                                                     l->removed->len - 1);

        s->destroy(s);
    }
}

void loop_run(Loop *l, int64_t until_ns)
{
    struct epoll_event events[EVENTS];
    int64_t left_ns = until_ns - loop_now();
    /* Rounded up: a time that has not come yet would only be asked again. */
    int timeout = left_ns <= 0 ? 0 : MIN((left_ns + 999999) / 1000000, 60000);
    int i, n = epoll_wait(l->fd, events, EVENTS, timeout);

    for (i = 0; i < n; i++) {
        LoopSource *s = events[i].data.ptr;

        if (!s->removed) {
            s->ready(s, events[i].events);
        }
    }
    destroy_removed(l);
}

void loop_free(Loop *l)
{
    while (l->sources->len) {
        loop_remove(l, g_ptr_array_index(l->sources, 0));
    }
    destroy_removed(l);
    g_ptr_array_unref(l->sources);
    g_ptr_array_unref(l->removed);
    close(l->fd);
    g_free(l);
}
