/*
 * For fuzzing: messages that are only formatted. See qemu/osdep.h here.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_FUZZ_ERROR_REPORT_H
#define VAMP_FUZZ_ERROR_REPORT_H

#include "qapi/error.h"

#define info_report(...) fuzz_error(NULL, __VA_ARGS__)
#define warn_report(...) fuzz_error(NULL, __VA_ARGS__)

#endif
