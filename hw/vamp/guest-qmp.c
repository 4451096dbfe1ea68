/*
 * VAMP: QMP of what the guest says
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qapi/qapi-commands-vamp-guest.h"
#include "vamp-int.h"

#define VALID_MS_DEFAULT    30000
#define VALID_MS_MAX        3600000

const struct vamp_hint_task *vamp_guest_task(uint64_t task)
{
    const struct vamp_hint_view *view = vamp_guest_view(NULL);

    for (uint32_t i = 0; view && i < view->tasks.n; i++) {
        if (task != VAMP_TASK_UNKNOWN && view->tasks.task[i].aspace == task) {
            return &view->tasks.task[i];
        }
    }
    return NULL;
}

/* --- vamp-query ---------------------------------------------------------- */

static char *cpu_list(const struct vamp_hint_cpus *cpus)
{
    g_autoptr(GString) s = g_string_new(NULL);
    uint32_t end;

    for (uint32_t i = 0; i < VAMP_HINTS_CPUS_MAX; i = end + 1) {
        end = i;
        while (vamp_hint_cpu_test(cpus, end)) {
            end++;
        }
        if (end > i) {
            g_string_append_printf(s, "%s%" PRIu32, s->len ? "," : "", i);
        }
        if (end > i + 1) {
            g_string_append_printf(s, "-%" PRIu32, end - 1);
        }
    }
    return g_strdup(s->str);
}

/* Why the two views cannot be compared now, NULL if they can. */
static const char *incomparable(VampPolicy *p)
{
    const char *reason;

    if (!p) {
        return "there is no policy that would look at the guest's tasks";
    }
    if (!vamp_guest_view(&reason)) {
        return reason;
    }
    if (p->tracker == VAMP_TRACKER_GUEST) {
        return "the guest's view is the one that is used";
    }
    if (p->tracker == VAMP_TRACKER_NONE) {
        return "the host does not see the guest's tasks";
    }
    if (p->core->phase == VAMP_PHASE_NORMAL) {
        return "the host looks when a phase begins, and none is on";
    }
    return NULL;
}

static bool host_names(const struct vamp_policy *core, uint64_t task)
{
    for (uint32_t i = 0; i < core->nr_background; i++) {
        if (core->background[i].task == task) {
            return true;
        }
    }
    return false;
}

/*
 * What the host knows @task by: the address space that the guest has told of
 * it, here or to KVM's companion modules for its process. Of several, from
 * before an exec(), the one that the host names counts. @core and @names: both
 * NULL if the views are not compared.
 */
static uint64_t aspace_of(const struct vamp_policy *core,
                          const VampKvmNames *names,
                          const struct vamp_hint_task *task)
{
    uint64_t found = task->aspace;
    uint32_t process = task->pid ?: task->id;

    if (found != VAMP_TASK_UNKNOWN || !process) {
        return found;
    }
    for (unsigned i = 0; names && i < names->nr; i++) {
        const VampKvmName *name = &names->name[i];

        if (name->id == process && (found == VAMP_TASK_UNKNOWN ||
                                     host_names(core, name->task))) {
            found = name->task;
        }
    }
    return found;
}

static bool guest_names(const struct vamp_policy *core,
                        const VampKvmNames *names,
                        const struct vamp_hint_view *view, uint64_t task)
{
    for (uint32_t i = 0; i < view->tasks.n; i++) {
        if (aspace_of(core, names, &view->tasks.task[i]) == task) {
            return true;
        }
    }
    return false;
}

static VampGuestComparison *compare(const struct vamp_policy *core,
                                    const struct vamp_hint_view *view,
                                    const VampKvmNames *names)
{
    VampGuestComparison *c = g_new0(VampGuestComparison, 1);

    for (uint32_t i = 0; i < view->tasks.n; i++) {
        uint64_t task = aspace_of(core, names, &view->tasks.task[i]);

        if (task == VAMP_TASK_UNKNOWN) {
            c->unidentified++;
        } else if (host_names(core, task)) {
            c->both++;
        } else {
            c->guest_only++;
        }
    }
    for (uint32_t i = 0; i < core->nr_background; i++) {
        c->host_only += !guest_names(core, names, view,
                                     core->background[i].task);
    }
    return c;
}

static VampGuestTask *task_info(const struct vamp_hint_task *task,
                                const struct vamp_policy *compared,
                                const VampKvmNames *names)
{
    VampGuestTask *t = g_new0(VampGuestTask, 1);
    uint64_t aspace = aspace_of(compared, names, task);

    t->name = g_strdup(task->name);
    t->id = task->id;
    t->has_pid = task->pid;
    t->pid = task->pid;
    t->load_percent = task->permille / 10.0;
    t->has_vcpu = task->has_vcpu;
    t->vcpu = task->vcpu;
    if (aspace != VAMP_TASK_UNKNOWN) {
        t->task = g_strdup_printf("0x%" PRIx64, aspace);
        t->has_host_agrees = compared != NULL;
        t->host_agrees = compared && host_names(compared, aspace);
    }
    return t;
}

static void fill_view(VampGuestInfo *info, const struct vamp_hint_view *view,
                      const struct vamp_policy *compared,
                      const VampKvmNames *names)
{
    VampGuestTaskList **tail = &info->tasks;

    info->program = g_strdup(view->name);
    info->has_version = true;
    info->version = view->version;
    info->sound = view->sound;
    if (!vamp_hint_cpus_empty(&view->fast) || vamp_hint_view_isolates(view)) {
        info->fast = cpu_list(&view->fast);
        info->slow = cpu_list(&view->slow);
    }
    info->has_tasks = view->has_tasks;
    for (uint32_t i = 0; i < view->tasks.n; i++) {
        QAPI_LIST_APPEND(tail, task_info(&view->tasks.task[i], compared,
                                         names));
    }
}

static const char *source_reason(VampGuestSource source)
{
    const char *reason;

    if (!vamp_guest_view(&reason)) {
        return reason;
    }
    return source == VAMP_GUEST_SOURCE_CHANNEL
           ? "the program in the guest is connected"
           : "vamp-set-tasks has said so";
}

VampGuestInfo *vamp_guest_info(VampPolicy *p, const VampKvmNames *names)
{
    VampGuestInfo *info = g_new0(VampGuestInfo, 1);
    const struct vamp_hint_view *view = vamp_guest_speaker();
    const char *why_not = incomparable(p);

    info->source = vamp_guest_source();
    info->reason = g_strdup(source_reason(info->source));
    if (view) {
        fill_view(info, view, why_not ? NULL : p->core, why_not ? NULL : names);
    }
    if (!why_not) {
        info->comparison = compare(p->core, view, names);
    }
    info->comparison_reason = g_strdup(why_not ?: "both have looked");
    if (*vamp_guest.last_error) {
        info->last_error = g_strdup(vamp_guest.last_error);
    }
    info->counters = g_new0(VampGuestCounters, 1);
    info->counters->lines = vamp_guest.count.lines;
    info->counters->errors = vamp_guest.count.errors;
    info->counters->pauses = vamp_guest.count.pauses;
    info->counters->sessions = vamp_guest.count.sessions;
    return info;
}

/* --- vamp-set-tasks ------------------------------------------------------ */

/*
 * The management's word goes the way of the guest's, as a line of the
 * protocol: so it has the same bounds. @what names it in an error.
 */
static bool say(struct vamp_hint_view *view, const char *line,
                const char *what, Error **errp)
{
    struct vamp_hint_error error;
    struct vamp_hint hint;
    char text[VAMP_HINTS_TEXT_LEN];

    if (vamp_hint_parse(line, strlen(line), true, &hint, &error)) {
        vamp_hint_view_apply(view, &hint, 0, &error);
    }
    if (error.fault != VAMP_HINT_FINE) {
        vamp_hint_error_text(&error, text);
        error_setg(errp, "%s cannot be said to the policy as '%.256s': %s",
                   what, line, text);
        return false;
    }
    return true;
}

static bool say_task(struct vamp_hint_view *view, const VampTaskHint *t,
                     unsigned index, Error **errp)
{
    g_autofree char *what = g_strdup_printf("tasks[%u]", index);
    g_autofree char *name = g_uri_escape_string(t->name, NULL, false);
    g_autoptr(GString) line = g_string_new("task");

    g_string_append_printf(line, " id=%" PRId64 " load=%" PRId64,
                           t->id, t->load_permille);
    if (t->has_vcpu) {
        g_string_append_printf(line, " vcpu=%" PRId64, t->vcpu);
    }
    if (t->task) {
        g_autofree char *task = g_uri_escape_string(t->task, NULL, false);

        g_string_append_printf(line, " aspace=%s", task);
    }
    g_string_append_printf(line, " name=%s", name);
    return say(view, line->str, what, errp);
}

static bool say_split(struct vamp_hint_view *view, const char *fast,
                      const char *slow, Error **errp)
{
    /* A comma stays, and nothing that ends a word. */
    g_autofree char *f = g_uri_escape_string(fast, ",", false);
    g_autofree char *s = g_uri_escape_string(slow, ",", false);
    g_autofree char *line = g_strdup_printf("split fast=%s slow=%s", f, s);

    return say(view, line, "fast and slow", errp);
}

static bool say_all(struct vamp_hint_view *view, VampTaskHintList *tasks,
                    const char *fast, const char *slow, bool sound,
                    Error **errp)
{
    unsigned n = 0;

    vamp_hint_view_init(view);
    if (!say(view, "hello version=1 name=vamp-set-tasks", "hello", errp) ||
        !say(view, "tasks begin", "tasks", errp)) {
        return false;
    }
    for (VampTaskHintList *l = tasks; l; l = l->next, n++) {
        if (l->value->has_background && !l->value->background) {
            continue;
        }
        if (!say_task(view, l->value, n, errp)) {
            return false;
        }
    }
    return say(view, "tasks end", "tasks", errp) &&
           say_split(view, fast, slow, errp) &&
           say(view, sound ? "sound on" : "sound off", "sound", errp);
}

void qmp_vamp_set_tasks(VampTaskHintList *tasks, const char *fast,
                        const char *slow, bool has_sound, bool sound,
                        bool has_valid_ms, int64_t valid_ms, Error **errp)
{
    g_autofree struct vamp_hint_view *view = NULL;

    if (vamp_guest_source() == VAMP_GUEST_SOURCE_CHANNEL) {
        error_setg(errp, "the guest itself speaks on its vamp-hints device, "
                   "and its own word counts");
        return;
    }
    if (!has_valid_ms) {
        valid_ms = VALID_MS_DEFAULT;
    }
    if (valid_ms < 1 || valid_ms > VALID_MS_MAX) {
        error_setg(errp, "valid-ms=%" PRId64 " is out of range, valid is 1 to "
                   "%d", valid_ms, VALID_MS_MAX);
        return;
    }
    view = g_new(struct vamp_hint_view, 1);
    if (say_all(view, tasks, fast ?: "-", slow ?: "-", has_sound && sound,
                errp)) {
        vamp_guest_set(view, valid_ms);
    }
}
