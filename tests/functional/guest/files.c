/*
 * The test guest: files of the guest, for the host
 *
 *   read OFFSET PATH           ok [TEXT]: the next bytes of what the file had
 *                              when it was read at offset 0, "\n" and "\\" for
 *                              newline and backslash; "ok []" at its end
 *   write PATH TEXT            ok, or error: and what write() said
 *   swapon PATH                ok, or error: what mkswap(8) made is swap space
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/swap.h>
#include <unistd.h>

#include "guest.h"

/* Larger files are cut: a disk is read for its interrupts, not for its data. */
static char kept[64 * 1024];
static size_t kept_len;

static int read_file(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = 0;

    kept_len = 0;
    if (fd < 0) {
        return 0;
    }
    while (kept_len < sizeof(kept) &&
           (n = read(fd, kept + kept_len, sizeof(kept) - kept_len)) > 0) {
        kept_len += n;
    }
    n = n < 0 ? errno : 0;
    close(fd);
    errno = n;
    return !n;
}

static void fail(const char *path, char *reply)
{
    snprintf(reply, LINE_LEN, "error: %.100s: %s", path, strerror(errno));
}

static void read_command(size_t offset, const char *path, char *reply)
{
    size_t out;

    if (!offset && !read_file(path)) {
        fail(path, reply);
        return;
    }
    out = sprintf(reply, "ok [");
    /* Room for an escaped character and the end. */
    while (offset < kept_len && out < LINE_LEN - 4) {
        char c = kept[offset++];

        if (c == '\n' || c == '\\') {
            reply[out++] = '\\';
            c = c == '\n' ? 'n' : c;
        } else if (c < ' ' || c > '~') {
            c = '?';
        }
        reply[out++] = c;
    }
    strcpy(reply + out, "]");
}

static void write_command(const char *path, const char *text, char *reply)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) < 0) {
        fail(path, reply);
    } else {
        strcpy(reply, "ok");
    }
    if (fd >= 0) {
        close(fd);
    }
}

int files_command(const char *line, char reply[LINE_LEN])
{
    char path[LINE_LEN], text[LINE_LEN];
    size_t offset;

    if (sscanf(line, "read %zu %s", &offset, path) == 2) {
        read_command(offset, path, reply);
        return 1;
    }
    if (sscanf(line, "write %s %[^\n]", path, text) == 2) {
        write_command(path, text, reply);
        return 1;
    }
    if (sscanf(line, "swapon %s", path) == 1) {
        if (swapon(path, 0) < 0) {
            fail(path, reply);
        } else {
            strcpy(reply, "ok");
        }
        return 1;
    }
    return 0;
}
