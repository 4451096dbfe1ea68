/*
 * What a QEMU and the broker say to each other: what is valid
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "brokermsg.h"
#include "policy.h"
#include "weight.h"

size_t vamp_bmsg_size(uint32_t type)
{
    switch (type) {
    case VAMP_BMSG_HELLO:
        return sizeof(struct vamp_bmsg_hello);
    case VAMP_BMSG_THREAD_ADD:
    case VAMP_BMSG_THREAD_DEL:
        return sizeof(struct vamp_bmsg_thread);
    case VAMP_BMSG_RATIO:
        return sizeof(struct vamp_bmsg_ratio);
    case VAMP_BMSG_CLASS:
        return sizeof(struct vamp_bmsg_class);
    case VAMP_BMSG_STATUS:
        return sizeof(struct vamp_bmsg_status);
    case VAMP_BMSG_WELCOME:
        return sizeof(struct vamp_bmsg_welcome);
    case VAMP_BMSG_OK:
        return sizeof(struct vamp_bmsg_ok);
    case VAMP_BMSG_ERROR:
        return sizeof(struct vamp_bmsg_error);
    case VAMP_BMSG_REPORT:
        return sizeof(struct vamp_bmsg_report);
    default:
        return 0;
    }
}

/* Terminated, printable ASCII up to there, zeros behind. */
static bool text_ok(const char *text, size_t len)
{
    size_t i = 0;

    while (i < len && text[i] >= ' ' && text[i] <= '~') {
        i++;
    }
    if (i == len) {
        return false;
    }
    while (i < len && !text[i]) {
        i++;
    }
    return i == len;
}

static bool ratio_ok(uint32_t ratio)
{
    return ratio >= VAMP_RATIO_MIN && ratio <= VAMP_RATIO_MAX;
}

static bool thread_ok(const struct vamp_bmsg_thread *m)
{
    uint32_t slots = m->role == VAMP_BROKER_VCPU ? VAMP_BROKER_VCPUS_MAX
                                                 : VAMP_BROKER_IO_MAX;

    return m->role <= VAMP_BROKER_IO && m->slot < slots && m->zero == 0 &&
           (m->head.type == VAMP_BMSG_THREAD_DEL ? m->tid == 0 : m->tid > 0);
}

static bool fields_ok(const void *msg, uint32_t type)
{
    switch (type) {
    case VAMP_BMSG_HELLO: {
        const struct vamp_bmsg_hello *m = msg;

        return ratio_ok(m->ratio) && text_ok(m->name, sizeof(m->name));
    }
    case VAMP_BMSG_THREAD_ADD:
    case VAMP_BMSG_THREAD_DEL:
        return thread_ok(msg);
    case VAMP_BMSG_RATIO: {
        const struct vamp_bmsg_ratio *m = msg;

        return ratio_ok(m->ratio) && m->zero == 0;
    }
    case VAMP_BMSG_CLASS: {
        const struct vamp_bmsg_class *m = msg;

        return m->slot < VAMP_BROKER_VCPUS_MAX &&
               m->vclass <= VAMP_CLASS_BACKGROUND;
    }
    case VAMP_BMSG_STATUS: {
        const struct vamp_bmsg_status *m = msg;

        return m->format <= VAMP_BROKER_OPENMETRICS && m->zero == 0;
    }
    case VAMP_BMSG_WELCOME: {
        const struct vamp_bmsg_welcome *m = msg;

        return m->period_ms > 0 && m->zero == 0 &&
               m->page_size >= sizeof(struct vamp_broker_page);
    }
    case VAMP_BMSG_ERROR: {
        const struct vamp_bmsg_error *m = msg;

        return m->err > 0 && m->zero == 0 && text_ok(m->text, sizeof(m->text));
    }
    default:
        return true;
    }
}

enum vamp_bmsg_fault vamp_bmsg_check(const void *msg, size_t size,
                                     bool to_broker)
{
    const struct vamp_bmsg_head *head = msg;

    if (size < sizeof(*head)) {
        return VAMP_BMSG_SHORT;
    }
    if (head->magic != VAMP_BROKER_MAGIC) {
        return VAMP_BMSG_MAGIC_WRONG;
    }
    if (!vamp_bmsg_size(head->type) ||
        to_broker != (head->type < VAMP_BMSG_WELCOME)) {
        return VAMP_BMSG_TYPE_UNKNOWN;
    }
    if (head->size != size || size != vamp_bmsg_size(head->type)) {
        return VAMP_BMSG_SIZE_WRONG;
    }
    return fields_ok(msg, head->type) ? VAMP_BMSG_FINE : VAMP_BMSG_FIELD_WRONG;
}

const char *vamp_bmsg_fault_text(enum vamp_bmsg_fault fault)
{
    static const char *const text[VAMP_BMSG_FAULTS] = {
        [VAMP_BMSG_FINE] = "nothing is wrong",
        [VAMP_BMSG_SHORT] = "it is shorter than a head",
        [VAMP_BMSG_MAGIC_WRONG] = "it does not begin as a message does",
        [VAMP_BMSG_TYPE_UNKNOWN] = "its type is unknown here",
        [VAMP_BMSG_SIZE_WRONG] = "its size is not that of its type",
        [VAMP_BMSG_FIELD_WRONG] = "one of its fields is out of range",
    };

    return fault < VAMP_BMSG_FAULTS ? text[fault] : "unknown";
}

const char *vamp_broker_state_name(enum vamp_broker_state state)
{
    switch (state) {
    case VAMP_BROKER_NORMAL:
        return "normal";
    case VAMP_BROKER_BOOST:
        return "boost";
    case VAMP_BROKER_GUARD:
        return "guard";
    case VAMP_BROKER_WEIGHTS:
        return "weights";
    }
    return "unknown";
}
