/*
 * What a guest and its host tell each other: lines of text
 *
 * docs/interop/vamp-hints.rst is the protocol. QEMU's device vamp-hints and
 * the guest's daemon read and write their lines with these functions. The
 * peer is not trusted: any bytes, no terminating zero, bounded work.
 *
 * No function here locks or allocates or keeps anything of its own; the
 * caller serialises access to a reader.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CORE_HINTS_H
#define VAMP_CORE_HINTS_H

#include "policy.h"

#define VAMP_HINTS_VERSION          1u
#define VAMP_HINTS_VERSION_MAX      65535u
#define VAMP_HINTS_PORT             "org.vamp.hints.0"

/* Bytes of the longest line, with its line feed. */
#define VAMP_HINTS_LINE_MAX         512u
#define VAMP_HINTS_TASKS_MAX        64u
#define VAMP_HINTS_CPUS_MAX         4096u
/* Room for a name and for an error's text, decoded, with a terminating 0 */
#define VAMP_HINTS_NAME_LEN         64u
#define VAMP_HINTS_TEXT_LEN         160u

#define VAMP_HINTS_ID_MAX           2147483647u
#define VAMP_HINTS_PERMILLE_MAX     (VAMP_HINTS_CPUS_MAX * 1000u)
#define VAMP_HINTS_LENGTH_MS_MAX    600000u

/* After so long without a message the host forgets what it was told. */
#define VAMP_HINTS_SILENCE_MS       30000u

/* Messages in each direction may be bounded by whoever receives them. */
#define VAMP_HINTS_RATE_DEFAULT     128u    /* lines a second */
#define VAMP_HINTS_BURST            256u    /* lines at once */

enum vamp_hint_type {
    VAMP_HINT_NONE,             /* an empty line, or a type unknown here */
    VAMP_HINT_HELLO,
    VAMP_HINT_TASKS_BEGIN,
    VAMP_HINT_TASK,
    VAMP_HINT_TASKS_END,
    VAMP_HINT_SPLIT,            /* to the host only */
    VAMP_HINT_SOUND,            /* to the host only */
    VAMP_HINT_PHASE_BEGIN,      /* to the guest only */
    VAMP_HINT_PHASE_END,        /* to the guest only */
    VAMP_HINT_ERROR,
};

/* CPU n: bit n % bits of a long of bits[n / bits of a long]. */
struct vamp_hint_cpus {
    unsigned long bits[VAMP_HINTS_CPUS_MAX / (8 * sizeof(unsigned long))];
};

/* A task in the background. */
struct vamp_hint_task {
    uint64_t aspace;            /* VAMP_TASK_UNKNOWN: not known */
    uint32_t id;                /* 0: not known; else <= VAMP_HINTS_ID_MAX */
    uint32_t pid;               /* its process; 0: id is one, or not known */
    uint32_t permille;          /* of one vCPU, <= VAMP_HINTS_PERMILLE_MAX */
    bool has_vcpu;
    uint32_t vcpu;              /* < VAMP_HINTS_CPUS_MAX */
    char name[VAMP_HINTS_NAME_LEN];     /* "": not known */
};

/* A message; which members count depends on the type. */
struct vamp_hint {
    enum vamp_hint_type type;
    uint32_t version;                   /* HELLO */
    char text[VAMP_HINTS_TEXT_LEN];     /* HELLO: name; ERROR */
    struct vamp_hint_task task;         /* TASK */
    struct vamp_hint_cpus fast, slow;   /* SPLIT */
    bool on;                            /* SOUND */
    enum vamp_cause cause;              /* PHASE_BEGIN */
    bool mixed;                         /* PHASE_BEGIN */
    uint32_t length_ms;                 /* PHASE_BEGIN */
};

enum vamp_hint_fault {
    VAMP_HINT_FINE,
    VAMP_HINT_LONG,             /* the line */
    VAMP_HINT_BYTES,            /* something not printable */
    VAMP_HINT_WORDS,            /* not key=value, or not one space */
    VAMP_HINT_MISSING,          /* this and the next two: a key */
    VAMP_HINT_TWICE,
    VAMP_HINT_VALUE,
    VAMP_HINT_OVERLAP,          /* fast and slow */
    VAMP_HINT_NO_LIST,          /* a task, or an end, without a begin */
    VAMP_HINT_TOO_MANY,         /* tasks in a list */
    VAMP_HINT_FAULTS
};

struct vamp_hint_error {
    enum vamp_hint_fault fault;
    const char *key;            /* constant; NULL if no key is at fault */
};

/*
 * Reads one line, @len bytes at @line without the line feed, that was sent to
 * the host (@to_host) or to the guest.
 *
 * Returns true and fills *@hint: with type VAMP_HINT_NONE if the line is to be
 * ignored without an error. Text is terminated printable ASCII; other bytes
 * have become '?'. Returns false and fills *@error if the line is wrong.
 */
bool vamp_hint_parse(const char *line, size_t len, bool to_host,
                     struct vamp_hint *hint, struct vamp_hint_error *error);

/*
 * Writes the line of @hint, with its line feed and no terminating 0, to @buf
 * of VAMP_HINTS_LINE_MAX bytes. Texts must be terminated; VAMP_HINT_NONE is
 * the empty line.
 *
 * Returns the number of bytes; 0 if there is no such message in that direction
 * or it does not fit (only a split of hundreds of ranges does not).
 */
size_t vamp_hint_format(const struct vamp_hint *hint, bool to_host, char *buf);

/*
 * Says what is wrong and what would be valid, one clause, to @buf of
 * VAMP_HINTS_TEXT_LEN bytes; terminated.
 */
void vamp_hint_error_text(const struct vamp_hint_error *error, char *buf);

/* Is CPU @n in @cpus? Any @n. */
bool vamp_hint_cpu_test(const struct vamp_hint_cpus *cpus, uint32_t n);
/* Puts CPU @n < VAMP_HINTS_CPUS_MAX into @cpus. */
void vamp_hint_cpu_set(struct vamp_hint_cpus *cpus, uint32_t n);
bool vamp_hint_cpus_empty(const struct vamp_hint_cpus *cpus);

/* Cuts a stream of bytes into lines. All zero: at the begin of a line. */
struct vamp_hint_reader {
    char line[VAMP_HINTS_LINE_MAX];
    uint32_t used;
    bool done;                  /* it was complete: the next call empties it */
    bool skip;                  /* it is too long: on to its end */
};

enum vamp_hint_got {
    VAMP_HINT_GOT_PART,         /* no line is complete */
    VAMP_HINT_GOT_LINE,         /* reader->line, reader->used bytes */
    VAMP_HINT_GOT_LONG,         /* one that is too long has been noticed */
};

/*
 * Takes bytes from @data up to and including the next line feed, at most
 * VAMP_HINTS_LINE_MAX of them. Returns how many, @len == 0 aside at least one;
 * *@got says what came of it. A line stays in @reader until the next call.
 */
size_t vamp_hint_read(struct vamp_hint_reader *reader, const char *data,
                      size_t len, enum vamp_hint_got *got);

#endif /* VAMP_CORE_HINTS_H */
