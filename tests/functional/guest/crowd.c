/*
 * The test guest: the processes of a desktop, and tracing
 *
 *   crowd HOGS WAKERS SLEEPERS
 *
 * Mounts tracefs, then starts so many processes and waits for their end: HOGS
 * ("hog") always run; WAKERS ("waker") wake some times a second for some
 * microseconds, each at times of its own; SLEEPERS ("sleeper") wait for
 * nothing, each fourth with a second thread. Says "ready" when all are there.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define TRACING         "/sys/kernel/tracing"
#define WAKE_MIN_US     50000
#define WAKE_STEP_US    17000
#define WAKE_STEPS      50
#define WAKE_LOOPS      2000

static void spin(unsigned loops)
{
    while (loops--) {
        __asm__ volatile("");
    }
}

static void *wait_for_nothing(void *opaque)
{
    for (;;) {
        pause();
    }
    return opaque;
}

static void hog(unsigned n)
{
    for (;;) {
        spin(1000000);
    }
}

static void waker(unsigned n)
{
    for (;;) {
        usleep(WAKE_MIN_US + n % WAKE_STEPS * WAKE_STEP_US);
        spin(WAKE_LOOPS);
    }
}

static void sleeper(unsigned n)
{
    pthread_t thread;

    if (n % 4 == 0) {
        pthread_create(&thread, NULL, wait_for_nothing, NULL);
    }
    wait_for_nothing(NULL);
}

static void start(const char *name, void (*role)(unsigned), const char *count)
{
    unsigned i, n = atoi(count);

    for (i = 0; i < n; i++) {
        if (fork() == 0) {
            setsid();
            prctl(PR_SET_NAME, name);
            role(i);
            _exit(1);
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 4) {
        fprintf(stderr, "usage: crowd HOGS WAKERS SLEEPERS\n");
        return 1;
    }
    if (mount("tracefs", TRACING, "tracefs", 0, NULL) < 0) {
        perror(TRACING);
        return 1;
    }
    start("sleeper", sleeper, argv[3]);
    start("waker", waker, argv[2]);
    start("hog", hog, argv[1]);
    printf("ready\n");
    fflush(stdout);
    while (wait(NULL) > 0) {
        /* they live as long as the guest */
    }
    return 0;
}
