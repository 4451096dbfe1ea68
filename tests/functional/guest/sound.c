/*
 * The test guest: one that plays sound
 *
 *   sound DEVICE   a player on CPU 0, which is busy four fifths of its time, wakes
 *                  a server on CPU 1, which reads a port of the PCI device, named
 *                  like 0000:00:04.0: ok PLAYER SERVER
 *   sound off      ends both
 *
 * The device needs no driver: what matters is who touches it, and whom it was
 * woken by. The kernel reads the port for the server: in an emulated guest of a
 * guest a process may not, whatever iopl() says (QEMU's check_io refuses a busy
 * TSS).
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

/* Busy for longer than test_kvm.py lets a woken vCPU take to load its task. */
#define PERIOD_NS   40000000ull
#define BUSY_NS     32000000ull

static pid_t player, server;

void run_on(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    if (sched_setaffinity(0, sizeof(set), &set) < 0) {
        _exit(2);
    }
}

/* It says on @ready that it has touched the port. */
static pid_t begin_server(const int pipe_end[2], int ready, const char *device)
{
    pid_t pid = fork();
    char c, path[128];
    uint16_t value;
    int fd;

    if (!pid) {
        run_on(1);
        snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0",
                 device);
        fd = open(path, O_RDWR);
        if (fd < 0 || pread(fd, &value, 2, 0) != 2 ||
            write(ready, "x", 1) != 1) {
            _exit(3);
        }
        close(ready);
        while (read(pipe_end[0], &c, 1) == 1 &&
               pread(fd, &value, 2, 0) == 2) {
        }
        _exit(0);
    }
    return pid;
}

static pid_t begin_player(const int pipe_end[2])
{
    pid_t pid = fork();

    if (!pid) {
        run_on(0);
        for (;;) {
            uint64_t begin = now_ns();

            while (now_ns() - begin < BUSY_NS) {
                burn(1000);
            }
            if (write(pipe_end[1], "x", 1) != 1) {
                _exit(0);
            }
            usleep((PERIOD_NS - BUSY_NS) / 1000);
        }
    }
    return pid;
}

static void end(pid_t *pid)
{
    if (*pid > 0) {
        kill(*pid, SIGKILL);
        waitpid(*pid, NULL, 0);
    }
    *pid = 0;
}

int sound_command(const char *line, char reply[LINE_LEN])
{
    int pipe_end[2], ready[2];
    char c, device[32];

    if (sscanf(line, "sound %31s", device) != 1) {
        return 0;
    }
    end(&player);
    end(&server);
    strcpy(reply, "ok");
    if (!strcmp(device, "off")) {
        return 1;
    }
    if (pipe(pipe_end) < 0 || pipe(ready) < 0) {
        strcpy(reply, "error: pipe");
        return 1;
    }
    server = begin_server(pipe_end, ready[1], device);
    close(ready[1]);
    if (read(ready[0], &c, 1) == 1) {
        player = begin_player(pipe_end);
        snprintf(reply, LINE_LEN, "ok %d %d", player, server);
    } else {
        strcpy(reply, "error: the server cannot read a port");
    }
    close(ready[0]);
    close(pipe_end[0]);
    close(pipe_end[1]);
    return 1;
}
