/*
 * The simulated host: PID 1
 *
 * Prints on the second serial port, one line a fact (all times in ns, of
 * lab_plan.start on):
 *
 *   vamp-lab 1 KERNEL-RELEASE
 *   vm INDEX NAME
 *   sample TIME BROKER-CPU CPU...       CPU time of each VM since its start
 *   thread VM INDEX ID KIND CPU         of each vCPU, in the measured time
 *   event VM INDEX NUMBER ARRIVAL BEGIN DONE CPU RT PHASE
 *   sleep VM INDEX FROM TO              it wanted no CPU
 *   status TEXT                         a line of the broker's report
 *   end
 *
 * "error: TEXT" in place of any of them: the run is void.
 *
 * Copyright (c) 2026 The VAMP authors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#include "lab.h"

#define RESULTS     "/dev/ttyS1"
#define SAMPLES_MAX 4096
/* Above all that a policy uses: a sample comes on time. */
#define PRIORITY    90

struct sample {
    uint64_t t_ns;
    uint64_t broker_cpu_ns;
    uint64_t cpu_ns[LAB_VMS_MAX];
};

static struct lab_plan plan;
static struct lab_shared *shared;
static struct sample *samples;
static unsigned nr_samples;
static pid_t broker_pid;
/* CPU time of each vCPU when the measured time begins and ends */
static uint64_t thread_cpu[2][LAB_VMS_MAX][LAB_THREADS_MAX];

static void mount_all(void)
{
    mkdir("/proc", 0555);
    mkdir("/sys", 0555);
    mkdir("/dev", 0755);
    mkdir("/run", 0755);
    mkdir("/tmp", 01777);
    if (mount("devtmpfs", "/dev", "devtmpfs", 0, NULL) < 0 ||
        mount("proc", "/proc", "proc", 0, NULL) < 0 ||
        mount("sysfs", "/sys", "sysfs", 0, NULL) < 0 ||
        mount("tmpfs", "/run", "tmpfs", 0, NULL) < 0 ||
        mount("cgroup2", LAB_CGROUP, "cgroup2", 0, NULL) < 0) {
        perror("mount");
    }
}

static void open_results(void)
{
    struct termios t;
    int fd = open(RESULTS, O_WRONLY | O_NOCTTY);

    if (fd < 0 || tcgetattr(fd, &t) < 0) {
        perror(RESULTS);
        reboot(RB_POWER_OFF);
    }
    cfmakeraw(&t);
    tcsetattr(fd, TCSANOW, &t);
    dup2(fd, STDOUT_FILENO);
    close(fd);
}

/* Nobody may end before the measured time does. */
static void check_children(void)
{
    int status;
    pid_t pid = waitpid(-1, &status, WNOHANG);

    if (pid > 0) {
        lab_die("%s %d has ended with status 0x%x",
                pid == broker_pid ? "the broker" : "VM process", pid, status);
    }
}

/* --- the host's groups and processes ------------------------------------- */

static void make_groups(void)
{
    char path[128];

    lab_put(LAB_CGROUP "/cgroup.subtree_control", "+cpu");
    /* As on a host with systemd: VMs are beside the services, not below. */
    mkdir(LAB_CGROUP "/system", 0755);
    mkdir(LAB_MACHINE, 0755);
    lab_put(LAB_MACHINE "/cgroup.subtree_control", "+cpu");
    for (unsigned i = 0; i < plan.nr_vms; i++) {
        snprintf(path, sizeof(path), LAB_MACHINE "/%s", plan.vm[i].name);
        if (mkdir(path, 0755) < 0) {
            lab_die("%s: %s", path, strerror(errno));
        }
        snprintf(path, sizeof(path), LAB_MACHINE "/%s/cpu.weight",
                 plan.vm[i].name);
        lab_put_number(path, plan.vm[i].weight);
    }
}

static bool broker_listens(void)
{
    struct sockaddr_un address = {
        .sun_family = AF_UNIX,
        .sun_path = LAB_BROKER_SOCKET,
    };
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    int ret = connect(fd, (struct sockaddr *)&address, sizeof(address));

    close(fd);
    return ret == 0;
}

static void start_broker(void)
{
    mkdir("/run/vamp", 0755);
    broker_pid = fork();
    if (broker_pid < 0) {
        lab_die("fork: %s", strerror(errno));
    }
    if (!broker_pid) {
        lab_put(LAB_CGROUP "/system/cgroup.procs", "0");
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execl(LAB_BROKER, LAB_BROKER, "--foreground", "--socket",
              LAB_BROKER_SOCKET, "--state", "/run/vamp/state", (char *)NULL);
        fprintf(stderr, LAB_BROKER ": %s\n", strerror(errno));
        _exit(127);
    }
    for (int i = 0; i < 500; i++) {
        if (broker_listens()) {
            return;
        }
        check_children();
        lab_sleep_until(lab_now() + 20 * LAB_MS);
    }
    lab_die("the broker does not listen on " LAB_BROKER_SOCKET);
}

static void start_vm(unsigned i)
{
    char path[128];
    pid_t pid = fork();

    if (pid < 0) {
        lab_die("fork: %s", strerror(errno));
    }
    if (!pid) {
        /* A session each, as libvirt and shells give it. */
        setsid();
        snprintf(path, sizeof(path), LAB_MACHINE "/%s/cgroup.procs",
                 plan.vm[i].name);
        lab_put(path, "0");
        lab_vm_main(&plan, i, shared);
    }
    for (int tries = 0; !atomic_load(&shared->vm[i].ready); tries++) {
        if (tries == 5000) {
            lab_die("VM %s is not ready after 5 s", plan.vm[i].name);
        }
        check_children();
        lab_sleep_until(lab_now() + LAB_MS);
    }
}

static void become_real_time(void)
{
    struct sched_param param = { .sched_priority = PRIORITY };

    if (sched_setscheduler(0, SCHED_FIFO, &param) < 0) {
        lab_die("sched_setscheduler: %s", strerror(errno));
    }
}

/* --- samples ------------------------------------------------------------- */

static uint64_t vm_cpu(unsigned i)
{
    struct lab_vm_log *log = &shared->vm[i];
    uint64_t sum = atomic_load(&log->main_cpu_ns);

    for (unsigned t = 0; t < plan.vm[i].nr_threads; t++) {
        sum += atomic_load(&log->thread[t].cpu_ns);
    }
    return sum;
}

static uint64_t process_cpu(pid_t pid)
{
    struct timespec ts;
    clockid_t clock;

    if (!pid || clock_getcpuclockid(pid, &clock) ||
        clock_gettime(clock, &ts) < 0) {
        return 0;
    }
    return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void take_sample(uint64_t start)
{
    struct sample *s = &samples[nr_samples];

    if (nr_samples++ == SAMPLES_MAX) {
        lab_die("more than %d samples", SAMPLES_MAX);
    }
    for (unsigned i = 0; i < plan.nr_vms; i++) {
        s->cpu_ns[i] = vm_cpu(i);
    }
    s->broker_cpu_ns = process_cpu(broker_pid);
    s->t_ns = lab_now() - start;
    check_children();
}

static void note_threads(unsigned end)
{
    for (unsigned i = 0; i < plan.nr_vms; i++) {
        for (unsigned t = 0; t < plan.vm[i].nr_threads; t++) {
            struct lab_thread_log *log = &shared->vm[i].thread[t];

            thread_cpu[end][i][t] = atomic_load(&log->cpu_ns);
        }
    }
}

static void measure(uint64_t start)
{
    uint64_t begin = start + plan.warmup_ns;
    uint64_t end = begin + plan.measure_ns;

    lab_sleep_until(begin);
    note_threads(0);
    for (uint64_t t = begin; t <= end; t += plan.sample_ns) {
        lab_sleep_until(t);
        take_sample(start);
    }
    note_threads(1);
}

/* --- results ------------------------------------------------------------- */

static void print_thread(unsigned vm, unsigned t, uint64_t start)
{
    const struct lab_thread_plan *p = &plan.vm[vm].thread[t];
    struct lab_thread_log *log = &shared->vm[vm].thread[t];
    /* Read once: the VMs still run. */
    uint32_t events = log->nr_events, sleeps = log->nr_sleeps;

    printf("thread %u %u %u %s %" PRIu64 "\n", vm, t, p->id,
           p->kind == LAB_HOG ? "hog" : "interactive",
           thread_cpu[1][vm][t] - thread_cpu[0][vm][t]);
    for (uint32_t k = 0; k < events; k++) {
        const struct lab_event *e = &log->event[k];

        printf("event %u %u %u %" PRIu64 " %" PRIu64 " %" PRIu64 " %" PRIu64
               " %" PRIu64 " %d\n", vm, t, k, e->arrival_ns - start,
               e->begin_ns - start, e->done_ns - start, e->cpu_ns,
               e->rt_ns ? e->rt_ns - start : 0, e->phase);
    }
    for (uint32_t k = 0; k < sleeps; k++) {
        const struct lab_sleep *s = &log->sleep[k];

        /* A hog's sleep may reach beyond the end, and does so on purpose. */
        printf("sleep %u %u %" PRIu64 " %" PRIu64 "\n", vm, t,
               s->from_ns - start, s->to_ns - start);
    }
}

static void print_all(uint64_t start)
{
    for (unsigned i = 0; i < nr_samples; i++) {
        printf("sample %" PRIu64 " %" PRIu64, samples[i].t_ns,
               samples[i].broker_cpu_ns);
        for (unsigned v = 0; v < plan.nr_vms; v++) {
            printf(" %" PRIu64, samples[i].cpu_ns[v]);
        }
        printf("\n");
    }
    for (unsigned v = 0; v < plan.nr_vms; v++) {
        for (unsigned t = 0; t < plan.vm[v].nr_threads; t++) {
            print_thread(v, t, start);
        }
    }
}

int main(void)
{
    struct utsname uts;
    uint64_t start;

    if (getpid() != 1) {
        fprintf(stderr, "This is the init of the simulated host.\n");
        return 1;
    }
    mount_all();
    open_results();
    uname(&uts);
    printf("vamp-lab 1 %s\n", uts.release);
    lab_plan_read("/plan", &plan);
    if (get_nprocs() != (int)plan.cpus) {
        lab_die("%d CPUs are there, %u are wanted", get_nprocs(), plan.cpus);
    }
    shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                  MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    samples = calloc(SAMPLES_MAX, sizeof(*samples));
    if (shared == MAP_FAILED || !samples) {
        lab_die("no memory");
    }
    make_groups();
    if (plan.policy == LAB_BROKER_RR) {
        start_broker();
    }
    for (unsigned i = 0; i < plan.nr_vms; i++) {
        printf("vm %u %s\n", i, plan.vm[i].name);
        start_vm(i);
    }
    become_real_time();
    start = lab_now() + 10 * LAB_MS;
    atomic_store(&shared->start_ns, start);
    measure(start);
    print_all(start);
    if (plan.policy == LAB_BROKER_RR) {
        lab_broker_report();
    }
    printf("end\n");
    fflush(stdout);
    tcdrain(STDOUT_FILENO);
    sync();
    reboot(RB_POWER_OFF);
    return 1;
}
