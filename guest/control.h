/*
 * vdiguest: answers --status
 *
 * A socket that only root can open. Who connects gets one line of JSON and
 * the end of the file; what he sends is not read.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_CONTROL_H
#define GUEST_CONTROL_H

#include <stdbool.h>
#include <glib.h>

typedef struct Control Control;
/* The answer, in JSON with its line feed; freed with g_free(). */
typedef char *(*ControlStatus)(void *opaque);

/* Listens at @path, in place of what a predecessor left there. */
Control *control_begin(const char *path, ControlStatus status, void *opaque,
                       GError **err);
void control_end(Control *c);

/* The other side: prints what the vdiguest at @path says. Exit status. */
int control_ask(const char *path, bool json);

/*
 * A JSON object of names and plain values, as lines "name: value". What is
 * not of that form is printed as it is. Pure.
 */
char *control_plain(const char *json);

/* Adds @text to @out as a JSON string, with its quotes. Pure. */
void control_string(GString *out, const char *text);

#endif /* GUEST_CONTROL_H */
