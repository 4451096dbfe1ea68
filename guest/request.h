/*
 * vdiguest: what a client of its socket may ask for
 *
 * One line of text: a verb, then words name=value, in any order, each name at
 * most once.
 *
 *   status                     what --status says
 *   tasks                      what runs, and which of it is in the background
 *   policy [mode=MODE] [fast=N]  from now on; MODE and N as of -m and -f
 *                              (names of modes only); fast=0: half of the vCPUs
 *   isolate [length=MS]        as a key press would; 100..60000 (--phase)
 *   release                    ends the isolation
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_REQUEST_H
#define GUEST_REQUEST_H

#include <stdbool.h>
#include <glib.h>
#include "guest/plan.h"

/* With its line feed. */
#define REQUEST_MAX     256

enum request_verb {
    REQUEST_STATUS,
    REQUEST_TASKS,
    REQUEST_POLICY,
    REQUEST_ISOLATE,
    REQUEST_RELEASE,
    REQUEST_VERBS
};

typedef struct Request {
    enum request_verb verb;
    bool has_mode, has_fast, has_length;
    enum plan_mode mode;
    unsigned fast;              /* 0: half of the vCPUs */
    unsigned length_ms;
} Request;

/*
 * Reads @line, without its line feed. False with one sentence in *@err. Pure;
 * any bytes.
 */
bool request_parse(const char *line, Request *r, GError **err);

#endif /* GUEST_REQUEST_H */
