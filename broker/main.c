/*
 * qemu-vamp-broker: gives interactive vCPUs the CPU at once, and keeps the
 * books, so that nobody pays for it
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <getopt.h>
#include <pwd.h>
#include <sys/signalfd.h>
#include "qapi/error.h"
#include "qemu/cutils.h"
#include "qemu/error-report.h"
#include "qemu-version.h"
#include "broker/broker.h"

#define STATE_FILE      "/run/vamp/broker.state"
#define METRICS_S       15
/* A user who reads what is there goes on within some seconds. */
#define LINGER_MS       10000
#define LINGER_MAX_MS   60000
#define PERIOD_MIN_MS   10
#define PERIOD_MAX_MS   1000

static void usage(const char *name)
{
    printf(
"Usage: %s [OPTION]...\n"
"Privileged helper of QEMU's vamp-policy: runs the vCPUs that a user waits for\n"
"in real-time class (SCHED_RR 1) at once, and takes back by weights what their\n"
"VM used beyond its fair share. Runs in the foreground; a service manager may\n"
"put it elsewhere. Its own thread is SCHED_RR 3, so that a full host cannot\n"
"keep it from acting; it uses less than 1 %% of one CPU with 100 VMs.\n"
"\n"
"  -s, --socket=PATH        listen there (%s), unless\n"
"                           systemd passes a socket\n"
"  -m, --mode=MODE          of the socket, octal (0660)\n"
"  -g, --group=GROUP        of the socket: whose members may connect\n"
"  -u, --uid=USER[,...]     serve only VMs of these users (all that can connect)\n"
"      --state=FILE         what was changed, for the next broker to undo\n"
"                           (%s)\n"
"      --period=MS          between two looks at the ledger, %d..%d (50 to\n"
"                           200, by the number of VMs that are busy)\n"
"      --linger=MS          that a main loop keeps real-time class after a phase,\n"
"                           for the next event, 0..%d (%d)\n"
"      --metrics-file=FILE  write OpenMetrics text there\n"
"      --metrics-interval=S seconds between two writes (%d)\n"
"      --dry-run            change nothing, say what would be changed\n"
"      --sandbox=on|off     system call filter (on)\n"
"      --foreground         do not detach (the default, and the only way)\n"
"\n"
"Ask the broker that runs:\n"
"      --status [--json]    every VM of the host (root), or one's own\n"
"      --metrics            the same as OpenMetrics text\n"
"\n"
"  -h, --help               show this\n"
"  -V, --version            show the version\n",
           name, VAMP_BROKER_SOCKET, STATE_FILE, PERIOD_MIN_MS, PERIOD_MAX_MS,
           LINGER_MAX_MS, LINGER_MS, METRICS_S);
}

static bool parse_number(const char *option, const char *text, unsigned min,
                         unsigned max, unsigned *value)
{
    if (qemu_strtoui(text, NULL, 10, value) < 0 || *value < min ||
        *value > max) {
        error_report("%s=%s is not valid (%u..%u would be)", option, text, min,
                     max);
        return false;
    }
    return true;
}

static bool parse_mode(const char *text, unsigned *mode)
{
    if (qemu_strtoui(text, NULL, 8, mode) < 0 || *mode > 0777) {
        error_report("--mode=%s is not valid (0..0777, octal, would be)", text);
        return false;
    }
    return true;
}

static bool parse_uids(const char *text, GArray **uids)
{
    g_auto(GStrv) names = g_strsplit(text, ",", -1);
    unsigned i, n;

    if (!*uids) {
        *uids = g_array_new(false, false, sizeof(uid_t));
    }
    for (i = 0; names[i]; i++) {
        const struct passwd *pw = getpwnam(names[i]);
        uid_t uid;

        if (pw) {
            uid = pw->pw_uid;
        } else if (qemu_strtoui(names[i], NULL, 10, &n) == 0) {
            uid = n;
        } else {
            error_report("--uid: there is no user '%s' (a name or a number "
                         "would be needed)", names[i]);
            return false;
        }
        g_array_append_val(*uids, uid);
    }
    return true;
}

enum {
    OPT_STATE = 256, OPT_PERIOD, OPT_LINGER, OPT_METRICS_FILE,
    OPT_METRICS_INTERVAL, OPT_DRY_RUN, OPT_SANDBOX, OPT_FOREGROUND, OPT_STATUS,
    OPT_JSON, OPT_METRICS,
};

static const struct option options[] = {
    { "socket", required_argument, NULL, 's' },
    { "mode", required_argument, NULL, 'm' },
    { "group", required_argument, NULL, 'g' },
    { "uid", required_argument, NULL, 'u' },
    { "state", required_argument, NULL, OPT_STATE },
    { "period", required_argument, NULL, OPT_PERIOD },
    { "linger", required_argument, NULL, OPT_LINGER },
    { "metrics-file", required_argument, NULL, OPT_METRICS_FILE },
    { "metrics-interval", required_argument, NULL, OPT_METRICS_INTERVAL },
    { "dry-run", no_argument, NULL, OPT_DRY_RUN },
    { "sandbox", required_argument, NULL, OPT_SANDBOX },
    { "foreground", no_argument, NULL, OPT_FOREGROUND },
    { "status", no_argument, NULL, OPT_STATUS },
    { "json", no_argument, NULL, OPT_JSON },
    { "metrics", no_argument, NULL, OPT_METRICS },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { NULL }
};

typedef struct Command {
    BrokerOptions opt;
    bool status, json, metrics;
} Command;

/* Ends the process for --help, --version and what makes no sense. */
static void parse(int argc, char **argv, Command *c)
{
    BrokerOptions *o = &c->opt;
    int ch;
    bool ok = true;

    *c = (Command) {
        .opt = {
            .socket = (char *)VAMP_BROKER_SOCKET,
            .mode = 0660,
            .state_file = (char *)STATE_FILE,
            .linger_ms = LINGER_MS,
            .metrics_s = METRICS_S,
            .sandbox = true,
        },
    };
    while (ok && (ch = getopt_long(argc, argv, "s:m:g:u:hV", options,
                                   NULL)) >= 0) {
        switch (ch) {
        case 's':
            o->socket = optarg;
            break;
        case 'm':
            ok = parse_mode(optarg, &o->mode);
            break;
        case 'g':
            o->group = optarg;
            break;
        case 'u':
            ok = parse_uids(optarg, &o->uids);
            break;
        case OPT_STATE:
            o->state_file = optarg;
            break;
        case OPT_PERIOD:
            ok = parse_number("--period", optarg, PERIOD_MIN_MS, PERIOD_MAX_MS,
                              &o->period_ms);
            break;
        case OPT_LINGER:
            ok = parse_number("--linger", optarg, 0, LINGER_MAX_MS,
                              &o->linger_ms);
            break;
        case OPT_METRICS_FILE:
            o->metrics_file = optarg;
            break;
        case OPT_METRICS_INTERVAL:
            ok = parse_number("--metrics-interval", optarg, 1, 86400,
                              &o->metrics_s);
            break;
        case OPT_DRY_RUN:
            o->dry_run = true;
            break;
        case OPT_SANDBOX:
            ok = !strcmp(optarg, "on") || !strcmp(optarg, "off");
            o->sandbox = !strcmp(optarg, "on");
            if (!ok) {
                error_report("--sandbox=%s is not valid (on or off would be)",
                             optarg);
            }
            break;
        case OPT_FOREGROUND:
            break;
        case OPT_STATUS:
            c->status = true;
            break;
        case OPT_JSON:
            c->json = true;
            break;
        case OPT_METRICS:
            c->metrics = true;
            break;
        case 'h':
            usage(argv[0]);
            exit(EXIT_SUCCESS);
        case 'V':
            printf("qemu-vamp-broker %s, protocol %u\n", QEMU_FULL_VERSION,
                   VAMP_BROKER_VERSION);
            exit(EXIT_SUCCESS);
        default:
            exit(EXIT_FAILURE);
        }
    }
    if (ok && optind < argc) {
        error_report("'%s' is no option (see --help)", argv[optind]);
        ok = false;
    }
    if (ok && c->json && !c->status) {
        error_report("--json needs --status");
        ok = false;
    }
    if (!ok) {
        exit(EXIT_FAILURE);
    }
}

/* --- the daemon ---------------------------------------------------------- */

typedef struct SignalSource {
    LoopSource source;
    bool *stop;
} SignalSource;

static void signal_ready(LoopSource *s, uint32_t events)
{
    struct signalfd_siginfo info;

    if (RETRY_ON_EINTR(read(s->fd, &info, sizeof(info))) > 0) {
        *container_of(s, SignalSource, source)->stop = true;
    }
}

static void signal_destroy(LoopSource *s)
{
    close(s->fd);
    g_free(s);
}

static bool catch_signals(Broker *b, bool *stop, Error **errp)
{
    SignalSource *s = g_new0(SignalSource, 1);
    sigset_t set;

    signal(SIGPIPE, SIG_IGN);
    sigemptyset(&set);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGHUP);
    sigprocmask(SIG_BLOCK, &set, NULL);
    s->stop = stop;
    s->source = (LoopSource) {
        .fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK),
        .ready = signal_ready,
        .destroy = signal_destroy,
    };
    if (s->source.fd < 0 || loop_add(b->loop, &s->source) < 0) {
        error_setg_errno(errp, errno, "signals cannot be waited for");
        return false;
    }
    return true;
}

static void make_folder(const char *file)
{
    g_autofree char *dir = g_path_get_dirname(file);

    /* It may be there; and what is wrong with it, the file will say. */
    mkdir(dir, 0755);
}

/* What a predecessor left: threads first, then the groups they are in. */
static void undo(BrokerHost *h, GHashTable *found)
{
    unsigned pass;

    for (pass = 0; pass < 2; pass++) {
        GHashTableIter iter;
        gpointer key, value;

        g_hash_table_iter_init(&iter, found);
        while (g_hash_table_iter_next(&iter, &key, &value)) {
            if (pass == 0) {
                thread_undo(h, key, value);
            } else {
                group_undo(h, key, value);
            }
        }
    }
    if (g_hash_table_size(found)) {
        GHashTableIter iter;
        gpointer key;

        info_report("undid what a broker before left: %u entries",
                    g_hash_table_size(found));
        g_hash_table_iter_init(&iter, found);
        while (g_hash_table_iter_next(&iter, &key, NULL)) {
            journal_del(h->journal, key);
        }
    }
}

static bool begin(Broker *b, bool *stop, Error **errp)
{
    GHashTable *found = NULL;
    Error *err = NULL;

    task_begin();
    b->loop = loop_new();
    b->vms = g_ptr_array_new();
    b->neighbours = g_ptr_array_new_with_free_func(neighbour_free);
    b->begun_ns = loop_now();
    b->cpus = task_cpus();
    vamp_ledger_config_default(&b->ledger, b->cpus);

    b->host.dry_run = b->opt.dry_run;
    b->host.cg = vamp_cgroups_new(&vamp_host_paths, "cpu", &err);
    if (err) {
        b->host.cg_reason = g_strdup(error_get_pretty(err));
        warn_report_err(err);
    }
    if (!b->opt.dry_run) {
        make_folder(b->opt.state_file);
        b->host.journal = journal_open(b->opt.state_file, &found, errp);
        if (!b->host.journal) {
            return false;
        }
        undo(&b->host, found);
        g_hash_table_unref(found);
    }
    make_folder(b->opt.socket);
    if (!catch_signals(b, stop, errp) || !listen_begin(b, errp)) {
        return false;
    }
    privilege_real_time();
    return privilege_drop(b->opt.sandbox, errp);
}

int main(int argc, char **argv)
{
    Command c;
    Broker b = { 0 };
    Error *err = NULL;
    bool stop = false;

    error_init(argv[0]);
    parse(argc, argv, &c);
    if (c.status) {
        return client_status(c.opt.socket, c.json);
    }
    if (c.metrics) {
        return client_metrics(c.opt.socket);
    }

    umask(022);
    b.opt = c.opt;
    if (!begin(&b, &stop, &err)) {
        error_report_err(err);
        return EXIT_FAILURE;
    }
    info_report("ready on %s", b.opt.socket);
    while (!stop) {
        loop_run(b.loop, ledger_run(&b, loop_now()));
    }
    listen_end(&b);
    loop_free(b.loop);
    g_ptr_array_unref(b.vms);
    g_ptr_array_unref(b.neighbours);
    journal_close(b.host.journal);
    vamp_cgroups_free(b.host.cg);
    g_free(b.host.cg_reason);
    return EXIT_SUCCESS;
}
