/*
 * For fuzzing single files of hw/vamp without QEMU: what they take from
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
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#include <glib.h>

#define RETRY_ON_EINTR(expr) TEMP_FAILURE_RETRY(expr)

typedef struct Error Error;

#endif
