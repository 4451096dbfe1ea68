/*
 * vdiguest: which events begin an isolation
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <linux/input.h>
#include "guest/input.h"

enum { RELEASED, PRESSED };

bool input_is_trigger(unsigned type, unsigned code, int value)
{
    switch (type) {
    case EV_KEY:
        if (code == KEY_ENTER || code == KEY_KPENTER) {
            return value == PRESSED;
        }
        /* Buttons of mice, pens and touch screens; a finger is one. */
        return value == RELEASED &&
               ((code >= BTN_MOUSE && code <= BTN_TASK) || code == BTN_TOUCH);
    case EV_REL:
        return code == REL_WHEEL || code == REL_HWHEEL;
    default:
        return false;
    }
}
