/*
 * vdiguest: what the user does, where it was built without libevdev or libudev
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "guest/input.h"
#include "guest/log.h"

struct Input {
    char unused;
};

Input *input_begin(const GPtrArray *devices, InputTrigger trigger,
                   InputCpus cpus, void *opaque, GError **err)
{
    if (devices->len) {
        g_set_error(err, G_FILE_ERROR, G_FILE_ERROR_NOSYS,
                    "%s cannot be used: this vdiguest was built without "
                    "libevdev and libudev",
                    (char *)g_ptr_array_index(devices, 0));
        return NULL;
    }
    log_warn("built without libevdev and libudev: only the host tells when a "
             "user is served");
    return g_new0(Input, 1);
}

void input_end(Input *in)
{
    g_free(in);
}

char *input_names(const Input *in)
{
    return NULL;
}
