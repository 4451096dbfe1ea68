/*
 * libFuzzer target: any bytes as what a guest, or its host, has written
 *
 * The first byte says who, and in which pieces the rest arrives. A message
 * that is accepted must come out the same when it is written and read again;
 * what a guest can make the host believe stays within its bounds.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "core/hintview.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const char *text, size_t room)
{
    size_t len = strnlen(text, room);

    assert(len < room);
    for (size_t i = 0; i < len; i++) {
        assert(text[i] >= ' ' && text[i] <= '~');
    }
}

static void check_task(const struct vamp_hint_task *t)
{
    check_text(t->name, sizeof(t->name));
    assert(t->id <= VAMP_HINTS_ID_MAX);
    assert(t->pid <= VAMP_HINTS_ID_MAX);
    assert(t->permille <= VAMP_HINTS_PERMILLE_MAX);
    assert(t->vcpu < VAMP_HINTS_CPUS_MAX);
    assert(!(t->aspace & ~VAMP_CR3_TASK_MASK));
}

static void check_round_trip(const struct vamp_hint *h, bool to_host)
{
    struct vamp_hint_error error;
    struct vamp_hint again;
    char buf[VAMP_HINTS_LINE_MAX];
    size_t n = vamp_hint_format(h, to_host, buf);

    if (n == 0) {
        /* Escapes and lists may be longer than they were. */
        assert(h->type == VAMP_HINT_SPLIT);
        return;
    }
    assert(n <= VAMP_HINTS_LINE_MAX && buf[n - 1] == '\n');
    assert(vamp_hint_parse(buf, n - 1, to_host, &again, &error));
    assert(!memcmp(&again, h, sizeof(again)));
}

static void check_view(const struct vamp_hint_view *v)
{
    check_text(v->name, sizeof(v->name));
    assert(v->version <= VAMP_HINTS_VERSION);
    assert(v->greeted || (!v->tasks.n && !v->sound));
    assert(v->tasks.n <= VAMP_HINTS_TASKS_MAX);
    assert(v->next.n <= VAMP_HINTS_TASKS_MAX);
    for (uint32_t i = 0; i < v->tasks.n; i++) {
        check_task(&v->tasks.task[i]);
        assert(v->tasks.task[i].id);
    }
}

static void check_error(const struct vamp_hint_error *error)
{
    char text[VAMP_HINTS_TEXT_LEN];

    assert(error->fault > VAMP_HINT_FINE && error->fault < VAMP_HINT_FAULTS);
    vamp_hint_error_text(error, text);
    check_text(text, sizeof(text));
    assert(!strstr(text, "unknown"));
}

static void take_line(struct vamp_hint_view *view, const char *line, size_t len,
                      bool to_host, uint64_t now)
{
    /* Padding is compared, too. */
    static struct vamp_hint h;
    struct vamp_hint_error error;
    char *copy = malloc(len ? len : 1);

    memcpy(copy, line, len);
    if (!vamp_hint_parse(copy, len, to_host, &h, &error)) {
        check_error(&error);
    } else {
        check_text(h.text, sizeof(h.text));
        check_task(&h.task);
        check_round_trip(&h, to_host);
        if (to_host) {
            vamp_hint_view_apply(view, &h, now, &error);
            if (error.fault) {
                check_error(&error);
            }
        }
    }
    free(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vamp_hint_view view;
    struct vamp_hint_reader reader = { .used = 0 };
    size_t piece, at = 1;
    uint64_t now = 0;
    bool to_host;

    if (size == 0) {
        return 0;
    }
    to_host = data[0] & 1;
    piece = data[0] & 2 ? 1u + data[0] / 4 : size;
    vamp_hint_view_init(&view);
    while (at < size) {
        enum vamp_hint_got got;
        size_t len = size - at < piece ? size - at : piece;
        size_t took = vamp_hint_read(&reader, (const char *)data + at, len,
                                     &got);

        assert(took > 0 && took <= len);
        assert(reader.used < VAMP_HINTS_LINE_MAX);
        if (got == VAMP_HINT_GOT_LINE) {
            take_line(&view, reader.line, reader.used, to_host, now);
        }
        at += took;
        now += data[0] * 1000000ull;
        check_view(&view);
        vamp_hint_view_expire(&view, now);
        check_view(&view);
    }
    return 0;
}
