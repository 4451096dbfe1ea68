/*
 * Unit tests of core/hints.c, core/hintformat.c and core/hintview.c
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib.h>
#include <stdlib.h>
#include <string.h>
#include "core/hintview.h"

#define SECOND  1000000000ull

/* Parses a copy of exactly its length: a sanitizer sees a read beyond. */
static bool parse(const char *line, bool to_host, struct vamp_hint *h,
                  struct vamp_hint_error *e)
{
    size_t len = strlen(line);
    char *copy = malloc(len ? len : 1);
    bool ok;

    memcpy(copy, line, len);
    ok = vamp_hint_parse(copy, len, to_host, h, e);
    free(copy);
    return ok;
}

static struct vamp_hint good(const char *line, bool to_host,
                             enum vamp_hint_type type)
{
    struct vamp_hint_error e;
    struct vamp_hint h;

    g_assert_true(parse(line, to_host, &h, &e));
    g_assert_cmpint(e.fault, ==, VAMP_HINT_FINE);
    g_assert_cmpint(h.type, ==, type);
    return h;
}

static void bad(const char *line, bool to_host, enum vamp_hint_fault fault,
                const char *key)
{
    struct vamp_hint_error e;
    struct vamp_hint h;
    char text[VAMP_HINTS_TEXT_LEN];

    g_assert_false(parse(line, to_host, &h, &e));
    g_assert_cmpint(e.fault, ==, fault);
    g_assert_cmpstr(e.key, ==, key);
    vamp_hint_error_text(&e, text);
    g_assert_null(strstr(text, "unknown"));
}

static void test_messages(void)
{
    struct vamp_hint h;

    h = good("hello version=7 name=vdiguest%201.0", true, VAMP_HINT_HELLO);
    g_assert_cmpint(h.version, ==, 7);
    g_assert_cmpstr(h.text, ==, "vdiguest 1.0");
    good("tasks begin", true, VAMP_HINT_TASKS_BEGIN);
    good("tasks end", true, VAMP_HINT_TASKS_END);
    h = good("task load=4096000 id=2147483647 vcpu=4095 aspace=0x1234000 "
             "name=cc1%3b%FF%0a", true, VAMP_HINT_TASK);
    g_assert_cmpint(h.task.id, ==, 2147483647);
    g_assert_cmpint(h.task.permille, ==, 4096000);
    g_assert_true(h.task.has_vcpu);
    g_assert_cmpint(h.task.vcpu, ==, 4095);
    g_assert_cmphex(h.task.aspace, ==, 0x1234000);
    g_assert_cmpstr(h.task.name, ==, "cc1;??");
    h = good("task id=1 load=0 name=", true, VAMP_HINT_TASK);
    g_assert_false(h.task.has_vcpu);
    g_assert_cmphex(h.task.aspace, ==, VAMP_TASK_UNKNOWN);
    h = good("task aspace=0xffffffffff000 load=7", false, VAMP_HINT_TASK);
    g_assert_cmphex(h.task.aspace, ==, VAMP_CR3_TASK_MASK);
    h = good("split fast=0-1,4 slow=2,63-65,4095", true, VAMP_HINT_SPLIT);
    for (unsigned i = 0; i < VAMP_HINTS_CPUS_MAX + 100; i++) {
        g_assert_cmpint(vamp_hint_cpu_test(&h.fast, i), ==, i < 2 || i == 4);
        g_assert_cmpint(vamp_hint_cpu_test(&h.slow, i), ==,
                        i == 2 || (i >= 63 && i <= 65) || i == 4095);
    }
    h = good("split fast=- slow=-", true, VAMP_HINT_SPLIT);
    g_assert_true(vamp_hint_cpus_empty(&h.fast));
    g_assert_true(good("sound on", true, VAMP_HINT_SOUND).on);
    g_assert_false(good("sound off", true, VAMP_HINT_SOUND).on);
    h = good("phase begin cause=sound mixed=1 length=600000", false,
             VAMP_HINT_PHASE_BEGIN);
    g_assert_cmpint(h.cause, ==, VAMP_CAUSE_SOUND);
    g_assert_true(h.mixed);
    g_assert_cmpint(h.length_ms, ==, 600000);
    h = good("phase begin cause=telepathy mixed=0 length=1", false,
             VAMP_HINT_PHASE_BEGIN);
    g_assert_cmpint(h.cause, ==, VAMP_CAUSE_INPUT);
    good("phase end", false, VAMP_HINT_PHASE_END);
    g_assert_cmpstr(good("error text=no%20such", true, VAMP_HINT_ERROR).text,
                    ==, "no such");
}

/* What a later version may send does no harm. */
static void test_growth(void)
{
    struct vamp_hint h;

    good("", true, VAMP_HINT_NONE);
    good("wave hand=left", true, VAMP_HINT_NONE);
    good("wave   odd  spaces ", true, VAMP_HINT_NONE);
    good("sound", true, VAMP_HINT_NONE);
    good("sound loud", true, VAMP_HINT_NONE);
    good("tasks", false, VAMP_HINT_NONE);
    good(" hello version=1 name=x", true, VAMP_HINT_NONE);
    good("phase end", true, VAMP_HINT_NONE);
    good("split fast=0 slow=1", false, VAMP_HINT_NONE);
    h = good("hello colour=== version=1 name=x mixed=9 colour=", true,
             VAMP_HINT_HELLO);
    g_assert_cmpint(h.version, ==, 1);
    good("sound on volume=11", true, VAMP_HINT_SOUND);
}

static void test_wrong(void)
{
    static const char *const numbers[] = {
        "", "-1", "+1", "01", "0x1", "1.0", "65536", "99999999999999999999999",
        "1x", "0",
    };
    static const char *const aspaces[] = {
        "", "0x", "1000", "0x0", "0x1001", "0x10000000000000", "0xFFFFF000",
        "0x10000000000000000", "0xg000",
    };
    static const char *const lists[] = {
        "", ",", "0,", ",0", "0-", "-0", "3-1", "1,0", "0,0", "0-2,2", "4096",
        "0-4096", "a", "0--1", "--", "00", "0- 1",
    };
    char line[VAMP_HINTS_LINE_MAX + 100];

    for (size_t i = 0; i < G_N_ELEMENTS(numbers); i++) {
        g_snprintf(line, sizeof(line), "hello name=x version=%s", numbers[i]);
        bad(line, true, VAMP_HINT_VALUE, "version");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(aspaces); i++) {
        g_snprintf(line, sizeof(line), "task id=1 load=1 name=x aspace=%s",
                   aspaces[i]);
        bad(line, true, VAMP_HINT_VALUE, "aspace");
    }
    for (size_t i = 0; i < G_N_ELEMENTS(lists) - 1; i++) {
        g_snprintf(line, sizeof(line), "split fast=0 slow=%s", lists[i]);
        bad(line, true, VAMP_HINT_VALUE, "slow");
    }
    bad("hello version=1", true, VAMP_HINT_MISSING, "name");
    bad("hello", true, VAMP_HINT_MISSING, "version");
    bad("task id=1 name=x", true, VAMP_HINT_MISSING, "load");
    bad("task id=1 load=1 name=x", false, VAMP_HINT_MISSING, "aspace");
    bad("task id=0 load=1 name=x", true, VAMP_HINT_VALUE, "id");
    bad("task id=1 pid=0 load=1 name=x", true, VAMP_HINT_VALUE, "pid");
    bad("task id=1 pid=2147483648 load=1 name=x", true, VAMP_HINT_VALUE, "pid");
    bad("task id=1 load=4096001 name=x", true, VAMP_HINT_VALUE, "load");
    bad("task id=1 load=1 vcpu=4096 name=x", true, VAMP_HINT_VALUE, "vcpu");
    bad("task id=1 load=1 id=2 name=x", true, VAMP_HINT_TWICE, "id");
    bad("hello version=1 name=%", true, VAMP_HINT_VALUE, "name");
    bad("hello version=1 name=%4", true, VAMP_HINT_VALUE, "name");
    bad("hello version=1 name=%4g", true, VAMP_HINT_VALUE, "name");
    bad("split fast=0-2 slow=2-3", true, VAMP_HINT_OVERLAP, NULL);
    bad("phase begin cause= mixed=0 length=1", false, VAMP_HINT_VALUE, "cause");
    bad("phase begin cause=input mixed=2 length=1", false, VAMP_HINT_VALUE,
        "mixed");
    bad("phase begin cause=input mixed=0 length=0", false, VAMP_HINT_VALUE,
        "length");
    bad("sound on ", true, VAMP_HINT_WORDS, NULL);
    bad("sound on  volume=1", true, VAMP_HINT_WORDS, NULL);
    bad("sound on volume", true, VAMP_HINT_WORDS, NULL);
    bad("sound on =1", true, VAMP_HINT_WORDS, NULL);
    bad("sound on\r", true, VAMP_HINT_BYTES, NULL);
    bad("\t", true, VAMP_HINT_BYTES, NULL);
    bad("w\xc3\xa4ve", true, VAMP_HINT_BYTES, NULL);

    /* Texts of the longest valid length, and one more. */
    g_snprintf(line, sizeof(line), "hello version=1 name=%063d", 0);
    good(line, true, VAMP_HINT_HELLO);
    g_snprintf(line, sizeof(line), "hello version=1 name=%064d", 0);
    bad(line, true, VAMP_HINT_VALUE, "name");
    g_snprintf(line, sizeof(line), "error text=%0159d", 0);
    good(line, true, VAMP_HINT_ERROR);
    g_snprintf(line, sizeof(line), "error text=%0160d", 0);
    bad(line, true, VAMP_HINT_VALUE, "text");
    /* The line feed is the 512th byte. */
    g_snprintf(line, sizeof(line), "wave a=%0504d", 0);
    good(line, true, VAMP_HINT_NONE);
    g_snprintf(line, sizeof(line), "wave a=%0505d", 0);
    bad(line, true, VAMP_HINT_LONG, NULL);
}

static void check_format(const struct vamp_hint *h, bool to_host,
                         const char *want)
{
    char buf[VAMP_HINTS_LINE_MAX];
    size_t n = vamp_hint_format(h, to_host, buf);
    g_autofree char *got = g_strndup(buf, n);

    g_assert_cmpstr(got, ==, want);
}

static void test_format(void)
{
    struct vamp_hint h = { .type = VAMP_HINT_NONE };
    char buf[VAMP_HINTS_LINE_MAX];

    check_format(&h, true, "\n");
    h.type = VAMP_HINT_HELLO;
    h.version = 1;
    strcpy(h.text, "a b%\n\xff");
    check_format(&h, false, "hello version=1 name=a%20b%25%0a%ff\n");
    h.version = 0;
    check_format(&h, false, "");
    h.type = VAMP_HINT_ERROR;
    memset(h.text, ' ', sizeof(h.text) - 1);
    g_assert_cmpint(vamp_hint_format(&h, true, buf), ==, 489);
    h.type = VAMP_HINT_TASK;
    h.task = (struct vamp_hint_task) {
        .id = 5, .permille = 990, .has_vcpu = true, .vcpu = 3,
        .aspace = 0xabc000, .name = "x y",
    };
    check_format(&h, true,
                 "task id=5 load=990 vcpu=3 aspace=0xabc000 name=x%20y\n");
    h.task.pid = 4;
    check_format(&h, true, "task id=5 pid=4 load=990 vcpu=3 aspace=0xabc000 "
                 "name=x%20y\n");
    h.task = (struct vamp_hint_task) { .permille = 10, .aspace = 0x1000 };
    check_format(&h, false, "task load=10 aspace=0x1000\n");
    check_format(&h, true, "");         /* a guest knows more than that */
    h.task = (struct vamp_hint_task) { .id = 1 };
    check_format(&h, true, "task id=1 load=0 name=\n");
    h.type = VAMP_HINT_SPLIT;
    check_format(&h, true, "split fast=- slow=-\n");
    check_format(&h, false, "");
    vamp_hint_cpu_set(&h.fast, 0);
    for (unsigned i = 2; i < VAMP_HINTS_CPUS_MAX; i++) {
        vamp_hint_cpu_set(&h.slow, i);
    }
    check_format(&h, true, "split fast=0 slow=2-4095\n");
    memset(&h.slow, 0xaa, sizeof(h.slow));
    check_format(&h, true, "");         /* too many ranges for a line */
    h.type = VAMP_HINT_PHASE_BEGIN;
    h.cause = VAMP_CAUSE_SOUND;
    h.mixed = true;
    h.length_ms = 5000;
    check_format(&h, false, "phase begin cause=sound mixed=1 length=5000\n");
    h.type = VAMP_HINT_PHASE_END;
    check_format(&h, false, "phase end\n");
    h.type = VAMP_HINT_SOUND;
    h.on = true;
    check_format(&h, true, "sound on\n");
}

/* The lines of @text, read in pieces of @piece bytes, joined by '|'. */
static char *read_all(const char *text, size_t piece)
{
    struct vamp_hint_reader r = { .used = 0 };
    GString *s = g_string_new(NULL);
    size_t len = strlen(text);

    for (size_t at = 0; at < len;) {
        size_t n = MIN(piece, len - at), took;
        enum vamp_hint_got got;

        took = vamp_hint_read(&r, text + at, n, &got);
        g_assert_cmpint(took, >, 0);
        g_assert_cmpint(took, <=, n);
        at += took;
        if (got == VAMP_HINT_GOT_LINE) {
            g_string_append_len(s, r.line, r.used);
            g_string_append_c(s, '|');
        } else if (got == VAMP_HINT_GOT_LONG) {
            g_string_append(s, "LONG|");
        }
    }
    return g_string_free(s, FALSE);
}

static void test_reader(void)
{
    g_autofree char *text = g_strdup_printf("ab\n\ncd\n%0511d\n%0512d\nx\n"
                                            "%05000d\ny\nhalf", 0, 0, 0);
    g_autofree char *want = g_strdup_printf("ab||cd|%0511d|LONG|x|LONG|y|", 0);

    for (size_t piece = 1; piece < 1100; piece++) {
        g_autofree char *got = read_all(text, piece);

        g_assert_cmpstr(got, ==, want);
    }
}

static uint32_t tell(struct vamp_hint_view *v, const char *line, uint64_t now,
                     enum vamp_hint_fault fault)
{
    struct vamp_hint_error e;
    struct vamp_hint h;
    uint32_t news;

    g_assert_true(parse(line, true, &h, &e));
    news = vamp_hint_view_apply(v, &h, now, &e);
    g_assert_cmpint(e.fault, ==, fault);
    return news;
}

static void test_view(void)
{
    g_autofree struct vamp_hint_view *v = g_new(struct vamp_hint_view, 1);
    char line[100];

    vamp_hint_view_init(v);
    /* Before hello nothing counts, and nothing is an error. */
    g_assert_cmpint(tell(v, "sound on", 1, VAMP_HINT_FINE), ==, 0);
    g_assert_cmpint(tell(v, "tasks end", 1, VAMP_HINT_FINE), ==, 0);
    g_assert_false(v->sound);
    g_assert_cmpint(tell(v, "hello version=9 name=x", 1, VAMP_HINT_FINE), ==,
                    15);
    g_assert_cmpint(v->version, ==, VAMP_HINTS_VERSION);
    g_assert_cmpint(tell(v, "sound on", 2, VAMP_HINT_FINE), ==,
                    VAMP_HINTS_NEW_SOUND);
    g_assert_true(v->sound);
    g_assert_false(vamp_hint_view_isolates(v));
    tell(v, "split fast=0 slow=1", 2, VAMP_HINT_FINE);
    g_assert_true(vamp_hint_view_isolates(v));

    tell(v, "task id=1 load=1 name=x", 2, VAMP_HINT_NO_LIST);
    tell(v, "tasks end", 2, VAMP_HINT_NO_LIST);
    g_assert_false(v->has_tasks);
    tell(v, "tasks begin", 2, VAMP_HINT_FINE);
    tell(v, "task id=1 load=1 name=x", 2, VAMP_HINT_FINE);
    g_assert_cmpint(v->tasks.n, ==, 0);
    /* Half a list is forgotten. */
    tell(v, "tasks begin", 2, VAMP_HINT_FINE);
    tell(v, "task id=2 load=1 name=y", 2, VAMP_HINT_FINE);
    g_assert_cmpint(tell(v, "tasks end", 2, VAMP_HINT_FINE), ==,
                    VAMP_HINTS_NEW_TASKS);
    g_assert_cmpint(v->tasks.n, ==, 1);
    g_assert_cmpstr(v->tasks.task[0].name, ==, "y");

    /* More than there is room for: said once. */
    tell(v, "tasks begin", 3, VAMP_HINT_FINE);
    for (unsigned i = 1; i <= VAMP_HINTS_TASKS_MAX + 5; i++) {
        g_snprintf(line, sizeof(line), "task id=%u load=1 name=z", i);
        tell(v, line, 3, i == VAMP_HINTS_TASKS_MAX + 1 ? VAMP_HINT_TOO_MANY
                                                       : VAMP_HINT_FINE);
    }
    g_assert_cmpint(v->tasks.n, ==, 1);
    tell(v, "tasks end", 3, VAMP_HINT_FINE);
    g_assert_cmpint(v->tasks.n, ==, VAMP_HINTS_TASKS_MAX);

    g_assert_cmpint(vamp_hint_view_expire(v, 3 + 30 * SECOND - 1), ==, 0);
    tell(v, "wave", 29 * SECOND, VAMP_HINT_FINE);   /* no message of ours */
    g_assert_cmpint(vamp_hint_view_expire(v, 3 + 30 * SECOND), ==,
                    VAMP_HINTS_NEW_TASKS | VAMP_HINTS_NEW_SPLIT |
                    VAMP_HINTS_NEW_SOUND);
    g_assert_cmpint(v->tasks.n, ==, 0);
    g_assert_false(v->sound);
    g_assert_true(v->greeted);
    g_assert_cmpint(vamp_hint_view_expire(v, 3 + 30 * SECOND), ==, 0);
    tell(v, "sound on", 90 * SECOND, VAMP_HINT_FINE);
    /* A snapshot was loaded: the clock is behind. */
    g_assert_cmpint(vamp_hint_view_expire(v, 5 * SECOND), ==, 0);
    g_assert_cmpint(vamp_hint_view_expire(v, 35 * SECOND), ==,
                    VAMP_HINTS_NEW_SOUND);

    tell(v, "hello version=1 name=other", 91 * SECOND, VAMP_HINT_FINE);
    g_assert_cmpstr(v->name, ==, "other");
    g_assert_false(v->has_tasks);
}

static void test_texts(void)
{
    char text[VAMP_HINTS_TEXT_LEN];

    for (int i = 0; i <= VAMP_HINT_FAULTS; i++) {
        struct vamp_hint_error e = { .fault = i };

        vamp_hint_error_text(&e, text);
        g_assert_cmpint(!strcmp(text, "unknown"), ==, i == VAMP_HINT_FAULTS);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/vamp/hints/messages", test_messages);
    g_test_add_func("/vamp/hints/growth", test_growth);
    g_test_add_func("/vamp/hints/wrong", test_wrong);
    g_test_add_func("/vamp/hints/format", test_format);
    g_test_add_func("/vamp/hints/reader", test_reader);
    g_test_add_func("/vamp/hints/view", test_view);
    g_test_add_func("/vamp/hints/texts", test_texts);
    return g_test_run();
}
