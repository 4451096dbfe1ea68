/*
 * What the policy needs from the place it is compiled in
 *
 * The only file of core/ that knows where it is built: inside the companion
 * kernel modules (__KERNEL__) or anywhere else, where C11's freestanding
 * headers are enough.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CORE_PORT_H
#define VAMP_CORE_PORT_H

#ifdef __KERNEL__
#include <linux/types.h>
#include <linux/limits.h>
/* Linux has the limits, but under names of its own. */
#ifndef UINT32_MAX
#define UINT32_MAX U32_MAX
#endif
#ifndef UINT64_MAX
#define UINT64_MAX U64_MAX
#endif
#else
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#endif

#endif /* VAMP_CORE_PORT_H */
