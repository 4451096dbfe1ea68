/*
 * Map of vCPUs to host CPUs: the text forms
 *
 * A file has "VCPU CPU" on each line; blanks and tabs, blank lines, comments
 * from '#' to the end of the line and CR LF are accepted. The short form is
 * "VCPU-CPU,VCPU-CPU,...". A list of CPUs is "0-3,5", as the kernel writes it.
 * Numbers are plain decimals: a sign is an error, and so is anything above
 * VAMP_CPUMAP_NUMBER_MAX. Whether such a vCPU or CPU exists is for the caller
 * to find out; each entry tells its line for that.
 *
 * Text is not trusted: any bytes, no terminating zero, bounded work.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef VAMP_CORE_CPUMAP_H
#define VAMP_CORE_CPUMAP_H

#include "port.h"

#define VAMP_CPUMAP_MAX         1024u           /* entries of a map */
#define VAMP_CPUMAP_NUMBER_MAX  2147483647u     /* fits into an int */

struct vamp_cpumap_entry {
    uint32_t vcpu;
    uint32_t cpu;
    uint32_t line;      /* of the file, or number of the pair; from 1 */
};

enum vamp_cpumap_fault {
    VAMP_CPUMAP_OK,
    VAMP_CPUMAP_NO_VCPU,        /* something else where the vCPU should be */
    VAMP_CPUMAP_NO_CPU,         /* the same for the CPU, or none at all */
    VAMP_CPUMAP_SIGN,
    VAMP_CPUMAP_OVERFLOW,
    VAMP_CPUMAP_REST,           /* more after the CPU */
    VAMP_CPUMAP_TOO_MANY,
    VAMP_CPUMAP_EMPTY,
    VAMP_CPUMAP_VCPU_TWICE,
    VAMP_CPUMAP_CPU_TWICE,
    VAMP_CPUMAP_REVERSED,       /* a range such as 3-1 */
    VAMP_CPUMAP_BEYOND,         /* a CPU that the set has no bit for */
    VAMP_CPUMAP_FAULTS
};

struct vamp_cpumap_error {
    enum vamp_cpumap_fault fault;
    uint32_t line;      /* where; 0: the text as a whole */
    uint32_t other;     /* the earlier line, for the two ..._TWICE */
    uint32_t number;    /* the vCPU or CPU of the two ..._TWICE */
};

/* What is wrong: part of a sentence, constant. */
const char *vamp_cpumap_fault_text(enum vamp_cpumap_fault fault);

/*
 * Reads @len bytes of a file into @entries, which has room for @max of them.
 * Returns how many there are; 0 on an error, then *@error says which.
 */
uint32_t vamp_cpumap_parse_file(const char *text, size_t len,
                                struct vamp_cpumap_entry *entries,
                                uint32_t max,
                                struct vamp_cpumap_error *error);

/* The same for the short form. Here "line" is the number of the pair. */
uint32_t vamp_cpumap_parse_pairs(const char *text, size_t len,
                                 struct vamp_cpumap_entry *entries,
                                 uint32_t max,
                                 struct vamp_cpumap_error *error);

/*
 * Is each vCPU mapped once, and unless @shared each CPU used once? Time grows
 * with the square of @count.
 */
bool vamp_cpumap_check(const struct vamp_cpumap_entry *entries, uint32_t count,
                       bool shared, struct vamp_cpumap_error *error);

/*
 * Sets the bits of a list of CPUs, all of @bits being overwritten; @nbits is a
 * multiple of the bits of a long. An empty list is an error
 * (VAMP_CPUMAP_EMPTY). "line" is the number of the element.
 */
bool vamp_cpulist_parse(const char *text, size_t len, unsigned long *bits,
                        uint32_t nbits, struct vamp_cpumap_error *error);

#endif /* VAMP_CORE_CPUMAP_H */
