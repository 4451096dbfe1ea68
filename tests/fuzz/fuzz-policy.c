/*
 * Fuzzing: any stream of events, in any order, at any time
 *
 * A guest chooses when it halts, what runs and how much; a broken clock may
 * choose the rest. Each input is a list of operations with their operands.
 * After every one of them the policy must be in a state that makes sense.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include "core/policy.h"

#define VCPUS   5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct Input {
    const uint8_t *data;
    size_t left;
} Input;

static uint64_t get(Input *in, size_t bytes)
{
    uint64_t value = 0;

    if (bytes > in->left) {
        bytes = in->left;
    }
    memcpy(&value, in->data, bytes);
    in->data += bytes;
    in->left -= bytes;
    return value;
}

/* Short or long, near or anywhere: the magnitude is the input's choice. */
static uint64_t get_ns(Input *in)
{
    uint64_t kind = get(in, 1);

    switch (kind % 4) {
    case 0:
        return get(in, 2);
    case 1:
        return get(in, 2) * 1000000;
    case 2:
        return get(in, 4);
    default:
        return get(in, 8);
    }
}

static void check(const struct vamp_policy *p, const uint64_t *task)
{
    bool background = false;
    uint32_t v, i, present = 0;

    for (v = 0; v < VCPUS; v++) {
        const struct vamp_vcpu *vcpu = &p->vcpu[v];

        present += vcpu->present;
        background |= vcpu->vclass == VAMP_CLASS_BACKGROUND;
        for (i = 0; i < VAMP_EPOCHS; i++) {
            assert(vcpu->run.ns[i] <= p->period_ns);
            assert(vcpu->wait.ns[i] <= p->period_ns);
        }
        assert(vamp_policy_vcpu_run(p, v, p->since_ns) <= 1000);
        if (!vcpu->present || p->phase != VAMP_PHASE_MIXED) {
            assert(vcpu->vclass == VAMP_CLASS_NEUTRAL);
            assert(vamp_policy_class(p, v, *task) == VAMP_CLASS_NEUTRAL);
        }
    }
    assert(present == p->nr_present);
    assert(p->halt_seen <= p->nr_present);
    assert(p->vm_permille <= 2000 * VCPUS);
    assert(p->nr_background <= VAMP_PLAN_TASKS);
    switch (p->phase) {
    case VAMP_PHASE_NORMAL:
        assert(p->until_ns == UINT64_MAX);
        assert(p->cause == VAMP_CAUSE_NONE);
        assert(p->nr_background == 0);
        break;
    case VAMP_PHASE_NON_MIXED:
        assert(p->until_ns < UINT64_MAX);
        assert(p->nr_background == 0);
        break;
    case VAMP_PHASE_MIXED:
        assert(p->until_ns < UINT64_MAX);
        assert(p->reason == VAMP_REASON_BACKGROUND);
        assert(p->by_task ? p->nr_background > 0 && !background :
               p->nr_background == 0 && background);
        break;
    default:
        abort();
    }
    assert(p->until_ns >= p->since_ns || p->since_ns == UINT64_MAX);
    for (i = 0; i < p->nr_background; i++) {
        assert(p->background[i].task != VAMP_TASK_UNKNOWN);
        assert(p->background[i].task != p->audio_task);
        assert(p->background[i].task != p->system_task);
        assert(i == 0 || p->background[i].permille
                         <= p->background[i - 1].permille);
    }
    assert(p->count.events_coalesced <= p->count.events);
    assert(p->count.phases_mixed <= p->count.phases);
    assert(p->count.phases_sound <= p->count.phases);
}

/* The guest says what is in its background: tasks or vCPUs. */
static void hint(struct vamp_policy *p, Input *in, uint64_t now, uint32_t how)
{
    struct vamp_task_load task[VAMP_PLAN_TASKS + 2];
    bool vcpu[VCPUS];
    struct vamp_hinted hinted = { how & 1, task, 0, vcpu };
    uint64_t bits = get(in, 1);
    uint32_t i;

    for (i = 0; i < VCPUS; i++) {
        vcpu[i] = bits >> i & 1;
    }
    hinted.nr_tasks = (uint32_t)(bits % (VAMP_PLAN_TASKS + 3));
    for (i = 0; i < hinted.nr_tasks; i++) {
        task[i].task = (uint64_t)i << 12;
        task[i].permille = (uint32_t)get(in, 2);
    }
    if (how & 2) {
        vamp_policy_begin_hinted(p, now, VAMP_CAUSE_INPUT, &hinted);
    } else {
        vamp_policy_rehint(p, &hinted);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    Input in = { data, size };
    struct vamp_policy *p = malloc(vamp_policy_size(VCPUS));
    struct vamp_task_table *table = calloc(VCPUS, sizeof(*table));
    const struct vamp_task_table *tables[VCPUS];
    struct vamp_config cfg;
    uint64_t now = 0, t0, t1, task = 0, before;
    uint32_t vcpu, i;
    bool by_task = true;

    assert(p && table);
    memset(p, (int)get(&in, 1), vamp_policy_size(VCPUS));
    vamp_config_default(&cfg);
    vamp_policy_init(p, VCPUS, &cfg, now);
    for (i = 0; i < VCPUS; i++) {
        vamp_task_table_init(&table[i], p->period_ns);
        tables[i] = &table[i];
    }
    while (in.left > 0) {
        uint64_t op = get(&in, 1);

        vcpu = (uint32_t)(op >> 4);         /* up to 15: out of range, too */
        switch (op & 15) {
        case 0:
            now += get_ns(&in);                 /* wraps: backwards */
            break;
        case 1:
            vamp_policy_vcpu_add(p, vcpu);
            break;
        case 2:
            vamp_policy_vcpu_del(p, vcpu);
            break;
        case 3:
        case 4:
            t0 = now - get_ns(&in);
            t1 = t0 + get_ns(&in);
            vamp_policy_vcpu_load(p, vcpu, t0, t1, get_ns(&in), get_ns(&in));
            break;
        case 5:
        case 6:
            task = get(&in, 1) << 12;
            t0 = now - get_ns(&in);
            t1 = t0 + get_ns(&in);
            vamp_task_table_charge(&table[vcpu % VCPUS], task, t0, t1,
                                   get_ns(&in));
            break;
        case 7:
            task = get(&in, 1) << 12;
            vamp_policy_halted(p, vcpu, task);
            break;
        case 8:
            vamp_policy_set_audio_task(p, get(&in, 1) << 12);
            break;
        case 9:
            before = p->count.events_coalesced;
            if (vamp_policy_input(p, now)) {
                assert(p->count.events_coalesced == before);
                vamp_policy_begin(p, now, VAMP_CAUSE_INPUT,
                                  by_task ? tables : NULL);
                assert(p->phase != VAMP_PHASE_NORMAL);
            } else {
                assert(p->phase != VAMP_PHASE_NORMAL);
                assert(p->count.events_coalesced == before + 1);
            }
            break;
        case 10:
            if (vamp_policy_sound(p, vcpu & 1)) {
                assert(p->sound && p->phase == VAMP_PHASE_NORMAL);
                vamp_policy_begin(p, now, VAMP_CAUSE_SOUND,
                                  by_task ? tables : NULL);
            }
            break;
        case 11:
            now = p->until_ns == UINT64_MAX || vcpu > 7 ? now : p->until_ns;
            t0 = p->until_ns;
            if (!vamp_policy_expire(p, now)) {
                assert(p->sound);
                vamp_policy_begin(p, now, VAMP_CAUSE_SOUND,
                                  by_task ? tables : NULL);
            } else if (now >= t0) {
                assert(p->phase == VAMP_PHASE_NORMAL);
            }
            break;
        case 12:
            vamp_policy_reset(p, now);
            assert(p->phase == VAMP_PHASE_NORMAL);
            break;
        case 13:
            by_task = vcpu & 1;
            tables[vcpu % VCPUS] = vcpu & 8 ? NULL : &table[vcpu % VCPUS];
            break;
        case 14:
            cfg.bg_percent = (uint32_t)get(&in, 1);
            cfg.max_phase_ms = (uint32_t)get(&in, 2);
            cfg.period_ms = 1u << (vcpu & 15);
            if (!vamp_config_error(&cfg)) {
                bool renew = cfg.period_ms != p->cfg.period_ms;

                vamp_policy_configure(p, &cfg);
                /* A caller that forgets its part must do no harm either. */
                for (i = 0; renew && i < VCPUS - 1; i++) {
                    vamp_task_table_init(&table[i], p->period_ns);
                }
            }
            break;
        default:
            vamp_policy_class(p, vcpu, get(&in, 8));
            hint(p, &in, now, vcpu);
            break;
        }
        check(p, &task);
    }
    free(table);
    free(p);
    return 0;
}
