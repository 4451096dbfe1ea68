/*
 * The test guest: its side of the hints (docs/interop/vamp-hints.rst)
 *
 *   hints open                 ok, or error: and what open() said
 *   hints close                ok
 *   hints say LINE             ok: the line is written
 *   hints hogs                 ok N: the list of the hogs that run is
 *                              written, as /proc has them
 *   hints hear                 ok [LINE]: the next line from the host that is
 *                              there; "ok -": none is
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

static int port = -1;

static int is_hog(const char *pid)
{
    char path[64], text[8] = "";
    int fd, n;

    snprintf(path, sizeof(path), "/proc/%.16s/cmdline", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    n = read(fd, text, sizeof(text) - 1);
    close(fd);
    return n > 0 && !strcmp(text, "hog");
}

/* The CPU that it ran on last: field 39 of its stat (man proc_pid_stat). */
static int last_cpu(const char *pid)
{
    char path[64], text[512] = "", *at;
    int fd, field;

    snprintf(path, sizeof(path), "/proc/%.16s/stat", pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return 0;
    }
    if (read(fd, text, sizeof(text) - 1) < 0) {
        text[0] = 0;
    }
    close(fd);
    at = strrchr(text, ')');
    for (field = 2; at && field < 39; field++) {
        at = strchr(at + 1, ' ');
    }
    return at ? atoi(at) : 0;
}

static void say_hogs(char reply[LINE_LEN])
{
    DIR *dir = opendir("/proc");
    struct dirent *e;
    char line[LINE_LEN];
    int n = 0;

    write_line(port, "tasks begin\n");
    while (dir && (e = readdir(dir))) {
        if (atoi(e->d_name) > 1 && is_hog(e->d_name)) {
            snprintf(line, sizeof(line),
                     "task id=%d load=1000 vcpu=%d name=hog\n",
                     atoi(e->d_name), last_cpu(e->d_name));
            write_line(port, line);
            n++;
        }
    }
    if (dir) {
        closedir(dir);
    }
    write_line(port, "tasks end\n");
    snprintf(reply, LINE_LEN, "ok %d", n);
}

static void hear(char reply[LINE_LEN])
{
    struct pollfd p = { .fd = port, .events = POLLIN };
    char line[LINE_LEN];

    if (poll(&p, 1, 0) <= 0 || !(p.revents & POLLIN) ||
        read_line(port, line) < 0) {
        strcpy(reply, "ok -");
    } else {
        snprintf(reply, LINE_LEN, "ok [%.200s]", line);
    }
}

int hints_command(const char *line, char reply[LINE_LEN])
{
    if (strncmp(line, "hints ", 6)) {
        return 0;
    }
    line += 6;
    strcpy(reply, "ok");
    if (!strcmp(line, "open")) {
        port = port_open(PORT_HINTS, O_RDWR);
        if (port < 0) {
            snprintf(reply, LINE_LEN, "error: " PORT_HINTS ": %s",
                     strerror(errno));
        }
    } else if (port < 0) {
        strcpy(reply, "error: the port is not open");
    } else if (!strcmp(line, "close")) {
        close(port);
        port = -1;
    } else if (!strcmp(line, "hogs")) {
        say_hogs(reply);
    } else if (!strcmp(line, "hear")) {
        hear(reply);
    } else if (!strncmp(line, "say ", 4)) {
        write_line(port, line + 4);
        write_line(port, "\n");
    } else {
        return 0;
    }
    return 1;
}
