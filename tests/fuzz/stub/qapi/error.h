/*
 * For fuzzing: errors that are only formatted. See qemu/osdep.h here.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_FUZZ_ERROR_H
#define VAMP_FUZZ_ERROR_H

#include <glib.h>

#define error_setg(errp, ...) fuzz_error((errp), __VA_ARGS__)
#define error_setg_errno(errp, err, ...) fuzz_error((errp), __VA_ARGS__)

/* None is ever made: @errp stays NULL. */
#define error_get_pretty(err) ((err) ? "error" : "no error")
#define error_free(err) ((void)(err))

void fuzz_error(Error **errp, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

#endif
