/*
 * vdiguest: its command line
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include "core/policy.h"
#include "guest/log.h"
#include "guest/options.h"
#include "guest/state.h"

/* Linux has no more interrupts than that. */
#define IRQ_MAX     0xffffff

void options_usage(const char *name)
{
    printf(
"Usage: %s [OPTION]... [EVENT-DEVICE]...\n"
"Inside a desktop VM: when the user presses Enter, releases a button, touches\n"
"or turns the wheel, what runs in the background gets vCPUs of its own (slow),\n"
"and everything else the others (fast), until it is over.\n"
"\n"
"  -f, --fast=N             fast vCPUs (half of them)\n"
"  -m, --mode=MODE          0 static: the split stands all the time\n"
"                           1 dynamic: only while there are slow tasks (default)\n"
"                           2 dynamic-load: one more fast vCPU when they are full\n"
"                           3 load: slow vCPUs as the slow tasks need them\n"
"  -p, --period=MS          between two looks, %d..%d (%d)\n"
"  -i, --irq=N              interrupt to move to the fast vCPUs; may be repeated\n"
"                           (queues of virtio disks and network); none: no one\n"
"  -v, --verbosity=N        0 faults, 1 start, 2 phases, 3 tasks (1)\n"
"      --bg-load=PERCENT    more of one vCPU is slow, %d..%d (%d)\n"
"      --phase=MS           length of an isolation, %d..%d (%d); 0: while there\n"
"                           are slow tasks\n"
"      --means=auto|affinity  cpuset groups where nobody loses his group, and\n"
"                           affinity elsewhere (auto), or affinity only\n"
"      --sound=on|off       ask PulseAudio or PipeWire whether sound plays (on)\n"
"      --sound-fifo=FILE    a FIFO in which 1 and 0 say so\n"
"      --host=on|off        speak with QEMU's vamp-hints (on)\n"
"      --state=FILE         what is changed (%s)\n"
"      --socket=FILE        for --status (%s)\n"
"      --daemon             detach when all is ready\n"
"\n"
"  EVENT-DEVICE: like /dev/input/event0; if none is given, all keyboards and\n"
"  mice are used, also those that are plugged in later.\n"
"\n"
"      --status [--json]    ask the vdiguest that runs\n"
"  -h, --help               show this\n"
"  -V, --version            show the version\n",
           name, PERIOD_MS_MIN, PERIOD_MS_MAX, PERIOD_MS_DEFAULT,
           VAMP_BG_PERCENT_MIN, VAMP_BG_PERCENT_MAX, VAMP_BG_PERCENT_DEFAULT,
           VAMP_MAX_PHASE_MS_MIN, VAMP_MAX_PHASE_MS_MAX,
           VAMP_MAX_PHASE_MS_DEFAULT, STATE_FILE, CONTROL_SOCKET);
}

G_GNUC_PRINTF(2, 3)
static bool refuse(GError **err, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    *err = g_error_new_valist(G_OPTION_ERROR, G_OPTION_ERROR_BAD_VALUE, fmt,
                              ap);
    va_end(ap);
    return false;
}

static bool number(const char *option, const char *text, unsigned min,
                   unsigned max, unsigned *value, GError **err)
{
    guint64 v;

    if (!g_ascii_string_to_unsigned(text, 10, min, max, &v, NULL)) {
        return refuse(err, "%s %s is not valid (%u..%u would be)", option, text,
                      min, max);
    }
    *value = v;
    return true;
}

static bool one_of(const char *option, const char *text, const char *yes,
                   const char *no, bool *value, GError **err)
{
    *value = !strcmp(text, yes);
    return *value || !strcmp(text, no) ||
           refuse(err, "%s=%s is not valid (%s or %s would be)", option, text,
                  yes, no);
}

static bool add_irq(Options *o, const char *text, GError **err)
{
    unsigned irq;

    if (!strcmp(text, "none")) {
        o->no_irqs = true;
        return true;
    }
    if (!number("-i", text, 0, IRQ_MAX, &irq, err)) {
        return false;
    }
    if (!o->irqs) {
        o->irqs = g_array_new(false, false, sizeof(unsigned));
    }
    g_array_append_val(o->irqs, irq);
    return true;
}

static bool phase(Options *o, const char *text, GError **err)
{
    if (!strcmp(text, "0")) {
        o->phase_ms = 0;
        return true;
    }
    return number("--phase", text, VAMP_MAX_PHASE_MS_MIN, VAMP_MAX_PHASE_MS_MAX,
                  &o->phase_ms, err);
}

enum {
    OPT_BG_LOAD = 256, OPT_PHASE, OPT_MEANS, OPT_SOUND, OPT_SOUND_FIFO,
    OPT_HOST, OPT_STATE, OPT_SOCKET, OPT_DAEMON, OPT_STATUS, OPT_JSON,
};

static const struct option options[] = {
    { "fast", required_argument, NULL, 'f' },
    { "mode", required_argument, NULL, 'm' },
    { "period", required_argument, NULL, 'p' },
    { "irq", required_argument, NULL, 'i' },
    { "verbosity", required_argument, NULL, 'v' },
    { "bg-load", required_argument, NULL, OPT_BG_LOAD },
    { "phase", required_argument, NULL, OPT_PHASE },
    { "means", required_argument, NULL, OPT_MEANS },
    { "sound", required_argument, NULL, OPT_SOUND },
    { "sound-fifo", required_argument, NULL, OPT_SOUND_FIFO },
    { "host", required_argument, NULL, OPT_HOST },
    { "state", required_argument, NULL, OPT_STATE },
    { "socket", required_argument, NULL, OPT_SOCKET },
    { "daemon", no_argument, NULL, OPT_DAEMON },
    { "status", no_argument, NULL, OPT_STATUS },
    { "json", no_argument, NULL, OPT_JSON },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { NULL }
};

static bool mode(Options *o, const char *text, GError **err)
{
    unsigned m;

    for (m = 0; m < PLAN_MODES; m++) {
        if (!strcmp(text, plan_mode_text(m))) {
            break;
        }
    }
    if (m == PLAN_MODES &&
        !g_ascii_string_to_unsigned(text, 10, 0, PLAN_MODES - 1,
                                    &(guint64) { 0 }, NULL)) {
        return refuse(err, "-m %s is not valid (0..%d, static, dynamic, "
                      "dynamic-load or load would be)", text, PLAN_MODES - 1);
    }
    o->mode = m < PLAN_MODES ? m : (unsigned)(*text - '0');
    return true;
}

static bool option(Options *o, int ch, const char *arg, char **argv,
                   GError **err)
{
    unsigned n = 0;

    switch (ch) {
    case 'f':
        return number("-f", arg, 1, CPUS_MAX - 1, &o->fast, err);
    case 'm':
        return mode(o, arg, err);
    case 'p':
        return number("-p", arg, PERIOD_MS_MIN, PERIOD_MS_MAX, &o->period_ms,
                      err);
    case 'i':
        return add_irq(o, arg, err);
    case 'v':
        if (!number("-v", arg, LOG_QUIET, LOG_TASK, &n, err)) {
            return false;
        }
        o->verbosity = n;
        return true;
    case OPT_BG_LOAD:
        return number("--bg-load", arg, VAMP_BG_PERCENT_MIN,
                      VAMP_BG_PERCENT_MAX, &o->bg_percent, err);
    case OPT_PHASE:
        return phase(o, arg, err);
    case OPT_MEANS:
        return one_of("--means", arg, "auto", "affinity", &o->cpusets, err);
    case OPT_SOUND:
        return one_of("--sound", arg, "on", "off", &o->sound, err);
    case OPT_SOUND_FIFO:
        g_free(o->sound_fifo);
        o->sound_fifo = g_strdup(arg);
        return true;
    case OPT_HOST:
        return one_of("--host", arg, "on", "off", &o->host, err);
    case OPT_STATE:
        g_free(o->state_file);
        o->state_file = g_strdup(arg);
        return true;
    case OPT_SOCKET:
        g_free(o->socket);
        o->socket = g_strdup(arg);
        return true;
    case OPT_DAEMON:
        return o->daemon = true;
    case OPT_STATUS:
        return o->status = true;
    case OPT_JSON:
        return o->json = true;
    case 'h':
        return o->help = true;
    case 'V':
        return o->version = true;
    case ':':
        return refuse(err, "%s needs a value (see --help)", argv[optind - 1]);
    default:
        return refuse(err, "%s is no option (see --help)", argv[optind - 1]);
    }
}

bool options_parse(Options *o, int argc, char **argv, unsigned cpus,
                   GError **err)
{
    int ch;

    *o = (Options) {
        .mode = PLAN_DYNAMIC,
        .period_ms = PERIOD_MS_DEFAULT,
        .verbosity = LOG_START,
        .devices = g_ptr_array_new_with_free_func(g_free),
        .bg_percent = VAMP_BG_PERCENT_DEFAULT,
        .phase_ms = VAMP_MAX_PHASE_MS_DEFAULT,
        .cpusets = true,
        .sound = true,
        .host = true,
        .state_file = g_strdup(STATE_FILE),
        .socket = g_strdup(CONTROL_SOCKET),
    };
    opterr = 0;
    optind = 0;         /* so that a test may parse more than once */
    while ((ch = getopt_long(argc, argv, ":f:m:p:i:v:hV", options,
                             NULL)) >= 0) {
        if (!option(o, ch, optarg, argv, err)) {
            return false;
        }
    }
    for (; optind < argc; optind++) {
        g_ptr_array_add(o->devices, g_strdup(argv[optind]));
    }
    if (o->json && !o->status) {
        return refuse(err, "--json needs --status");
    }
    if (o->no_irqs && o->irqs) {
        return refuse(err, "-i none and -i %u exclude each other",
                      g_array_index(o->irqs, unsigned, 0));
    }
    if (cpus > 1 && o->fast >= cpus) {
        return refuse(err, "-f %u is not valid: there are %u vCPUs, and at "
                      "least one must be slow (1..%u would be)", o->fast, cpus,
                      cpus - 1);
    }
    return true;
}

void options_clear(Options *o)
{
    if (o->irqs) {
        g_array_unref(o->irqs);
    }
    if (o->devices) {
        g_ptr_array_unref(o->devices);
    }
    g_free(o->sound_fifo);
    g_free(o->state_file);
    g_free(o->socket);
}
