/*
 * vdiguest: what it tells on standard error, or to syslog
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <syslog.h>
#include "guest/log.h"

static int log_level = LOG_START;
static bool to_syslog;

void log_set_level(int level)
{
    log_level = level;
}

void log_to_syslog(void)
{
    openlog("vdiguest", LOG_PID, LOG_DAEMON);
    to_syslog = true;
}

static void G_GNUC_PRINTF(2, 0) log_line(const char *kind, const char *fmt,
                                         va_list ap)
{
    g_autofree char *text = g_strdup_vprintf(fmt, ap);

    if (to_syslog) {
        syslog(*kind ? LOG_WARNING : LOG_NOTICE, "%s%s", kind, text);
    } else {
        fprintf(stderr, "vdiguest: %s%s\n", kind, text);
    }
}

void log_warn(const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    log_line("warning: ", fmt, ap);
    va_end(ap);
}

void log_info(int level, const char *fmt, ...)
{
    va_list ap;

    if (level <= log_level) {
        va_start(ap, fmt);
        log_line("", fmt, ap);
        va_end(ap);
    }
}
