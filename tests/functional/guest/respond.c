/*
 * The test guest: an interactive program
 *
 * Waits on the keyboard's /dev/input/event device, answers each key press with
 * some CPU work and then one line on the answer port:
 *
 *   NUMBER KEYCODE WORK_US ELAPSED_US SINCE_US
 *
 * ELAPSED_US from the moment when the program knows of the key, SINCE_US from
 * when the kernel does.
 *
 * Orders from init: "calibrate" -> "ok LOOPS_PER_MS";
 * "work MIN_MS MAX_MS SEED" -> "ok": from now on each key costs MIN to MAX ms
 * of work, the sequence of lengths given by SEED, numbers start at 0.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/input.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

static uint64_t loops_per_ms = 100000;
static uint64_t min_us = 30000, max_us = 50000;
static uint64_t seed;
static uint64_t number;

/* splitmix64: the same seed gives the same work everywhere. */
static uint64_t next_random(void)
{
    uint64_t z = (seed += 0x9e3779b97f4a7c15ULL);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
}

/* A keyboard is what has a letter and an Enter key. */
static int open_keyboard(void)
{
    unsigned char keys[KEY_MAX / 8 + 1];
    int fd, i, clock = CLOCK_MONOTONIC;     /* that of now_ns() */
    char path[64];

    for (i = 0; i < 32; i++) {
        snprintf(path, sizeof(path), "/dev/input/event%d", i);
        fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0) {
            continue;
        }
        memset(keys, 0, sizeof(keys));
        if (ioctl(fd, EVIOCGBIT(EV_KEY, sizeof(keys)), keys) > 0 &&
            (keys[KEY_A / 8] >> KEY_A % 8 & 1) &&
            (keys[KEY_ENTER / 8] >> KEY_ENTER % 8 & 1) &&
            ioctl(fd, EVIOCSCLOCKID, &clock) == 0) {
            return fd;
        }
        close(fd);
    }
    return -1;
}

static void answer(int port, const struct input_event *key)
{
    uint64_t key_us = key->input_event_sec * 1000000ULL + key->input_event_usec;
    uint64_t t0 = now_ns(), t1;
    uint64_t us = min_us + next_random() % (max_us - min_us + 1);
    char line[LINE_LEN];

    burn(us * loops_per_ms / 1000);
    t1 = now_ns();
    snprintf(line, sizeof(line), "%" PRIu64 " %d %" PRIu64 " %" PRIu64 " %"
             PRIu64 "\n", number++, key->code, us, (t1 - t0) / 1000,
             t1 / 1000 - key_us);
    write_line(port, line);
}

static void order(int channel, const char *line)
{
    uint64_t lo, hi, s;
    char reply[LINE_LEN];

    if (!strcmp(line, "calibrate")) {
        loops_per_ms = burn_calibrate();
        snprintf(reply, sizeof(reply), "ok %" PRIu64 "\n", loops_per_ms);
    } else if (sscanf(line, "work %" SCNu64 " %" SCNu64 " %" SCNu64,
                      &lo, &hi, &s) == 3 && lo <= hi && hi <= 10000) {
        min_us = lo * 1000;
        max_us = hi * 1000;
        seed = s;
        number = 0;
        strcpy(reply, "ok\n");
    } else {
        strcpy(reply, "error: unknown order\n");
    }
    write_line(channel, reply);
}

int respond_main(int channel)
{
    struct pollfd fds[2];
    struct input_event ev;
    char line[LINE_LEN];
    int port, tries;

    /* A host that does not listen must not hold up the program */
    port = port_open(PORT_ANSWER, O_WRONLY | O_NONBLOCK);
    if (port < 0) {
        write_line(channel, "error: no answer port\n");
        return 1;
    }
    fds[0].fd = -1;
    /* The keyboard controller is probed in the background */
    for (tries = 0; tries < 500 && fds[0].fd < 0; tries++) {
        fds[0].fd = open_keyboard();
        if (fds[0].fd < 0) {
            usleep(20000);
        }
    }
    if (fds[0].fd < 0) {
        write_line(channel, "error: no keyboard in /dev/input\n");
        return 1;
    }
    fds[0].events = POLLIN;
    fds[1].fd = channel;
    fds[1].events = POLLIN;
    write_line(channel, "ok\n");

    for (;;) {
        if (poll(fds, 2, -1) < 0 && errno != EINTR) {
            return 1;
        }
        if (fds[1].revents) {
            if (read_line(channel, line) < 0) {
                return 0;
            }
            order(channel, line);
        }
        if (fds[0].revents & (POLLERR | POLLHUP)) {
            return 1;
        }
        while (read(fds[0].fd, &ev, sizeof(ev)) == sizeof(ev)) {
            if (ev.type == EV_KEY && ev.value == 1) {
                answer(port, &ev);
            }
        }
    }
}
