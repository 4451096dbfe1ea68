/*
 * Waiting for descriptors
 *
 * Over epoll: with 500 QEMUs connected, poll() would look at 1000 descriptors
 * for each message of one.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef BROKER_LOOP_H
#define BROKER_LOOP_H

typedef struct Loop Loop;

/* First member of whatever owns a descriptor. */
typedef struct LoopSource {
    int fd;
    /* @events: of epoll. The source may be removed in it, also another one. */
    void (*ready)(struct LoopSource *s, uint32_t events);
    void (*destroy)(struct LoopSource *s);
    bool removed;
} LoopSource;

Loop *loop_new(void);
/* All sources are removed and destroyed. */
void loop_free(Loop *l);

/* 0 or -errno. Waits for input (and for the other side's end). */
int loop_add(Loop *l, LoopSource *s);
/* @s is not called any more, and destroyed when no event can refer to it. */
void loop_remove(Loop *l, LoopSource *s);

/* Waits until @until_ns at most and calls what is ready. */
void loop_run(Loop *l, int64_t until_ns);

/* CLOCK_MONOTONIC */
int64_t loop_now(void);

#endif /* BROKER_LOOP_H */
