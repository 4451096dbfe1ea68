/*
 * A guest that runs test programs on cgroup v2, whatever the host has
 *
 * PID 1. Runs each program of /tests twice as a GLib test: in the root group,
 * and in a group like a systemd scope; their TAP goes to the console between
 * lines "=== PROGRAM in PLACE" and "=== exit STATUS". Powers off at the end.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define CGROUP  "/sys/fs/cgroup"
/* A space, because unit names may have one and mountinfo escapes it. */
#define SCOPE   CGROUP "/slice/my scope"

static void put(const char *file, const char *text)
{
    int fd = open(file, O_WRONLY);

    if (fd < 0 || write(fd, text, strlen(text)) < 0) {
        perror(file);
    }
    if (fd >= 0) {
        close(fd);
    }
}

static void run(const char *program, const char *place, const char *procs)
{
    char path[512];
    int status = 0;
    pid_t pid;

    snprintf(path, sizeof(path), "/tests/%s", program);
    printf("=== %s in %s\n", program, place);
    pid = fork();
    if (pid == 0) {
        put(procs, "0");
        execl(path, program, "--tap", "-k", (char *)NULL);
        perror(path);
        _exit(127);
    }
    while (wait(&status) != pid) {
        /* orphans of the tests end here, too */
    }
    printf("=== exit %d\n", WIFEXITED(status) ? WEXITSTATUS(status)
                                              : 128 + WTERMSIG(status));
}

int main(void)
{
    struct dirent *e;
    DIR *d;

    if (getpid() != 1) {
        fprintf(stderr, "This is the init of a test guest.\n");
        return 1;
    }
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("tmpfs", "/tmp", "tmpfs", 0, NULL);
    mount("cgroup2", CGROUP, "cgroup2", 0, NULL);
    setvbuf(stdout, NULL, _IOLBF, 0);
    mkdir(CGROUP "/slice", 0755);
    put(CGROUP "/cgroup.subtree_control", "+cpu +memory +pids");
    put(CGROUP "/slice/cgroup.subtree_control", "+cpu +memory +pids");
    mkdir(SCOPE, 0755);

    d = opendir("/tests");
    while (d && (e = readdir(d))) {
        if (e->d_name[0] != '.') {
            run(e->d_name, "the root group", CGROUP "/cgroup.procs");
            run(e->d_name, "a scope", SCOPE "/cgroup.procs");
        }
    }
    printf("=== done\n");
    sync();
    reboot(RB_POWER_OFF);
    return 0;
}
