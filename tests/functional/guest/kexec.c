/*
 * The test guest: another kernel in its place, without a reset of the machine
 *
 *   kexec KERNEL INITRD        nothing: the next kernel, with the words of this
 *                              one, says "ready" when it is up; or error:
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/reboot.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "guest.h"

static int load(const char *kernel, const char *initrd)
{
    char words[2048];
    int k = open(kernel, O_RDONLY | O_CLOEXEC);
    int i = open(initrd, O_RDONLY | O_CLOEXEC);
    int c = open("/proc/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = c < 0 ? -1 : read(c, words, sizeof(words) - 1);
    long ret = -1;

    if (n > 0) {
        /* A newline ends it. */
        words[n - 1] = '\0';
        ret = syscall(SYS_kexec_file_load, k, i, (unsigned long)n, words, 0UL);
    }
    n = errno;
    close(k);
    close(i);
    close(c);
    errno = n;
    return ret;
}

int kexec_command(const char *line, char reply[LINE_LEN])
{
    char kernel[LINE_LEN], initrd[LINE_LEN];

    if (sscanf(line, "kexec %s %s", kernel, initrd) != 2) {
        return 0;
    }
    if (load(kernel, initrd) == 0) {
        syscall(SYS_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2,
                LINUX_REBOOT_CMD_KEXEC, NULL);
    }
    snprintf(reply, LINE_LEN, "error: kexec: %s", strerror(errno));
    return 1;
}
