/*
 * x
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "claim.h"

const struct claim claims_cost[] = {
    { NULL }
};
