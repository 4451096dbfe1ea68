/*
 * vdiguest: its command line
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef GUEST_OPTIONS_H
#define GUEST_OPTIONS_H

#include <stdbool.h>
#include <glib.h>
#include "guest/plan.h"

#define CONTROL_SOCKET      "/run/vamp/vdiguest.sock"

#define PERIOD_MS_MIN       100
#define PERIOD_MS_MAX       60000
#define PERIOD_MS_DEFAULT   1000

typedef struct Options {
    unsigned fast;              /* 0: half of the vCPUs */
    enum plan_mode mode;
    unsigned period_ms;
    GArray *irqs;               /* unsigned; NULL: those that are found */
    bool no_irqs;
    int verbosity;              /* log.h */
    GPtrArray *devices;         /* names; empty: those that are found */
    unsigned bg_percent;        /* of one vCPU, VAMP_BG_PERCENT_* */
    unsigned phase_ms;          /* 0: while there are slow tasks */
    bool cpusets;               /* where nobody loses his group */
    bool sound;                 /* ask the sound servers */
    bool host;                  /* speak with the host */
    char *sound_fifo;           /* NULL: none */
    char *state_file, *socket;
    bool daemon, status, json, help, version;
} Options;

/*
 * Reads @argv. False with one sentence in *@err. @cpus: vCPUs there are now,
 * which -f must leave one of (0: not known). options_clear() in any case.
 */
bool options_parse(Options *o, int argc, char **argv, unsigned cpus,
                   GError **err);
void options_clear(Options *o);

/* What --help says. */
void options_usage(const char *name);

#endif /* GUEST_OPTIONS_H */
