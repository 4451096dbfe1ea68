/*
 * Assigned devices' interrupts in the text of Linux's /proc/interrupts
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "procirq.h"

/* What is left of a line. */
struct cursor {
    const char *at;
    const char *end;
};

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int hex_value(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return -1;
}

static void skip_blanks(struct cursor *c)
{
    while (c->at < c->end && is_blank(*c->at)) {
        c->at++;
    }
}

static bool skip_text(struct cursor *c, const char *text)
{
    const char *at = c->at;

    while (*text) {
        if (at == c->end || *at++ != *text++) {
            return false;
        }
    }
    c->at = at;
    return true;
}

/* A decimal number without sign; larger than @max: false. */
static bool take_decimal(struct cursor *c, uint32_t max, uint32_t *out)
{
    uint64_t value = 0;

    if (c->at == c->end || !is_digit(*c->at)) {
        return false;
    }
    while (c->at < c->end && is_digit(*c->at)) {
        value = value * 10 + (uint64_t)(*c->at++ - '0');
        if (value > max) {
            return false;
        }
    }
    *out = (uint32_t)value;
    return true;
}

/* Hexadecimal digits, @min to 8 of them. */
static bool take_hex(struct cursor *c, unsigned int min, uint32_t *out)
{
    uint32_t value = 0;
    unsigned int digits = 0;

    while (c->at < c->end && digits < 8 && hex_value(*c->at) >= 0) {
        value = value << 4 | (uint32_t)hex_value(*c->at++);
        digits++;
    }
    *out = value;
    return digits >= min;
}

/*
 * The counts, one per CPU: tokens that are nothing but digits. The name of the
 * interrupt controller, which ends them, never is.
 */
static uint64_t take_counts(struct cursor *c)
{
    uint64_t sum = 0;

    for (;;) {
        const char *p;
        uint64_t value = 0;

        skip_blanks(c);
        for (p = c->at; p < c->end && is_digit(*p); p++) {
            unsigned int digit = (unsigned int)(*p - '0');

            value = value > (UINT64_MAX - digit) / 10 ? UINT64_MAX
                                                      : value * 10 + digit;
        }
        if (p == c->at || (p < c->end && !is_blank(*p))) {
            return sum;
        }
        sum = sum > UINT64_MAX - value ? UINT64_MAX : sum + value;
        c->at = p;
    }
}

static bool take_address(struct cursor *c, struct vamp_procirq *irq)
{
    uint32_t function;

    if (!take_hex(c, 4, &irq->domain) || !skip_text(c, ":") ||
        !take_hex(c, 2, &irq->bus) || irq->bus > 0xff || !skip_text(c, ":") ||
        !take_hex(c, 2, &irq->slot) || irq->slot > 0x1f || !skip_text(c, ".") ||
        !take_decimal(c, 7, &function)) {
        return false;
    }
    irq->function = function;
    return true;
}

/* One action's name: "vfio-msix[3](0000:01:00.0)" and its kin. */
static bool take_action(struct cursor *c, struct vamp_procirq *irq)
{
    irq->vector = 0;
    if (skip_text(c, "vfio-intx(")) {
        irq->kind = VAMP_PROCIRQ_INTX;
    } else {
        if (skip_text(c, "vfio-msix[")) {
            irq->kind = VAMP_PROCIRQ_MSIX;
        } else if (skip_text(c, "vfio-msi[")) {
            irq->kind = VAMP_PROCIRQ_MSI;
        } else {
            return false;
        }
        if (!take_decimal(c, VAMP_PROCIRQ_MAX_VECTOR, &irq->vector) ||
            !skip_text(c, "](")) {
            return false;
        }
    }
    /* Nothing may follow but the next action. */
    return take_address(c, irq) && skip_text(c, ")") &&
           (c->at == c->end || *c->at == ',' || is_blank(*c->at));
}

static size_t parse_line(struct cursor c, struct vamp_procirq *out, size_t max)
{
    struct vamp_procirq irq = { 0 };
    size_t n = 0;

    skip_blanks(&c);
    if (!take_decimal(&c, VAMP_PROCIRQ_MAX_IRQ, &irq.irq) ||
        !skip_text(&c, ":")) {
        return 0;
    }
    irq.count = take_counts(&c);
    while (c.at < c.end) {
        struct cursor action;

        /* To the next token; blanks and commas divide them. */
        while (c.at < c.end && (is_blank(*c.at) || *c.at == ',')) {
            c.at++;
        }
        action = c;
        if (take_action(&action, &irq)) {
            if (n < max) {
                out[n] = irq;
            }
            n++;
        }
        while (c.at < c.end && !is_blank(*c.at) && *c.at != ',') {
            c.at++;
        }
    }
    return n;
}

size_t vamp_procirq_parse(const char *text, size_t len,
                          struct vamp_procirq *out, size_t max)
{
    const char *end = text + len;
    size_t n = 0;

    while (text < end) {
        struct cursor line = { text, text };

        while (line.end < end && *line.end != '\n') {
            line.end++;
        }
        n += parse_line(line, n < max ? out + n : NULL, n < max ? max - n : 0);
        text = line.end < end ? line.end + 1 : end;
    }
    return n;
}

static int compare(uint32_t a, uint32_t b)
{
    return a < b ? -1 : a > b;
}

int vamp_procirq_compare(const struct vamp_procirq *a,
                         const struct vamp_procirq *b)
{
    int d = compare(a->domain, b->domain);

    d = d ? d : compare(a->bus, b->bus);
    d = d ? d : compare(a->slot, b->slot);
    d = d ? d : compare(a->function, b->function);
    d = d ? d : compare(a->kind, b->kind);
    return d ? d : compare(a->vector, b->vector);
}

bool vamp_procirq_is_cpulist(const char *text, size_t len)
{
    struct cursor c = { text, text + len };

    while (c.at < c.end) {
        uint32_t first, last;

        if (!take_decimal(&c, 0xffff, &first)) {
            return false;
        }
        if (c.at < c.end && *c.at == '-') {
            c.at++;
            if (!take_decimal(&c, 0xffff, &last) || last < first) {
                return false;
            }
        }
        if (c.at < c.end && (*c.at++ != ',' || c.at == c.end)) {
            return false;
        }
    }
    return true;
}
