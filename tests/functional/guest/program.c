/*
 * The test guest: programs of the guest, for the host
 *
 *   run WORD...            ok STATUS: of a program that has ended; what it
 *                          said is in /tmp/run.out
 *   start WORD...          ok PID: of a program that runs; what it says is
 *                          added to /tmp/start.out
 *   signal PID NUMBER      ok, or ok STATUS: sent; and if it is SIGKILL or
 *                          SIGTERM, waited for
 *   affinity PID MASK      ok: on the CPUs of the hexadecimal MASK
 *   class PID              ok: SCHED_RR, priority 1
 *   mkdir PATH             ok
 *
 * A status is an exit status, or 128 + the signal that ended it.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

#define MAX_WORDS   32

static pid_t start(const char *line, const char *out, int flags)
{
    char copy[LINE_LEN], *words[MAX_WORDS + 1], *save = NULL;
    int n = 0, fd;
    pid_t pid;

    strcpy(copy, line);
    words[0] = strtok_r(copy, " ", &save);
    while (words[n] && n < MAX_WORDS) {
        words[++n] = strtok_r(NULL, " ", &save);
    }
    words[n] = NULL;
    pid = n ? fork() : -1;
    if (!pid) {
        setsid();
        fd = open(out, O_WRONLY | O_CREAT | flags, 0600);
        dup2(fd, 1);
        dup2(fd, 2);
        execv(words[0], words);
        perror(words[0]);
        _exit(127);
    }
    return pid;
}

static void finish(pid_t pid, char *reply)
{
    int status;

    if (waitpid(pid, &status, 0) != pid) {
        sprintf(reply, "error: waitpid: %s", strerror(errno));
    } else {
        sprintf(reply, "ok %d", WIFEXITED(status) ? WEXITSTATUS(status) :
                                128 + WTERMSIG(status));
    }
}

static void result(int ret, char *reply)
{
    if (ret < 0) {
        sprintf(reply, "error: %s", strerror(errno));
    } else {
        strcpy(reply, "ok");
    }
}

static int set_affinity(int pid, unsigned long mask)
{
    cpu_set_t set;
    int i;

    CPU_ZERO(&set);
    for (i = 0; i < (int)(8 * sizeof(mask)); i++) {
        if (mask >> i & 1) {
            CPU_SET(i, &set);
        }
    }
    return sched_setaffinity(pid, sizeof(set), &set);
}

int program_command(const char *line, char reply[LINE_LEN])
{
    struct sched_param rt = { .sched_priority = 1 };
    char path[LINE_LEN];
    unsigned long mask;
    int pid, number;

    if (!strncmp(line, "run ", 4)) {
        pid = start(line + 4, "/tmp/run.out", O_TRUNC);
        finish(pid, reply);
    } else if (!strncmp(line, "start ", 6)) {
        pid = start(line + 6, "/tmp/start.out", O_APPEND);
        sprintf(reply, pid > 0 ? "ok %d" : "error: fork: %d", pid);
    } else if (sscanf(line, "signal %d %d", &pid, &number) == 2) {
        result(kill(pid, number), reply);
        if (*reply == 'o' && (number == SIGKILL || number == SIGTERM)) {
            finish(pid, reply);
        }
    } else if (sscanf(line, "affinity %d %lx", &pid, &mask) == 2) {
        result(set_affinity(pid, mask), reply);
    } else if (sscanf(line, "class %d", &pid) == 1) {
        result(sched_setscheduler(pid, SCHED_RR, &rt), reply);
    } else if (sscanf(line, "mkdir %s", path) == 1) {
        result(mkdir(path, 0755), reply);
    } else {
        return 0;
    }
    return 1;
}
