/*
 * Map of vCPUs to host CPUs: the text forms
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "cpumap.h"

#define LONG_BITS   (8u * (uint32_t)sizeof(unsigned long))

struct text {
    const char *at;
    const char *end;
};

const char *vamp_cpumap_fault_text(enum vamp_cpumap_fault fault)
{
    switch (fault) {
    case VAMP_CPUMAP_OK:
        return "nothing is wrong";
    case VAMP_CPUMAP_NO_VCPU:
        return "the number of a vCPU is expected first";
    case VAMP_CPUMAP_NO_CPU:
        return "the number of a host CPU is expected";
    case VAMP_CPUMAP_SIGN:
        return "a number has a sign, only digits are valid";
    case VAMP_CPUMAP_OVERFLOW:
        return "a number is too large, valid is up to 2147483647";
    case VAMP_CPUMAP_REST:
        return "there is more than expected after the host CPU";
    case VAMP_CPUMAP_TOO_MANY:
        return "there are too many entries, valid are up to 1024";
    case VAMP_CPUMAP_EMPTY:
        return "there is no entry, at least one is needed";
    case VAMP_CPUMAP_VCPU_TWICE:
        return "the vCPU is mapped already";
    case VAMP_CPUMAP_CPU_TWICE:
        return "the host CPU is used already";
    case VAMP_CPUMAP_REVERSED:
        return "a range ends below its begin";
    case VAMP_CPUMAP_BEYOND:
        return "no host has that many CPUs";
    case VAMP_CPUMAP_FAULTS:
        break;
    }
    return "unknown fault";
}

static bool fail(struct vamp_cpumap_error *error,
                 enum vamp_cpumap_fault fault, uint32_t line)
{
    error->fault = fault;
    error->line = line;
    error->other = 0;
    error->number = 0;
    return false;
}

static bool is_digit(const struct text *t)
{
    return t->at < t->end && *t->at >= '0' && *t->at <= '9';
}

/* Skips blanks and tabs; true if there were any. */
static bool skip_blanks(struct text *t)
{
    const char *begin = t->at;

    while (t->at < t->end && (*t->at == ' ' || *t->at == '\t')) {
        t->at++;
    }
    return t->at > begin;
}

/* A decimal number; @missing is the fault where there is none. */
static bool get_number(struct text *t, uint32_t *value,
                       enum vamp_cpumap_fault missing, uint32_t line,
                       struct vamp_cpumap_error *error)
{
    uint64_t n = 0;

    if (t->at < t->end && (*t->at == '-' || *t->at == '+')) {
        return fail(error, VAMP_CPUMAP_SIGN, line);
    }
    if (!is_digit(t)) {
        return fail(error, missing, line);
    }
    while (is_digit(t)) {
        n = n * 10 + (uint64_t)(*t->at++ - '0');
        if (n > VAMP_CPUMAP_NUMBER_MAX) {
            return fail(error, VAMP_CPUMAP_OVERFLOW, line);
        }
    }
    *value = (uint32_t)n;
    return true;
}

/* One line without its end. *@found: it has an entry. */
static bool parse_line(struct text *t, struct vamp_cpumap_entry *entry,
                       bool *found, struct vamp_cpumap_error *error)
{
    uint32_t line = entry->line;

    *found = false;
    skip_blanks(t);
    if (t->at == t->end || *t->at == '#') {
        return true;
    }
    if (!get_number(t, &entry->vcpu, VAMP_CPUMAP_NO_VCPU, line, error)) {
        return false;
    }
    if (!skip_blanks(t)) {
        /* "0-1" and "0x1" are no vCPU; "0" alone lacks its CPU */
        return fail(error, t->at == t->end || *t->at == '#' ?
                    VAMP_CPUMAP_NO_CPU : VAMP_CPUMAP_NO_VCPU, line);
    }
    if (!get_number(t, &entry->cpu, VAMP_CPUMAP_NO_CPU, line, error)) {
        return false;
    }
    skip_blanks(t);
    if (t->at < t->end && *t->at != '#') {
        return fail(error, VAMP_CPUMAP_REST, line);
    }
    *found = true;
    return true;
}

uint32_t vamp_cpumap_parse_file(const char *text, size_t len,
                                struct vamp_cpumap_entry *entries,
                                uint32_t max,
                                struct vamp_cpumap_error *error)
{
    const char *at = text, *end = text + len;
    uint32_t count = 0, line = 0;

    while (at < end) {
        struct vamp_cpumap_entry entry = { .line = ++line };
        struct text t = { .at = at };
        bool found;

        while (at < end && *at != '\n') {
            at++;
        }
        t.end = at;
        if (at < end) {
            at++;
        }
        if (t.end > t.at && t.end[-1] == '\r') {
            t.end--;
        }
        if (!parse_line(&t, &entry, &found, error)) {
            return 0;
        }
        if (!found) {
            continue;
        }
        if (count == max) {
            fail(error, VAMP_CPUMAP_TOO_MANY, line);
            return 0;
        }
        entries[count++] = entry;
    }
    if (count == 0) {
        fail(error, VAMP_CPUMAP_EMPTY, 0);
    }
    return count;
}

uint32_t vamp_cpumap_parse_pairs(const char *text, size_t len,
                                 struct vamp_cpumap_entry *entries,
                                 uint32_t max,
                                 struct vamp_cpumap_error *error)
{
    struct text t = { .at = text, .end = text + len };
    uint32_t count = 0;

    if (len == 0) {
        fail(error, VAMP_CPUMAP_EMPTY, 0);
        return 0;
    }
    for (;;) {
        struct vamp_cpumap_entry entry = { .line = count + 1 };

        if (!get_number(&t, &entry.vcpu, VAMP_CPUMAP_NO_VCPU, entry.line,
                        error)) {
            return 0;
        }
        if (t.at == t.end || *t.at != '-') {
            fail(error, VAMP_CPUMAP_NO_CPU, entry.line);
            return 0;
        }
        t.at++;
        if (!get_number(&t, &entry.cpu, VAMP_CPUMAP_NO_CPU, entry.line,
                        error)) {
            return 0;
        }
        if (count == max) {
            fail(error, VAMP_CPUMAP_TOO_MANY, entry.line);
            return 0;
        }
        entries[count++] = entry;
        if (t.at == t.end) {
            return count;
        }
        if (*t.at != ',') {
            fail(error, VAMP_CPUMAP_REST, entry.line);
            return 0;
        }
        t.at++;
    }
}

bool vamp_cpumap_check(const struct vamp_cpumap_entry *entries, uint32_t count,
                       bool shared, struct vamp_cpumap_error *error)
{
    uint32_t i, j;

    for (i = 1; i < count; i++) {
        for (j = 0; j < i; j++) {
            bool vcpu = entries[i].vcpu == entries[j].vcpu;

            if (vcpu || (!shared && entries[i].cpu == entries[j].cpu)) {
                error->fault = vcpu ? VAMP_CPUMAP_VCPU_TWICE :
                               VAMP_CPUMAP_CPU_TWICE;
                error->line = entries[i].line;
                error->other = entries[j].line;
                error->number = vcpu ? entries[i].vcpu : entries[i].cpu;
                return false;
            }
        }
    }
    return true;
}

bool vamp_cpulist_parse(const char *text, size_t len, unsigned long *bits,
                        uint32_t nbits, struct vamp_cpumap_error *error)
{
    struct text t = { .at = text, .end = text + len };
    uint32_t i, element = 0;

    for (i = 0; i < nbits / LONG_BITS; i++) {
        bits[i] = 0;
    }
    if (len == 0) {
        return fail(error, VAMP_CPUMAP_EMPTY, 0);
    }
    for (;;) {
        uint32_t first, last;

        element++;
        if (!get_number(&t, &first, VAMP_CPUMAP_NO_CPU, element, error)) {
            return false;
        }
        last = first;
        if (t.at < t.end && *t.at == '-') {
            t.at++;
            if (!get_number(&t, &last, VAMP_CPUMAP_NO_CPU, element, error)) {
                return false;
            }
        }
        if (last < first) {
            return fail(error, VAMP_CPUMAP_REVERSED, element);
        }
        if (last >= nbits) {
            return fail(error, VAMP_CPUMAP_BEYOND, element);
        }
        for (i = first; i <= last; i++) {
            bits[i / LONG_BITS] |= 1ul << (i % LONG_BITS);
        }
        if (t.at == t.end) {
            return true;
        }
        if (*t.at != ',') {
            return fail(error, VAMP_CPUMAP_REST, element);
        }
        t.at++;
    }
}
