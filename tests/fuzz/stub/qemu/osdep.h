/*
 * For fuzzing single files of ours without QEMU: what they take from
 * qemu/osdep.h
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_FUZZ_OSDEP_H
#define VAMP_FUZZ_OSDEP_H

#define _GNU_SOURCE

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>
#include <glib.h>

#define RETRY_ON_EINTR(expr) TEMP_FAILURE_RETRY(expr)

#define container_of(ptr, type, member) \
    ((type *)((char *)(ptr) - offsetof(type, member)))

#define qemu_write_full(fd, buf, size) write(fd, buf, size)
#define qemu_set_cloexec(fd) fcntl(fd, F_SETFD, FD_CLOEXEC)

typedef struct Error Error;

#endif
