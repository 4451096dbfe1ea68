/*
 * vdiguest: the daemon itself
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include "core/policy.h"
#include "guest/daemon-int.h"
#include "guest/irq.h"
#include "guest/log.h"
#include "guest/procfs.h"

#define NS_PER_MS   1000000ull
#define NS_PER_S    1000000000ull
/* Most answers have been given by then. */
#define SETTLE_MS   1000
/*
 * A look at 60 processes takes as long as a short answer, for which the user
 * waits meanwhile; so does what is done to all others when the slow tasks have
 * left. At first, a look that is not older will do, and the others can wait.
 * 100 ms is what a user hardly notices, and most answers take less.
 */
#define RECENT_NS   (2 * NS_PER_S)
#define REVIEW_MS   100
/* A full guest may be late: then what the user has begun would count. */
#define REVIEW_LATE_MS  250
/*
 * Where a vCPU has no slow task, the guest's scheduler takes the answer there,
 * and a short one is given before it is even asked who is slow. Half of what an
 * isolation may take.
 */
#define EVICT_MS    10

uint64_t daemon_now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

/* --- isolation ------------------------------------------------------------ */

static void tell_split(Daemon *d)
{
    static const CpuSet none;

    if (d->host) {
        host_split(d->host, d->place.split ? &d->place.fast : &d->cpus,
                   d->place.split ? &d->place.slow : &none);
    }
}

static gboolean settle(gpointer opaque)
{
    Daemon *d = opaque;

    d->settle_source = 0;
    place_settle(&d->place, d->slow);
    d->placed_list = scan_list(d->scan);
    return G_SOURCE_REMOVE;
}

static void release(Daemon *d)
{
    g_clear_handle_id(&d->settle_source, g_source_remove);
    if (d->place.split) {
        log_info(LOG_PHASE, "the isolation ends: %s", d->reason);
        irq_restore(d->state);
        place_restore(&d->place);
        d->nr_irqs = 0;
        tell_split(d);
    }
}

static unsigned fast_wanted(Daemon *d, uint64_t now)
{
    struct plan_input in = {
        .mode = d->mode,
        .fast = d->fast ?: MAX(cpus_count(&d->cpus) / 2, 1),
        .online = cpus_count(&d->cpus),
        .now_fast = d->place.split ? cpus_count(&d->place.fast) : 0,
        .slow_tasks = d->slow->len,
        .sound = sound_plays(d->sound),
    };
    unsigned i;

    for (i = 0; i < d->slow->len; i++) {
        in.slow_permille += g_array_index(d->slow, SlowTask, i).permille;
    }
    for (i = 0; d->place.split && i < d->policy->max_vcpus; i++) {
        if (cpus_has(&d->place.fast, i)) {
            in.fast_permille += vamp_policy_vcpu_run(d->policy, i, now);
        }
    }
    return plan_fast(&in, &d->reason);
}

static void count_isolation(Daemon *d, uint64_t now)
{
    d->isolations++;
    d->latency_ns = daemon_now() - now;
}

void daemon_apply(Daemon *d, uint64_t now, const char *why)
{
    unsigned n = fast_wanted(d, now);
    bool began = n && !d->place.split, completed = began || d->place.partial;
    CpuSet fast, slow;

    if (!n) {
        d->reason = why ?: d->reason;
        release(d);
        return;
    }
    cpus_split(&d->cpus, n, &fast, &slow);
    if (!place_split(&d->place, &fast, &slow, d->slow)) {
        d->reason = "the state file cannot be written";
        return;
    }
    d->placed_list = scan_list(d->scan);
    if (!d->options->no_irqs) {
        d->nr_irqs = irq_pin(d->options->irqs, &fast, d->state, d->file);
    }
    if (began) {
        count_isolation(d, now);
    }
    if (completed) {
        g_autofree char *f = cpus_format(&fast), *s = cpus_format(&slow);

        d->settle_source = g_timeout_add(SETTLE_MS, settle, d);
        log_info(LOG_PHASE, "isolation: %u slow threads on vCPUs %s, %u fast "
                 "ones on %s, %u left alone (%" PRIu64 " us)", d->place.nr_slow,
                 s, d->place.nr_fast, f, d->place.nr_left,
                 d->latency_ns / 1000);
    }
    tell_split(d);
}

/* Does each of the slow threads run there already, or did last? */
static bool all_run_on(const GArray *slow_threads, const CpuSet *cpus)
{
    unsigned i;

    for (i = 0; i < slow_threads->len; i++) {
        const SlowTask *t = &g_array_index(slow_threads, SlowTask, i);
        ProcStat st;

        if (procfs_thread_stat(t->pid, t->id, &st) && !cpus_has(cpus, st.cpu)) {
            return false;
        }
    }
    return true;
}

/*
 * What the user's program must not wait behind, and no more: the review
 * does all else. @calm: nothing is in the way. Then a slow thread that had to
 * leave a fast vCPU would go where the answer runs, and the guest's scheduler
 * is slow to put that right (one answer of two took 2.5 times its work, others
 * 2.0: tests/kernel/measure_scenarios.py, 2vms-2cpus). So all stay until the
 * others can be bound as well.
 */
static void evict(Daemon *d, uint64_t now, bool calm)
{
    bool began = !d->place.split;
    unsigned n = began ? fast_wanted(d, now) : 0;
    CpuSet fast = d->place.fast, slow = d->place.slow;

    if (began && !n) {
        return;
    }
    if (began) {
        cpus_split(&d->cpus, n, &fast, &slow);
    }
    if (began && calm && !all_run_on(d->slow, &slow)) {
        return;
    }
    if (!place_evict(&d->place, &fast, &slow, d->slow)) {
        d->reason = "the state file cannot be written";
    } else if (began) {
        count_isolation(d, now);
    }
}

static void set_slow(Daemon *d, GArray *slow)
{
    g_array_unref(d->slow);
    d->slow = slow;
    d->named = false;
}

static void name_slow(Daemon *d)
{
    static const char *const kind[] = { "thread", "process", "job" };
    unsigned i;

    if (d->named) {
        return;
    }
    d->named = true;
    scan_name(d->slow);
    for (i = 0; i < d->slow->len; i++) {
        const SlowTask *t = &g_array_index(d->slow, SlowTask, i);

        log_info(LOG_TASK, "slow: %s %d (%s), %u.%u %% of a vCPU",
                 kind[t->kind], (int)t->id, t->name, t->permille / 10,
                 t->permille % 10);
    }
}

void daemon_phase_over(Daemon *d, const char *why)
{
    uint64_t now = daemon_now();

    g_clear_handle_id(&d->phase_source, g_source_remove);
    g_clear_handle_id(&d->review_source, g_source_remove);
    g_clear_handle_id(&d->evict_source, g_source_remove);
    d->phase_by_host = false;
    d->calm = false;
    vamp_policy_reset(d->policy, now);
    set_slow(d, g_array_new(false, false, sizeof(SlowTask)));
    daemon_apply(d, now, why);
}

static gboolean phase_timer(gpointer opaque)
{
    Daemon *d = opaque;

    d->phase_source = 0;
    daemon_phase_over(d, "the phase is over");
    return G_SOURCE_REMOVE;
}

/* Has something changed since all threads have got their places? */
static bool stale(Daemon *d, uint64_t now)
{
    unsigned n = fast_wanted(d, now);

    /* Also tasks that began beside those that have a place. */
    return d->place.partial ||
           n != (d->place.split ? cpus_count(&d->place.fast) : 0) ||
           (n && d->placed_list != scan_list(d->scan));
}

/* What was slow at @at, when we looked, has its place from now on. */
static void review(Daemon *d, uint64_t now, uint64_t at)
{
    GArray *found = daemon_find_slow(d, at);

    if (d->place.split && daemon_same_tasks(d->slow, found) && !stale(d, now)) {
        /* All have their places. */
        g_array_unref(found);
    } else {
        set_slow(d, found);
        daemon_apply(d, now, NULL);
    }
    /* Some were found, and bound, a moment after the event: before this. */
    name_slow(d);
}

/* The same, of the slow tasks only. */
static void review_slow(Daemon *d, uint64_t now, bool calm)
{
    GArray *found = daemon_find_slow(d, d->looked_ns);

    if (d->place.split && daemon_same_tasks(d->slow, found)) {
        g_array_unref(found);
    } else {
        set_slow(d, found);
        evict(d, now, calm);
    }
}

static gboolean evict_timer(gpointer opaque)
{
    Daemon *d = opaque;

    d->evict_source = 0;
    review_slow(d, daemon_now(), true);
    return G_SOURCE_REMOVE;
}

void daemon_complete(Daemon *d)
{
    uint64_t now = daemon_now();

    if (!d->review_source) {
        return;
    }
    g_clear_handle_id(&d->review_source, g_source_remove);
    g_clear_handle_id(&d->evict_source, g_source_remove);
    if (now < d->review_until_ns) {
        daemon_look(d, now);
    }
    review(d, now, d->looked_ns);
    sound_look(d->sound);
}

static gboolean review_timer(gpointer opaque)
{
    daemon_complete(opaque);
    return G_SOURCE_REMOVE;
}

void daemon_phase_begin(Daemon *d, uint64_t now, unsigned length_ms, bool soon)
{
    if (!soon || !d->looked_ns || now - d->looked_ns >= RECENT_NS) {
        daemon_look(d, now);
    }
    vamp_policy_begin(d->policy, now, VAMP_CAUSE_INPUT, NULL);
    d->phases++;
    /*
     * Whatever the policy says of the vCPUs' load: that is counted in ticks,
     * of which a vCPU misses some while its host does not run it.
     */
    if (!soon) {
        review(d, now, d->looked_ns);
        sound_look(d->sound);
    } else {
        if (!d->calm) {
            review_slow(d, now, false);
        } else if (!d->place.split && !d->evict_source) {
            d->evict_source = g_timeout_add(EVICT_MS, evict_timer, d);
        }
        if (!d->review_source) {
            d->review_source = g_timeout_add(REVIEW_MS, review_timer, d);
            d->review_until_ns = now + REVIEW_LATE_MS * NS_PER_MS;
        }
    }
    g_clear_handle_id(&d->phase_source, g_source_remove);
    if (length_ms) {
        d->phase_source = g_timeout_add(length_ms, phase_timer, d);
    }
}

/* --- sensors -------------------------------------------------------------- */

static void input_came(void *opaque)
{
    Daemon *d = opaque;
    uint64_t now = daemon_now();

    d->triggers++;
    d->phase_by_host = false;
    if (vamp_policy_input(d->policy, now)) {
        daemon_phase_begin(d, now, d->options->phase_ms, true);
    }
}

static void host_began(unsigned length_ms, bool mixed, void *opaque)
{
    Daemon *d = opaque;
    uint64_t now = daemon_now();

    /* The same key has come here and there: it has been served. */
    if (vamp_policy_input(d->policy, now)) {
        /* A second more than the host says, as the protocol has it. */
        d->phase_by_host = true;
        daemon_phase_begin(d, now, length_ms + 1000, true);
    }
}

static void host_ended(void *opaque)
{
    Daemon *d = opaque;

    /* Our own user is not the host's to send away. */
    if (d->phase_by_host) {
        daemon_phase_over(d, "the host's phase is over");
    }
}

static void sound_came(void *opaque)
{
    Daemon *d = opaque;

    if (d->host) {
        host_sound(d->host, sound_plays(d->sound));
    }
    if (d->slow->len || d->place.split) {
        daemon_apply(d, daemon_now(), NULL);
    }
}

/*
 * What can be split at this moment. A CPU is online before a thread may run
 * there, and while split init has only a part: so we are asked, whom nobody has
 * bound, if we were like init before.
 */
static CpuSet cpus_now(Daemon *d, const CpuSet *online)
{
    CpuSet own, cpus = d->cpus;

    if (cpus_get_affinity(0, &own) < 0) {
        return cpus;
    }
    cpus_and(&own, online);
    if (d->place.split) {
        return d->like_init ? own : cpus;
    }
    if (place_cpus(&cpus) == 0 && cpus_equal(online, &d->online)) {
        d->like_init = cpus_equal(&own, &cpus);
    }
    return cpus;
}

/* Sets d->cpus; true if they are others than before. */
static bool cpus_changed(Daemon *d)
{
    CpuSet online, cpus;
    unsigned cpu;

    if (cpus_online(&online) < 0) {
        return false;
    }
    cpus = cpus_now(d, &online);
    if (cpus_equal(&online, &d->online) && cpus_equal(&cpus, &d->cpus)) {
        return false;
    }
    d->online = online;
    /* What is new, or has gone, is in nobody's set: begin again. */
    if (d->place.split) {
        d->reason = "the vCPUs have changed";
        release(d);
        cpus = cpus_now(d, &online);
    }
    d->cpus = cpus;
    for (cpu = 0; cpu < d->policy->max_vcpus; cpu++) {
        if (cpus_has(&d->cpus, cpu) && !d->policy->vcpu[cpu].present) {
            vamp_policy_vcpu_add(d->policy, cpu);
            d->ticks[cpu] = 0;
        } else if (!cpus_has(&d->cpus, cpu)) {
            vamp_policy_vcpu_del(d->policy, cpu);
        }
    }
    return true;
}

static void cpus_came(void *opaque)
{
    Daemon *d = opaque;

    place_prepare(&d->place);
    if (cpus_changed(d)) {
        g_autofree char *text = cpus_format(&d->cpus);

        log_info(LOG_PHASE, "vCPUs that can be split: %s", text);
        daemon_apply(d, daemon_now(), NULL);
        tell_split(d);
    }
}

static bool drop_done(Daemon *d, uint64_t now)
{
    bool dropped = false;
    unsigned i;

    for (i = 0; i < d->slow->len; ) {
        SlowTask *t = &g_array_index(d->slow, SlowTask, i);

        /* What the host has said, holds until the phase ends. */
        if (t->kind != SLOW_PROCESS && !scan_still_slow(d->scan, now, t)) {
            g_array_remove_index(d->slow, i);
            dropped = true;
        } else {
            i++;
        }
    }
    return dropped;
}

static gboolean tick(gpointer opaque)
{
    Daemon *d = opaque;
    uint64_t now = daemon_now();
    bool dropped;

    if (d->review_source) {
        /* It is about to look, when the user has his answer. */
        return G_SOURCE_CONTINUE;
    }
    cpus_came(d);
    daemon_look(d, now);
    if (d->host) {
        g_autoptr(GArray) background = daemon_background(d, now);

        host_tasks(d->host, background);
        host_tick(d->host, now);
    }
    dropped = drop_done(d, now);
    if (dropped && !d->slow->len) {
        daemon_phase_over(d, "no slow task is left");
    } else if ((d->place.split || d->mode == PLAN_STATIC) &&
               (dropped || stale(d, now))) {
        daemon_apply(d, now, NULL);
    }
    return G_SOURCE_CONTINUE;
}

/* --- life ----------------------------------------------------------------- */

static bool begin_policy(Daemon *d)
{
    struct vamp_config cfg;
    long possible = sysconf(_SC_NPROCESSORS_CONF);
    uint32_t max = CLAMP(possible, 1, CPUS_MAX);

    vamp_config_default(&cfg);
    cfg.bg_percent = d->options->bg_percent;
    if (d->options->phase_ms) {
        cfg.max_phase_ms = d->options->phase_ms;
    }
    d->policy = g_malloc0(vamp_policy_size(max));
    d->ticks = g_new0(uint64_t, max);
    d->tick_ns = NS_PER_S / sysconf(_SC_CLK_TCK);
    vamp_policy_init(d->policy, max, &cfg, daemon_now());
    return vamp_config_error(&cfg) == NULL;
}

static void undo_found(Daemon *d, State *found)
{
    if (!state_is_empty(found)) {
        log_info(LOG_QUIET, "a vdiguest before was killed: what it changed is "
                 "put back");
        state_free(d->state);
        d->state = found;
        d->place.state = found;
        irq_restore(found);
        place_restore(&d->place);
    } else {
        state_free(found);
    }
}

static bool begin_means(Daemon *d, GError **err)
{
    g_autofree char *reason = NULL;
    State *found;

    d->file = state_open(d->options->state_file, &found, err);
    if (!d->file) {
        return false;
    }
    d->place.file = d->file;
    d->place.scan = d->scan;
    d->place.state = d->state;
    undo_found(d, found);
    if (!state_save(d->file, d->state)) {
        g_set_error(err, G_FILE_ERROR, G_FILE_ERROR_FAILED,
                    "%s cannot be written", d->options->state_file);
        return false;
    }
    if (d->options->cpusets) {
        d->place.groups = groups_find(&reason);
        if (!d->place.groups) {
            log_info(LOG_START, "affinities only: %s", reason);
        }
    }
    return true;
}

Daemon *daemon_begin(const Options *options, GError **err)
{
    static const HostEvents events = { .begin = host_began, .end = host_ended };
    Daemon *d = g_new0(Daemon, 1);

    d->options = options;
    d->mode = options->mode;
    d->fast = options->fast;
    d->begun_ns = daemon_now();
    d->reason = "no event so far";
    d->slow = g_array_new(false, false, sizeof(SlowTask));
    d->state = state_new();
    d->scan = scan_new(options->bg_percent);
    begin_policy(d);
    if (!begin_means(d, err)) {
        daemon_end(d);
        return NULL;
    }
    d->sound = sound_begin(options->sound, options->sound_fifo, sound_came, d,
                           err);
    if (!d->sound) {
        daemon_end(d);
        return NULL;
    }
    cpus_changed(d);
    d->input = input_begin(options->devices, input_came, cpus_came, d, err);
    d->control = d->input ? control_begin(options->socket, daemon_answer, d,
                                          err) : NULL;
    if (!d->control) {
        daemon_end(d);
        return NULL;
    }
    if (options->host) {
        d->host = host_begin(&events, d);
        host_sound(d->host, sound_plays(d->sound));
        tell_split(d);
    }
    if (cpus_count(&d->cpus) < 2) {
        log_warn("one vCPU: nothing is isolated until there are two");
    }
    d->tick_source = g_timeout_add(options->period_ms, tick, d);
    tick(d);
    return d;
}

void daemon_end(Daemon *d)
{
    g_clear_handle_id(&d->tick_source, g_source_remove);
    g_clear_handle_id(&d->phase_source, g_source_remove);
    g_clear_handle_id(&d->review_source, g_source_remove);
    g_clear_handle_id(&d->evict_source, g_source_remove);
    control_end(d->control);
    input_end(d->input);
    d->reason = "vdiguest ends";
    release(d);
    host_end(d->host);
    sound_end(d->sound);
    groups_free(d->place.groups);
    if (d->file) {
        state_close(d->file, d->state);
    }
    state_free(d->state);
    scan_free(d->scan);
    g_array_unref(d->slow);
    g_free(d->policy);
    g_free(d->ticks);
    g_free(d);
}
