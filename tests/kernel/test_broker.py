#!/usr/bin/env python3
"""
The whole chain: two Linux guests under KVM and qemu-vamp-broker, in a host in a
box.

A key pressed through QMP makes the vCPU that serves it a real-time thread of the
host, the one with the background task a light one; the neighbour keeps its
share, also when a CPU of the host goes, or its date is set; and whoever is
killed, nothing of the host stays changed. The figures of the run are told, not
judged: a nested host under emulation has no clock to be trusted.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[1:1] = [TESTS, os.path.join(TESTS, 'functional')]
# pylint: disable=wrong-import-position
from nested import Guest, Host, boot, missing, program
from tap import Fail, Skip, check, diagnose, eventually, main
from vamp_guest import Answers, BUILD, GuestError

MODULES = ['kvm-amd']
BROKER = os.path.join(BUILD, 'bin', 'qemu-vamp-broker')
SOCKET = '/run/broker'
STATE = '/run/broker.state'
CGROUPS = '/sys/fs/cgroup'
MACHINE = CGROUPS + '/machine'
POLICY = ['-object', f'vamp-policy,id=vamp0,tracker=sample,broker={SOCKET},'
                     'max-phase-ms=60000']
# Of the scheduler, as in /proc/PID/stat
OTHER, RR = 0, 2
PRESSES = 8
CPU1 = '/sys/devices/system/cpu/cpu1/online'
DAY_S = 86400
# What a clock's last tick and rounding may hide.
SLACK_S = 2


class Suite:
    """The claims; the host and the guests that they share."""

    def __init__(self, stack):
        self.stack = stack
        self.host = None
        self.missing = None
        self.broker = None
        self.vms = {}
        self.answers = None

    def on(self):
        """The host, if it came up."""
        if self.missing:
            raise Skip(self.missing)
        if not self.host or not self.host.alive():
            raise Fail('no host runs: see above')
        return self.host

    def need(self, name='desk'):
        """The guest @name, if it came up."""
        self.on()
        vm = self.vms.get(name)
        if not vm or not vm.alive():
            raise Fail(f'no guest {name} runs: see above')
        return vm

    # --- the host's view -----------------------------------------------------

    def threads(self, vm):
        """{tid: (policy, real-time priority, nice)} of a QEMU."""
        text = self.host.sh(f'cat /proc/{vm.pid}/task/*/stat')
        found = {}
        for line in text.splitlines():
            fields = line.rpartition(')')[2].split()
            # From field 3 of proc_pid_stat(5) on
            found[int(line.split()[0])] = (int(fields[38]), int(fields[37]),
                                           int(fields[16]))
        return found

    def groups(self):
        """{group: its weight} below MACHINE, and the groups in them."""
        text = self.host.sh(f'cd {MACHINE} && for g in $(find . -type d); do '
                            'echo $g $(cat $g/cpu.weight 2>/dev/null); done')
        return dict((line.split() + [''])[:2] for line in text.splitlines())

    def used_us(self, name):
        """CPU time of a VM's group."""
        text = self.host.sh(f'cat {MACHINE}/{name}/cpu.stat')
        return int(dict(line.split() for line in text.splitlines())
                   ['usage_usec'])

    def status(self):
        """What the broker says of its host."""
        return json.loads(self.host.sh(f'/usr/bin/qemu-vamp-broker --socket '
                                       f'{SOCKET} --status --json'))

    def untouched(self):
        """None, or what is not as it was before any phase."""
        for name, vm in self.vms.items():
            wrong = [t for t in self.threads(vm).values() if t[0] != OTHER or
                     t[2] != 0]
            if wrong:
                return f'threads of {name} (policy, priority, nice): {wrong}'
        if self.groups() != self.clean_groups:
            return f'groups: {self.groups()}, not {self.clean_groups}'
        return None

    # --- the claims ----------------------------------------------------------

    def start_broker(self):
        """Starts it in the host."""
        self.broker = int(self.host.sh(
            f'/usr/bin/qemu-vamp-broker --socket {SOCKET} --state {STATE} '
            '< /dev/null >> /run/broker.log 2>&1 & echo $!'))

        def wrong():
            status, text = self.host.run(f'test -S {SOCKET} && '
                                         f'kill -0 {self.broker}')
            return None if status == 0 else 'the broker does not run: ' + \
                text + self.host.run('tail -n 5 /run/broker.log')[1]
        eventually(wrong, 60, 0.2)

    def boot(self):
        """a host with KVM and the broker"""
        self.missing = missing(MODULES)
        if not self.missing and not os.path.exists(BROKER):
            self.missing = f'{BROKER} was not built'
        if self.missing:
            raise Skip(self.missing)
        tmp = tempfile.mkdtemp(prefix=f'vamp-test-{os.getpid()}-', dir='/tmp')
        self.stack.callback(shutil.rmtree, tmp, ignore_errors=True)
        files = program(os.path.realpath(BROKER))
        files['usr/bin/qemu-vamp-broker'] = files.pop(
            os.path.realpath(BROKER).lstrip('/'))
        host = Host('host', tmp, modules=MODULES, files=files, smp=2)
        self.stack.callback(host.kill)
        host.start()
        host.wait_ready()
        host.sh(f'echo +cpu > {CGROUPS}/cgroup.subtree_control; '
                f'mkdir {MACHINE}; '
                f'echo +cpu > {MACHINE}/cgroup.subtree_control')
        self.host = host
        self.start_broker()

    def guests(self):
        """two guests with a vamp-policy each, by way of the broker"""
        self.on()
        for name in ('desk', 'neighbour'):
            self.host.sh(f'mkdir {MACHINE}/{name}')
            self.vms[name] = boot(self.stack, lambda n=name: Guest(
                self.host, n, extra=POLICY + ['-name', n]),
                                  f'{MACHINE}/{name}')
        for vm in self.vms.values():
            info = vm.qmp.cmd('vamp-query')
            check(info['actuator']['active'] == 'broker', info['actuator'])
            check(info['tracker']['active'] == 'sample', info['tracker'])
        self.answers = Answers(self.vms['desk'])
        self.stack.callback(self.answers.close)
        self.vms['desk'].control('work 2 4 1')
        self.clean_groups = self.groups()
        check(self.untouched() is None, self.untouched())
        status = self.status()
        check(len(status['vms']) == 2, status)

    def press(self, vm):
        """A key, by QMP."""
        vm.qmp.cmd('send-key', keys=[{'type': 'qcode', 'data': 'ret'}])

    def mixed(self):
        """Keys until the phase of the desk is mixed; vamp-query's answer."""
        vm = self.need()

        def wrong():
            self.press(vm)
            info = vm.qmp.cmd('vamp-query')
            return None if info['phase'] == 'mixed' else f'no phase: {info}'
        eventually(wrong, 180, 1.5)
        return vm.qmp.cmd('vamp-query')

    def boosted(self):
        """Keys until the desk's threads are as its vCPUs' classes say."""
        desk = self.need()

        def wrong():
            info = self.mixed()
            threads = self.threads(desk)
            now = [threads[tid] for tid in desk.vcpu_tids()]
            main_loop = threads[desk.pid]
            state = info['actuator']['broker']['state']
            classes = [v['class'] for v in info['vcpus']]
            if state == 'guard':
                return 'the guard is closed'
            if sorted(classes) != ['background', 'interactive']:
                return f'classes are {classes}'
            want = [(RR, 1) if c == 'interactive' else (OTHER, 0)
                    for c in classes]
            if [t[:2] for t in now] != want:
                return f'threads are {now} with classes {classes}'
            # Else it could starve behind the vCPU
            return None if main_loop[:2] >= (RR, 2) else \
                f'the main loop is {main_loop}'
        eventually(wrong, 180, 1)

    def boost(self):
        """a key: the vCPU that serves it runs in real-time class, the hog's not"""
        desk, neighbour = self.need(), self.need('neighbour')
        neighbour.control('hogs 2')
        desk.control('hogs 1')
        self.boosted()
        check(all(t[0] == OTHER for t in self.threads(neighbour).values()),
              'the neighbour was touched')

    def figures(self):
        """keys are answered, and the share of both VMs"""
        desk = self.need()
        self.need('neighbour')
        with contextlib.suppress(GuestError):
            while True:         # those of earlier keys
                self.answers.next(2)
        before = [self.used_us(name) for name in self.vms]
        inside = []
        for _ in range(PRESSES):
            self.press(desk)
            words = self.answers.next(120)
            inside.append(int(words[3]) / int(words[2]))
            time.sleep(0.7)
        used = [self.used_us(name) - b for name, b in zip(self.vms, before)]
        check(all(used), f'CPU time of the groups: {used}')
        broker = desk.qmp.cmd('vamp-query')['actuator']['broker']
        diagnose(f'{PRESSES} keys: the answer took {statistics.median(inside):.2f}'
                 ' times the work in it (median)')
        diagnose(f'desk : neighbour used {used[0] / 1e6:.2f} : '
                 f'{used[1] / 1e6:.2f} s of CPU; the desk owes '
                 f'{broker["debt-ms"]:.0f} ms, fair share '
                 f'{broker["share-percent"]:.0f} %, state {broker["state"]}')
        check(broker['used-ms'] > 0 and broker['weight-base'] == 100, broker)

    def sees_cpus(self, number):
        """The broker counts with @number CPUs, some time."""
        def wrong():
            host = self.status()['host']
            return None if host['cpus'] == number else f'it counts with {host}'
        eventually(wrong, 180, 0.2)

    def hotplug(self):
        """a CPU of the host goes and comes in a phase: the broker goes along"""
        self.need('neighbour')
        self.mixed()
        self.host.sh(f'echo 0 > {CPU1}')
        try:
            self.sees_cpus(1)
            self.boosted()
        finally:
            self.host.sh(f'echo 1 > {CPU1}')
        self.sees_cpus(2)
        self.boosted()

    def uptime(self):
        """Seconds of the host since it booted."""
        return float(self.host.sh('cat /proc/uptime').split()[0])

    def moment(self):
        """A time before the rest; what desk and broker say."""
        return self.uptime(), self.vms['desk'].qmp.cmd('vamp-query'), \
            self.status()

    def unmoved(self, before):
        """
        None, or what has moved more since the moment @before than time has
        passed: a phase, or the broker's books.
        """
        _, info, status = self.moment()
        passed = self.uptime() - before[0] + SLACK_S
        if info['phase'] != 'mixed':
            return f'the phase is over: {info}'
        aged = (info['phase-age-ms'] - before[1]['phase-age-ms']) / 1e3
        lived = (status['host']['uptime-ns'] -
                 before[2]['host']['uptime-ns']) / 1e9
        check(info['phase-age-ms'] >= 0 and aged < passed and
              0 < lived < passed,
              f'{passed} s: the phase aged {aged} s, the broker {lived} s')
        old = {vm['pid']: vm for vm in before[2]['vms']}
        for vm in status['vms']:
            for key in ('used-ns', 'entitled-ns', 'debt-ns'):
                moved = (vm[key] - old[vm['pid']][key]) / 1e9
                check(abs(moved) < 2 * passed,
                      f'{passed} s: {vm["name"]}\'s {key} moved {moved} s')
        return None

    def steps_on(self):
        """The ledger steps, in a phase."""
        steps = self.status()['host']['steps']

        def wrong():
            self.press(self.vms['desk'])
            now = self.status()['host']['steps']
            return None if now > steps + 2 else f'{now - steps} steps'
        eventually(wrong, 180, 0.5)

    def dates(self):
        """the host's date is set, a day ahead and two days back: nobody cares"""
        self.need('neighbour')

        def jump(days):
            now = int(self.host.sh('date +%s'))
            self.host.sh(f'date -s @{now + days * DAY_S}')

        def wrong(days):
            self.mixed()
            before = self.moment()
            jump(days)
            try:
                return self.unmoved(before)
            finally:
                self.steps_on()
                jump(-days)
        for days in (1, -2):
            # A phase may come to its own end just then: not each time.
            eventually(lambda d=days: wrong(d), 180, 1)
        self.boosted()

    def ends(self):
        """object-del: threads and groups are as they were"""
        desk = self.need()
        self.mixed()
        desk.qmp.cmd('object-del', id='vamp0')
        eventually(self.untouched, 30, 0.2)
        desk.qmp.cmd('object-add', qom_type='vamp-policy', id='vamp0',
                     tracker='sample', broker=SOCKET, max_phase_ms=60000)

    def broker_killed(self):
        """SIGKILL of the broker in mid-phase: its successor undoes it"""
        desk = self.need()
        self.mixed()
        self.host.sh(f'kill -9 {self.broker}; '
                     f'while kill -0 {self.broker} 2>/dev/null; do '
                     'usleep 20000; done; rm -f ' + SOCKET)
        eventually(lambda: None if desk.qmp.cmd('vamp-query')['actuator']
                   ['active'] != 'broker' else 'not noticed', 60, 0.5)
        # No phase of the next best actuator: only what the broker left
        for vm in self.vms.values():
            vm.qmp.cmd('object-del', id='vamp0')
        self.start_broker()
        eventually(self.untouched, 30, 0.2)
        for vm in self.vms.values():
            vm.qmp.cmd('object-add', qom_type='vamp-policy', id='vamp0',
                       tracker='sample', broker=SOCKET, max_phase_ms=60000)
            info = vm.qmp.cmd('vamp-query')
            check(info['actuator']['active'] == 'broker', info['actuator'])

    def qemu_killed(self):
        """SIGKILL of a QEMU in mid-phase: the groups are as they were"""
        self.mixed()
        self.vms.pop('desk').kill()
        eventually(self.untouched, 30, 0.2)
        check(len(self.status()['vms']) == 1, self.status())

    def tests(self):
        """(name, function)"""
        return [(f.__doc__.splitlines()[0], f) for f in (
            self.boot, self.guests, self.boost, self.figures, self.hotplug,
            self.dates, self.ends, self.broker_killed, self.qemu_killed)]


if __name__ == '__main__':
    sys.exit(main(lambda stack: Suite(stack).tests(), plain=[GuestError]))
