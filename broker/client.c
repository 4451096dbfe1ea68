/*
 * --status and --metrics: ask the broker that runs
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/socket.h>
#include <sys/un.h>
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu/vamp-fd.h"
#include "qobject/qdict.h"
#include "qobject/qjson.h"
#include "qobject/qlist.h"
#include "qobject/qstring.h"
#include "broker/broker.h"

/* A report of VAMP_BROKER_THREADS_MAX threads in each of 1000 VMs is less. */
#define REPORT_MAX  (1ull << 30)
#define WAIT_S      10

static int connect_to(const char *name, Error **errp)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    struct timeval wait = { .tv_sec = WAIT_S };
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (strlen(name) >= sizeof(a.sun_path)) {
        error_setg(errp, "the socket's name %s has %zu bytes (at most %zu "
                   "would be valid)", name, strlen(name),
                   sizeof(a.sun_path) - 1);
        goto fail;
    }
    pstrcpy(a.sun_path, sizeof(a.sun_path), name);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0) {
        error_setg_errno(errp, errno, "no broker answers on %s", name);
        goto fail;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    return fd;

fail:
    if (fd >= 0) {
        close(fd);
    }
    return -1;
}

static char *ask(const char *socket_name, enum vamp_broker_format format,
                 Error **errp)
{
    struct vamp_bmsg_status q = {
        .head = {
            .magic = VAMP_BROKER_MAGIC,
            .type = VAMP_BMSG_STATUS,
            .size = sizeof(q),
            .serial = 1,
        },
        .format = format,
    };
    uint64_t buf[VAMP_BMSG_MAX / sizeof(uint64_t)];
    const struct vamp_bmsg_head *head = (const void *)buf;
    int passed = -1, fd = connect_to(socket_name, errp);
    char *text = NULL;
    ssize_t n;

    if (fd < 0) {
        return NULL;
    }
    n = vamp_fd_send(fd, &q, sizeof(q), -1, 0);
    if (n >= 0) {
        n = vamp_fd_receive(fd, buf, sizeof(buf), &passed, 0);
    }
    if (n < 0) {
        error_setg_errno(errp, -n, "the broker on %s does not answer",
                         socket_name);
    } else if (vamp_bmsg_check(buf, n, false) != VAMP_BMSG_FINE) {
        error_setg(errp, "what answers on %s is no broker: %s", socket_name,
                   vamp_bmsg_fault_text(vamp_bmsg_check(buf, n, false)));
    } else if (head->type == VAMP_BMSG_ERROR) {
        error_setg(errp, "the broker on %s refuses: %s", socket_name,
                   ((const struct vamp_bmsg_error *)buf)->text);
    } else if (head->type != VAMP_BMSG_REPORT || passed < 0 ||
               ((const struct vamp_bmsg_report *)buf)->length > REPORT_MAX) {
        error_setg(errp, "the broker on %s answers without a report",
                   socket_name);
    } else {
        size_t length = ((const struct vamp_bmsg_report *)buf)->length;
        size_t done = 0;

        text = g_malloc0(length + 1);
        while (done < length &&
               (n = RETRY_ON_EINTR(pread(passed, text + done, length - done,
                                         done))) > 0) {
            done += n;
        }
    }
    if (passed >= 0) {
        close(passed);
    }
    close(fd);
    return text;
}

static void print_vm(const QDict *vm)
{
    const QList *threads = qdict_get_qlist(vm, "threads");
    const QListEntry *e;
    unsigned vcpus = 0, rr = 0;

    QLIST_FOREACH_ENTRY(threads, e) {
        const QDict *t = qobject_to(QDict, qlist_entry_obj(e));

        vcpus += !strcmp(qdict_get_try_str(t, "role") ?: "", "vcpu");
        rr += !strcmp(qdict_get_try_str(t, "scheduled") ?: "", "rr");
    }
    printf("%-20.20s %8" PRId64 " %-8s %6.1f %7.1f %10.1f %10.1f %6" PRId64
           "/%-6" PRId64 " %5u %3u\n",
           qdict_get_try_str(vm, "name") ?: "",
           qdict_get_try_int(vm, "pid", 0),
           qdict_get_try_str(vm, "state") ?: "",
           qdict_get_try_int(vm, "share-ppm", 0) / 1e4,
           qdict_get_try_int(vm, "debt-ns", 0) / 1e6,
           qdict_get_try_int(vm, "used-ns", 0) / 1e9,
           qdict_get_try_int(vm, "entitled-ns", 0) / 1e9,
           qdict_get_try_int(vm, "weight", 0),
           qdict_get_try_int(vm, "weight-base", 0), vcpus, rr);
    if (*(qdict_get_try_str(vm, "reason") ?: "")) {
        printf("    %s\n", qdict_get_try_str(vm, "reason"));
    }
}

static bool print_table(const char *text)
{
    QDict *all = qobject_to(QDict, qobject_from_json(text, NULL));
    const QDict *host = all ? qdict_get_qdict(all, "host") : NULL;
    const QList *vms = all ? qdict_get_qlist(all, "vms") : NULL;
    const QListEntry *e;

    if (!host || !vms) {
        qobject_unref(all);
        return false;
    }
    printf("%" PRId64 " CPUs, a step every %" PRId64 " ms%s, cgroup v%" PRId64
           ", %zu VMs, broker CPU %.3f s\n",
           qdict_get_try_int(host, "cpus", 0),
           qdict_get_try_int(host, "period-ms", 0),
           qdict_get_try_bool(host, "active", false) ? "" : " (resting)",
           qdict_get_try_int(host, "cgroup-version", 0), qlist_size(vms),
           qdict_get_try_int(host, "broker-cpu-ns", 0) / 1e9);
    printf("%-20s %8s %-8s %6s %7s %10s %10s %13s %5s %3s\n", "VM", "pid",
           "state", "fair%", "debt ms", "used s", "fair s", "weight/base",
           "vCPUs", "RR");
    QLIST_FOREACH_ENTRY(vms, e) {
        print_vm(qobject_to(QDict, qlist_entry_obj(e)));
    }
    qobject_unref(all);
    return true;
}

static int print_report(const char *socket_name, enum vamp_broker_format format,
                        bool table)
{
    Error *err = NULL;
    g_autofree char *text = ask(socket_name, format, &err);

    if (!text) {
        error_report_err(err);
        return EXIT_FAILURE;
    }
    if (!table) {
        fputs(text, stdout);
    } else if (!print_table(text)) {
        error_report("the broker on %s answers with what is no report",
                     socket_name);
        return EXIT_FAILURE;
    }
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

int client_status(const char *socket_name, bool json)
{
    return print_report(socket_name, VAMP_BROKER_JSON, !json);
}

int client_metrics(const char *socket_name)
{
    return print_report(socket_name, VAMP_BROKER_OPENMETRICS, false);
}
