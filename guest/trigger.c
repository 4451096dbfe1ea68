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

static bool is_enter(unsigned code)
{
    return code == KEY_ENTER || code == KEY_KPENTER;
}

bool input_can_trigger(unsigned type, unsigned code)
{
    switch (type) {
    case EV_KEY:
        /* Buttons of mice, pens and touch screens; a finger is one. */
        return is_enter(code) || (code >= BTN_MOUSE && code <= BTN_TASK) ||
               code == BTN_TOUCH;
    case EV_REL:
        return code == REL_WHEEL || code == REL_HWHEEL;
    default:
        return false;
    }
}

bool input_is_trigger(unsigned type, unsigned code, int value)
{
    return input_can_trigger(type, code) &&
           (type != EV_KEY || value == (is_enter(code) ? PRESSED : RELEASED));
}
