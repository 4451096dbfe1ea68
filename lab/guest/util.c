/*
 * The simulated host: time, work, numbers, files
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/reboot.h>
#include <time.h>
#include <unistd.h>

#include "lab.h"

void lab_die(const char *format, ...)
{
    va_list ap;

    va_start(ap, format);
    printf("error: ");
    vprintf(format, ap);
    printf("\n");
    va_end(ap);
    fflush(stdout);
    sync();
    reboot(RB_POWER_OFF);
    _exit(1);
}

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;

    clock_gettime(clock, &ts);
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

uint64_t lab_now(void)
{
    return clock_ns(CLOCK_MONOTONIC);
}

uint64_t lab_thread_cpu(void)
{
    return clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void lab_sleep_until(uint64_t t_ns)
{
    struct timespec ts = {
        .tv_sec = (time_t)(t_ns / 1000000000),
        .tv_nsec = (long)(t_ns % 1000000000),
    };

    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL) ==
           EINTR) {
        /* nobody sends signals, but a debugger may */
    }
}

/*
 * QEMU runs the simulated CPUs one after another, and hands over at a `pause`
 * or after many instructions. An instruction takes 2 ns (shift=1), so 12,000
 * make 24 us: much shorter than a scheduler's slice, so that the CPUs run
 * evenly, and long beside the cost of the hand-over.
 */
void lab_spin(void)
{
    for (int i = 0; i < 120; i++) {
        asm volatile(".rept 100\n\tnop\n\t.endr");
    }
    asm volatile("pause");
}

void lab_put(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) < 0) {
        lab_die("%s: cannot write '%s': %s", path, text, strerror(errno));
    }
    close(fd);
}

void lab_put_number(const char *path, long long value)
{
    char text[24];

    snprintf(text, sizeof(text), "%lld", value);
    lab_put(path, text);
}

/*
 * SplitMix64 (Steele, Lea, Flood, OOPSLA 2014): a counter and a mixing
 * function. The C library's generators are not promised to stay the same.
 */
static uint64_t next(struct lab_random *r)
{
    uint64_t z = r->state += 0x9e3779b97f4a7c15;

    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
}

void lab_random_init(struct lab_random *r, uint64_t seed, unsigned vm,
                     unsigned thread)
{
    r->state = seed << 32 | vm << 16 | thread;
    /* Neighbouring seeds are far apart after one round. */
    r->state = next(r);
}

uint64_t lab_random_range(struct lab_random *r, struct lab_range range)
{
    return range.lo + next(r) % (range.hi - range.lo + 1);
}
