/*
 * vdiguest: what it tells on standard error, or to syslog
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_LOG_H
#define GUEST_LOG_H

#include <glib.h>

/* Level of log_info(): what happened to each task is the chattiest. */
enum {
    LOG_QUIET,          /* faults only */
    LOG_START,          /* what is used, and why nothing better */
    LOG_PHASE,          /* each isolation, and its end */
    LOG_TASK,           /* each slow task, each interrupt */
};

/* Messages above @level are dropped. Main thread; before it, LOG_START. */
void log_set_level(int level);

/* From now on to syslog, as facility "daemon". */
void log_to_syslog(void);

/*
 * One sentence without its full stop. From any thread: one write(). A
 * warning is never dropped.
 */
void log_warn(const char *fmt, ...) G_GNUC_PRINTF(1, 2);
void log_info(int level, const char *fmt, ...) G_GNUC_PRINTF(2, 3);

#endif /* GUEST_LOG_H */
