/*
 * Unit tests: the text forms of a map (core/cpumap.h)
 *
 * Claim: what the manual calls valid is read as it says; everything else is
 * refused with the right line and reason, and never read beyond its end.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib.h>
#include <string.h>
#include "core/cpumap.h"

typedef uint32_t Parse(const char *text, size_t len,
                       struct vamp_cpumap_entry *entries, uint32_t max,
                       struct vamp_cpumap_error *error);

/* The text in a block of its exact length, so that ASan sees each overrun. */
static uint32_t parse(Parse *fn, const char *text, size_t len,
                      struct vamp_cpumap_entry *entries, uint32_t max,
                      struct vamp_cpumap_error *error)
{
    char *copy = g_memdup2(text, len);
    uint32_t n = fn(copy, len, entries, max, error);

    g_free(copy);
    return n;
}

typedef struct Good {
    const char *text;
    uint32_t n;
    struct vamp_cpumap_entry entry[3];
} Good;

static void check_good(Parse *fn, const Good *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const Good *c = &cases[i];
        struct vamp_cpumap_entry e[3];
        struct vamp_cpumap_error error = { .fault = VAMP_CPUMAP_OK };

        g_test_message("%s", c->text);
        g_assert_cmpuint(parse(fn, c->text, strlen(c->text), e, 3, &error),
                         ==, c->n);
        for (uint32_t j = 0; j < c->n; j++) {
            g_assert_cmpuint(e[j].vcpu, ==, c->entry[j].vcpu);
            g_assert_cmpuint(e[j].cpu, ==, c->entry[j].cpu);
            g_assert_cmpuint(e[j].line, ==, c->entry[j].line);
        }
    }
}

typedef struct Bad {
    const char *text;
    enum vamp_cpumap_fault fault;
    uint32_t line;
} Bad;

static void check_bad(Parse *fn, const Bad *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const Bad *c = &cases[i];
        struct vamp_cpumap_entry e[3];
        struct vamp_cpumap_error error = { .fault = VAMP_CPUMAP_OK };

        g_test_message("%s", c->text);
        g_assert_cmpuint(parse(fn, c->text, strlen(c->text), e, 3, &error),
                         ==, 0);
        g_assert_cmpint(error.fault, ==, c->fault);
        g_assert_cmpuint(error.line, ==, c->line);
    }
}

static void test_file(void)
{
    static const Good cases[] = {
        { "0 1", 1, { { 0, 1, 1 } } },
        { "0 1\n", 1, { { 0, 1, 1 } } },
        { "0 1\n1 2\n", 2, { { 0, 1, 1 }, { 1, 2, 2 } } },
        { "0 1\r\n1 2\r\n", 2, { { 0, 1, 1 }, { 1, 2, 2 } } },
        { "0 1\r", 1, { { 0, 1, 1 } } },
        { "0\t1\n \t 1 \t 2 \t" " " "\n", 2, { { 0, 1, 1 }, { 1, 2, 2 } } },
        { "# head\n\n0 1 # the first\n\t# more\n1 2# last\n#", 2,
          { { 0, 1, 3 }, { 1, 2, 5 } } },
        { "\r\n" " " "\r\n7 0008\n", 1, { { 7, 8, 3 } } },
        { "2147483647 2147483647", 1, { { 2147483647, 2147483647, 1 } } },
        /* Which of them are possible together is another question. */
        { "0 1\n0 1\n", 2, { { 0, 1, 1 }, { 0, 1, 2 } } },
    };

    check_good(vamp_cpumap_parse_file, cases, G_N_ELEMENTS(cases));
}

static void test_file_bad(void)
{
    static const Bad cases[] = {
        { "", VAMP_CPUMAP_EMPTY, 0 },
        { "\n\n# nothing\n", VAMP_CPUMAP_EMPTY, 0 },
        { "0", VAMP_CPUMAP_NO_CPU, 1 },
        { "0" " " "\n", VAMP_CPUMAP_NO_CPU, 1 },
        { "0\n1\n", VAMP_CPUMAP_NO_CPU, 1 },
        { "0 # 1\n", VAMP_CPUMAP_NO_CPU, 1 },
        { "0# 1\n", VAMP_CPUMAP_NO_CPU, 1 },
        { "0\r1\n", VAMP_CPUMAP_NO_VCPU, 1 },
        { "0 1\n\nx 2\n", VAMP_CPUMAP_NO_VCPU, 3 },
        { "0 1\n0x1 2\n", VAMP_CPUMAP_NO_VCPU, 2 },
        { "0-1\n", VAMP_CPUMAP_NO_VCPU, 1 },
        { "0 x\n", VAMP_CPUMAP_NO_CPU, 1 },
        { "0,1\n", VAMP_CPUMAP_NO_VCPU, 1 },
        { "0 1 2\n", VAMP_CPUMAP_REST, 1 },
        { "0 1,2\n", VAMP_CPUMAP_REST, 1 },
        { "0 1.5\n", VAMP_CPUMAP_REST, 1 },
        { "0 1\r1 2\n", VAMP_CPUMAP_REST, 1 },
        { "0 1\r\r\n", VAMP_CPUMAP_REST, 1 },
        { "\xef\xbb\xbf" "0 1\n", VAMP_CPUMAP_NO_VCPU, 1 },
        { "0 \xd9\xa1\n", VAMP_CPUMAP_NO_CPU, 1 },
        { "-0 1\n", VAMP_CPUMAP_SIGN, 1 },
        { "+0 1\n", VAMP_CPUMAP_SIGN, 1 },
        { "0 1\n1 -1\n", VAMP_CPUMAP_SIGN, 2 },
        { "1 +1\n", VAMP_CPUMAP_SIGN, 1 },
        { "2147483648 0\n", VAMP_CPUMAP_OVERFLOW, 1 },
        { "0 4294967296\n", VAMP_CPUMAP_OVERFLOW, 1 },
        { "0 18446744073709551616\n", VAMP_CPUMAP_OVERFLOW, 1 },
        { "99999999999999999999999999999999999999 0", VAMP_CPUMAP_OVERFLOW, 1 },
        { "0 0\n1 1\n2 2\n\n3 3\n", VAMP_CPUMAP_TOO_MANY, 5 },
        /* What is wrong first is what is said. */
        { "0 0\n1 1\n2 2\n3 x\n", VAMP_CPUMAP_NO_CPU, 4 },
    };

    check_bad(vamp_cpumap_parse_file, cases, G_N_ELEMENTS(cases));
}

static void test_file_zero(void)
{
    static const char text[] = "0 1\n1\0" "2\n";
    static const char after[] = "0 1\0";
    struct vamp_cpumap_entry e[3];
    struct vamp_cpumap_error error;

    g_assert_cmpuint(parse(vamp_cpumap_parse_file, text, sizeof(text) - 1, e,
                           3, &error), ==, 0);
    g_assert_cmpint(error.fault, ==, VAMP_CPUMAP_NO_VCPU);
    g_assert_cmpuint(error.line, ==, 2);
    g_assert_cmpuint(parse(vamp_cpumap_parse_file, after, sizeof(after) - 1, e,
                           3, &error), ==, 0);
    g_assert_cmpint(error.fault, ==, VAMP_CPUMAP_REST);
}

static void test_pairs(void)
{
    static const Good cases[] = {
        { "0-1", 1, { { 0, 1, 1 } } },
        { "0-1,1-2,2-2147483647", 3,
          { { 0, 1, 1 }, { 1, 2, 2 }, { 2, 2147483647, 3 } } },
    };

    check_good(vamp_cpumap_parse_pairs, cases, G_N_ELEMENTS(cases));
}

static void test_pairs_bad(void)
{
    static const Bad cases[] = {
        { "", VAMP_CPUMAP_EMPTY, 0 },
        { ",", VAMP_CPUMAP_NO_VCPU, 1 },
        { "0", VAMP_CPUMAP_NO_CPU, 1 },
        { "0-", VAMP_CPUMAP_NO_CPU, 1 },
        { "0-1,", VAMP_CPUMAP_NO_VCPU, 2 },
        { "0-1,1", VAMP_CPUMAP_NO_CPU, 2 },
        { "0-1, 1-2", VAMP_CPUMAP_NO_VCPU, 2 },
        { "0 1", VAMP_CPUMAP_NO_CPU, 1 },
        { "0:1", VAMP_CPUMAP_NO_CPU, 1 },
        { "0-1-2", VAMP_CPUMAP_REST, 1 },
        { "0-1;1-2", VAMP_CPUMAP_REST, 1 },
        { "0-1\n", VAMP_CPUMAP_REST, 1 },
        { "-1-1", VAMP_CPUMAP_SIGN, 1 },
        { "0--1", VAMP_CPUMAP_SIGN, 1 },
        { "0-+1", VAMP_CPUMAP_SIGN, 1 },
        { "0-1,1-2147483648", VAMP_CPUMAP_OVERFLOW, 2 },
        { "0-1,1-2,2-3,3-4", VAMP_CPUMAP_TOO_MANY, 4 },
    };

    check_bad(vamp_cpumap_parse_pairs, cases, G_N_ELEMENTS(cases));
}

/* Exactly as many as there is room for, and one more. */
static void test_limit(void)
{
    GString *s = g_string_new(NULL);
    struct vamp_cpumap_entry *e = g_new(struct vamp_cpumap_entry,
                                        VAMP_CPUMAP_MAX);
    struct vamp_cpumap_error error;

    for (unsigned i = 0; i < VAMP_CPUMAP_MAX; i++) {
        g_string_append_printf(s, "%u %u\n", i, i);
    }
    g_assert_cmpuint(parse(vamp_cpumap_parse_file, s->str, s->len, e,
                           VAMP_CPUMAP_MAX, &error), ==, 1024);
    g_assert_cmpuint(e[1023].vcpu, ==, 1023);
    g_assert_true(vamp_cpumap_check(e, 1024, false, &error));
    g_string_append(s, "1024 1024\n");
    g_assert_cmpuint(parse(vamp_cpumap_parse_file, s->str, s->len, e,
                           VAMP_CPUMAP_MAX, &error), ==, 0);
    g_assert_cmpint(error.fault, ==, VAMP_CPUMAP_TOO_MANY);
    g_assert_cmpuint(error.line, ==, 1025);
    g_free(e);
    g_string_free(s, TRUE);
}

static void test_conflicts(void)
{
    static const struct vamp_cpumap_entry fine[] = {
        { 0, 1, 1 }, { 1, 0, 2 }, { 2, 2, 3 },
    };
    static const struct vamp_cpumap_entry vcpu[] = {
        { 0, 1, 4 }, { 1, 2, 6 }, { 0, 3, 9 },
    };
    static const struct vamp_cpumap_entry cpu[] = {
        { 0, 1, 4 }, { 1, 2, 6 }, { 2, 2, 9 },
    };
    struct vamp_cpumap_error error;

    g_assert_true(vamp_cpumap_check(fine, 3, false, &error));
    g_assert_true(vamp_cpumap_check(fine, 3, true, &error));
    g_assert_true(vamp_cpumap_check(fine, 0, false, &error));

    for (int shared = 0; shared < 2; shared++) {
        g_assert_false(vamp_cpumap_check(vcpu, 3, shared, &error));
        g_assert_cmpint(error.fault, ==, VAMP_CPUMAP_VCPU_TWICE);
        g_assert_cmpuint(error.line, ==, 9);
        g_assert_cmpuint(error.other, ==, 4);
        g_assert_cmpuint(error.number, ==, 0);
    }
    g_assert_true(vamp_cpumap_check(cpu, 3, true, &error));
    g_assert_false(vamp_cpumap_check(cpu, 3, false, &error));
    g_assert_cmpint(error.fault, ==, VAMP_CPUMAP_CPU_TWICE);
    g_assert_cmpuint(error.line, ==, 9);
    g_assert_cmpuint(error.other, ==, 6);
    g_assert_cmpuint(error.number, ==, 2);
}

#define BITS    128u
#define WORD    (8 * sizeof(long))

static void test_list(void)
{
    static const struct {
        const char *text;
        const char *members;    /* in order, with a blank after each */
    } cases[] = {
        { "0", "0 " },
        { "127", "127 " },
        { "0-3,5", "0 1 2 3 5 " },
        { "5,0-3,2", "0 1 2 3 5 " },
        { "62-65", "62 63 64 65 " },
        { "7-7", "7 " },
    };
    unsigned long bits[BITS / WORD];
    struct vamp_cpumap_error error;

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        GString *s = g_string_new(NULL);
        char *copy = g_memdup2(cases[i].text, strlen(cases[i].text));

        memset(bits, 0xff, sizeof(bits));
        g_assert_true(vamp_cpulist_parse(copy, strlen(cases[i].text), bits,
                                         BITS, &error));
        for (unsigned b = 0; b < BITS; b++) {
            if (bits[b / WORD] >> (b % WORD) & 1) {
                g_string_append_printf(s, "%u ", b);
            }
        }
        g_assert_cmpstr(s->str, ==, cases[i].members);
        g_string_free(s, TRUE);
        g_free(copy);
    }
}

static void test_list_bad(void)
{
    static const Bad cases[] = {
        { "", VAMP_CPUMAP_EMPTY, 0 },
        { "x", VAMP_CPUMAP_NO_CPU, 1 },
        { "0,", VAMP_CPUMAP_NO_CPU, 2 },
        { "0-", VAMP_CPUMAP_NO_CPU, 1 },
        { "0,2-1", VAMP_CPUMAP_REVERSED, 2 },
        { "128", VAMP_CPUMAP_BEYOND, 1 },
        { "0-128", VAMP_CPUMAP_BEYOND, 1 },
        { "0-2147483647", VAMP_CPUMAP_BEYOND, 1 },
        { "0-4294967296", VAMP_CPUMAP_OVERFLOW, 1 },
        { "-1", VAMP_CPUMAP_SIGN, 1 },
        { "0-3:2", VAMP_CPUMAP_REST, 1 },
        { "0 1", VAMP_CPUMAP_REST, 1 },
        { "(null)", VAMP_CPUMAP_NO_CPU, 1 },
    };
    unsigned long bits[BITS / WORD];

    for (size_t i = 0; i < G_N_ELEMENTS(cases); i++) {
        const Bad *c = &cases[i];
        struct vamp_cpumap_error error = { .fault = VAMP_CPUMAP_OK };

        g_test_message("%s", c->text);
        g_assert_false(vamp_cpulist_parse(c->text, strlen(c->text), bits, BITS,
                                          &error));
        g_assert_cmpint(error.fault, ==, c->fault);
        g_assert_cmpuint(error.line, ==, c->line);
    }
}

/* Every fault has a text of its own. */
static void test_texts(void)
{
    GHashTable *seen = g_hash_table_new(g_str_hash, g_str_equal);

    for (int f = 0; f <= VAMP_CPUMAP_FAULTS; f++) {
        g_assert_true(g_hash_table_add(seen,
                                       (void *)vamp_cpumap_fault_text(f)));
    }
    g_hash_table_destroy(seen);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/cpumap/file", test_file);
    g_test_add_func("/cpumap/file/bad", test_file_bad);
    g_test_add_func("/cpumap/file/zero", test_file_zero);
    g_test_add_func("/cpumap/pairs", test_pairs);
    g_test_add_func("/cpumap/pairs/bad", test_pairs_bad);
    g_test_add_func("/cpumap/limit", test_limit);
    g_test_add_func("/cpumap/conflicts", test_conflicts);
    g_test_add_func("/cpumap/list", test_list);
    g_test_add_func("/cpumap/list/bad", test_list_bad);
    g_test_add_func("/cpumap/texts", test_texts);
    return g_test_run();
}
