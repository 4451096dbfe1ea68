/*
 * VAMP: the host's side of interrupts, from /proc and /sys
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "qapi/error.h"
#include "interrupts-host.h"

/*
 * Opened without waiting: where a file is expected there may be a FIFO. A
 * folder opens, but does not read.
 */
#define READ_FLAGS  (O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY)

/*
 * At most @max bytes of @path; NULL with errno set if it cannot be read or has
 * more. Files of /proc have no size: they are read until they end.
 */
static GString *read_bounded(const char *path, size_t max)
{
    g_autoptr(GString) text = g_string_new(NULL);
    char buf[16 * KiB];
    int fd = open(path, READ_FLAGS);
    ssize_t n;
    int err;

    if (fd < 0) {
        return NULL;
    }
    for (;;) {
        n = RETRY_ON_EINTR(read(fd, buf, sizeof(buf)));
        if (n <= 0) {
            break;
        }
        if (text->len + n > max) {
            n = -1;
            errno = EFBIG;
            break;
        }
        g_string_append_len(text, buf, n);
    }
    err = errno;
    close(fd);
    errno = err;
    return n < 0 ? NULL : g_steal_pointer(&text);
}

static int compare_irqs(const void *a, const void *b)
{
    return vamp_procirq_compare(a, b);
}

bool vamp_host_irqs_read(const char *root, VampHostIrqs *irqs, Error **errp)
{
    g_autofree char *path = g_strdup_printf("%s/interrupts", root);
    g_autoptr(GString) text = read_bounded(path, VAMP_HOST_INTERRUPTS_MAX);

    memset(irqs, 0, sizeof(*irqs));
    if (!text) {
        error_setg_errno(errp, errno, "cannot read %s", path);
        return false;
    }
    irqs->n = vamp_procirq_parse(text->str, text->len, NULL, 0);
    irqs->irq = g_new0(struct vamp_procirq, irqs->n);
    vamp_procirq_parse(text->str, text->len, irqs->irq, irqs->n);
    if (irqs->n) {
        qsort(irqs->irq, irqs->n, sizeof(*irqs->irq), compare_irqs);
    }
    return true;
}

void vamp_host_irqs_free(VampHostIrqs *irqs)
{
    g_free(irqs->irq);
    memset(irqs, 0, sizeof(*irqs));
}

const struct vamp_procirq *
vamp_host_irqs_find(const VampHostIrqs *irqs, const struct vamp_procirq *key)
{
    if (!irqs->n) {
        return NULL;
    }
    return bsearch(key, irqs->irq, irqs->n, sizeof(*irqs->irq), compare_irqs);
}

char *vamp_host_irq_cpus(const char *root, unsigned irq, const char *file,
                         Error **errp)
{
    g_autofree char *path = g_strdup_printf("%s/irq/%u/%s", root, irq, file);
    g_autoptr(GString) text = read_bounded(path, 64 * KiB);

    if (!text) {
        error_setg_errno(errp, errno, "cannot read %s", path);
        return NULL;
    }
    if (text->len && text->str[text->len - 1] == '\n') {
        g_string_truncate(text, text->len - 1);
    }
    if (!vamp_procirq_is_cpulist(text->str, text->len)) {
        error_setg(errp, "%s is not a list of CPUs", path);
        return NULL;
    }
    return g_strdup(text->str);
}

int vamp_host_irq_set_cpus(const char *root, unsigned irq, const char *cpus)
{
    g_autofree char *path = g_strdup_printf("%s/irq/%u/smp_affinity_list",
                                            root, irq);
    g_autofree char *line = g_strdup_printf("%s\n", cpus);
    int fd = open(path, O_WRONLY | O_TRUNC | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t n;
    int ret;

    if (fd < 0) {
        return -errno;
    }
    /* One write: the kernel takes each as a whole list. */
    n = RETRY_ON_EINTR(write(fd, line, strlen(line)));
    ret = n < 0 ? -errno : n == strlen(line) ? 0 : -EIO;
    close(fd);
    return ret;
}

/* A boolean parameter of a module: 'y', 'n', or 0 if there is none. */
static char module_parameter(const char *sys_root, const char *name)
{
    g_autofree char *path = g_strdup_printf("%s/module/%s", sys_root, name);
    g_autoptr(GString) text = read_bounded(path, 64);

    if (!text || !text->len) {
        return 0;
    }
    switch (text->str[0]) {
    case 'Y':
    case 'y':
    case '1':
        return 'y';
    case 'N':
    case 'n':
    case '0':
        return 'n';
    default:
        return 0;
    }
}

char vamp_host_kvm_injection(const char *sys_root, char **reason)
{
    static const struct {
        const char *module, *file;
        char means;
    } known[] = {
        { "kvm_intel", "enable_apicv", 'p' },
        { "kvm_amd", "avic", 'a' },
    };

    for (size_t i = 0; i < G_N_ELEMENTS(known); i++) {
        g_autofree char *name = g_strdup_printf("%s/parameters/%s",
                                                known[i].module, known[i].file);
        char value = module_parameter(sys_root, name);

        if (value == 'y') {
            *reason = g_strdup_printf("%s=Y of %s; KVM can still turn it off "
                                      "for a VM, and does not tell",
                                      known[i].file, known[i].module);
            return known[i].means;
        }
        if (value == 'n') {
            *reason = g_strdup_printf("%s=N of %s", known[i].file,
                                      known[i].module);
            return 'n';
        }
    }
    *reason = g_strdup_printf("%s/module has neither kvm_intel's enable_apicv "
                              "nor kvm_amd's avic", sys_root);
    return '?';
}
