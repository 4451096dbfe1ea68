/*
 * Unit tests: who feeds the sound server (core/wakeup.h)
 *
 * Guests are replayed: a sound server, a player, a mixer between them, a task
 * that only computes; on vCPUs with clocks of their own.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <glib.h>
#include "core/wakeup.h"

#define US              1000ull
#define MS              1000000ull
#define NR              4
#define WINDOW_US       100

#define SERVER          0x1000
#define PLAYER          0x2000
#define MIXER           0x3000
#define HOG             0x4000

typedef struct Guest {
    struct vamp_wakeup *w;
    uint64_t now;
    uint64_t cpu[NR];
    uint64_t task[NR];
} Guest;

static void guest_init(Guest *g, uint32_t mode)
{
    *g = (Guest) { .now = 1000 * MS };
    g->w = g_malloc(vamp_wakeup_size(NR));
    vamp_wakeup_init(g->w, NR, mode, WINDOW_US);
}

static void guest_fini(Guest *g)
{
    g_free(g->w);
}

/* vCPU @v runs for @us. */
static void ran(Guest *g, unsigned v, unsigned us)
{
    g->cpu[v] += us * US;
    g->now += us * US;
}

static void irq(Guest *g, unsigned v)
{
    vamp_wakeup_irq(g->w, v, g->cpu[v], g->now);
}

static bool ipi(Guest *g, unsigned from, unsigned to)
{
    return vamp_wakeup_ipi(g->w, from, g->task[from], g->cpu[from], to,
                           g->cpu[to]);
}

static void load(Guest *g, unsigned v, uint64_t task)
{
    g->task[v] = task;
    vamp_wakeup_loaded(g->w, v, task, g->cpu[v], g->now);
}

static void halt(Guest *g, unsigned v)
{
    vamp_wakeup_halted(g->w, v, g->task[v], g->cpu[v]);
}

static void touch(Guest *g, unsigned v)
{
    vamp_wakeup_access(g->w, v, g->task[v], g->cpu[v], g->now);
}

static uint64_t audio(Guest *g)
{
    vamp_wakeup_choose(g->w, g->now);
    return g->w->audio_task;
}

static const struct vamp_wakeup_task *known(Guest *g, uint64_t task)
{
    for (unsigned i = 0; i < VAMP_WAKEUP_TASKS; i++) {
        if (g->w->task[i].task == task) {
            return &g->w->task[i];
        }
    }
    return NULL;
}

static uint32_t feeds(Guest *g, uint64_t task)
{
    const struct vamp_wakeup_task *t = known(g, task);

    return t ? t->feeds / VAMP_WAKEUP_CREDIT : 0;
}

static uint32_t drives(Guest *g, uint64_t task)
{
    const struct vamp_wakeup_task *t = known(g, task);

    return t ? t->drives / VAMP_WAKEUP_CREDIT : 0;
}

/* Task @task on vCPU 0 wakes the server on vCPU 1, which plays. */
static void push(Guest *g, uint64_t task, unsigned us)
{
    g->task[0] = task;
    ran(g, 0, 200);
    ipi(g, 0, 1);
    ran(g, 1, us);
    load(g, 1, SERVER);
    ran(g, 1, 200);
    touch(g, 1);
    ran(g, 1, 200);
    load(g, 1, HOG);
}

static void test_nothing(void)
{
    Guest g;

    guest_init(&g, VAMP_WAKEUP_ALL);
    g_assert_cmphex(audio(&g), ==, 0);
    g_assert_cmphex(g.w->driver, ==, 0);
    g_assert_cmpint(g.w->playing, ==, -1);
    /* Wake-ups without sound are no evidence. */
    for (int i = 0; i < 100; i++) {
        g.task[0] = PLAYER;
        ran(&g, 0, 2000);
        g_assert_true(ipi(&g, 0, 1));
        load(&g, 1, HOG);
    }
    g_assert_cmphex(audio(&g), ==, 0);
    guest_fini(&g);
}

/* Who touches the device drives it; alone it is the audio task. */
static void test_driver(void)
{
    Guest g;

    guest_init(&g, VAMP_WAKEUP_BASE);
    g.task[2] = SERVER;
    touch(&g, 2);
    g_assert_true(vamp_wakeup_choose(g.w, g.now));
    g_assert_false(vamp_wakeup_choose(g.w, g.now));
    g_assert_cmphex(g.w->driver, ==, SERVER);
    g_assert_cmphex(g.w->audio_task, ==, SERVER);
    g_assert_cmpint(g.w->playing, ==, 2);
    guest_fini(&g);
}

/* No loop makes a score: one credit a millisecond. */
static void test_rate(void)
{
    Guest g;

    guest_init(&g, VAMP_WAKEUP_BASE);
    g.task[0] = SERVER;
    for (int i = 0; i < 10000; i++) {
        touch(&g, 0);
    }
    g_assert_cmpuint(drives(&g, SERVER), ==, 1);
    g_assert_cmpuint(g.w->count.accesses, ==, 10000);
    ran(&g, 0, 1000);
    touch(&g, 0);
    g_assert_cmpuint(drives(&g, SERVER), ==, 2);
    guest_fini(&g);
}

/* A player that wakes the server from another vCPU feeds it. */
static void test_push(void)
{
    Guest g;

    guest_init(&g, VAMP_WAKEUP_BASE);
    for (int i = 0; i < 10; i++) {
        ran(&g, 0, 10000);
        push(&g, PLAYER, 20);
    }
    g_assert_cmpuint(feeds(&g, PLAYER), ==, 10);
    g_assert_cmpuint(feeds(&g, SERVER), ==, 0);
    g_assert_cmphex(audio(&g), ==, PLAYER);
    g_assert_cmphex(g.w->driver, ==, SERVER);
    g_assert_cmpuint(g.w->count.woken, ==, 10);
    guest_fini(&g);
}

/* The window is CPU time of the vCPU that is woken: it may wait for a CPU. */
static void test_window(void)
{
    Guest g;

    guest_init(&g, VAMP_WAKEUP_BASE);
    for (int i = 0; i < 10; i++) {
        ran(&g, 0, 10000);
        push(&g, PLAYER, WINDOW_US + 1);
    }
    g_assert_cmpuint(feeds(&g, PLAYER), ==, 0);
    g_assert_cmpuint(g.w->count.late, ==, 10);
    g_assert_cmphex(audio(&g), ==, SERVER);
    for (int i = 0; i < 10; i++) {
        g.task[0] = PLAYER;
        ran(&g, 0, 2000);
        ipi(&g, 0, 1);
        g.now += 900 * MS;
        ran(&g, 1, WINDOW_US);
        load(&g, 1, SERVER);
        ran(&g, 1, 200);
        touch(&g, 1);
    }
    g_assert_cmpuint(g.w->count.woken, ==, 10);
    g_assert_cmphex(audio(&g), ==, PLAYER);
    guest_fini(&g);
}

/* A vCPU that halted in the server loads nothing when it goes on with it. */
static void test_lazy(void)
{
    Guest g;

    guest_init(&g, VAMP_WAKEUP_BASE);
    g.task[1] = SERVER;
    for (int i = 0; i < 10; i++) {
        g.task[0] = PLAYER;
        ran(&g, 0, 10000);
        ipi(&g, 0, 1);
        ran(&g, 1, 50);
        touch(&g, 1);
        ran(&g, 1, 500);
    }
    g_assert_cmphex(audio(&g), ==, PLAYER);
    guest_fini(&g);
}

/*
 * The device interrupts vCPU 0, whose handler wakes the server on vCPU 1, which
 * wakes the player on vCPU 2. HOG, which runs on vCPU 0, has no part in it.
 */
static void pull(Guest *g)
{
    g->task[0] = HOG;
    ran(g, 0, 10000);
    irq(g, 0);
    ran(g, 0, 10);
    touch(g, 0);
    ran(g, 0, 10);
    ipi(g, 0, 1);
    ran(g, 0, 200);
    ran(g, 1, 20);
    load(g, 1, SERVER);
    ran(g, 1, 50);
    touch(g, 1);
    ran(g, 1, 50);
    ipi(g, 1, 2);
    ran(g, 2, 20);
    load(g, 2, PLAYER);
    ran(g, 2, 2000);
    load(g, 1, MIXER);
    load(g, 2, MIXER);
}

static void test_pull(void)
{
    Guest g;

    guest_init(&g, VAMP_WAKEUP_BASE | VAMP_WAKEUP_TRANSITIVE);
    for (int i = 0; i < 10; i++) {
        pull(&g);
    }
    g_assert_cmpuint(feeds(&g, SERVER), ==, 10);
    g_assert_cmpuint(feeds(&g, PLAYER), ==, 10);
    g_assert_cmpuint(feeds(&g, HOG), ==, 0);
    g_assert_cmpuint(drives(&g, HOG), ==, 0);
    g_assert_cmpuint(g.w->count.handled, ==, 10);
    g_assert_cmpuint(g.w->count.woken_by_sound, ==, 20);
    g_assert_cmphex(audio(&g), ==, PLAYER);
    g_assert_cmphex(g.w->driver, ==, SERVER);
    guest_fini(&g);

    /* Without the bit nobody looks further than the server. */
    guest_init(&g, VAMP_WAKEUP_BASE);
    for (int i = 0; i < 10; i++) {
        pull(&g);
    }
    g_assert_cmpuint(feeds(&g, PLAYER), ==, 0);
    g_assert_cmphex(audio(&g), ==, SERVER);
    guest_fini(&g);
}

/* The player wakes a mixer, that wakes the server. */
static void chain(Guest *g)
{
    g->task[0] = PLAYER;
    ran(g, 0, 10000);
    ipi(g, 0, 1);
    ran(g, 1, 10);
    load(g, 1, MIXER);
    ran(g, 1, 300);
    ipi(g, 1, 2);
    ran(g, 2, 10);
    load(g, 2, SERVER);
    ran(g, 2, 200);
    touch(g, 2);
    load(g, 1, HOG);
    load(g, 2, HOG);
}

static void test_transitive(void)
{
    Guest g;

    guest_init(&g, VAMP_WAKEUP_BASE);
    for (int i = 0; i < 10; i++) {
        chain(&g);
    }
    g_assert_cmpuint(feeds(&g, MIXER), ==, 10);
    g_assert_cmpuint(feeds(&g, PLAYER), ==, 0);
    guest_fini(&g);

    guest_init(&g, VAMP_WAKEUP_BASE | VAMP_WAKEUP_TRANSITIVE);
    for (int i = 0; i < 10; i++) {
        chain(&g);
    }
    g_assert_cmpuint(feeds(&g, MIXER), ==, 10);
    g_assert_cmpuint(feeds(&g, PLAYER), ==, 10);
    guest_fini(&g);
}

/* Two tasks that wake each other end the chain. */
static void test_circle(void)
{
    Guest g;

    guest_init(&g, VAMP_WAKEUP_ALL);
    for (int i = 0; i < 10; i++) {
        push(&g, PLAYER, 10);
        ran(&g, 0, 10000);
        g.task[1] = SERVER;
        ipi(&g, 1, 0);
        ran(&g, 0, 10);
        load(&g, 0, PLAYER);
    }
    g_assert_cmpuint(feeds(&g, SERVER), ==, 0);
    g_assert_cmphex(audio(&g), ==, PLAYER);
    guest_fini(&g);
}

/* A tick between the IPI and the task may be what has woken it. */
static void test_reset(void)
{
    Guest g;

    for (int on = 0; on < 2; on++) {
        guest_init(&g, VAMP_WAKEUP_BASE | (on ? VAMP_WAKEUP_RESET : 0));
        for (int i = 0; i < 10; i++) {
            g.task[0] = PLAYER;
            ran(&g, 0, 10000);
            ipi(&g, 0, 1);
            ran(&g, 1, 10);
            vamp_wakeup_other(g.w, 1, g.cpu[1]);
            ran(&g, 1, 10);
            load(&g, 1, SERVER);
            ran(&g, 1, 500);
            touch(&g, 1);
        }
        g_assert_cmpuint(feeds(&g, PLAYER), ==, on ? 0 : 10);
        g_assert_cmpuint(g.w->count.resets, ==, on ? 10 : 0);
        /* It does not make the device's handler a task. */
        irq(&g, 0);
        vamp_wakeup_other(g.w, 0, g.cpu[0]);
        touch(&g, 0);
        g_assert_cmpuint(g.w->count.handled, ==, 1);
        ran(&g, 0, 2000);
        /* A tick is over soon: it hides nothing that comes after it. */
        vamp_wakeup_other(g.w, 0, g.cpu[0]);
        vamp_wakeup_other(g.w, 1, g.cpu[1]);
        push(&g, MIXER, 10);
        g_assert_cmpuint(feeds(&g, MIXER), ==, 1);
        guest_fini(&g);
    }
}

/*
 * The device interrupts vCPU 1, which is idle in the tables of a task that has
 * nothing to do with it, and plays on vCPU 0. Whatever wakes vCPU 1 later, its
 * time has stood still.
 */
static void test_halted(void)
{
    Guest g;

    guest_init(&g, VAMP_WAKEUP_ALL);
    g.task[0] = PLAYER;
    g.task[1] = HOG;
    for (int i = 0; i < 10; i++) {
        irq(&g, 1);
        ran(&g, 1, 10);
        ipi(&g, 1, 0);
        ran(&g, 1, 10);
        halt(&g, 1);
        ran(&g, 0, 20);
        touch(&g, 0);
        ran(&g, 0, 10000);
        halt(&g, 0);
        vamp_wakeup_other(g.w, 1, g.cpu[1]);
        ran(&g, 1, 10);
        load(&g, 1, MIXER);
        ran(&g, 1, 10);
        load(&g, 1, HOG);
        halt(&g, 1);
    }
    g_assert_cmpuint(feeds(&g, MIXER), ==, 0);
    g_assert_cmpuint(feeds(&g, HOG), ==, 0);
    g_assert_cmpuint(feeds(&g, PLAYER), ==, 10);
    g_assert_cmphex(audio(&g), ==, PLAYER);
    guest_fini(&g);
}

/*
 * A tick of vCPU 0, which is idle, wakes the server on vCPU 1: the task whose
 * tables vCPU 0 has does not run. If an IPI was what woke it, it does.
 */
static void test_idle(void)
{
    Guest g;

    for (int by_ipi = 0; by_ipi < 2; by_ipi++) {
        guest_init(&g, VAMP_WAKEUP_BASE);
        g.task[0] = PLAYER;
        g.task[2] = HOG;
        for (int i = 0; i < 10; i++) {
            ran(&g, 0, 500);
            halt(&g, 0);
            if (by_ipi) {
                ran(&g, 2, 1000);
                ipi(&g, 2, 0);
            } else {
                vamp_wakeup_other(g.w, 0, g.cpu[0]);
            }
            ran(&g, 0, 20);
            ipi(&g, 0, 1);
            load(&g, 1, SERVER);
            ran(&g, 1, 200);
            touch(&g, 1);
            ran(&g, 1, 2000);
        }
        g_assert_cmpuint(feeds(&g, PLAYER), ==, by_ipi ? 10 : 0);
        /* A tick that does not find it idle, or long ago, hides nothing. */
        ran(&g, 0, WINDOW_US + 1);
        ipi(&g, 0, 1);
        load(&g, 1, SERVER);
        ran(&g, 1, 200);
        touch(&g, 1);
        g_assert_cmpuint(feeds(&g, PLAYER), ==, by_ipi ? 11 : 1);
        guest_fini(&g);
    }
}

/*
 * A player that has its vCPU to itself is woken for sound, and neither loads
 * its page tables, which are there, nor touches the device: HDA tells in memory
 * where it is.
 */
static void test_stayed(void)
{
    Guest g;

    guest_init(&g, VAMP_WAKEUP_ALL);
    g.task[0] = PLAYER;
    g.task[1] = HOG;
    for (int i = 0; i < 10; i++) {
        halt(&g, 0);
        ran(&g, 1, 10000);
        irq(&g, 1);
        ran(&g, 1, 10);
        touch(&g, 1);
        ipi(&g, 1, 0);
        /* HDA's handler wakes twice; and time has its ticks. */
        ipi(&g, 1, 0);
        ran(&g, 0, 50);
        vamp_wakeup_other(g.w, 0, g.cpu[0]);
        ran(&g, 0, WINDOW_US);
        vamp_wakeup_stayed(g.w, 0, PLAYER, g.now);
        /* Once a wake-up */
        vamp_wakeup_stayed(g.w, 0, PLAYER, g.now);
        ran(&g, 0, 5000);
        /* It was not idle: the hog is none. */
        ran(&g, 1, 2000);
        vamp_wakeup_stayed(g.w, 1, HOG, g.now);
    }
    g_assert_cmpuint(g.w->count.woken_by_sound, ==, 10);
    g_assert_cmpuint(g.w->count.accesses, ==, 0);
    g_assert_cmpuint(feeds(&g, PLAYER), ==, 10);
    g_assert_cmpuint(feeds(&g, HOG), ==, 0);
    g_assert_cmphex(audio(&g), ==, PLAYER);

    /* The device interrupts the vCPU where it sleeps. */
    for (int i = 0; i < 10; i++) {
        halt(&g, 0);
        irq(&g, 0);
        ran(&g, 0, 2 * WINDOW_US + 1);
        vamp_wakeup_stayed(g.w, 0, PLAYER, g.now);
        ran(&g, 0, 5000);
    }
    g_assert_cmpuint(g.w->count.woken_by_sound, ==, 20);
    /* Somebody else's tables, or a tick has woken it. */
    halt(&g, 0);
    irq(&g, 0);
    vamp_wakeup_stayed(g.w, 0, MIXER, g.now);
    halt(&g, 0);
    vamp_wakeup_other(g.w, 0, g.cpu[0]);
    irq(&g, 0);
    vamp_wakeup_stayed(g.w, 0, PLAYER, g.now);
    halt(&g, 0);
    vamp_wakeup_other(g.w, 0, g.cpu[0]);
    irq(&g, 1);
    ipi(&g, 1, 0);
    vamp_wakeup_stayed(g.w, 0, PLAYER, g.now);
    g_assert_cmpuint(g.w->count.woken_by_sound, ==, 20);
    guest_fini(&g);
}

/* A hog that wakes the server more often than the player does. */
static void test_confidence(void)
{
    const uint64_t plan[] = { HOG };
    Guest g;

    for (int on = 0; on < 2; on++) {
        guest_init(&g, VAMP_WAKEUP_BASE | (on ? VAMP_WAKEUP_CONFIDENCE : 0));
        for (int i = 0; i < 40; i++) {
            ran(&g, 0, 2000);
            push(&g, i % 4 ? HOG : PLAYER, 10);
        }
        g_assert_cmphex(audio(&g), ==, HOG);
        for (int i = 0; i < VAMP_WAKEUP_CONFIDENCE_MAX + 2; i++) {
            vamp_wakeup_planned(g.w, plan, 1);
        }
        g_assert_cmpuint(known(&g, HOG)->confidence, ==,
                         VAMP_WAKEUP_CONFIDENCE_MAX);
        g_assert_cmpuint(known(&g, PLAYER)->confidence, ==, 0);
        g_assert_cmphex(audio(&g), ==, on ? PLAYER : HOG);
        vamp_wakeup_planned(g.w, NULL, 0);
        g_assert_cmpuint(known(&g, HOG)->confidence, ==,
                         VAMP_WAKEUP_CONFIDENCE_MAX - 1);
        guest_fini(&g);
    }
}

/* Of two that are about equal the one that was chosen stays. */
static void test_steady(void)
{
    unsigned changes = 0;
    Guest g;

    guest_init(&g, VAMP_WAKEUP_BASE);
    for (int i = 0; i < 200; i++) {
        ran(&g, 0, 5000);
        push(&g, i % 4 == 1 || i % 4 == 2 ? PLAYER : MIXER, 10);
        changes += vamp_wakeup_choose(g.w, g.now);
    }
    g_assert_cmpuint(changes, <=, 6);
    /* One that is clearly ahead takes its place. */
    for (int i = 0; i < 2000; i++) {
        ran(&g, 0, 5000);
        push(&g, HOG, 10);
    }
    g_assert_cmphex(audio(&g), ==, HOG);
    guest_fini(&g);
}

/* Scores are halved a second; ten seconds of silence, and nobody plays. */
static void test_age(void)
{
    Guest g;

    guest_init(&g, VAMP_WAKEUP_BASE);
    for (int i = 0; i < 8; i++) {
        ran(&g, 0, 10000);
        push(&g, PLAYER, 10);
    }
    g_assert_cmpuint(feeds(&g, PLAYER), ==, 8);
    g.now += 2000 * MS;
    g_assert_cmphex(audio(&g), ==, PLAYER);
    g_assert_cmpuint(feeds(&g, PLAYER), ==, 2);
    g.now += 8001 * MS;
    g_assert_cmphex(audio(&g), ==, 0);
    g_assert_cmphex(g.w->driver, ==, 0);
    g.now += 1000000 * MS;
    push(&g, PLAYER, 10);
    g_assert_cmphex(audio(&g), ==, SERVER);
    guest_fini(&g);
}

/* New settings keep what is known. */
static void test_configure(void)
{
    struct vamp_wakeup *copy;
    Guest g;

    guest_init(&g, VAMP_WAKEUP_BASE);
    for (int i = 0; i < 4; i++) {
        ran(&g, 0, 10000);
        push(&g, PLAYER, 10);
    }
    irq(&g, 3);
    copy = g_malloc0(vamp_wakeup_size(NR));
    vamp_wakeup_init(copy, NR, 0, 1);
    vamp_wakeup_copy(copy, g.w);
    g_assert_cmpmem(copy, vamp_wakeup_size(NR), g.w, vamp_wakeup_size(NR));
    g_free(g.w);
    g.w = copy;
    vamp_wakeup_configure(g.w, VAMP_WAKEUP_ALL, 5);
    g_assert_cmphex(audio(&g), ==, PLAYER);
    /* The waker of a second ago is nobody's waker now. */
    g.now += 1001 * MS;
    push(&g, PLAYER, 6);
    g_assert_cmphex(audio(&g), ==, PLAYER);
    g_assert_cmpuint(feeds(&g, PLAYER), ==, 2);
    guest_fini(&g);
}

/* A guest may do anything, in any order, on vCPUs that are not there. */
static void test_anything(void)
{
    GRand *r = g_rand_new_with_seed(5);
    Guest g;

    guest_init(&g, VAMP_WAKEUP_ALL);
    for (int i = 0; i < 200000; i++) {
        uint32_t v = g_rand_int_range(r, 0, NR + 2);
        uint64_t task = (uint64_t)g_rand_int_range(r, 0, 40) << 12;
        uint64_t cpu = g_rand_int_range(r, 0, 1 << 30);

        /* Clocks that run backwards as well */
        g.now += g_rand_int_range(r, -100000, 1000000);
        switch (g_rand_int_range(r, 0, 8)) {
        case 0:
            vamp_wakeup_irq(g.w, v, cpu, g.now);
            break;
        case 1:
            vamp_wakeup_other(g.w, v, cpu);
            break;
        case 2:
            vamp_wakeup_ipi(g.w, v, task, cpu, g_rand_int_range(r, 0, NR + 2),
                            cpu);
            break;
        case 3:
            vamp_wakeup_loaded(g.w, v, task, cpu, g.now);
            break;
        case 4:
            vamp_wakeup_access(g.w, v, task, cpu, g.now);
            break;
        case 5:
            vamp_wakeup_halted(g.w, v, task, cpu);
            break;
        case 6:
            vamp_wakeup_stayed(g.w, v, task, g.now);
            break;
        default:
            vamp_wakeup_planned(g.w, &task, 1);
            vamp_wakeup_choose(g.w, g.now);
            break;
        }
        g_assert_cmpint(g.w->playing, <, NR);
        for (int n = 0; n < VAMP_WAKEUP_TASKS; n++) {
            g_assert_cmpuint(g.w->task[n].confidence, <=,
                             VAMP_WAKEUP_CONFIDENCE_MAX);
            for (int m = 0; m < n && g.w->task[n].task; m++) {
                g_assert_cmphex(g.w->task[n].task, !=, g.w->task[m].task);
            }
        }
    }
    g_assert_cmpuint(g.w->count.accesses, >, 1000);
    g_rand_free(r);
    guest_fini(&g);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/wakeup/nothing", test_nothing);
    g_test_add_func("/wakeup/driver", test_driver);
    g_test_add_func("/wakeup/rate", test_rate);
    g_test_add_func("/wakeup/push", test_push);
    g_test_add_func("/wakeup/window", test_window);
    g_test_add_func("/wakeup/lazy", test_lazy);
    g_test_add_func("/wakeup/pull", test_pull);
    g_test_add_func("/wakeup/transitive", test_transitive);
    g_test_add_func("/wakeup/circle", test_circle);
    g_test_add_func("/wakeup/reset", test_reset);
    g_test_add_func("/wakeup/halted", test_halted);
    g_test_add_func("/wakeup/idle", test_idle);
    g_test_add_func("/wakeup/stayed", test_stayed);
    g_test_add_func("/wakeup/confidence", test_confidence);
    g_test_add_func("/wakeup/steady", test_steady);
    g_test_add_func("/wakeup/age", test_age);
    g_test_add_func("/wakeup/configure", test_configure);
    g_test_add_func("/wakeup/anything", test_anything);
    return g_test_run();
}
