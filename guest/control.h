/*
 * vdiguest: its socket
 *
 * Only root can open it. A client sends one line (request.h) and gets one line
 * of JSON, an object, and the end of the file: what it asked for, or
 * {"error": SENTENCE}. For --status, and for the guest agent's commands.
 *
 * Nobody keeps this process from its work: who has not sent his line within
 * some seconds is sent away, and only a few are listened to at a time.
 *
 * Main thread only.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_CONTROL_H
#define GUEST_CONTROL_H

#include <stdbool.h>
#include <glib.h>
#include "guest/request.h"

typedef struct Control Control;
/* The answer, in JSON with its line feed; freed with g_free(). */
typedef char *(*ControlAnswer)(void *opaque, const Request *request);

/* Listens at @path, in place of what a predecessor left there. */
Control *control_begin(const char *path, ControlAnswer answer, void *opaque,
                       GError **err);
void control_end(Control *c);

/* The other side: prints what the vdiguest at @path says. Exit status. */
int control_ask(const char *path, bool json);

/*
 * A JSON object of names and plain values, as lines "name: value". What is
 * not of that form is printed as it is. Pure.
 */
char *control_plain(const char *json);

/* {"error": @text}, with its line feed. Pure. */
char *control_error(const char *text);

/* Adds @text to @out as a JSON string, with its quotes. Pure. */
void control_string(GString *out, const char *text);

#endif /* GUEST_CONTROL_H */
