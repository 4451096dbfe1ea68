/*
 * The test guest: PID 1
 *
 * Says "ready KERNEL-RELEASE" on the control port, then obeys it, one line a
 * command, one line a reply ("ok ..." or "error: ..."):
 *
 *   ping                       ok
 *   hogs N                     N hogs run (0..64); says the last one's process
 *   calibrate                  see respond.c
 *   work MIN_MS MAX_MS SEED    see respond.c
 *   uptime                     ok NANOSECONDS
 *   read OFFSET PATH           see files.c
 *   write PATH TEXT            see files.c
 *   swapon PATH                see files.c
 *   hints open|close|hogs      see hints.c
 *   hints say LINE             see hints.c
 *   hints hear                 see hints.c
 *   sound DEVICE|off           see sound.c
 *   play PCM ...|off           see play.c
 *   run, start, signal ...     see program.c
 *   kexec KERNEL INITRD        see kexec.c
 *   poweroff
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

#define MAX_HOGS    64

static pid_t hogs[MAX_HOGS];
static int nr_hogs;
static int respond_channel = -1;

int write_line(int fd, const char *text)
{
    size_t len = strlen(text);

    while (len) {
        ssize_t n = write(fd, text, len);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return 0;
        }
        text += n;
        len -= n;
    }
    return 1;
}

int read_line(int fd, char line[LINE_LEN])
{
    int len = 0;

    for (;;) {
        char c;
        ssize_t n = read(fd, &c, 1);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return -1;
        }
        if (c == '\n') {
            line[len] = '\0';
            return len;
        }
        if (len < LINE_LEN - 1) {
            line[len++] = c;
        }
    }
}

int port_open(const char *name, int flags)
{
    DIR *dir = opendir("/sys/class/virtio-ports");
    struct dirent *e;
    int fd = -1;

    while (dir && fd < 0 && (e = readdir(dir))) {
        char path[512], text[LINE_LEN];
        int f;

        snprintf(path, sizeof(path), "/sys/class/virtio-ports/%s/name",
                 e->d_name);
        f = open(path, O_RDONLY | O_CLOEXEC);
        if (f < 0) {
            continue;
        }
        if (read_line(f, text) > 0 && !strcmp(text, name)) {
            snprintf(path, sizeof(path), "/dev/%s", e->d_name);
            fd = open(path, flags | O_CLOEXEC);
        }
        close(f);
    }
    if (dir) {
        closedir(dir);
    }
    return fd;
}

static void load_modules(void)
{
    FILE *order = fopen("/modules/order", "re");
    char name[128], path[160];

    while (order && fscanf(order, "%127s", name) == 1) {
        int fd;

        snprintf(path, sizeof(path), "/modules/%s", name);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || syscall(SYS_finit_module, fd, "", 0) < 0) {
            printf("init: %s: %s\n", path, strerror(errno));
        }
        if (fd >= 0) {
            close(fd);
        }
    }
    if (order) {
        fclose(order);
    }
}

/* Starts a role of this program as a process with its own session. */
static pid_t spawn(const char *role, int channel)
{
    pid_t pid = fork();

    if (!pid) {
        char arg[16];

        setsid();
        snprintf(arg, sizeof(arg), "%d", channel);
        execl("/init", role, arg, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void set_hogs(int n)
{
    while (nr_hogs < n) {
        hogs[nr_hogs++] = spawn("hog", -1);
    }
    while (nr_hogs > n) {
        pid_t pid = hogs[--nr_hogs];

        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
    }
}

static void start_respond(char reply[LINE_LEN])
{
    int pair[2];

    /* The program's end survives its exec, init's must not */
    if (socketpair(AF_UNIX, SOCK_STREAM, 0, pair) < 0) {
        strcpy(reply, "error: socketpair");
        return;
    }
    fcntl(pair[0], F_SETFD, FD_CLOEXEC);
    spawn("respond", pair[1]);
    close(pair[1]);
    respond_channel = pair[0];
    if (read_line(pair[0], reply) < 0) {
        strcpy(reply, "error: respond ended");
    }
}

static void command(const char *line, char reply[LINE_LEN])
{
    unsigned n;

    if (!strcmp(line, "ping")) {
        strcpy(reply, "ok");
    } else if (sscanf(line, "hogs %u", &n) == 1 && n <= MAX_HOGS) {
        set_hogs(n);
        strcpy(reply, "ok");
        if (n) {
            sprintf(reply, "ok %d", hogs[n - 1]);
        }
    } else if (!strcmp(line, "uptime")) {
        snprintf(reply, LINE_LEN, "ok %" PRIu64, now_ns());
    } else if (!strcmp(line, "poweroff")) {
        sync();
        reboot(RB_POWER_OFF);
        strcpy(reply, "error: still here");
    } else if (!strncmp(line, "work ", 5) || !strcmp(line, "calibrate")) {
        if (respond_channel < 0) {
            start_respond(reply);
            if (strcmp(reply, "ok")) {
                return;
            }
        }
        if (!write_line(respond_channel, line) ||
            !write_line(respond_channel, "\n") ||
            read_line(respond_channel, reply) < 0) {
            strcpy(reply, "error: respond ended");
        }
    } else if (!files_command(line, reply) && !hints_command(line, reply) &&
               !sound_command(line, reply) && !play_command(line, reply) &&
               !program_command(line, reply) && !kexec_command(line, reply) &&
               !code_command(line, reply)) {
        strcpy(reply, "error: unknown command");
    }
}

static void serve(void)
{
    char line[LINE_LEN], reply[LINE_LEN + 1];
    struct utsname uts;
    int port = -1, tries;

    for (tries = 0; tries < 500 && port < 0; tries++) {
        port = port_open(PORT_CONTROL, O_RDWR);
        if (port < 0) {
            usleep(20000);
        }
    }
    if (port < 0) {
        printf("init: no virtio-serial port " PORT_CONTROL "\n");
        return;
    }
    uname(&uts);
    snprintf(reply, sizeof(reply), "ready %.200s\n", uts.release);
    write_line(port, reply);
    printf("init: %s", reply);
    for (;;) {
        if (read_line(port, line) < 0) {
            /* The host has hung up: it may come again */
            usleep(50000);
            continue;
        }
        command(line, reply);
        strcat(reply, "\n");
        write_line(port, reply);
    }
}

int main(int argc, char **argv)
{
    int fd;

    if (!strcmp(argv[0], "hog")) {
        return hog_main();
    }
    if (!strcmp(argv[0], "respond") && argc > 1) {
        return respond_main(atoi(argv[1]));
    }
    if (getpid() != 1) {
        fprintf(stderr, "This is the init of a test guest.\n");
        return 1;
    }

    mkdir("/proc", 0555);
    mkdir("/sys", 0555);
    mkdir("/dev", 0755);
    mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
    mount("proc", "/proc", "proc", 0, NULL);
    mount("sysfs", "/sys", "sysfs", 0, NULL);
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2", 0, NULL);
    fd = open("/dev/console", O_RDWR);
    if (fd >= 0) {
        dup2(fd, 0);
        dup2(fd, 1);
        dup2(fd, 2);
        if (fd > 2) {
            close(fd);
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);

    load_modules();
    serve();
    /* An init that ends panics the kernel, which tells the host */
    return 1;
}
