/*
 * What a guest and its host tell each other: lines of text
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "hints.h"

#define LONG_BITS   (8u * (uint32_t)sizeof(unsigned long))

enum key {
    KEY_VERSION, KEY_NAME, KEY_ID, KEY_PID, KEY_LOAD, KEY_VCPU,
    KEY_ASPACE, KEY_FAST, KEY_SLOW, KEY_CAUSE, KEY_MIXED, KEY_LENGTH, KEY_TEXT,
    KEYS
};

#define BIT(key)    (1u << (key))

static const struct {
    const char *name;
    uint32_t min, max;          /* of numbers */
} keys[KEYS] = {
    [KEY_VERSION] = { "version", 1, VAMP_HINTS_VERSION_MAX },
    [KEY_NAME] = { "name", 0, 0 },
    [KEY_ID] = { "id", 1, VAMP_HINTS_ID_MAX },
    [KEY_PID] = { "pid", 1, VAMP_HINTS_ID_MAX },
    [KEY_LOAD] = { "load", 0, VAMP_HINTS_PERMILLE_MAX },
    [KEY_VCPU] = { "vcpu", 0, VAMP_HINTS_CPUS_MAX - 1 },
    [KEY_ASPACE] = { "aspace", 0, 0 },
    [KEY_FAST] = { "fast", 0, 0 },
    [KEY_SLOW] = { "slow", 0, 0 },
    [KEY_CAUSE] = { "cause", 0, 0 },
    [KEY_MIXED] = { "mixed", 0, 1 },
    [KEY_LENGTH] = { "length", 1, VAMP_HINTS_LENGTH_MS_MAX },
    [KEY_TEXT] = { "text", 0, 0 },
};

#define TO_HOST     1u
#define TO_GUEST    2u

/*
 * One row a type; "sound" has two. The keys that a message must have differ
 * by direction for a task only: the host does not know what the guest knows.
 */
static const struct {
    const char *words;
    enum vamp_hint_type type;
    bool on;
    uint32_t ways;
    uint32_t required, optional;
} types[] = {
    { "hello", VAMP_HINT_HELLO, false, TO_HOST | TO_GUEST,
      BIT(KEY_VERSION) | BIT(KEY_NAME), 0 },
    { "tasks begin", VAMP_HINT_TASKS_BEGIN, false, TO_HOST | TO_GUEST, 0, 0 },
    { "task", VAMP_HINT_TASK, false, TO_HOST,
      BIT(KEY_ID) | BIT(KEY_LOAD) | BIT(KEY_NAME),
      BIT(KEY_PID) | BIT(KEY_VCPU) | BIT(KEY_ASPACE) },
    { "task", VAMP_HINT_TASK, false, TO_GUEST,
      BIT(KEY_ASPACE) | BIT(KEY_LOAD),
      BIT(KEY_ID) | BIT(KEY_PID) | BIT(KEY_NAME) | BIT(KEY_VCPU) },
    { "tasks end", VAMP_HINT_TASKS_END, false, TO_HOST | TO_GUEST, 0, 0 },
    { "split", VAMP_HINT_SPLIT, false, TO_HOST,
      BIT(KEY_FAST) | BIT(KEY_SLOW), 0 },
    { "sound on", VAMP_HINT_SOUND, true, TO_HOST, 0, 0 },
    { "sound off", VAMP_HINT_SOUND, false, TO_HOST, 0, 0 },
    { "phase begin", VAMP_HINT_PHASE_BEGIN, false, TO_GUEST,
      BIT(KEY_CAUSE) | BIT(KEY_MIXED) | BIT(KEY_LENGTH), 0 },
    { "phase end", VAMP_HINT_PHASE_END, false, TO_GUEST, 0, 0 },
    { "error", VAMP_HINT_ERROR, false, TO_HOST | TO_GUEST, BIT(KEY_TEXT), 0 },
};

#define TYPES   (sizeof(types) / sizeof(types[0]))

/* A piece of a line. */
struct span {
    const char *at;
    size_t len;
};

static bool fail(struct vamp_hint_error *error, enum vamp_hint_fault fault,
                 const char *key)
{
    error->fault = fault;
    error->key = key;
    return false;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool span_is(struct span s, const char *text)
{
    size_t i = 0;

    while (i < s.len && text[i] && s.at[i] == text[i]) {
        i++;
    }
    return i == s.len && !text[i];
}

/* --- CPUs ---------------------------------------------------------------- */

bool vamp_hint_cpu_test(const struct vamp_hint_cpus *cpus, uint32_t n)
{
    return n < VAMP_HINTS_CPUS_MAX &&
           (cpus->bits[n / LONG_BITS] >> (n % LONG_BITS) & 1);
}

void vamp_hint_cpu_set(struct vamp_hint_cpus *cpus, uint32_t n)
{
    cpus->bits[n / LONG_BITS] |= 1ul << (n % LONG_BITS);
}

bool vamp_hint_cpus_empty(const struct vamp_hint_cpus *cpus)
{
    uint32_t i;

    for (i = 0; i < VAMP_HINTS_CPUS_MAX / LONG_BITS; i++) {
        if (cpus->bits[i]) {
            return false;
        }
    }
    return true;
}

static bool cpus_overlap(const struct vamp_hint_cpus *a,
                         const struct vamp_hint_cpus *b)
{
    uint32_t i;

    for (i = 0; i < VAMP_HINTS_CPUS_MAX / LONG_BITS; i++) {
        if (a->bits[i] & b->bits[i]) {
            return true;
        }
    }
    return false;
}

/* --- values -------------------------------------------------------------- */

static bool get_number(struct span s, enum key key, uint32_t *value)
{
    uint64_t n = 0;
    size_t i;

    if (s.len == 0 || (s.len > 1 && s.at[0] == '0')) {
        return false;
    }
    for (i = 0; i < s.len; i++) {
        if (!is_digit(s.at[i])) {
            return false;
        }
        n = n * 10 + (uint64_t)(s.at[i] - '0');
        if (n > keys[key].max) {
            return false;
        }
    }
    *value = (uint32_t)n;
    return n >= keys[key].min;
}

/* -1: no hexadecimal digit. */
static int hex_value(char c, bool upper_too)
{
    if (is_digit(c)) {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return upper_too && c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static bool get_aspace(struct span s, uint64_t *value)
{
    uint64_t n = 0;
    size_t i;

    if (s.len < 3 || s.len > 18 || s.at[0] != '0' || s.at[1] != 'x') {
        return false;
    }
    for (i = 2; i < s.len; i++) {
        int digit = hex_value(s.at[i], false);

        if (digit < 0) {
            return false;
        }
        n = n << 4 | (uint64_t)digit;
    }
    *value = n;
    return n != VAMP_TASK_UNKNOWN && !(n & ~VAMP_CR3_TASK_MASK);
}

/* Decodes into @out of @room bytes, of which one is for the 0. */
static bool get_text(struct span s, char *out, size_t room)
{
    size_t i, n = 0;

    for (i = 0; i < s.len; i++) {
        int c = s.at[i];

        if (n + 1 == room) {
            return false;
        }
        if (c == '%') {
            int high, low;

            if (s.len - i < 3) {
                return false;
            }
            high = hex_value(s.at[i + 1], true);
            low = hex_value(s.at[i + 2], true);
            if (high < 0 || low < 0) {
                return false;
            }
            c = high * 16 + low;
            i += 2;
        }
        out[n++] = c >= ' ' && c <= '~' ? (char)c : '?';
    }
    out[n] = 0;
    return true;
}

/* One number of a CPU list; larger than any CPU: false. */
static bool take_cpu(struct span *s, uint32_t *cpu)
{
    struct span digits = { s->at, 0 };

    while (digits.len < s->len && is_digit(s->at[digits.len])) {
        digits.len++;
    }
    s->at += digits.len;
    s->len -= digits.len;
    return get_number(digits, KEY_VCPU, cpu);
}

/* Ascending, as the kernel writes it: no CPU costs more than once. */
static bool get_cpus(struct span s, struct vamp_hint_cpus *cpus)
{
    uint32_t next = 0;

    if (span_is(s, "-")) {
        return true;            /* a message begins with empty lists */
    }
    for (;;) {
        uint32_t first, last;

        if (!take_cpu(&s, &first) || first < next) {
            return false;
        }
        last = first;
        if (s.len > 0 && s.at[0] == '-') {
            s.at++;
            s.len--;
            if (!take_cpu(&s, &last) || last < first) {
                return false;
            }
        }
        for (next = first; next <= last; next++) {
            vamp_hint_cpu_set(cpus, next);
        }
        if (s.len == 0) {
            return true;
        }
        if (s.at[0] != ',') {
            return false;
        }
        s.at++;
        s.len--;
    }
}

static bool get_value(struct vamp_hint *h, enum key key, struct span s)
{
    uint32_t n = 0;

    switch (key) {
    case KEY_VERSION:
        return get_number(s, key, &h->version);
    case KEY_NAME:
        return h->type == VAMP_HINT_TASK
               ? get_text(s, h->task.name, sizeof(h->task.name))
               : get_text(s, h->text, VAMP_HINTS_NAME_LEN);
    case KEY_ID:
        return get_number(s, key, &h->task.id);
    case KEY_PID:
        return get_number(s, key, &h->task.pid);
    case KEY_LOAD:
        return get_number(s, key, &h->task.permille);
    case KEY_VCPU:
        h->task.has_vcpu = true;
        return get_number(s, key, &h->task.vcpu);
    case KEY_ASPACE:
        return get_aspace(s, &h->task.aspace);
    case KEY_FAST:
        return get_cpus(s, &h->fast);
    case KEY_SLOW:
        return get_cpus(s, &h->slow);
    case KEY_CAUSE:
        /* There may be others one day. */
        h->cause = span_is(s, "sound") ? VAMP_CAUSE_SOUND : VAMP_CAUSE_INPUT;
        return s.len > 0;
    case KEY_MIXED:
        if (!get_number(s, key, &n)) {
            return false;
        }
        h->mixed = n != 0;
        return true;
    case KEY_LENGTH:
        return get_number(s, key, &h->length_ms);
    case KEY_TEXT:
        return get_text(s, h->text, sizeof(h->text));
    case KEYS:
        break;
    }
    return false;
}

/* --- lines --------------------------------------------------------------- */

/* Takes the word that *@rest begins with, and the space behind it. */
static struct span take_word(struct span *rest)
{
    struct span word = { rest->at, 0 };

    while (word.len < rest->len && rest->at[word.len] != ' ') {
        word.len++;
    }
    rest->at += word.len;
    rest->len -= word.len;
    if (rest->len > 0) {
        rest->at++;
        rest->len--;
    }
    return word;
}

/*
 * The type that the line begins with, one word or two; *@rest is moved behind
 * it. TYPES: unknown.
 */
static size_t take_type(struct span *rest, uint32_t way)
{
    struct span one = *rest, two;
    struct span first = take_word(&one);
    struct span both = { first.at, 0 };
    size_t i;

    two = one;
    both.len = first.len + 1 + take_word(&two).len;
    for (i = 0; i < TYPES; i++) {
        if (!(types[i].ways & way)) {
            continue;
        }
        if (span_is(first, types[i].words)) {
            *rest = one;
            return i;
        }
        if (both.len <= rest->len && span_is(both, types[i].words)) {
            *rest = two;
            return i;
        }
    }
    return TYPES;
}

static enum key find_key(struct span name)
{
    uint32_t k = 0;

    while (k < KEYS && !span_is(name, keys[k].name)) {
        k++;
    }
    return (enum key)k;
}

/* Takes one key=value; keys that @known has no bit for are left out. */
static bool parse_pair(struct vamp_hint *h, struct span word, uint32_t known,
                       uint32_t *seen, struct vamp_hint_error *error)
{
    struct span name = { word.at, 0 }, value;
    enum key key;

    while (name.len < word.len && word.at[name.len] != '=') {
        name.len++;
    }
    if (name.len == 0 || name.len == word.len) {
        return fail(error, VAMP_HINT_WORDS, NULL);
    }
    key = find_key(name);
    if (key == KEYS || !(known & BIT(key))) {
        return true;
    }
    if (*seen & BIT(key)) {
        return fail(error, VAMP_HINT_TWICE, keys[key].name);
    }
    *seen |= BIT(key);
    value.at = name.at + name.len + 1;
    value.len = word.len - name.len - 1;
    if (!get_value(h, key, value)) {
        return fail(error, VAMP_HINT_VALUE, keys[key].name);
    }
    return true;
}

static bool check_bytes(struct span line, struct vamp_hint_error *error)
{
    size_t i;

    if (line.len >= VAMP_HINTS_LINE_MAX) {
        return fail(error, VAMP_HINT_LONG, NULL);
    }
    for (i = 0; i < line.len; i++) {
        if (line.at[i] < ' ' || line.at[i] > '~') {
            return fail(error, VAMP_HINT_BYTES, NULL);
        }
    }
    return true;
}

bool vamp_hint_parse(const char *line, size_t len, bool to_host,
                     struct vamp_hint *hint, struct vamp_hint_error *error)
{
    static const struct vamp_hint nothing;
    struct span rest = { line, len };
    uint32_t seen = 0, missing, k;
    bool ends_in_space = len > 0 && line[len - 1] == ' ';
    size_t t;

    *hint = nothing;
    error->fault = VAMP_HINT_FINE;
    error->key = NULL;
    if (!check_bytes(rest, error)) {
        return false;
    }
    t = take_type(&rest, to_host ? TO_HOST : TO_GUEST);
    if (t == TYPES) {
        return true;
    }
    hint->type = types[t].type;
    hint->on = types[t].on;
    while (rest.len > 0) {
        if (!parse_pair(hint, take_word(&rest),
                        types[t].required | types[t].optional, &seen, error)) {
            return false;
        }
    }
    if (ends_in_space) {
        return fail(error, VAMP_HINT_WORDS, NULL);
    }
    missing = types[t].required & ~seen;
    for (k = 0; k < KEYS; k++) {
        if (missing & BIT(k)) {
            return fail(error, VAMP_HINT_MISSING, keys[k].name);
        }
    }
    if (cpus_overlap(&hint->fast, &hint->slow)) {
        return fail(error, VAMP_HINT_OVERLAP, NULL);
    }
    return true;
}

size_t vamp_hint_read(struct vamp_hint_reader *reader, const char *data,
                      size_t len, enum vamp_hint_got *got)
{
    size_t n = 0;

    *got = VAMP_HINT_GOT_PART;
    if (reader->done) {
        reader->used = 0;
        reader->done = false;
    }
    while (n < len && n < VAMP_HINTS_LINE_MAX) {
        char c = data[n++];

        if (c == '\n') {
            *got = reader->skip ? VAMP_HINT_GOT_PART : VAMP_HINT_GOT_LINE;
            reader->skip = false;
            reader->done = true;
            break;
        }
        if (reader->skip) {
            continue;
        }
        if (reader->used == VAMP_HINTS_LINE_MAX - 1) {
            *got = VAMP_HINT_GOT_LONG;
            reader->used = 0;
            reader->skip = true;
            break;
        }
        reader->line[reader->used++] = c;
    }
    return n;
}
