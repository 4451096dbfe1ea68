/*
 * The test guest: code that one vCPU overwrites while another executes it
 *
 *   code N      N times, or for 20 s: CPU 0 changes an instruction that CPU 1
 *               executes without pause, and tells it so: ok CHANGES STALE MISSED
 *
 * As a kernel that patches its own text does it (Intel SDM volume 3, "Handling
 * Self- and Cross-Modifying Code"): who executes it goes through a serializing
 * instruction once it knows of the change. STALE of the changes were told, and
 * yet the old instruction was executed; MISSED of them it was executed until
 * the next change.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cpuid.h>

#include "guest.h"

/* Calls after the first stale one that tell a late CPU from a lost change. */
#define CALLS           1000
/* Of burn(): up to some 100 us of an emulated CPU. */
#define PAUSES          1000
/* A busy machine needs 2 ms a change, an idle one 50 us. */
#define LIMIT_NS        20000000000ull

/* Of both processes: the page is alone, so that no other code protects it. */
struct shared {
    uint8_t code[4096];
    uint32_t told;      /* the number that the code returns by now */
    uint32_t seen;      /* the last one that CPU 1 has looked at */
    uint32_t stale;
    uint32_t missed;
};

/* mov eax, NUMBER; ret. The number is aligned: one store changes it. */
#define CODE_AT         15
#define NUMBER_AT       16

static uint32_t call(struct shared *s)
{
    uint32_t (*f)(void) = (uint32_t (*)(void))(s->code + CODE_AT);

    return f();
}

static void serialize(void)
{
    unsigned a, b, c, d;

    __cpuid(0, a, b, c, d);
}

static void execute(struct shared *s)
{
    uint32_t told, i;

    run_on(1);
    for (;;) {
        call(s);
        told = __atomic_load_n(&s->told, __ATOMIC_ACQUIRE);
        if (told == s->seen) {
            continue;
        }
        serialize();
        /* It may have gone on meanwhile. */
        if ((int32_t)(call(s) - told) < 0) {
            s->stale++;
            for (i = 0; i < CALLS && (int32_t)(call(s) - told) < 0; i++) {
                serialize();
            }
            s->missed += i == CALLS;
        }
        __atomic_store_n(&s->seen, told, __ATOMIC_RELEASE);
    }
}

/*
 * Every other time, the next change comes at an arbitrary time, as likely as not
 * while CPU 1 fetches the last one.
 */
static void overwrite(struct shared *s, uint32_t times)
{
    uint64_t begin = now_ns();
    uint32_t n;

    run_on(0);
    for (n = 1; n <= times && now_ns() - begin < LIMIT_NS; n++) {
        __atomic_store_n((uint32_t *)(s->code + NUMBER_AT), n,
                         __ATOMIC_RELEASE);
        __atomic_store_n(&s->told, n, __ATOMIC_RELEASE);
        if (n % 2) {
            burn(n / 2 % PAUSES);
            continue;
        }
        while (__atomic_load_n(&s->seen, __ATOMIC_ACQUIRE) != n) {
            if (now_ns() - begin > 2 * LIMIT_NS) {
                return;
            }
        }
    }
}

int code_command(const char *line, char reply[LINE_LEN])
{
    struct shared *s;
    pid_t writer, reader;
    uint32_t times;

    if (sscanf(line, "code %u", &times) != 1) {
        return 0;
    }
    s = mmap(NULL, sizeof(*s), PROT_READ | PROT_WRITE | PROT_EXEC,
             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (s == MAP_FAILED) {
        strcpy(reply, "error: mmap");
        return 1;
    }
    s->code[CODE_AT] = 0xb8;
    s->code[NUMBER_AT + 4] = 0xc3;
    reader = fork();
    if (!reader) {
        execute(s);
    }
    writer = fork();
    if (!writer) {
        overwrite(s, times);
        _exit(0);
    }
    waitpid(writer, NULL, 0);
    kill(reader, SIGKILL);
    waitpid(reader, NULL, 0);
    snprintf(reply, LINE_LEN, "ok %u %u %u", s->told, s->stale, s->missed);
    munmap(s, sizeof(*s));
    return 1;
}
