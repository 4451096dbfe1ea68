/*
 * VAMP sensor: user input
 *
 * Sees what passes qemu_input_event_send(): VNC, SPICE, GTK, SDL, D-Bus,
 * input-linux, QMP and HMP. Not seen: virtio-input-host, vhost-user-input, USB
 * passthrough, and the SPICE agent's mouse (-spice agent-mouse=off).
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/qapi-types-vamp.h"
#include "ui/input.h"
#include "hw/vamp/hooks.h"
#include "hw/vamp/sensor.h"

static void (*listener)(void *opaque, uint32_t mask);
static void *listener_opaque;

static uint32_t key_mask(const InputKeyEvent *key)
{
    QKeyCode code = qemu_input_key_value_to_qcode(key->key);
    uint32_t mask = 1u << VAMP_TRIGGER_KEY;

    /*
     * A release serves nobody: programs act on the press. (The original takes
     * the press of Enter, too.)
     */
    if (!key->down) {
        return 0;
    }
    if (code == Q_KEY_CODE_RET || code == Q_KEY_CODE_KP_ENTER) {
        mask |= 1u << VAMP_TRIGGER_ENTER;
    }
    return mask;
}

static uint32_t button_mask(const InputBtnEvent *btn)
{
    switch (btn->button) {
    case INPUT_BUTTON_WHEEL_UP:
    case INPUT_BUTTON_WHEEL_DOWN:
    case INPUT_BUTTON_WHEEL_LEFT:
    case INPUT_BUTTON_WHEEL_RIGHT:
        return btn->down ? 1u << VAMP_TRIGGER_WHEEL : 0;
    case INPUT_BUTTON_TOUCH:
        return 1u << VAMP_TRIGGER_TOUCH;
    default:
        /*
         * The original takes the release. A press is also answered (menus,
         * selections), and its release comes within the double-click time
         * unless something is dragged.
         */
        return 1u << VAMP_TRIGGER_BUTTON;
    }
}

static void input_event(const InputEvent *evt)
{
    uint32_t mask = 0;

    switch (evt->type) {
    case INPUT_EVENT_KIND_KEY:
        mask = key_mask(evt->u.key.data);
        break;
    case INPUT_EVENT_KIND_BTN:
        mask = button_mask(evt->u.btn.data);
        break;
    case INPUT_EVENT_KIND_MTT:
        if (evt->u.mtt.data->type == INPUT_MULTI_TOUCH_TYPE_BEGIN ||
            evt->u.mtt.data->type == INPUT_MULTI_TOUCH_TYPE_END) {
            mask = 1u << VAMP_TRIGGER_TOUCH;
        }
        break;
    default:
        /* A pointer that only moves asks for nothing yet. */
        break;
    }
    if (mask) {
        listener(listener_opaque, mask);
    }
}

void vamp_input_listen(void (*fn)(void *opaque, uint32_t mask), void *opaque)
{
    listener = fn;
    listener_opaque = opaque;
    vamp_input_hook = fn ? input_event : NULL;
}
