/*
 * For fuzzing: what hw/vamp takes from qemu/cutils.h. See qemu/osdep.h here.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_FUZZ_CUTILS_H
#define VAMP_FUZZ_CUTILS_H

int strstart(const char *str, const char *val, const char **ptr);

#endif
