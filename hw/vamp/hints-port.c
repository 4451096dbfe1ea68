/*
 * VAMP: the guest's channel, a port of virtio-serial handled inside QEMU
 *
 * docs/interop/vamp-hints.rst is the protocol; core/hints.c says what is
 * valid, hw/vamp/guest.c keeps it. Here is what makes it safe: lines are cut
 * into a buffer of fixed size, and a guest that writes too much is made to
 * wait.
 *
 * To the guest go states, not a history: what is due is noted in flags, and a
 * line is made when there is room for it. So a guest that does not read costs
 * no memory.
 *
 * Nothing is migrated but what virtio-serial migrates itself. The other side
 * begins a new conversation, as with a guest that opens the port.
 *
 * Everything in the main loop under the BQL.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/module.h"
#include "qemu/timer.h"
#include "hw/qdev-properties.h"
#include "hw/virtio/virtio-serial.h"
#include "hw/vamp/guest.h"
#include "system/runstate.h"
#include "trace.h"

#define TYPE_VAMP_HINTS "vamp-hints"
OBJECT_DECLARE_SIMPLE_TYPE(VampHints, VAMP_HINTS)

#define MAX_RATE        100000u

/* A guest that has to wait goes on when it may write so many lines. */
#define RESUME_LINES    32u

/* What the guest has to be told. */
typedef struct VampHintsDue {
    bool hello;
    bool note;                  /* that there will be no phases */
    bool error;
    bool phase;
    bool list;                  /* of tasks, then the phase */
} VampHintsDue;

struct VampHints {
    VirtIOSerialPort parent_obj;

    uint32_t max_rate;          /* lines a second */

    VampGuestPort guest;
    bool open;                  /* the guest has opened the port */
    VMChangeStateEntry *vmstate;

    struct vamp_hint_reader reader;
    /*
     * When the lines so far would have been due at max_rate: ns of the guest's
     * running time. As far ahead of now as there is burst left to use up.
     */
    int64_t due_ns;
    QEMUTimer *resume_timer;

    VampHintsDue due;
    char error[VAMP_HINTS_TEXT_LEN];
    bool error_said;
    int64_t error_ns;           /* when one was said last */
    struct vamp_hint phase;     /* with the list before it */
    struct vamp_hint_tasks tasks;
    uint32_t list_at;           /* lines of the list that were made */
    char out[VAMP_HINTS_LINE_MAX + 1];  /* an empty line before hello */
    size_t out_used, out_sent;
};

static int64_t guest_now(void)
{
    return qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
}

/* --- to the guest -------------------------------------------------------- */

static void make(VampHints *s, const struct vamp_hint *hint)
{
    s->out_used += vamp_hint_format(hint, false, s->out + s->out_used);
}

static void make_text(VampHints *s, const char *text)
{
    struct vamp_hint hint = { .type = VAMP_HINT_ERROR };

    pstrcpy(hint.text, sizeof(hint.text), text);
    make(s, &hint);
}

static void make_hello(VampHints *s)
{
    struct vamp_hint hint = {
        .type = VAMP_HINT_HELLO,
        .version = VAMP_HINTS_VERSION,
        .text = "qemu " QEMU_VERSION,
    };

    /* Half a line of an earlier conversation ends here. */
    s->out[s->out_used++] = '\n';
    make(s, &hint);
}

/* The next line of the list; the last one is the phase itself. */
static void make_list_line(VampHints *s)
{
    struct vamp_hint hint = { .type = VAMP_HINT_TASKS_BEGIN };
    uint32_t at = s->list_at++;

    if (at > 0 && at <= s->tasks.n) {
        hint.type = VAMP_HINT_TASK;
        hint.task = s->tasks.task[at - 1];
    } else if (at == s->tasks.n + 1) {
        hint.type = VAMP_HINT_TASKS_END;
    } else if (at > 0) {
        hint = s->phase;
        s->due.list = false;
    }
    make(s, &hint);
}

/* Fills the empty buffer with what is due first. False: nothing is. */
static bool make_next(VampHints *s)
{
    s->out_used = s->out_sent = 0;
    if (s->due.hello) {
        s->due.hello = false;
        make_hello(s);
    } else if (s->due.note) {
        const char *note = vamp_guest_no_phases();

        s->due.note = false;
        if (note) {
            make_text(s, note);
        }
    } else if (s->due.error) {
        s->due.error = false;
        make_text(s, s->error);
    } else if (s->due.phase) {
        s->due.phase = false;
        vamp_guest_phase(&s->phase, &s->tasks);
        s->due.list = true;
        /* Without tasks the phase comes at once. */
        s->list_at = s->tasks.n ? 0 : s->tasks.n + 2;
    } else if (s->due.list) {
        make_list_line(s);
    } else {
        return false;
    }
    return true;
}

/* As much as the guest has room for; the rest when it has more. */
static void flush(VampHints *s)
{
    VirtIOSerialPort *port = VIRTIO_SERIAL_PORT(s);

    /* Whoever has stopped the VM wants its memory to stay as it is. */
    while (s->open && runstate_is_running()) {
        size_t left = s->out_used - s->out_sent, n;

        if (!left) {
            if (!make_next(s)) {
                return;
            }
            continue;
        }
        n = virtio_serial_write(port, (uint8_t *)s->out + s->out_sent, left);
        if (!n) {
            return;
        }
        trace_vamp_hints_sent(n);
        s->out_sent += n;
    }
}

static void phase_changed(VampGuestPort *guest)
{
    VampHints *s = container_of(guest, VampHints, guest);

    /* A list that is on its way is begun anew, with the phase it is for. */
    s->due.phase = true;
    flush(s);
}

/* One a second: a guest that does everything wrong is not worth more. */
static void complain(VampHints *s, const char *text)
{
    int64_t now = guest_now();

    if (s->error_said && now >= s->error_ns &&
        now - s->error_ns < NANOSECONDS_PER_SECOND) {
        return;
    }
    s->error_said = true;
    s->error_ns = now;
    pstrcpy(s->error, sizeof(s->error), text);
    s->due.error = true;
    flush(s);
}

static void hints_guest_writable(VirtIOSerialPort *port)
{
    flush(VAMP_HINTS(port));
}

/* --- from the guest ------------------------------------------------------ */

static int64_t line_ns(const VampHints *s)
{
    return NANOSECONDS_PER_SECOND / s->max_rate;
}

/* May the guest write another line? Otherwise it is made to wait. */
static bool admit(VampHints *s)
{
    int64_t now = guest_now();
    int64_t burst = VAMP_HINTS_BURST * line_ns(s);

    /* A snapshot was loaded: the clock begins anew. */
    if (s->due_ns > now + burst + line_ns(s)) {
        s->due_ns = now;
    }
    if (s->due_ns > now + burst - line_ns(s)) {
        int64_t resume = s->due_ns - burst + RESUME_LINES * line_ns(s);

        trace_vamp_hints_pause((resume - now) / SCALE_MS);
        vamp_guest_paused();
        virtio_serial_throttle_port(VIRTIO_SERIAL_PORT(s), true);
        timer_mod_ns(s->resume_timer, resume);
        return false;
    }
    s->due_ns = MAX(s->due_ns, now) + line_ns(s);
    return true;
}

static void resume(void *opaque)
{
    virtio_serial_throttle_port(opaque, false);
}

static ssize_t hints_have_data(VirtIOSerialPort *port, const uint8_t *buf,
                               ssize_t len)
{
    VampHints *s = VAMP_HINTS(port);
    ssize_t done = 0;

    /*
     * virtio-serial loads a port that waits and at once calls us from a
     * bottom half, maybe before the rest of the queue is loaded.
     */
    if (!runstate_is_running()) {
        virtio_serial_throttle_port(port, true);
        return 0;
    }
    while (s->open && done < len && admit(s)) {
        enum vamp_hint_got got;
        const char *error = NULL;

        done += vamp_hint_read(&s->reader, (const char *)buf + done,
                               len - done, &got);
        if (got != VAMP_HINT_GOT_PART) {
            error = vamp_guest_line(s->reader.line, s->reader.used,
                                    got == VAMP_HINT_GOT_LONG);
        }
        if (error) {
            complain(s, error);
        }
    }
    /* What comes before the port is opened is nobody's. */
    return s->open ? done : len;
}

/* --- life ---------------------------------------------------------------- */

static void begin(VampHints *s, bool open)
{
    s->open = open;
    s->reader = (struct vamp_hint_reader) { .used = 0 };
    s->due = (VampHintsDue) { .hello = open, .note = open };
    s->out_used = s->out_sent = 0;
    vamp_guest_session(open);
}

/* Also called once when an incoming VM runs: then the guest is asked anew. */
static void hints_set_guest_connected(VirtIOSerialPort *port, int connected)
{
    VampHints *s = VAMP_HINTS(port);
    struct vamp_hint phase;

    begin(s, connected);
    if (timer_pending(s->resume_timer)) {
        timer_del(s->resume_timer);
        virtio_serial_throttle_port(port, false);
    }
    if (connected) {
        vamp_guest_phase(&phase, &s->tasks);
        s->due.phase = phase.type == VAMP_HINT_PHASE_BEGIN;
        flush(s);
    }
}

static void vm_state_changed(void *opaque, bool running, RunState state)
{
    VampHints *s = opaque;

    if (running) {
        if (!timer_pending(s->resume_timer)) {
            virtio_serial_throttle_port(VIRTIO_SERIAL_PORT(s), false);
        }
        flush(s);
    }
}

static void hints_realize(DeviceState *dev, Error **errp)
{
    VirtIOSerialPort *port = VIRTIO_SERIAL_PORT(dev);
    VampHints *s = VAMP_HINTS(dev);

    if (port->id == 0) {
        error_setg(errp, "nr=0 is a console's, valid is 1 up to the bus's "
                   "max_ports - 1");
        return;
    }
    if (strcmp(port->name, VAMP_HINTS_PORT)) {
        error_setg(errp, "name=%.64s would not be found by the guest, valid "
                   "is " VAMP_HINTS_PORT, port->name);
        return;
    }
    if (s->max_rate < 1 || s->max_rate > MAX_RATE) {
        error_setg(errp, "max-rate=%" PRIu32 " is out of range, valid is 1 to "
                   "%u lines a second", s->max_rate, MAX_RATE);
        return;
    }
    s->guest.id = dev->id;
    s->guest.phase_changed = phase_changed;
    if (!vamp_guest_attach(&s->guest, errp)) {
        return;
    }
    s->resume_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, resume, s);
    s->vmstate = qdev_add_vm_change_state_handler(dev, vm_state_changed, s);
    virtio_serial_open(port);
}

static void hints_unrealize(DeviceState *dev)
{
    VampHints *s = VAMP_HINTS(dev);

    begin(s, false);
    vamp_guest_detach(&s->guest);
    qemu_del_vm_change_state_handler(s->vmstate);
    timer_free(s->resume_timer);
}

static void hints_instance_init(Object *obj)
{
    VIRTIO_SERIAL_PORT(obj)->name = g_strdup(VAMP_HINTS_PORT);
}

static const Property hints_properties[] = {
    DEFINE_PROP_UINT32("max-rate", VampHints, max_rate,
                       VAMP_HINTS_RATE_DEFAULT),
};

static void hints_class_init(ObjectClass *oc, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(oc);
    VirtIOSerialPortClass *k = VIRTIO_SERIAL_PORT_CLASS(oc);

    dc->desc = "VAMP's channel to a daemon in the guest";
    set_bit(DEVICE_CATEGORY_INPUT, dc->categories);
    device_class_set_props(dc, hints_properties);
    object_class_property_set_description(oc, "max-rate",
        "Lines a second that the guest may write, 1..100000");
    k->realize = hints_realize;
    k->unrealize = hints_unrealize;
    k->have_data = hints_have_data;
    k->set_guest_connected = hints_set_guest_connected;
    k->guest_writable = hints_guest_writable;
}

static const TypeInfo hints_info = {
    .name = TYPE_VAMP_HINTS,
    .parent = TYPE_VIRTIO_SERIAL_PORT,
    .instance_size = sizeof(VampHints),
    .instance_init = hints_instance_init,
    .class_init = hints_class_init,
};

static void hints_register_types(void)
{
    type_register_static(&hints_info);
}
type_init(hints_register_types)
