/*
 * VAMP: the osnet-cpumap object
 *
 * One per VM. The text of the map is read when the object is made; whether
 * it fits the machine and the host is known when the machine is done, and
 * then either all of it is put in force or nothing.
 *
 * Direct interrupt delivery and irq-affinity=follow build on this object:
 * they ask vamp_cpumap_cpu_of(), and have to be told in vamp_cpumap_replace()
 * and cpumap_stop() that its answers have changed.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/syscall.h>
#include "qapi/error.h"
#include "qemu/error-report.h"
#include "qemu/module.h"
#include "qemu/uuid.h"
#include "qom/object_interfaces.h"
#include "hw/boards.h"
#include "hw/core/cpu.h"
#include "hw/vamp/cpumap.h"
#include "hw/vamp/interrupts.h"
#include "hw/vamp/probe-util.h"
#include "system/qtest.h"
#include "system/system.h"
#include "cpumap-int.h"
#include "vamp-int.h"
#include "trace.h"

#define HOST_LOCK_DIR   "/run/vamp"

static OsnetCpumap *the_cpumap;

OsnetCpumap *vamp_cpumap_get(void)
{
    return the_cpumap;
}

int vamp_cpumap_cpu_of(int vcpu)
{
    const struct vamp_cpumap_entry *entry = NULL;

    if (the_cpumap && the_cpumap->running && vcpu >= 0) {
        entry = vamp_cpumap_find(the_cpumap->now.map, vcpu);
    }
    return entry ? entry->cpu : -1;
}

void vamp_placement_clear(VampPlacement *placement)
{
    vamp_cpumap_free(placement->map);
    g_free(placement->emulator);
    g_free(placement->iothreads);
    memset(placement, 0, sizeof(*placement));
}

/* --- locks ---------------------------------------------------------------- */

/* Who we are, for the error message of another VM. Ends with "pid N". */
static char *holder_text(void)
{
    const char *name = qemu_get_vm_name();
    g_autofree char *uuid = qemu_uuid_set ?
                            qemu_uuid_unparse_strdup(&qemu_uuid) : NULL;

    return g_strdup_printf("%s%.128s%s%s%s, pid %d", name ? "'" : "",
                           name ?: "without a name", name ? "'" : "",
                           uuid ? ", uuid " : "", uuid ?: "", (int)getpid());
}

static void open_locks(OsnetCpumap *c)
{
    const char *run = getenv("XDG_RUNTIME_DIR");
    const char *host_dir = HOST_LOCK_DIR;
    g_autofree char *user_dir = NULL;
    g_autofree char *holder = holder_text();
    Error *err = NULL;

    if (run && g_path_is_absolute(run)) {
        user_dir = g_build_filename(run, "vamp", NULL);
    }
    if ((qtest_enabled() || qtest_driver()) && getenv("VAMP_QTEST_LOCKS")) {
        host_dir = getenv("VAMP_QTEST_LOCKS");
    }
    c->locks = vamp_locks_open(host_dir, user_dir, holder, &c->host_wide,
                               &err);
    if (!c->locks) {
        c->lock_reason = g_strdup_printf("other VMs are not kept off these "
            "host CPUs: %s (%s, which root can make, would be needed)",
            error_get_pretty(err), host_dir);
        error_free(err);
    } else if (!c->host_wide) {
        c->lock_reason = g_strdup_printf("only VMs of user %u are kept off "
            "these host CPUs, their locks are in %s (%s, which root can make, "
            "would be needed)", (unsigned)geteuid(), vamp_locks_dir(c->locks),
            host_dir);
    }
}

static char *claimed_by(void *opaque, unsigned cpu)
{
    OsnetCpumap *c = opaque;

    return c->locks ? vamp_locks_holder(c->locks, cpu) : NULL;
}

static void mapped_cpus(const VampCpumap *map, VampCpus *cpus)
{
    bitmap_zero(cpus->bits, VAMP_CPUS_MAX);
    for (unsigned i = 0; map && i < map->n; i++) {
        set_bit(map->entry[i].cpu, cpus->bits);
    }
}

/* --- warnings ------------------------------------------------------------- */

static void warn_overlap(GPtrArray *out, const char *name,
                         const char *given, const VampCpus *cpus,
                         const VampCpus *mapped)
{
    VampCpus both;

    if (given && bitmap_and(both.bits, cpus->bits, mapped->bits,
                            VAMP_CPUS_MAX)) {
        g_autofree char *list = vamp_cpus_format(&both);

        g_ptr_array_add(out, g_strdup_printf("%s=%s: its threads compete with "
            "vCPUs on host CPU %s", name, given, list));
    }
}

GPtrArray *vamp_cpumap_all_warnings(OsnetCpumap *c, const VampHostCpus *host)
{
    VampPlacement *p = &c->now;
    GPtrArray *out = vamp_cpumap_warnings(&vamp_cpu_paths, host, p->map->entry,
                                          p->map->n, claimed_by, c);
    VampCpus mapped;

    mapped_cpus(p->map, &mapped);
    warn_overlap(out, "emulator", p->emulator, &p->emulator_cpus, &mapped);
    warn_overlap(out, "iothreads", p->iothreads, &p->iothread_cpus, &mapped);
    if (c->lock_reason) {
        g_ptr_array_add(out, g_strdup(c->lock_reason));
    }
    return out;
}

static void report_warnings(OsnetCpumap *c, const VampHostCpus *host)
{
    g_autoptr(GPtrArray) list = vamp_cpumap_all_warnings(c, host);

    for (unsigned i = 0; i < list->len; i++) {
        warn_report("osnet-cpumap: %s", (char *)g_ptr_array_index(list, i));
    }
}

/* --- putting a map in force ----------------------------------------------- */

static bool placement_valid(OsnetCpumap *c, const VampPlacement *p,
                            const VampHostCpus *host, Error **errp)
{
    return vamp_cpumap_valid(p->map, host, c->max_vcpus, c->strict, c->shared,
                             errp) &&
           (!p->emulator ||
            vamp_cpus_valid(&p->emulator_cpus, host, "emulator", errp)) &&
           (!p->iothreads ||
            vamp_cpus_valid(&p->iothread_cpus, host, "iothreads", errp));
}

/*
 * A thread that is not pinned yet may create another while the list is worked
 * off. Only helpers can: vCPUs and IOThreads are made under the BQL. So the
 * first turn decides, and what a later one cannot do is left to the query.
 */
static bool pin_all(OsnetCpumap *c, const VampPlacement *p, Error **errp)
{
    unsigned count = 0, turn;

    for (turn = 0; turn < 4; turn++) {
        g_autoptr(GPtrArray) threads = vamp_cpumap_threads(p);

        if (!vamp_pins_apply(c->pins, threads, turn ? NULL : errp)) {
            return turn > 0;
        }
        vamp_pins_keep(c->pins, threads);
        if (threads->len == count) {
            break;
        }
        count = threads->len;
    }
    return true;
}

bool vamp_cpumap_replace(OsnetCpumap *c, VampPlacement *next, Error **errp)
{
    VampCpus wanted, added = { }, unused;
    VampHostCpus host;

    if (!vamp_host_cpus_read(&host, &vamp_cpu_paths, errp) ||
        !placement_valid(c, next, &host, errp)) {
        return false;
    }
    mapped_cpus(next->map, &wanted);
    if (c->locks && !vamp_locks_take(c->locks, &wanted, &added, errp)) {
        return false;
    }
    if (!pin_all(c, next, errp)) {
        if (c->locks) {
            vamp_locks_drop(c->locks, &added);
        }
        return false;
    }
    if (c->locks) {
        bitmap_complement(unused.bits, wanted.bits, VAMP_CPUS_MAX);
        vamp_locks_drop(c->locks, &unused);
    }
    if (next != &c->now) {
        vamp_placement_clear(&c->now);
        c->now = *next;
        memset(next, 0, sizeof(*next));
    }
    for (unsigned i = 0; i < c->now.map->n; i++) {
        trace_vamp_cpumap(c->now.map->entry[i].vcpu, c->now.map->entry[i].cpu);
    }
    report_warnings(c, &host);
    vamp_irq_follow_update();
    return true;
}

/* --- hotplug -------------------------------------------------------------- */

static void device_realized(DeviceListener *listener, DeviceState *dev)
{
    OsnetCpumap *c = container_of(listener, OsnetCpumap, listener);
    CPUState *cpu = (CPUState *)object_dynamic_cast(OBJECT(dev), TYPE_CPU);
    g_autoptr(GPtrArray) threads = NULL;
    Error *err = NULL;

    if (!cpu && !c->now.iothreads && !c->now.emulator) {
        return;
    }
    threads = g_ptr_array_new_with_free_func(vamp_thread_free);
    if (cpu) {
        vamp_cpumap_add_vcpu(threads, &c->now, cpu);
    } else {
        /* It may be the first one of a new IOThread. */
        vamp_cpumap_add_iothreads(threads, &c->now);
    }
    if (!vamp_pins_apply(c->pins, threads, &err)) {
        /* The device works, only not where the map wants it. */
        warn_reportf_err(err, "osnet-cpumap: ");
    }
}

static void device_unrealized(DeviceListener *listener, DeviceState *dev)
{
    OsnetCpumap *c = container_of(listener, OsnetCpumap, listener);
    CPUState *cpu = (CPUState *)object_dynamic_cast(OBJECT(dev), TYPE_CPU);

    if (cpu) {
        /* The thread has ended. Its number may be given to another one. */
        vamp_pins_forget(c->pins, cpu->thread_id);
    }
}

/* --- the VM runs ---------------------------------------------------------- */

static void forget_vmstate(OsnetCpumap *c)
{
    if (c->vmstate) {
        qemu_del_vm_change_state_handler(c->vmstate);
        c->vmstate = NULL;
    }
}

/*
 * libvirt starts QEMU stopped, moves each of its threads to a cpuset of its
 * own, and lets the VM run. With cgroup v1 that undoes every affinity, also
 * where no pinning has been asked of libvirt (seen with 9.0). Only once: who
 * changes a thread of a VM that has run means it.
 */
static void vm_state_changed(void *opaque, bool running, RunState state)
{
    OsnetCpumap *c = opaque;
    g_autoptr(GPtrArray) threads = NULL;
    Error *err = NULL;

    if (!running) {
        return;
    }
    forget_vmstate(c);
    threads = vamp_cpumap_threads(&c->now);
    if (!vamp_pins_renew(c->pins, threads, &err)) {
        warn_reportf_err(err, "osnet-cpumap: ");
    }
}

/* --- life ----------------------------------------------------------------- */

/* Runs in a forked child: what vamp_affinity_set() does, on itself. */
static void try_affinity(void)
{
    static VampCpus cpus;

    if (syscall(SYS_sched_getaffinity, 0, sizeof(cpus.bits), cpus.bits) > 0) {
        syscall(SYS_sched_setaffinity, 0, sizeof(cpus.bits), cpus.bits);
    }
}

static bool cpumap_start(OsnetCpumap *c, Error **errp)
{
    const char *unfit = vamp_machine_unfit();

    if (unfit) {
        error_setg(errp, "osnet-cpumap cannot be used: %s", unfit);
        return false;
    }
    if (!vamp_seccomp_check(&vamp_cpu_paths.host, "osnet-cpumap",
                            try_affinity, errp)) {
        return false;
    }
    c->max_vcpus = current_machine->smp.max_cpus;
    c->pins = vamp_pins_new(&vamp_cpu_paths);
    open_locks(c);
    if ((c->follow && !vamp_irq_follow_start(errp)) ||
        !vamp_cpumap_replace(c, &c->now, errp)) {
        vamp_irq_follow_stop();
        vamp_locks_close(c->locks);
        vamp_pins_free(c->pins);
        c->locks = NULL;
        c->pins = NULL;
        return false;
    }
    c->running = true;
    c->listener.realize = device_realized;
    c->listener.unrealize = device_unrealized;
    device_listener_register(&c->listener);
    if (!runstate_is_running()) {
        c->vmstate = qemu_add_vm_change_state_handler(vm_state_changed, c);
    }
    return true;
}

static void cpumap_stop(OsnetCpumap *c)
{
    g_autoptr(GArray) tids = NULL;

    if (!c->running) {
        return;
    }
    device_listener_unregister(&c->listener);
    forget_vmstate(c);
    vamp_irq_follow_stop();
    /* While QEMU ends, vCPUs and IOThreads may be in pieces already. */
    tids = vamp_cpumap_tids();
    vamp_pins_restore(c->pins, tids);
    /* Only now: another VM may take the CPUs at once. */
    vamp_locks_close(c->locks);
    vamp_pins_free(c->pins);
    c->locks = NULL;
    c->pins = NULL;
    c->running = false;
}

static void machine_done(Notifier *notifier, void *data)
{
    OsnetCpumap *c = container_of(notifier, OsnetCpumap, machine_done);
    Error *err = NULL;

    /* From the command line. complete() starts it later on. */
    if (!c->running && !cpumap_start(c, &err)) {
        error_report_err(err);
        exit(1);
    }
}

static void exiting(Notifier *notifier, void *data)
{
    cpumap_stop(container_of(notifier, OsnetCpumap, exit_notifier));
}

static bool read_properties(OsnetCpumap *c, Error **errp)
{
    VampPlacement *p = &c->now;

    if (c->path && c->pairs) {
        error_setg(errp, "osnet-cpumap has both path=%.256s and map=%.64s, and "
                   "only one of them is valid", c->path, c->pairs);
        return false;
    }
    if (!c->path && !c->pairs) {
        error_setg(errp, "osnet-cpumap has no map, path=FILE or "
                   "map=VCPU-CPU[,VCPU-CPU...] is needed");
        return false;
    }
    if ((p->emulator && !vamp_cpus_parse(&p->emulator_cpus, "emulator",
                                         p->emulator, errp)) ||
        (p->iothreads && !vamp_cpus_parse(&p->iothread_cpus, "iothreads",
                                          p->iothreads, errp))) {
        return false;
    }
    p->map = c->path ? vamp_cpumap_from_file(c->path, errp) :
             vamp_cpumap_from_pairs(c->pairs, errp);
    return p->map;
}

static void osnet_cpumap_complete(UserCreatable *uc, Error **errp)
{
    OsnetCpumap *c = OSNET_CPUMAP(uc);

    if (the_cpumap) {
        error_setg(errp, "there is an osnet-cpumap object already ('%s'), and "
                   "a VM has only one", the_cpumap->id);
        return;
    }
    if (!read_properties(c, errp)) {
        return;
    }
    if (phase_check(PHASE_MACHINE_READY) && !cpumap_start(c, errp)) {
        return;
    }
    the_cpumap = c;
    c->complete = true;
    c->id = g_strdup(object_get_canonical_path_component(OBJECT(c)));
    c->exit_notifier.notify = exiting;
    qemu_add_exit_notifier(&c->exit_notifier);
    c->machine_done.notify = machine_done;
    /* Called at once if the machine is done. */
    qemu_add_machine_init_done_notifier(&c->machine_done);
}

static void osnet_cpumap_finalize(Object *obj)
{
    OsnetCpumap *c = OSNET_CPUMAP(obj);

    if (c->complete) {
        cpumap_stop(c);
        qemu_remove_machine_init_done_notifier(&c->machine_done);
        qemu_remove_exit_notifier(&c->exit_notifier);
        the_cpumap = NULL;
    }
    vamp_placement_clear(&c->now);
    g_free(c->lock_reason);
    g_free(c->path);
    g_free(c->pairs);
    g_free(c->id);
}

static void osnet_cpumap_class_init(ObjectClass *oc, void *data)
{
    UserCreatableClass *ucc = USER_CREATABLE_CLASS(oc);

    ucc->complete = osnet_cpumap_complete;
    vamp_cpumap_add_properties(oc);
}

static const TypeInfo osnet_cpumap_info = {
    .name = TYPE_OSNET_CPUMAP,
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(OsnetCpumap),
    .instance_finalize = osnet_cpumap_finalize,
    .class_init = osnet_cpumap_class_init,
    .interfaces = (InterfaceInfo[]) {
        { TYPE_USER_CREATABLE },
        { }
    },
};

static void osnet_cpumap_register_types(void)
{
    type_register_static(&osnet_cpumap_info);
}
type_init(osnet_cpumap_register_types)
