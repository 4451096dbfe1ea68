/*
 * vdiguest: which tasks are slow, as the guest itself sees it
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include "guest/procfs.h"
#include "guest/scan.h"

#define PERIOD_NS   (VAMP_PERIOD_MS_DEFAULT * 1000000ull)
#define NS_PER_S    1000000000ull
/* A try costs a third of an entry of /proc, where a desktop has hundreds. */
#define FEW_BORN    256
#define FULL_EVERY  64

typedef struct Thread {
    uint64_t run, wait;         /* ns, at the look below */
    uint64_t look;
    struct vamp_ring load;
} Thread;

typedef struct Process {
    pid_t pid;
    clockid_t clock;
    bool kernel, terminal;
    bool fresh;                 /* began since the last look */
    bool parent;                /* had a child when that was listed */
    bool bereft;                /* one has ended since the last look */
    pid_t ppid;
    uint64_t found;             /* number of the look that listed it last */
    uint64_t cpu_ns;
    uint64_t look;              /* of the threads */
    GHashTable *threads;        /* tid -> Thread; NULL: never looked into */
    uint64_t children_ticks;
} Process;

/* What is left of a process, or of a terminal's process group. */
typedef struct Job {
    struct vamp_ring load;
    pid_t pid;
    uint64_t look;              /* of the last charge */
} Job;

struct Scan {
    pid_t self;
    unsigned threshold;         /* per mille of one vCPU */
    uint64_t tick_ns;           /* of children_ticks */
    GHashTable *processes;      /* pid -> Process */
    GHashTable *jobs;           /* id -> Job */
    pid_t youngest;
    uint64_t list;              /* how often the processes were listed */
    uint64_t look;              /* number of this look, from 1 */
    uint64_t t0, t1;            /* what it covers */
    uint64_t accounted_ns;      /* what living processes did in it */
};

static void process_free(gpointer opaque)
{
    Process *p = opaque;

    if (p->threads) {
        g_hash_table_unref(p->threads);
    }
    g_free(p);
}

Scan *scan_new(unsigned threshold_percent)
{
    Scan *s = g_new0(Scan, 1);

    s->self = getpid();
    s->threshold = threshold_percent * 10;
    s->tick_ns = NS_PER_S / sysconf(_SC_CLK_TCK);
    s->processes = g_hash_table_new_full(NULL, NULL, NULL, process_free);
    s->jobs = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    return s;
}

void scan_free(Scan *s)
{
    g_hash_table_unref(s->processes);
    g_hash_table_unref(s->jobs);
    g_free(s);
}

static uint64_t cpu_time(const Process *p)
{
    struct timespec ts;

    /* 0 if it has ended: then its next delta is none. */
    if (clock_gettime(p->clock, &ts) < 0) {
        return 0;
    }
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

static Process *process_add(Scan *s, pid_t pid)
{
    Process *p, *parent;
    ProcStat st;
    clockid_t clock;

    if (clock_getcpuclockid(pid, &clock) || !procfs_stat(pid, &st)) {
        return NULL;
    }
    p = g_new0(Process, 1);
    p->pid = pid;
    p->clock = clock;
    p->kernel = st.kernel;
    p->terminal = st.tty != 0;
    p->found = s->look;
    p->ppid = st.ppid;
    p->children_ticks = st.children_ticks;
    g_hash_table_replace(s->processes, GINT_TO_POINTER(pid), p);
    parent = g_hash_table_lookup(s->processes, GINT_TO_POINTER(st.ppid));
    if (parent) {
        parent->parent = true;
    }
    return p;
}

static void listed(pid_t pid, void *opaque)
{
    Scan *s = opaque;
    Process *p = g_hash_table_lookup(s->processes, GINT_TO_POINTER(pid));

    if (!p) {
        p = process_add(s, pid);
        if (p) {
            /* At the first look, all are old as far as one can know. */
            p->fresh = s->look > 1;
            p->cpu_ns = p->fresh ? 0 : cpu_time(p);
        }
    }
    if (p) {
        p->found = s->look;
    }
}

static gboolean gone(gpointer key, gpointer value, gpointer opaque)
{
    Process *p = value;
    Scan *s = opaque;

    return p->found != s->look;
}

/*
 * Linux gives its numbers in order: who was born since the last look is among
 * those that are younger. Few of them are tried, instead of reading all of
 * /proc; a number of a thread is no process then. Who has ended without having
 * run is found at the next full list.
 */
static void list_processes(Scan *s)
{
    char text[128];
    pid_t youngest = 0;

    if (procfs_read_buf("/proc/loadavg", text, sizeof(text)) > 0) {
        youngest = procfs_parse_youngest(text);
    }
    if (youngest && youngest == s->youngest) {
        return;
    }
    s->list++;
    if (youngest > s->youngest && youngest - s->youngest <= FEW_BORN &&
        s->list % FULL_EVERY) {
        while (s->youngest < youngest) {
            listed(++s->youngest, s);
        }
        return;
    }
    s->youngest = youngest;
    if (procfs_each_number("/proc", listed, s) == 0) {
        g_hash_table_foreach_remove(s->processes, gone, s);
    }
}

static pid_t job_id(const Process *p)
{
    pid_t group = p->terminal ? getpgid(p->pid) : 0;

    return group > 0 ? group : p->pid;
}

/* From @t0 until now. */
static void charge_job(Scan *s, const Process *p, uint64_t t0, uint64_t ns)
{
    pid_t id = job_id(p);
    Job *j = g_hash_table_lookup(s->jobs, GINT_TO_POINTER(id));

    if (!j) {
        j = g_new0(Job, 1);
        g_hash_table_insert(s->jobs, GINT_TO_POINTER(id), j);
    }
    j->pid = p->pid;
    j->look = s->look;
    vamp_ring_add(&j->load, PERIOD_NS, t0, s->t1, ns);
}

typedef struct ThreadsLook {
    Scan *scan;
    Process *process;
    bool all_new;               /* a thread not known began since the last */
    uint64_t cpu_ns;            /* of all its threads since the last look */
    uint64_t rest_ns;           /* of threads that are not slow themselves */
} ThreadsLook;

static void look_thread(pid_t tid, void *opaque)
{
    ThreadsLook *l = opaque;
    Scan *s = l->scan;
    Process *p = l->process;
    Thread *t = g_hash_table_lookup(p->threads, GINT_TO_POINTER(tid));
    bool known = true;
    char name[64], text[96];
    uint64_t run, wait, ns = 0;

    g_snprintf(name, sizeof(name), "/proc/%d/task/%d/schedstat", (int)p->pid,
               (int)tid);
    if (procfs_read_buf(name, text, sizeof(text)) <= 0 ||
        !procfs_parse_schedstat(text, &run, &wait)) {
        return;
    }
    if (!t) {
        t = g_new0(Thread, 1);
        g_hash_table_insert(p->threads, GINT_TO_POINTER(tid), t);
        known = l->all_new;
    }
    /*
     * The last value may be older than the last look, if the process did
     * next to nothing then: no more than what it did since counts. A number
     * that was given anew has less than before.
     */
    if (known && run >= t->run && wait >= t->wait) {
        ns = MIN(run - t->run, l->cpu_ns) + MIN(wait - t->wait, s->t1 - s->t0);
    }
    t->run = run;
    t->wait = wait;
    t->look = s->look;
    vamp_ring_add(&t->load, PERIOD_NS, s->t0, s->t1, ns);
    if (vamp_ring_permille(&t->load, PERIOD_NS, s->t1) <= s->threshold) {
        l->rest_ns += ns;
    }
}

static gboolean thread_gone(gpointer key, gpointer value, gpointer opaque)
{
    return ((Thread *)value)->look != *(uint64_t *)opaque;
}

static void look_into(Scan *s, Process *p, uint64_t cpu_ns)
{
    char dir[48];
    ThreadsLook l = {
        .scan = s,
        .process = p,
        .all_new = p->fresh || (p->threads && p->look == s->look - 1),
        .cpu_ns = cpu_ns,
    };

    if (!p->threads) {
        p->threads = g_hash_table_new_full(NULL, NULL, NULL, g_free);
    }
    g_snprintf(dir, sizeof(dir), "/proc/%d/task", (int)p->pid);
    procfs_each_number(dir, look_thread, &l);
    g_hash_table_foreach_remove(p->threads, thread_gone, &s->look);
    p->look = s->look;
    if (l.rest_ns) {
        charge_job(s, p, s->t0, l.rest_ns);
    }
}

/*
 * Children that ended count for who waited for them: a compile job is slow,
 * though no compiler lives long. That is dear to read: only of those whose
 * child was seen and has gone; and of all that ever had one if more was done
 * than living processes account for, by children that nobody has seen.
 */
static void look_at_children(Scan *s, uint64_t busy_ns)
{
    uint64_t enough = (s->t1 - s->t0) * s->threshold / 1000;
    bool unseen = busy_ns > s->accounted_ns + enough;
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, s->processes);
    while (busy_ns > enough && g_hash_table_iter_next(&iter, NULL, &value)) {
        Process *p = value;
        ProcStat st;
        uint64_t ns;

        if (!(unseen ? p->parent : p->bereft) || p->kernel ||
            p->pid == s->self || !procfs_stat(p->pid, &st)) {
            continue;
        }
        p->bereft = false;
        ns = st.children_ticks > p->children_ticks ?
             (st.children_ticks - p->children_ticks) * s->tick_ns : 0;
        /* It comes at once, when the child has ended: it was used before. */
        if (ns) {
            charge_job(s, p, ns < s->t1 ? MIN(s->t0, s->t1 - ns) : 0, ns);
        }
        p->children_ticks = st.children_ticks;
    }
}

static gboolean job_idle(gpointer key, gpointer value, gpointer opaque)
{
    Scan *s = opaque;
    Job *j = value;

    return j->look != s->look && !vamp_ring_sum(&j->load, PERIOD_NS, s->t1);
}

void scan_look(Scan *s, uint64_t now, uint64_t busy_ns)
{
    GHashTableIter iter;
    gpointer value;
    uint64_t span, active;

    /* An epoch that is still filling does not count: none before the first. */
    if (s->look && now <= s->t1) {
        return;
    }
    s->look++;
    s->t0 = s->t1;
    s->t1 = now;
    s->accounted_ns = 0;
    span = s->look > 1 ? now - s->t0 : 0;
    active = span * SCAN_ACTIVE_PERCENT / 100;
    list_processes(s);

    g_hash_table_iter_init(&iter, s->processes);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        Process *p = value;
        uint64_t cpu, delta;

        if (p->kernel || p->pid == s->self) {
            continue;
        }
        cpu = cpu_time(p);
        if (!cpu && p->cpu_ns) {
            Process *parent = g_hash_table_lookup(s->processes,
                                                  GINT_TO_POINTER(p->ppid));

            if (parent) {
                parent->bereft = true;
            }
            g_hash_table_iter_remove(&iter);
            continue;
        }
        delta = cpu > p->cpu_ns ? cpu - p->cpu_ns : 0;
        p->cpu_ns = cpu;
        s->accounted_ns += delta;
        if (span && delta > active) {
            look_into(s, p, delta);
        }
        p->fresh = false;
    }
    if (span) {
        look_at_children(s, busy_ns);
    }
    g_hash_table_foreach_remove(s->jobs, job_idle, s);
}

static int by_load(const void *a, const void *b)
{
    const SlowTask *x = a, *y = b;

    return x->permille < y->permille ? 1 : x->permille > y->permille ? -1 : 0;
}

static void add(GArray *tasks, SlowKind kind, pid_t id, pid_t pid,
                uint32_t permille)
{
    SlowTask t = { .kind = kind, .id = id, .pid = pid, .permille = permille,
                   .cpu = -1 };

    g_array_append_val(tasks, t);
}

/* Most load first, and not too many. */
static void finish(GArray *tasks)
{
    g_array_sort(tasks, by_load);
    if (tasks->len > SCAN_SLOW_MAX) {
        g_array_set_size(tasks, SCAN_SLOW_MAX);
    }
}

void scan_name(GArray *tasks)
{
    unsigned i;

    for (i = 0; i < tasks->len; i++) {
        SlowTask *t = &g_array_index(tasks, SlowTask, i);
        ProcStat st;

        if (procfs_thread_stat(t->pid, t->kind == SLOW_THREAD ? t->id : t->pid,
                               &st)) {
            g_strlcpy(t->name, st.name, sizeof(t->name));
            t->cpu = st.cpu;
        }
    }
}

/* Threads with a load of at least @least. Processes in @exempt are left out. */
static void add_threads(Scan *s, GArray *tasks, uint64_t now, uint32_t least,
                        GHashTable *exempt)
{
    GHashTableIter iter, threads;
    gpointer key, value, tid, thread;

    g_hash_table_iter_init(&iter, s->processes);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        Process *p = value;

        if (!p->threads || (exempt && g_hash_table_contains(exempt, key))) {
            continue;
        }
        g_hash_table_iter_init(&threads, p->threads);
        while (g_hash_table_iter_next(&threads, &tid, &thread)) {
            Thread *t = thread;
            uint32_t load = vamp_ring_permille(&t->load, PERIOD_NS, now);

            if (load >= least) {
                add(tasks, SLOW_THREAD, GPOINTER_TO_INT(tid), p->pid, load);
            }
        }
    }
}

GArray *scan_slow(Scan *s, uint64_t now, GHashTable *exempt)
{
    GArray *slow = g_array_new(false, false, sizeof(SlowTask));
    GHashTableIter iter;
    gpointer key, value;

    add_threads(s, slow, now, s->threshold + 1, exempt);
    g_hash_table_iter_init(&iter, s->jobs);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        Job *j = value;
        uint32_t load = vamp_ring_permille(&j->load, PERIOD_NS, now);

        if (load > s->threshold &&
            !(exempt && (g_hash_table_contains(exempt, key) ||
                         g_hash_table_contains(exempt,
                                               GINT_TO_POINTER(j->pid))))) {
            add(slow, SLOW_JOB, GPOINTER_TO_INT(key), j->pid, load);
        }
    }
    finish(slow);
    return slow;
}

GArray *scan_busy(Scan *s, uint64_t now, const GArray *slow)
{
    GArray *busy = g_array_new(false, false, sizeof(SlowTask));
    unsigned i;

    add_threads(s, busy, now, 1, NULL);
    for (i = busy->len; i-- > 0; ) {
        const SlowTask *t = &g_array_index(busy, SlowTask, i);

        if (scan_belongs(s, slow, t->pid, t->id)) {
            g_array_remove_index_fast(busy, i);
        }
    }
    finish(busy);
    scan_name(busy);
    return busy;
}

bool scan_still_slow(Scan *s, uint64_t now, SlowTask *task)
{
    const struct vamp_ring *load = NULL;

    if (task->kind == SLOW_JOB) {
        Job *j = g_hash_table_lookup(s->jobs, GINT_TO_POINTER(task->id));

        load = j ? &j->load : NULL;
    } else {
        Process *p = g_hash_table_lookup(s->processes,
                                         GINT_TO_POINTER(task->pid));
        Thread *t = p && p->threads ?
                    g_hash_table_lookup(p->threads, GINT_TO_POINTER(task->id))
                    : NULL;

        load = t ? &t->load : NULL;
    }
    task->permille = load ? vamp_ring_permille(load, PERIOD_NS, now) : 0;
    return task->permille > s->threshold;
}

bool scan_belongs(Scan *s, const GArray *slow, pid_t pid, pid_t tid)
{
    Process *p = g_hash_table_lookup(s->processes, GINT_TO_POINTER(pid));
    pid_t job = 0;
    unsigned i;

    for (i = 0; i < slow->len; i++) {
        const SlowTask *t = &g_array_index(slow, SlowTask, i);

        if (t->kind == SLOW_JOB && !job) {
            job = p ? job_id(p) : pid;
        }
        if (t->id == (t->kind == SLOW_THREAD ? tid :
                      t->kind == SLOW_JOB ? job : pid)) {
            return true;
        }
    }
    return false;
}

bool scan_is_kernel(Scan *s, pid_t pid)
{
    Process *p = g_hash_table_lookup(s->processes, GINT_TO_POINTER(pid));

    if (!p) {
        p = process_add(s, pid);
        if (p) {
            p->fresh = s->look > 0;
        }
    }
    return !p || p->kernel;
}

void scan_each(Scan *s, void (*f)(pid_t, void *), void *opaque)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, s->processes);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const Process *p = value;

        if (!p->kernel && p->pid != s->self) {
            f(p->pid, opaque);
        }
    }
}

unsigned scan_processes(const Scan *s)
{
    return g_hash_table_size(s->processes);
}

uint64_t scan_list(const Scan *s)
{
    return s->list;
}
