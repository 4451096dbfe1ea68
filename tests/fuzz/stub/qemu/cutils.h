/*
 * For fuzzing: what our files take from qemu/cutils.h. See qemu/osdep.h here.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_FUZZ_CUTILS_H
#define VAMP_FUZZ_CUTILS_H

void pstrcpy(char *buf, int size, const char *str);
int strstart(const char *str, const char *val, const char **ptr);

#endif
