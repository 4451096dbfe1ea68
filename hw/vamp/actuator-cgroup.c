/*
 * VAMP actuator "cgroup": each vCPU thread in a group with a weight
 *
 * Either the group that libvirt has made for the vCPU, or one that we make
 * below the group that the thread is in.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "hw/vamp/cgroup-group.h"
#include "hw/vamp/probe-util.h"

#define NR_CLASSES      (VAMP_CLASS_BACKGROUND + 1)
#define WEIGHT_DIGITS   20
#define RATIO_WORDS     (VAMP_RATIO_MAX / 64 + 1)

typedef struct CgroupVcpu {
    /* Written by the main thread, read by apply(): atomic accesses. */
    int fd;                     /* of the weight file; -1: no thread */
    uint32_t weight[NR_CLASSES];
    uint32_t neutral;           /* weight in the neutral class */
    uint64_t ratios[RATIO_WORDS];   /* bitmap: ratios that have been in use */

    /* Main thread only. */
    pid_t tid;
    char *dir;                  /* the thread's group */
    VampCgroupParent *parent;   /* NULL: the group is not ours (libvirt's) */
} CgroupVcpu;

typedef struct VampActuatorCgroup {
    VampActuator actuator;
    VampCgroups *cg;
    char *main_dir;
    unsigned ratio;
    unsigned max_vcpus;
    CgroupVcpu vcpu[];
} VampActuatorCgroup;

/*
 * A lone thread in a group of this weight gets what it would get beside the
 * group: the kernel takes cpu.shares 1024 and cpu.weight 100 for the load of
 * one thread at nice 0. Inside, a nice value has nobody to count against, so
 * the group takes over its part.
 */
static uint64_t neutral_weight(const VampCgroups *cg, int nice)
{
    uint64_t load = vamp_nice_to_weight(nice);

    if (cg->version == 2) {
        load = (load * 100 + 512) / 1024;
    }
    return MIN(MAX(load, cg->weight_min), cg->weight_max);
}

/* Signal-safe, unlike snprintf(). Returns the first digit. */
static const char *format_weight(char buf[WEIGHT_DIGITS], uint32_t weight,
                                 size_t *len)
{
    char *p = buf + WEIGHT_DIGITS;

    do {
        *--p = '0' + weight % 10;
        weight /= 10;
    } while (weight);
    *len = buf + WEIGHT_DIGITS - p;
    return p;
}

static int write_weight(int fd, uint32_t weight)
{
    char buf[WEIGHT_DIGITS];
    size_t len;
    const char *text = format_weight(buf, weight, &len);
    ssize_t n;

    do {
        n = pwrite(fd, text, len, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    return n == len ? 0 : -EIO;
}

static int read_weight(int fd, uint64_t *weight)
{
    char buf[32];
    ssize_t n;

    do {
        n = pread(fd, buf, sizeof(buf) - 1, 0);
    } while (n < 0 && errno == EINTR);
    if (n < 0) {
        return -errno;
    }
    buf[n] = 0;
    if (n && buf[n - 1] == '\n') {
        buf[n - 1] = 0;
    }
    return qemu_strtou64(buf, NULL, 10, weight);
}

/*
 * Could it be us who wrote @weight? Signal-safe; a few hundred ns for the first
 * look at a value of a former ratio or a stranger's, none for the present ones.
 */
static bool weight_is_ours(const VampCgroups *cg, const CgroupVcpu *v,
                           uint64_t weight)
{
    for (unsigned i = 0; i < NR_CLASSES; i++) {
        if (weight == qatomic_read(&v->weight[i])) {
            return true;
        }
    }
    for (unsigned r = VAMP_RATIO_MIN; r <= VAMP_RATIO_MAX; r++) {
        uint64_t interactive, background;

        if (qatomic_read(&v->ratios[r / 64]) & 1ULL << r % 64 &&
            vamp_ratio_to_weights(r, v->neutral, cg->weight_min,
                                  cg->weight_max, &interactive, &background) &&
            (weight == interactive || weight == background)) {
            return true;
        }
    }
    return false;
}

static int open_weight(const VampCgroups *cg, const char *dir, Error **errp)
{
    g_autofree char *name = g_strdup_printf("%s/%s", dir, cg->weight_file);
    int fd = open(name, O_RDWR | O_CLOEXEC);

    if (fd < 0) {
        vamp_cgroup_error(errp, errno, "open", dir, cg->weight_file);
    }
    return fd;
}

/*
 * Opens the weight file of a group that is not ours, and proves that it takes
 * writes, by writing what it has. Returns the file descriptor or -1.
 */
static int open_found(const VampCgroups *cg, const char *dir, uint64_t *weight,
                      Error **errp)
{
    g_autofree char *idle = NULL;
    int fd, ret;

    if (vamp_cgroup_read(dir, "cpu.idle", &idle) == 0 && strcmp(idle, "0")) {
        error_setg(errp, "%s/cpu.idle is %s: the group has no weight then (0 "
                   "would be needed)", dir, idle);
        return -1;
    }
    fd = open_weight(cg, dir, errp);
    if (fd < 0) {
        return -1;
    }
    ret = read_weight(fd, weight);
    if (ret < 0) {
        vamp_cgroup_error(errp, -ret, "read a weight from", dir,
                          cg->weight_file);
    } else if (*weight < cg->weight_min || *weight > cg->weight_max) {
        error_setg(errp, "%s/%s is %" PRIu64 " (%" PRIu64 " to %" PRIu64
                   " would be valid)", dir, cg->weight_file, *weight,
                   cg->weight_min, cg->weight_max);
    } else {
        ret = write_weight(fd, *weight);
        if (ret == 0) {
            return fd;
        }
        vamp_cgroup_error(errp, -ret, "write a weight to", dir,
                          cg->weight_file);
    }
    close(fd);
    return -1;
}

/* Folder of the group that @tid is in. */
static char *thread_dir(const VampCgroups *cg, pid_t tid, Error **errp)
{
    g_autofree char *path = vamp_cgroup_path(cg, 0, tid, errp);

    return path ? vamp_cgroup_dir(cg, path, errp) : NULL;
}

/* Goes through everything that attach, apply and detach will do in @dir. */
static bool try_children(VampCgroups *cg, const char *dir, Error **errp)
{
    g_autofree char *name = g_strdup_printf("vamp-%d-probe", (int)getpid());
    g_autofree char *child = NULL;
    uint64_t neutral = neutral_weight(cg, 0);
    VampScratchThread *scratch = NULL;
    VampCgroupParent *parent;
    int fd = -1, ret;
    bool ok = false;

    parent = vamp_cgroup_parent_get(cg, dir, errp);
    if (!parent) {
        return false;
    }
    child = vamp_cgroup_child_new(cg, parent, name, neutral, errp);
    if (!child) {
        goto out;
    }
    fd = open_weight(cg, child, errp);
    scratch = fd < 0 ? NULL : vamp_scratch_start(errp);
    if (!scratch ||
        !vamp_cgroup_move(cg, child, vamp_scratch_tid(scratch), errp)) {
        goto out;
    }
    ret = write_weight(fd, cg->weight_min);
    ret = ret ?: write_weight(fd, neutral);
    if (ret < 0) {
        vamp_cgroup_error(errp, -ret, "write a weight to", child,
                          cg->weight_file);
        goto out;
    }
    ok = vamp_cgroup_move(cg, dir, vamp_scratch_tid(scratch), errp);

out:
    vamp_scratch_stop(scratch);
    if (fd >= 0) {
        close(fd);
    }
    /* The first failure is the reason. */
    if (child && !vamp_cgroup_child_del(cg, parent, child, ok ? errp : NULL)) {
        ok = false;
    }
    if (!vamp_cgroup_parent_put(cg, parent, ok ? errp : NULL)) {
        ok = false;
    }
    return ok;
}

static bool cgroup_probe(const VampHostPaths *paths, const pid_t *tids,
                         unsigned n, Error **errp)
{
    g_autoptr(VampCgroups) cg = NULL;
    g_autoptr(GPtrArray) tried = g_ptr_array_new_with_free_func(g_free);
    g_autofree char *main_dir = NULL;
    unsigned i;

    if (!vamp_threads_check(tids, n, errp)) {
        return false;
    }
    cg = vamp_cgroups_new(paths, "cpu", errp);
    if (!cg) {
        return false;
    }
    /* May fail for a manager's own layout; only then is it missed below. */
    main_dir = thread_dir(cg, getpid(), n ? NULL : errp);
    if (!n) {
        return main_dir && try_children(cg, main_dir, errp);
    }

    for (i = 0; i < n; i++) {
        g_autofree char *dir = thread_dir(cg, tids[i], errp);
        uint64_t weight;

        if (!dir) {
            return false;
        }
        if (vamp_cgroup_is_own(cg, dir, main_dir ?: "", tids[i])) {
            int fd = open_found(cg, dir, &weight, errp);

            if (fd < 0) {
                return false;
            }
            close(fd);
        } else if (!g_ptr_array_find_with_equal_func(tried, dir, g_str_equal,
                                                     NULL)) {
            if (!try_children(cg, dir, errp)) {
                return false;
            }
            g_ptr_array_add(tried, g_steal_pointer(&dir));
        }
    }
    return true;
}

static VampActuator *cgroup_open(const VampHostPaths *paths,
                                 unsigned max_vcpus, unsigned ratio,
                                 Error **errp)
{
    VampCgroups *cg = vamp_cgroups_new(paths, "cpu", errp);
    VampActuatorCgroup *a;
    unsigned i;

    if (!cg) {
        return NULL;
    }
    a = g_malloc0(sizeof(*a) + max_vcpus * sizeof(a->vcpu[0]));
    a->actuator.klass = &vamp_actuator_cgroup;
    a->cg = cg;
    a->main_dir = thread_dir(cg, getpid(), NULL);
    a->ratio = ratio;
    a->max_vcpus = max_vcpus;
    for (i = 0; i < max_vcpus; i++) {
        a->vcpu[i].fd = -1;
    }
    if (a->main_dir) {
        vamp_cgroup_sweep(a->main_dir);
    }
    return &a->actuator;
}

/* Sets what the classes mean for @v. */
static bool cgroup_set_weights(VampActuatorCgroup *a, CgroupVcpu *v,
                               unsigned ratio, Error **errp)
{
    uint64_t interactive, background;
    uint32_t w[NR_CLASSES];

    if (!vamp_ratio_to_weights(ratio, v->neutral, a->cg->weight_min,
                               a->cg->weight_max, &interactive, &background)) {
        error_setg(errp, "ratio %u does not fit between the weights %" PRIu64
                   " and %" PRIu64, ratio, a->cg->weight_min,
                   a->cg->weight_max);
        return false;
    }
    w[VAMP_CLASS_NEUTRAL] = v->neutral;
    w[VAMP_CLASS_INTERACTIVE] = interactive;
    w[VAMP_CLASS_BACKGROUND] = background;
    /* What apply() writes must be known as ours by then. */
    qatomic_set(&v->ratios[ratio / 64],
                v->ratios[ratio / 64] | 1ULL << ratio % 64);
    /* The bit is seen before the weights. */
    smp_wmb();
    qatomic_set(&v->weight[VAMP_CLASS_NEUTRAL], w[VAMP_CLASS_NEUTRAL]);
    qatomic_set(&v->weight[VAMP_CLASS_INTERACTIVE], w[VAMP_CLASS_INTERACTIVE]);
    qatomic_set(&v->weight[VAMP_CLASS_BACKGROUND], w[VAMP_CLASS_BACKGROUND]);
    return true;
}

/* Makes the group for @v below @dir and moves its thread in. */
static int attach_child(VampActuatorCgroup *a, unsigned vcpu, const char *dir,
                        Error **errp)
{
    CgroupVcpu *v = &a->vcpu[vcpu];
    g_autofree char *name = g_strdup_printf("vamp-%d-vcpu%u", (int)getpid(),
                                            vcpu);
    int nice, fd;

    if (!vamp_thread_nice(v->tid, &nice, errp)) {
        return -1;
    }
    v->neutral = neutral_weight(a->cg, nice);
    if (!cgroup_set_weights(a, v, a->ratio, errp)) {
        return -1;
    }
    vamp_cgroup_sweep(dir);
    v->parent = vamp_cgroup_parent_get(a->cg, dir, errp);
    if (!v->parent) {
        return -1;
    }
    v->dir = vamp_cgroup_child_new(a->cg, v->parent, name, v->neutral, errp);
    if (!v->dir) {
        goto fail_parent;
    }
    fd = open_weight(a->cg, v->dir, errp);
    if (fd < 0) {
        goto fail_child;
    }
    /* Last: this is the one step that touches the thread. */
    if (!vamp_cgroup_move(a->cg, v->dir, v->tid, errp)) {
        close(fd);
        goto fail_child;
    }
    return fd;

fail_child:
    vamp_cgroup_child_del(a->cg, v->parent, v->dir, NULL);
fail_parent:
    vamp_cgroup_parent_put(a->cg, v->parent, NULL);
    return -1;
}

static int attach_found(VampActuatorCgroup *a, CgroupVcpu *v, const char *dir,
                        Error **errp)
{
    uint64_t weight;
    int fd = open_found(a->cg, dir, &weight, errp);

    if (fd < 0) {
        return -1;
    }
    v->neutral = weight;
    if (!cgroup_set_weights(a, v, a->ratio, errp)) {
        close(fd);
        return -1;
    }
    v->dir = g_strdup(dir);
    return fd;
}

static void vcpu_clear(CgroupVcpu *v)
{
    g_clear_pointer(&v->dir, g_free);
    memset(v->ratios, 0, sizeof(v->ratios));
    v->parent = NULL;
    v->tid = 0;
}

static bool cgroup_attach(VampActuator *act, unsigned vcpu, pid_t tid,
                          Error **errp)
{
    VampActuatorCgroup *a = container_of(act, VampActuatorCgroup, actuator);
    g_autofree char *dir = NULL;
    CgroupVcpu *v;
    unsigned i;
    int fd;

    if (vcpu >= a->max_vcpus) {
        error_setg(errp, "vCPU %u is beyond the last one, %u", vcpu,
                   a->max_vcpus - 1);
        return false;
    }
    v = &a->vcpu[vcpu];
    if (v->tid) {
        error_setg(errp, "vCPU %u already has thread %d", vcpu, (int)v->tid);
        return false;
    }
    for (i = 0; i < a->max_vcpus; i++) {
        pid_t pair[] = { a->vcpu[i].tid, tid };

        if (a->vcpu[i].tid == tid) {
            return vamp_threads_check(pair, 2, errp);
        }
    }
    if (!vamp_thread_check(tid, errp)) {
        return false;
    }
    dir = thread_dir(a->cg, tid, errp);
    if (!dir) {
        return false;
    }

    v->tid = tid;
    if (vamp_cgroup_is_own(a->cg, dir, a->main_dir ?: "", tid)) {
        fd = attach_found(a, v, dir, errp);
    } else {
        fd = attach_child(a, vcpu, dir, errp);
    }
    if (fd < 0) {
        vcpu_clear(v);
        return false;
    }
    qatomic_store_release(&v->fd, fd);
    return true;
}

static void restore_found(const VampCgroups *cg, CgroupVcpu *v, int fd,
                          Error **errp)
{
    uint64_t now;
    int ret = read_weight(fd, &now);

    if (ret == 0 && now != v->neutral && weight_is_ours(cg, v, now)) {
        ret = write_weight(fd, v->neutral);
    }
    /* No match: somebody else's choice stays. ENODEV: gone with the VM. */
    if (ret < 0 && ret != -ENODEV) {
        error_setg_errno(errp, -ret, "cannot put the weight of %s back to %u",
                         v->dir, v->neutral);
    }
}

static void cgroup_detach(VampActuator *act, unsigned vcpu)
{
    VampActuatorCgroup *a = container_of(act, VampActuatorCgroup, actuator);
    Error *err = NULL;
    CgroupVcpu *v;
    int fd;

    if (vcpu >= a->max_vcpus || !a->vcpu[vcpu].tid) {
        return;
    }
    v = &a->vcpu[vcpu];
    fd = v->fd;
    qatomic_set(&v->fd, -1);

    if (v->parent) {
        bool ok = vamp_cgroup_child_del(a->cg, v->parent, v->dir, &err);

        vamp_cgroup_parent_put(a->cg, v->parent, ok ? &err : NULL);
    } else {
        restore_found(a->cg, v, fd, &err);
    }
    close(fd);
    vcpu_clear(v);
    if (err) {
        warn_reportf_err(err, "vamp: vCPU %u: ", vcpu);
    }
}

static int cgroup_apply(VampActuator *act, unsigned vcpu,
                        enum vamp_class vclass)
{
    VampActuatorCgroup *a = container_of(act, VampActuatorCgroup, actuator);
    int saved_errno = errno;
    CgroupVcpu *v;
    uint64_t now;
    int fd, ret;

    if (vcpu >= a->max_vcpus || (unsigned)vclass >= NR_CLASSES) {
        return -EINVAL;
    }
    v = &a->vcpu[vcpu];
    fd = qatomic_load_acquire(&v->fd);
    if (fd < 0) {
        return -ESRCH;
    }
    ret = read_weight(fd, &now);
    /* Somebody else's choice stays. */
    if (ret == 0 && weight_is_ours(a->cg, v, now)) {
        ret = write_weight(fd, qatomic_read(&v->weight[vclass]));
    }
    errno = saved_errno;        /* of the code that the signal interrupted */
    return ret;
}

static bool cgroup_set_ratio(VampActuator *act, unsigned ratio, Error **errp)
{
    VampActuatorCgroup *a = container_of(act, VampActuatorCgroup, actuator);
    unsigned i;

    for (i = 0; i < a->max_vcpus; i++) {
        if (a->vcpu[i].tid &&
            !cgroup_set_weights(a, &a->vcpu[i], ratio, errp)) {
            /* Does not happen: the range is wider than any ratio. */
            return false;
        }
    }
    a->ratio = ratio;
    return true;
}

static void cgroup_describe(VampActuator *act, unsigned vcpu,
                            VampActuation *out)
{
    VampActuatorCgroup *a = container_of(act, VampActuatorCgroup, actuator);
    CgroupVcpu *v;

    memset(out, 0, sizeof(*out));
    if (vcpu >= a->max_vcpus || !a->vcpu[vcpu].tid) {
        return;
    }
    v = &a->vcpu[vcpu];
    out->has_nice = vamp_thread_nice(v->tid, &out->nice, NULL);
    out->has_weight = read_weight(v->fd, &out->weight) == 0;
    out->cgroup = vamp_cgroup_path(a->cg, 0, v->tid, NULL);
}

static void cgroup_close(VampActuator *act)
{
    VampActuatorCgroup *a = container_of(act, VampActuatorCgroup, actuator);
    unsigned i;

    if (!act) {
        return;
    }
    for (i = 0; i < a->max_vcpus; i++) {
        cgroup_detach(act, i);
    }
    vamp_cgroups_free(a->cg);
    g_free(a->main_dir);
    g_free(a);
}

const VampActuatorClass vamp_actuator_cgroup = {
    .name = "cgroup",
    .probe = cgroup_probe,
    .open = cgroup_open,
    .attach = cgroup_attach,
    .detach = cgroup_detach,
    .apply = cgroup_apply,
    .set_ratio = cgroup_set_ratio,
    .describe = cgroup_describe,
    .close = cgroup_close,
};
