/*
 * What the broker knows, as JSON and as OpenMetrics text
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/resource.h>
#include "qemu/error-report.h"
#include "qobject/json-writer.h"
#include "broker/broker.h"

static uint64_t own_cpu_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static const char *class_name(enum vamp_class vclass)
{
    return vclass == VAMP_CLASS_INTERACTIVE ? "interactive" :
           vclass == VAMP_CLASS_BACKGROUND ? "background" : "neutral";
}

static const char *sched_name(ThreadSched s)
{
    return s == THREAD_RR ? "rr" : s == THREAD_BACKGROUND ? "background" :
           s == THREAD_INTERACTIVE ? "interactive" : "found";
}

static bool may_see(const Vm *vm, uid_t uid)
{
    return uid == 0 || vm->uid == uid;
}

/* --- JSON ---------------------------------------------------------------- */

static void json_host(JSONWriter *w, const Broker *b)
{
    json_writer_start_object(w, "host");
    json_writer_uint64(w, "cpus", b->cpus);
    json_writer_uint64(w, "period-ms", ledger_period_ms(b));
    json_writer_bool(w, "active", b->active);
    json_writer_bool(w, "dry-run", b->opt.dry_run);
    json_writer_int64(w, "rt-runtime-us", b->rt_runtime_us);
    json_writer_int64(w, "rt-period-us", b->rt_period_us);
    json_writer_uint64(w, "cgroup-version",
                       b->host.cg ? b->host.cg->version : 0);
    if (b->host.cg_reason) {
        json_writer_str(w, "cgroup-reason", b->host.cg_reason);
    }
    json_writer_uint64(w, "uptime-ns", loop_now() - b->begun_ns);
    json_writer_uint64(w, "broker-cpu-ns", own_cpu_ns());
    json_writer_uint64(w, "steps", b->steps);
    json_writer_uint64(w, "messages", b->messages);
    json_writer_uint64(w, "dropped", b->dropped);
    json_writer_uint64(w, "connections", b->clients);
    json_writer_end_object(w);
}

static void json_account(JSONWriter *w, const struct vamp_account *a)
{
    json_writer_int64(w, "debt-ns", a->debt_ns);
    json_writer_uint64(w, "share-ppm", a->fair_ppm);
    json_writer_uint64(w, "used-ns", a->total_used_ns);
    json_writer_uint64(w, "entitled-ns", a->total_entitled_ns);
}

static void json_thread(JSONWriter *w, const VmThread *t)
{
    json_writer_start_object(w, NULL);
    json_writer_int64(w, "tid", t->tid);
    json_writer_str(w, "role", t->vhost ? "vhost" :
                    t->role == VAMP_BROKER_VCPU ? "vcpu" : "io");
    if (!t->vhost) {
        json_writer_uint64(w, "slot", t->slot);
    }
    json_writer_str(w, "class", class_name(t->vclass));
    json_writer_str(w, "scheduled", sched_name(t->now));
    json_writer_int64(w, "found-nice", t->found.nice);
    if (t->own) {
        json_writer_uint64(w, "weight", t->own->last);
    }
    json_writer_int64(w, "error", t->err);
    json_writer_end_object(w);
}

static void json_vm(JSONWriter *w, const Vm *vm)
{
    unsigned i;

    json_writer_start_object(w, NULL);
    json_writer_str(w, "name", vm->name);
    json_writer_int64(w, "pid", vm->pid);
    json_writer_uint64(w, "uid", vm->uid);
    json_writer_str(w, "state", vamp_broker_state_name(vm->state));
    json_writer_str(w, "reason", vm->reason);
    json_writer_uint64(w, "ratio", vm->ratio);
    json_account(w, &vm->account);
    if (vm->group) {
        json_writer_str(w, "group", vm->group->path);
        json_writer_bool(w, "group-made", vm->group->origin != NULL);
        json_writer_uint64(w, "weight", vm->group->weight->last);
        json_writer_uint64(w, "weight-base", vm->group->weight->base);
    }
    json_writer_uint64(w, "boosts", vm->boosts);
    json_writer_uint64(w, "guards", vm->account.guards);
    json_writer_uint64(w, "faults", vm->faults);
    json_writer_start_array(w, "threads");
    for (i = 0; i < vm->threads->len; i++) {
        json_thread(w, g_ptr_array_index(vm->threads, i));
    }
    json_writer_end_array(w);
    json_writer_end_object(w);
}

GString *report_json(Broker *b, uid_t uid)
{
    JSONWriter *w = json_writer_new(true);
    unsigned i;

    json_writer_start_object(w, NULL);
    json_host(w, b);
    json_writer_start_array(w, "vms");
    for (i = 0; i < b->vms->len; i++) {
        const Vm *vm = g_ptr_array_index(b->vms, i);

        if (may_see(vm, uid)) {
            json_vm(w, vm);
        }
    }
    json_writer_end_array(w);
    json_writer_start_array(w, "neighbours");
    for (i = 0; uid == 0 && i < b->neighbours->len; i++) {
        const Neighbour *n = g_ptr_array_index(b->neighbours, i);

        json_writer_start_object(w, NULL);
        json_writer_str(w, "group", n->path);
        json_writer_uint64(w, "weight", n->account.weight);
        json_account(w, &n->account);
        json_writer_end_object(w);
    }
    json_writer_end_array(w);
    json_writer_end_object(w);
    return g_string_append_c(json_writer_get_and_free(w), '\n');
}

/* --- OpenMetrics --------------------------------------------------------- */

/* In the exposition format, counters of time are seconds. */
static const double NS = 0.000000001;

typedef struct Metric {
    const char *name, *type, *unit, *help;
    double (*vm)(const Vm *vm);
    double (*host)(const Broker *b);
} Metric;

static double vm_debt(const Vm *vm)
{
    return vm->account.debt_ns * NS;
}

static double vm_share(const Vm *vm)
{
    return vm->account.fair_ppm / 1e6;
}

static double vm_used(const Vm *vm)
{
    return vm->account.total_used_ns * NS;
}

static double vm_entitled(const Vm *vm)
{
    return vm->account.total_entitled_ns * NS;
}

static double vm_weight(const Vm *vm)
{
    return vm->group ? vm->group->weight->last : 0;
}

static double vm_weight_base(const Vm *vm)
{
    return vm->group ? vm->group->weight->base : 0;
}

static double vm_boosts(const Vm *vm)
{
    return vm->boosts;
}

static double vm_guards(const Vm *vm)
{
    return vm->account.guards;
}

static double vm_faults(const Vm *vm)
{
    return vm->faults;
}

static double vm_threads(const Vm *vm)
{
    return vm->threads->len;
}

static double vm_real_time(const Vm *vm)
{
    unsigned i, n = 0;

    for (i = 0; i < vm->threads->len; i++) {
        n += ((VmThread *)g_ptr_array_index(vm->threads, i))->now == THREAD_RR;
    }
    return n;
}

static double host_cpus(const Broker *b)
{
    return b->cpus;
}

static double host_period(const Broker *b)
{
    return ledger_period_ms(b) / 1e3;
}

static double host_cpu(const Broker *b)
{
    return own_cpu_ns() * NS;
}

static double host_steps(const Broker *b)
{
    return b->steps;
}

static double host_messages(const Broker *b)
{
    return b->messages;
}

static double host_dropped(const Broker *b)
{
    return b->dropped;
}

static double host_clients(const Broker *b)
{
    return b->clients;
}

static const Metric metrics[] = {
    { "vamp_vm_debt_seconds", "gauge", "seconds",
      "CPU time that the VM owes (or, negative, is owed by) the others",
      .vm = vm_debt },
    { "vamp_vm_fair_share_ratio", "gauge", "ratio",
      "Fair share of the host's CPUs now", .vm = vm_share },
    { "vamp_vm_used_seconds", "counter", "seconds",
      "CPU time used while the ledger was kept", .vm = vm_used },
    { "vamp_vm_entitled_seconds", "counter", "seconds",
      "CPU time that was fair while the ledger was kept", .vm = vm_entitled },
    { "vamp_vm_weight", "gauge", NULL,
      "Weight of the VM's control group now; 0: it has none",
      .vm = vm_weight },
    { "vamp_vm_base_weight", "gauge", NULL,
      "Weight that the administrator gave to the VM's group",
      .vm = vm_weight_base },
    { "vamp_vm_boosts", "counter", NULL,
      "Times that a vCPU was put into real-time class", .vm = vm_boosts },
    { "vamp_vm_guards", "counter", NULL,
      "Times that the guard took real-time class back", .vm = vm_guards },
    { "vamp_vm_faults", "counter", NULL,
      "Changes of threads or weights that failed", .vm = vm_faults },
    { "vamp_vm_threads", "gauge", NULL, "Threads of the VM that are known",
      .vm = vm_threads },
    { "vamp_vm_real_time_threads", "gauge", NULL,
      "Threads of the VM in real-time class now", .vm = vm_real_time },
    { "vamp_host_cpus", "gauge", NULL, "CPUs that the VMs share",
      .host = host_cpus },
    { "vamp_broker_period_seconds", "gauge", "seconds",
      "Time between two steps of the ledger", .host = host_period },
    { "vamp_broker_cpu_seconds", "counter", "seconds",
      "CPU time of the broker itself", .host = host_cpu },
    { "vamp_broker_steps", "counter", NULL, "Steps of the ledger",
      .host = host_steps },
    { "vamp_broker_messages", "counter", NULL, "Messages received",
      .host = host_messages },
    { "vamp_broker_dropped_connections", "counter", NULL,
      "Connections that the broker ended for a fault of the peer",
      .host = host_dropped },
    { "vamp_broker_connections", "gauge", NULL, "Connections that are open",
      .host = host_clients },
};

static char *label(const char *text)
{
    g_autoptr(GString) s = g_string_new(NULL);

    for (; *text; text++) {
        if (*text == '"' || *text == '\\') {
            g_string_append_c(s, '\\');
        }
        g_string_append_c(s, *text);
    }
    return g_string_free(g_steal_pointer(&s), FALSE);
}

static void append_value(GString *out, double value)
{
    char text[G_ASCII_DTOSTR_BUF_SIZE];

    g_string_append(out, g_ascii_dtostr(text, sizeof(text), value));
    g_string_append_c(out, '\n');
}

GString *report_metrics(Broker *b, uid_t uid)
{
    GString *out = g_string_new(NULL);
    unsigned i, j;

    for (i = 0; i < ARRAY_SIZE(metrics); i++) {
        const Metric *m = &metrics[i];
        const char *total = !strcmp(m->type, "counter") ? "_total" : "";

        g_string_append_printf(out, "# TYPE %s %s\n", m->name, m->type);
        if (m->unit) {
            g_string_append_printf(out, "# UNIT %s %s\n", m->name, m->unit);
        }
        g_string_append_printf(out, "# HELP %s %s.\n", m->name, m->help);
        if (m->host) {
            g_string_append_printf(out, "%s%s ", m->name, total);
            append_value(out, m->host(b));
            continue;
        }
        for (j = 0; j < b->vms->len; j++) {
            const Vm *vm = g_ptr_array_index(b->vms, j);
            g_autofree char *name = label(vm->name);

            if (may_see(vm, uid)) {
                g_string_append_printf(out, "%s%s{vm=\"%s\",pid=\"%d\"} ",
                                       m->name, total, name, (int)vm->pid);
                append_value(out, m->vm(vm));
            }
        }
    }
    g_string_append(out, "# TYPE vamp_vm_state stateset\n"
                    "# HELP vamp_vm_state How the broker treats the VM.\n");
    for (j = 0; j < b->vms->len; j++) {
        const Vm *vm = g_ptr_array_index(b->vms, j);
        g_autofree char *name = label(vm->name);

        for (i = 0; may_see(vm, uid) && i <= VAMP_BROKER_WEIGHTS; i++) {
            g_string_append_printf(out, "vamp_vm_state{vm=\"%s\",pid=\"%d\","
                                   "vamp_vm_state=\"%s\"} %d\n", name,
                                   (int)vm->pid, vamp_broker_state_name(i),
                                   vm->state == i);
        }
    }
    return g_string_append(out, "# EOF\n");
}

void report_metrics_file(Broker *b, int64_t now_ns)
{
    g_autoptr(GString) text = NULL;
    GError *err = NULL;
    static bool failed;

    if (!b->opt.metrics_file || now_ns < b->metrics_ns) {
        return;
    }
    b->metrics_ns = now_ns + b->opt.metrics_s * 1000000000ll;
    text = report_metrics(b, 0);
    /* Written beside it and renamed: a reader never sees half of it. */
    if (!g_file_set_contents_full(b->opt.metrics_file, text->str, text->len,
                                  G_FILE_SET_CONTENTS_CONSISTENT, 0644,
                                  &err)) {
        if (!failed) {
            warn_report("cannot write the metrics: %s", err->message);
        }
        g_error_free(err);
    }
    failed = err != NULL;
}
