/*
 * For fuzzing: no systemd. See qemu/osdep.h here.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_FUZZ_SYSTEMD_H
#define VAMP_FUZZ_SYSTEMD_H

#define FIRST_SOCKET_ACTIVATION_FD 3

static inline unsigned check_socket_activation(void)
{
    return 0;
}

#endif
