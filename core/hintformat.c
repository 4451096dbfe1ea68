/*
 * What a guest and its host tell each other: writing lines, and errors
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "hints.h"

/* A buffer that is being filled; what does not fit makes it bad. */
struct out {
    char *buf;
    size_t used, room;
    bool bad;
};

static void put_char(struct out *o, char c)
{
    if (o->used == o->room) {
        o->bad = true;
    } else {
        o->buf[o->used++] = c;
    }
}

static void put(struct out *o, const char *text)
{
    while (*text) {
        put_char(o, *text++);
    }
}

static void put_number(struct out *o, uint64_t n, unsigned int base)
{
    char digits[20];
    size_t i = 0;

    do {
        digits[i++] = "0123456789abcdef"[n % base];
        n /= base;
    } while (n > 0);
    while (i > 0) {
        put_char(o, digits[--i]);
    }
}

static void put_key_number(struct out *o, const char *key, uint64_t n)
{
    put(o, key);
    put_number(o, n, 10);
}

static bool needs_no_escape(char c)
{
    const char *plain = "-._~/:+@()[]";

    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
        (c >= 'A' && c <= 'Z')) {
        return true;
    }
    while (*plain && *plain != c) {
        plain++;
    }
    return *plain != 0;
}

/* At most @max bytes of @text, percent-encoded. */
static void put_text(struct out *o, const char *key, const char *text,
                     size_t max)
{
    size_t i;

    put(o, key);
    for (i = 0; i < max && text[i]; i++) {
        unsigned char c = (unsigned char)text[i];

        if (needs_no_escape(text[i])) {
            put_char(o, text[i]);
        } else {
            put_char(o, '%');
            put_number(o, c / 16u, 16);
            put_number(o, c % 16u, 16);
        }
    }
}

static void put_cpus(struct out *o, const char *key,
                     const struct vamp_hint_cpus *cpus)
{
    uint32_t first, end;
    bool any = false;

    put(o, key);
    for (first = 0; first < VAMP_HINTS_CPUS_MAX; first = end + 1) {
        end = first;
        while (vamp_hint_cpu_test(cpus, end)) {
            end++;
        }
        if (end == first) {
            continue;
        }
        if (any) {
            put_char(o, ',');
        }
        any = true;
        put_number(o, first, 10);
        if (end - first > 1) {
            put_char(o, '-');
            put_number(o, end - 1, 10);
        }
    }
    if (!any) {
        put_char(o, '-');
    }
}

/* A guest always gives a name, if an empty one. */
static void put_task(struct out *o, const struct vamp_hint_task *task,
                     bool to_host)
{
    put(o, "task");
    if (task->id) {
        put_key_number(o, " id=", task->id);
    }
    if (task->pid) {
        put_key_number(o, " pid=", task->pid);
    }
    put_key_number(o, " load=", task->permille);
    if (task->has_vcpu) {
        put_key_number(o, " vcpu=", task->vcpu);
    }
    if (task->aspace != VAMP_TASK_UNKNOWN) {
        put(o, " aspace=0x");
        put_number(o, task->aspace, 16);
    }
    if (task->name[0] || to_host) {
        put_text(o, " name=", task->name, VAMP_HINTS_NAME_LEN - 1);
    }
}

static void put_message(struct out *o, const struct vamp_hint *h, bool to_host)
{
    switch (h->type) {
    case VAMP_HINT_NONE:
        break;
    case VAMP_HINT_HELLO:
        put_key_number(o, "hello version=", h->version);
        put_text(o, " name=", h->text, VAMP_HINTS_NAME_LEN - 1);
        break;
    case VAMP_HINT_TASKS_BEGIN:
        put(o, "tasks begin");
        break;
    case VAMP_HINT_TASK:
        put_task(o, &h->task, to_host);
        break;
    case VAMP_HINT_TASKS_END:
        put(o, "tasks end");
        break;
    case VAMP_HINT_SPLIT:
        put_cpus(o, "split fast=", &h->fast);
        put_cpus(o, " slow=", &h->slow);
        break;
    case VAMP_HINT_SOUND:
        put(o, h->on ? "sound on" : "sound off");
        break;
    case VAMP_HINT_PHASE_BEGIN:
        put(o, "phase begin cause=");
        put(o, h->cause == VAMP_CAUSE_SOUND ? "sound" : "input");
        put(o, h->mixed ? " mixed=1" : " mixed=0");
        put_key_number(o, " length=", h->length_ms);
        break;
    case VAMP_HINT_PHASE_END:
        put(o, "phase end");
        break;
    case VAMP_HINT_ERROR:
        put_text(o, "error text=", h->text, VAMP_HINTS_TEXT_LEN - 1);
        break;
    }
    put_char(o, '\n');
}

size_t vamp_hint_format(const struct vamp_hint *hint, bool to_host, char *buf)
{
    struct out o = { buf, 0, VAMP_HINTS_LINE_MAX, false };
    struct vamp_hint_error error;
    struct vamp_hint again;

    put_message(&o, hint, to_host);
    /* Whoever reads it says what is valid. */
    if (o.bad || !vamp_hint_parse(buf, o.used - 1, to_host, &again, &error) ||
        again.type != hint->type) {
        return 0;
    }
    return o.used;
}

static const char *valid_text(const char *key)
{
    static const struct {
        const char *key, *valid;
    } texts[] = {
        { "version", "1 to 65535" },
        { "name", "up to 63 bytes, percent-encoded" },
        { "id", "1 to 2147483647" },
        { "pid", "1 to 2147483647" },
        { "load", "0 to 4096000" },
        { "vcpu", "0 to 4095" },
        { "aspace", "like 0x1000, up to 0xffffffffff000, the lowest 12 bits "
                    "zero" },
        { "fast", "like 0-1,4, ascending and below 4096, or -" },
        { "slow", "like 0-1,4, ascending and below 4096, or -" },
        { "cause", "input or sound" },
        { "mixed", "0 or 1" },
        { "length", "1 to 600000" },
        { "text", "up to 159 bytes, percent-encoded" },
    };
    size_t i;

    for (i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        const char *a = texts[i].key, *b = key;

        while (*a && *a == *b) {
            a++;
            b++;
        }
        if (*a == *b) {
            return texts[i].valid;
        }
    }
    return "unknown";
}

static const char *fault_text(enum vamp_hint_fault fault)
{
    switch (fault) {
    case VAMP_HINT_FINE:
        return "nothing is wrong";
    case VAMP_HINT_LONG:
        return "a line is too long, valid is up to 512 bytes with its line "
               "feed";
    case VAMP_HINT_BYTES:
        return "a line has a byte that is not printable ASCII";
    case VAMP_HINT_WORDS:
        return "behind the type, words must be key=value, with one space "
               "before each";
    case VAMP_HINT_MISSING:
        return "this key is missing";
    case VAMP_HINT_TWICE:
        return "this key is there twice, valid is once";
    case VAMP_HINT_VALUE:
        return "the value is not valid";
    case VAMP_HINT_OVERLAP:
        return "fast and slow have a CPU in common, each may be in one of them";
    case VAMP_HINT_NO_LIST:
        return "a task or 'tasks end' is valid only after 'tasks begin'";
    case VAMP_HINT_TOO_MANY:
        return "a list has more than 64 tasks, the rest is ignored";
    case VAMP_HINT_FAULTS:
        break;
    }
    return "unknown";
}

void vamp_hint_error_text(const struct vamp_hint_error *error, char *buf)
{
    struct out o = { buf, 0, VAMP_HINTS_TEXT_LEN - 1, false };

    if (error->key) {
        put(&o, error->key);
        put(&o, ": ");
    }
    put(&o, fault_text(error->fault));
    if (error->key && error->fault != VAMP_HINT_TWICE) {
        put(&o, ", valid is ");
        put(&o, valid_text(error->key));
    }
    o.buf[o.used] = 0;
}
