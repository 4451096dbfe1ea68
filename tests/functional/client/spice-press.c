/*
 * A SPICE client that presses keys
 *
 * Usage: spice-press SPICE
 *
 *   SPICE          a unix socket's path or HOST:PORT; a server without tickets
 *
 * It opens the main and the inputs channel and nothing else: no display, no
 * sound. Commands on stdin, one a line:
 *
 *   press SCANCODE     press and release (PC scan code set 1, as a number)
 *   quit               (as is the end of stdin)
 *
 * Lines on stdout, as vnc-press has them (time: ns of CLOCK_MONOTONIC):
 *
 *   ready 0 0 SCHEDULER
 *   pressed 0 TIME
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include <spice-client.h>

/* Seconds to wait for the server. The machine may be slow. */
#define CONNECT_S   60

static GMainLoop *loop;
static SpiceInputsChannel *inputs;
static const char *where;

static void G_GNUC_NORETURN die(const char *what)
{
    fprintf(stderr, "spice-press: %s: %s\n", where, what);
    exit(1);
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ULL + ts.tv_nsec;
}

static void press(int scancode)
{
    uint64_t t = now_ns();

    spice_inputs_channel_key_press(inputs, scancode);
    spice_inputs_channel_key_release(inputs, scancode);
    printf("pressed 0 %" PRIu64 "\n", t);
}

static gboolean stdin_ready(GIOChannel *io, GIOCondition cond, gpointer data)
{
    g_autofree char *line = NULL;
    int scancode;

    if (g_io_channel_read_line(io, &line, NULL, NULL, NULL) !=
        G_IO_STATUS_NORMAL || g_str_has_prefix(line, "quit")) {
        g_main_loop_quit(loop);
        return G_SOURCE_REMOVE;
    }
    if (sscanf(line, "press %i", &scancode) != 1) {
        die("unknown command");
    }
    press(scancode);
    return G_SOURCE_CONTINUE;
}

static void inputs_event(SpiceChannel *channel, SpiceChannelEvent event,
                         gpointer data)
{
    if (event != SPICE_CHANNEL_OPENED) {
        die("the SPICE server has closed the inputs channel");
    }
    inputs = SPICE_INPUTS_CHANNEL(channel);
    /* Only now: a line that comes earlier waits in the pipe. */
    g_io_add_watch(g_io_channel_unix_new(0), G_IO_IN | G_IO_HUP, stdin_ready,
                   NULL);
    puts("ready 0 0 SCHED_OTHER");
}

static void main_event(SpiceChannel *channel, SpiceChannelEvent event,
                       gpointer data)
{
    if (event != SPICE_CHANNEL_OPENED) {
        die("no SPICE server answers, or it has closed the connection");
    }
}

static void channel_new(SpiceSession *session, SpiceChannel *channel,
                        gpointer data)
{
    if (SPICE_IS_MAIN_CHANNEL(channel)) {
        g_signal_connect(channel, "channel-event", G_CALLBACK(main_event),
                         NULL);
    } else if (SPICE_IS_INPUTS_CHANNEL(channel)) {
        g_signal_connect(channel, "channel-event", G_CALLBACK(inputs_event),
                         NULL);
        spice_channel_connect(channel);
    }
}

static gboolean too_late(gpointer data)
{
    if (!inputs) {
        die("the SPICE server offers no inputs channel in time");
    }
    return G_SOURCE_REMOVE;
}

int main(int argc, char **argv)
{
    SpiceSession *session;
    const char *colon;

    if (argc != 2) {
        fprintf(stderr, "usage: spice-press SPICE\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    where = argv[1];
    loop = g_main_loop_new(NULL, FALSE);
    session = spice_session_new();
    colon = strrchr(where, ':');
    if (where[0] == '/' || !colon) {
        g_object_set(session, "unix-path", where, NULL);
    } else {
        g_autofree char *host = g_strndup(where, colon - where);

        g_object_set(session, "host", host, "port", colon + 1, NULL);
    }
    g_object_set(session, "enable-audio", FALSE, "enable-usbredir", FALSE,
                 "enable-smartcard", FALSE, NULL);
    g_signal_connect(session, "channel-new", G_CALLBACK(channel_new), NULL);
    g_timeout_add_seconds(CONNECT_S, too_late, NULL);
    if (!spice_session_connect(session)) {
        die("cannot be connected to");
    }
    g_main_loop_run(loop);
    return 0;
}
