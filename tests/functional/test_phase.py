#!/usr/bin/env python3
"""
A real guest, real clients, and what vamp-policy does to real threads, seen
from outside: /proc, the control groups, the guest's answers.

One guest is booted. It goes from QEMU to QEMU, by migration and by a saved
state, as the claims need another one. The figures of a scheduler are never
asserted: the machine may be slow and busy.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import os
import pwd
import shutil
import signal
import sys
import tempfile
import time

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.dirname(HERE))
# pylint: disable=wrong-import-position
from tap import Fail, Skip, check, diagnose, eventually, main
from vamp_guest import (Answers, CpuGroups, GuestError, Presser, SpicePresser,
                        TICK, Vm, find_qemu, qemu_missing)

RATIO = 3
NICE_STEP = 5           # of ratio 3 at nice 0: 1024 / 335
KEY_ENTER = '28'        # what the guest's driver calls Enter
# A phase that lasts while we look at it; the longest that is valid.
LONG_MS = 60000
SHORT_MS = 1500
# The policy looks at the last second: let the load be there for longer.
SETTLE_S = 1.5
# Longer than a double click.
GAP_S = 0.7
LOOK_S = 1.2
SMP = '2,maxcpus=3'
BOOT_S = 240
ANSWER_S = 120


def read(path):
    """The text of a file in /proc or of a control group."""
    with open(path, encoding='ascii', errors='replace') as f:
        return f.read().strip()


class Outside:
    """A vCPU thread as anybody on the host can see it."""

    def __init__(self, vm, tid, group):
        base = f'/proc/{vm.pid}/task/{tid}'
        fields = read(base + '/stat').rpartition(')')[2].split()
        self.tid = tid
        self.cpu_s = (int(fields[11]) + int(fields[12])) / TICK
        self.nice = int(fields[16])
        self.path = CpuGroups.path_of(read(base + '/cgroup'))
        self.own = os.path.basename(self.path)      # of its group
        self.weight = None
        if group and self.own.startswith('vamp-'):
            for name in ('cpu.shares', 'cpu.weight'):
                with contextlib.suppress(FileNotFoundError):
                    self.weight = int(read(os.path.join(group, self.own, name)))

    def state(self):
        """What VAMP may change."""
        return self.path, self.weight, self.nice

    def __repr__(self):
        return f'thread {self.tid}: nice {self.nice}, weight {self.weight} ' \
               f'in {self.path}'


class Guests:
    """What the claims share."""

    def __init__(self, stack):
        self.stack = stack
        self.tmp = tempfile.mkdtemp(prefix=f'vamp-test-{os.getpid()}-',
                                    dir='/tmp')
        stack.callback(shutil.rmtree, self.tmp, ignore_errors=True)
        os.chmod(self.tmp, 0o755)
        self.groups = CpuGroups('vamp-test')
        stack.callback(self.groups.remove)
        self.saved = os.path.join(self.tmp, 'state')
        self.spice = os.path.join(self.tmp, 'spice')
        self.group_of = {}
        self.answers = {}
        self.vm = None          # that runs the guest now

    # --- QEMUs ---

    def start(self, name, extra=(), like=None, user=None, tmp=None):
        """Starts a QEMU in a group of its own, or in that of @like."""
        vm = Vm(name, tmp or self.tmp, qemu=find_qemu(), smp=SMP, display=True,
                extra=extra)
        self.stack.callback(vm.kill)
        group = None
        if user is None and self.groups.kind:
            group = self.group_of[like] if like else self.groups.make(name)
        self.group_of[name] = group
        vm.start(group=group, user=user)
        return vm

    def need(self):
        """The QEMU that runs the guest."""
        if not self.vm or not self.vm.alive():
            raise Fail('no guest runs: see above')
        return self.vm

    def restored(self, name, extra=(), user=None, tmp=None):
        """A new QEMU with the guest of the saved state, hog inside."""
        if not os.path.exists(self.saved):
            raise Fail('no state was saved: see above')
        vm = self.start(name, [*extra, '-incoming', f'file:{self.saved}'],
                        user=user, tmp=tmp)
        self.arrived(vm)
        return vm

    def arrived(self, vm):
        """Waits until a migrated guest runs in @vm, and talks to it."""
        def wrong():
            if not vm.alive():
                raise Fail(f'{vm.name} ended:\n{vm.last_words()}')
            status = vm.qmp.cmd('query-status')['status']
            return None if status == 'running' else \
                f'the guest in {vm.name} is {status}'
        eventually(wrong, 120)
        vm.control('ping', 120)
        self.listen(vm)

    @staticmethod
    def migrate(vm, uri):
        """Sends the guest in @vm away."""
        vm.qmp.cmd('migrate', uri=uri)

        def wrong():
            info = vm.qmp.cmd('query-migrate')
            status = info.get('status')
            if status in ('failed', 'cancelled'):
                raise Fail(f'migration of {vm.name}: {info}')
            return None if status == 'completed' else \
                f'migration of {vm.name} is {status}'
        eventually(wrong, 240)

    # --- the policy ---

    @staticmethod
    def policy(vm, **properties):
        """Gives @vm a policy, and the policy time to see the load."""
        properties.setdefault('max_phase_ms', LONG_MS)
        vm.qmp.cmd('object-add', qom_type='vamp-policy', id='vamp0',
                   ratio=RATIO, **properties)
        time.sleep(SETTLE_S)

    @staticmethod
    def drop(vm):
        """Removes the policy."""
        vm.qmp.cmd('object-del', id='vamp0')

    @staticmethod
    def event(vm, press):
        """Presses a key; returns the data of the phase event that follows."""
        vm.qmp.cmd('query-status')      # what came before is in .events now
        vm.qmp.events.clear()
        press()
        return vm.qmp.wait_event('VAMP_PHASE_CHANGE', 60)['data']

    def mixed(self, vm, press, phase='mixed'):
        """Presses a key until the phase is mixed; returns the event."""
        for _ in range(5):
            event = self.event(vm, press)
            if event['phase'] == phase:
                check(event['id'] == 'vamp0' and event['cause'] == 'input',
                      f'event: {event}')
                return event
            # The load has come too late, on a busy host
            diagnose(f'{event}; again')
            time.sleep(SETTLE_S)
        raise Fail(f'no {phase} phase: {event}\n{vm.qmp.cmd("vamp-query")}')

    @staticmethod
    def send_key(vm):
        """Enter, by QMP."""
        return vm.qmp.cmd('send-key', keys=[{'type': 'qcode', 'data': 'ret'}])

    def listen(self, vm):
        """Reads the answers of the guest in @vm from now on. Early: a guest
        that has not yet heard of its reader drops an answer (see respond.c)."""
        self.answers[vm.name] = Answers(vm)
        self.stack.callback(self.answers[vm.name].close)

    def answered(self, vm, press):
        """Presses a key; checks that the guest answers it."""
        answers = self.answers[vm.name]
        with contextlib.suppress(GuestError):
            while True:         # those of earlier keys
                answers.next(GAP_S)
        press()
        words = answers.next(ANSWER_S)
        check(len(words) == 5 and words[1] == KEY_ENTER,
              f'the guest answered {words}')

    # --- the host's view ---

    def outside(self, vm):
        """The vCPU threads."""
        return [Outside(vm, tid, self.group_of[vm.name])
                for tid in vm.vcpu_tids()]

    def vamp_groups(self, vm):
        """The groups that a vamp-policy has made in that of @vm."""
        group = self.group_of[vm.name]
        if not group:
            return []
        return sorted(n for n in os.listdir(group) if n.startswith('vamp-'))

    @staticmethod
    def no_means(query):
        """Why weights cannot be changed here; None: they can."""
        return query['actuator']['reason'] \
            if query['actuator']['active'] == 'none' else None

    def check_untouched(self, vm, before, what):
        """The threads of @vm are as they were @before."""
        now = self.outside(vm)
        check([o.state() for o in now] == [o.state() for o in before],
              f'{what}: {now}, not {before}')
        check(not self.vamp_groups(vm),
              f'{what}: groups {self.vamp_groups(vm)} are left')

    @staticmethod
    def one_runs(vm, task):
        """None if one vCPU is in the background, and runs @task."""
        vcpus = vm.qmp.cmd('vamp-query')['vcpus']
        tasks = [v['current-task'] for v in vcpus if v['class'] == 'background']
        return None if tasks == [task] else f'not one vCPU for {task}: {vcpus}'

    def one_look(self, vm, is_background, is_other):
        """
        Looks at weights and CPU time for a while. None, or what is not as it
        should be: the vCPU that burns the CPU is in the background nearly all
        the time, the others hardly ever.
        """
        first = self.outside(vm)
        seen = [0] * len(first)
        looks = 0
        deadline = time.monotonic() + LOOK_S
        while time.monotonic() < deadline or looks < 10:
            for i, o in enumerate(self.outside(vm)):
                check(is_background(o) or is_other(o), f'vCPU {i}: {o}')
                seen[i] += is_background(o)
            looks += 1
            time.sleep(LOOK_S / 24)
        last = self.outside(vm)
        used = [b.cpu_s - a.cpu_s for a, b in zip(first, last)]
        hog = used.index(max(used))
        if used[hog] < 0.75 * sum(used):
            return f'no vCPU burns more than the others: {used} s'
        for i, n in enumerate(seen):
            if (n < 0.8 * looks) if i == hog else (n > 0.2 * looks):
                return f'vCPU {hog} runs the hog, but vCPU {i} was in the ' \
                       f'background in {n} of {looks} looks: {last}'
        return None

    def check_weights(self, vm, press, actuator):
        """In a mixed phase: the hog's vCPU is in the background."""
        if actuator == 'cgroup':
            def is_background(o):
                return o.nice == 0 and o.weight in (341, 33)
            def is_other(o):
                return o.nice == 0 and o.weight in (341 * RATIO, 33 * RATIO)
        else:
            def is_background(o):
                return o.nice == NICE_STEP and o.weight is None
            def is_other(o):
                return o.nice == 0 and o.weight is None
        for _ in range(8):
            wrong = self.one_look(vm, is_background, is_other)
            if wrong is None:
                return
            # An idle vCPU keeps the last task's page tables: a key gives it
            # another one. Or the guest has just moved the hog.
            diagnose(f'{wrong}; again')
            time.sleep(GAP_S)
            press()
        raise Fail(wrong)


class Claims:
    """One method a claim, in the order of claims()."""

    def __init__(self, stack):
        self.g = Guests(stack)
        self.stack = stack

    def boot(self):
        """The desk guest, both display servers."""
        spice = ['-spice', f'unix=on,addr={self.g.spice},disable-ticketing=on']
        self.g.vm = vm = self.g.start('desk', spice)
        vm.wait_ready(BOOT_S)
        vm.control('work 1 2 1', 120)
        self.g.listen(vm)

    def no_object(self):
        """As upstream."""
        vm = self.g.need()
        query = vm.qmp.cmd('vamp-query')
        guest = query.pop('guest')
        check(query == {'enabled': False,
                        'reason': 'there is no vamp-policy object'},
              f'vamp-query: {query}')
        check(guest['source'] == 'none' and not any(guest['counters'].values()),
              f'vamp-query: {guest}')
        vm.qmp.cmd('query-status')
        vm.qmp.events.clear()
        self.g.answered(vm, lambda: self.g.send_key(vm))
        vm.qmp.cmd('query-status')
        check(not vm.qmp.events, f'events: {vm.qmp.events}')

    def idle(self):
        """Nothing in the background: no weight is changed."""
        vm = self.g.need()
        press = lambda: self.g.send_key(vm)     # noqa: E731
        time.sleep(SETTLE_S)
        for _ in range(3):
            self.g.policy(vm)
            before = self.g.outside(vm)
            event = self.g.event(vm, press)
            query = vm.qmp.cmd('vamp-query')
            now = self.g.outside(vm)
            self.g.drop(vm)
            if event['phase'] == 'non-mixed':
                break
            diagnose(f'{event}; again')
        check(event['phase'] == 'non-mixed', f'event: {event}')
        check(query['phase'] == 'non-mixed' and
              not query.get('background-tasks'), f'vamp-query: {query}')
        check(query['counters']['weight-changes'] == 0,
              f'counters: {query["counters"]}')
        check([o.state() for o in now] == [o.state() for o in before],
              f'{now}, not {before}')
        check(all(v['class'] == 'neutral' for v in query['vcpus']),
              f'vCPUs: {query["vcpus"]}')

    def vnc(self):
        """A key through VNC."""
        vm = self.g.need()
        before = self.g.outside(vm)
        vm.control('hogs 1')
        self.g.policy(vm)
        self.g.answers[vm.name].close()     # the port serves one
        presser = Presser(vm)
        try:
            answers = []
            def press():
                answers.extend(presser.block(1, (0, 0), 1, timeout_ms=120000))
            event = self.g.mixed(vm, press)
            # A task of the kernel's may have been busy in the same second
            check(event['background'] >= 1, f'event: {event}')
            check(answers[-1].text and answers[-1].text.split()[1] == KEY_ENTER,
                  f'the guest answered {answers[-1]}')
            query = vm.qmp.cmd('vamp-query')
            check(query['phase'] == 'mixed' and query['phase-cause'] == 'input',
                  f'vamp-query: {query}')
            check(query['background-tasks'],
                  f'background: {query["background-tasks"]}')
            hog = query['background-tasks'][0]['task']  # the busiest
            check(query['tracker']['active'] == 'tcg',
                  f'tracker: {query["tracker"]}')
            # One vCPU runs it. An idle one may still have its page tables
            # loaded, and is not in the background.
            eventually(lambda: self.g.one_runs(vm, hog))
            why = self.g.no_means(query)
            if why:
                raise Skip(f'phase, but no weights: {why}')
            self.g.check_weights(vm, press, query['actuator']['active'])
            check(vm.qmp.cmd('vamp-query')['counters']['weight-changes'] > 0,
                  'no weight-changes were counted')
            # Some scheduling later: deleted while the phase is on
            check(vm.qmp.cmd('vamp-query')['phase'] == 'mixed', 'phase ended')
            self.g.drop(vm)
            self.g.check_untouched(vm, before, 'after object-del')
        finally:
            presser.kill()
            self.g.listen(vm)

    def nice(self):
        """The same with nice values, which need no groups."""
        vm = self.g.need()
        with contextlib.suppress(GuestError):
            self.g.drop(vm)
        before = self.g.outside(vm)
        self.g.policy(vm, actuator='nice')
        press = lambda: self.g.send_key(vm)     # noqa: E731
        self.g.mixed(vm, press)
        query = vm.qmp.cmd('vamp-query')
        why = self.g.no_means(query)
        if why:
            raise Skip(why)
        self.g.check_weights(vm, press, 'nice')
        check(vm.qmp.cmd('vamp-query')['phase'] == 'mixed', 'phase ended')
        self.g.drop(vm)
        self.g.check_untouched(vm, before, 'after object-del')

    def spice(self):
        """A key through SPICE."""
        vm = self.g.need()
        with contextlib.suppress(GuestError):
            self.g.drop(vm)
        if not os.path.exists(SpicePresser.PATH):
            raise Skip('no SPICE client was built: spice-client-glib-2.0 is '
                       'missing (package libspice-client-glib-2.0-dev)')
        self.g.policy(vm)
        presser = SpicePresser(self.g.spice)
        try:
            self.g.mixed(vm, presser.press)
            self.g.answered(vm, presser.press)
            query = vm.qmp.cmd('vamp-query')
            check(query['phase'] == 'mixed' and query['background-tasks'],
                  f'vamp-query: {query}')
            why = self.g.no_means(query)
            if why:
                raise Skip(f'phase, but no weights: {why}')
            self.g.check_weights(vm, presser.press,
                                 query['actuator']['active'])
        finally:
            presser.kill()

    def monitors(self, press):
        """A key through a monitor: the phase of before begins anew."""
        vm = self.g.need()
        if not vm.qmp.cmd('vamp-query')['enabled']:
            self.g.policy(vm)
        time.sleep(GAP_S)
        phases = vm.qmp.cmd('vamp-query')['counters']['phases']
        self.g.mixed(vm, lambda: press(vm))
        check(vm.qmp.cmd('vamp-query')['counters']['phases'] > phases,
              'no phase was counted')
        self.g.answered(vm, lambda: press(vm))

    def qmp_key(self):
        """send-key."""
        self.monitors(self.g.send_key)

    def hmp_key(self):
        """sendkey."""
        self.monitors(lambda vm: vm.qmp.cmd('human-monitor-command',
                                            command_line='sendkey ret'))

    def ends(self):
        """After max-phase-ms everything is neutral again."""
        vm = self.g.need()
        with contextlib.suppress(GuestError):
            self.g.drop(vm)
        self.g.policy(vm, max_phase_ms=SHORT_MS)
        before = self.g.outside(vm)
        self.g.mixed(vm, lambda: self.g.send_key(vm))
        for _ in range(20):
            event = vm.qmp.wait_event('VAMP_PHASE_CHANGE', 60)['data']
            if event['phase'] == 'normal':
                break
        check(event['phase'] == 'normal' and event['background'] == 0,
              f'event: {event}')
        query = vm.qmp.cmd('vamp-query')
        check(query['phase'] == 'normal' and 'phase-left-ms' not in query and
              not query.get('background-tasks'), f'vamp-query: {query}')
        check(all(v['class'] == 'neutral' for v in query['vcpus']),
              f'vCPUs: {query["vcpus"]}')
        now = self.g.outside(vm)
        check([o.state() for o in now] == [o.state() for o in before],
              f'{now}, not {before}')
        why = self.g.no_means(query)
        if why:
            raise Skip(f'phase, but no weights: {why}')
        check(query['counters']['weight-changes'] > 0,
              f'counters: {query["counters"]}')

    def migrate_away(self):
        """In mid-phase to a QEMU without the object."""
        source = self.g.need()
        with contextlib.suppress(GuestError):
            self.g.drop(source)
        before = self.g.outside(source)
        self.g.policy(source)
        self.g.mixed(source, lambda: self.g.send_key(source))
        path = os.path.join(self.g.tmp, 'mig1')
        vm = self.g.start('plain', ['-incoming', f'unix:{path}'])
        check(source.qmp.cmd('vamp-query')['phase'] == 'mixed', 'phase ended')
        self.g.migrate(source, f'unix:{path}')
        self.g.arrived(vm)
        self.g.vm = vm
        query = source.qmp.cmd('vamp-query')
        check(query['phase'] == 'normal', f'the source stays {query["phase"]}')
        self.g.drop(source)
        self.g.check_untouched(source, before, 'source after migration')
        source.kill()
        check(not vm.qmp.cmd('vamp-query')['enabled'], 'there is a policy')
        self.g.answered(vm, lambda: self.g.send_key(vm))

    def save(self):
        """The state of a guest without a policy, for the claims below."""
        vm = self.g.need()
        self.g.migrate(vm, f'file:{self.g.saved}')
        os.chmod(self.g.saved, 0o644)
        vm.cont()
        self.g.answered(vm, lambda: self.g.send_key(vm))

    def migrate_back(self):
        """To a QEMU that has the object on its command line."""
        source = self.g.need()
        path = os.path.join(self.g.tmp, 'mig2')
        vm = self.g.start('back', [
            '-object', f'vamp-policy,id=vamp0,max-phase-ms={LONG_MS}',
            '-incoming', f'unix:{path}'])
        self.g.migrate(source, f'unix:{path}')
        source.kill()
        self.g.arrived(vm)
        self.g.vm = vm
        time.sleep(SETTLE_S)
        self.g.mixed(vm, lambda: self.g.send_key(vm))
        self.g.answered(vm, lambda: self.g.send_key(vm))
        check(vm.qmp.cmd('vamp-query')['phase'] == 'mixed', 'phase ended')

    def plug(self):
        """A vCPU more, in mid-phase."""
        vm = self.g.need()
        if vm.qmp.cmd('vamp-query').get('phase') != 'mixed':
            raise Fail('no mixed phase: see above')
        slot = [s for s in vm.qmp.cmd('query-hotpluggable-cpus')
                if 'qom-path' not in s][-1]
        vm.qmp.cmd('device_add', driver=slot['type'], id='cpu2', **slot['props'])
        query = vm.qmp.cmd('vamp-query')
        check([v['cpu-index'] for v in query['vcpus']] == [0, 1, 2],
              f'vCPUs: {query["vcpus"]}')
        new = query['vcpus'][2]
        check(new['thread-id'] == vm.vcpu_tids()[2], f'vCPU: {new}')
        if query['actuator']['active'] == 'cgroup':
            group = f'vamp-{vm.pid}-vcpu2'
            check(self.g.outside(vm)[2].own == group,
                  f'{self.g.outside(vm)[2]}, not in {group}')
        self.g.answered(vm, lambda: self.g.send_key(vm))

    def unplug(self):
        """And away again, if the guest cooperates."""
        vm = self.g.need()
        if len(vm.qmp.cmd('vamp-query').get('vcpus', ())) != 3:
            raise Fail('no third vCPU: see above')
        vm.qmp.cmd('device_del', id='cpu2')
        try:
            vm.qmp.wait_event('DEVICE_DELETED', 30)
        except GuestError:
            raise Skip('the guest kernel does not let go of the vCPU') from None
        query = vm.qmp.cmd('vamp-query')
        check([v['cpu-index'] for v in query['vcpus']] == [0, 1],
              f'vCPUs: {query["vcpus"]}')
        check(f'vamp-{vm.pid}-vcpu2' not in self.g.vamp_groups(vm),
              'the group of the vCPU is left')
        self.g.answered(vm, lambda: self.g.send_key(vm))

    def mid_phase(self, vm):
        """A mixed phase with a changed weight is on in @vm."""
        if not vm.qmp.cmd('vamp-query')['enabled']:
            self.g.policy(vm)
        time.sleep(GAP_S)
        self.g.mixed(vm, lambda: self.g.send_key(vm))
        query = vm.qmp.cmd('vamp-query')
        if query['actuator']['active'] != 'cgroup':
            vm.kill()
            raise Skip('no control groups here: ' + query['actuator']['reason'])
        check(self.g.vamp_groups(vm), 'no groups in a mixed phase')

    def quit(self):
        """quit."""
        vm = self.g.need()
        self.mid_phase(vm)
        with contextlib.suppress(GuestError):
            vm.qmp.cmd('quit')
        status = vm.wait_exit()
        left = self.g.vamp_groups(vm)
        check(status == 0 and not left, f'exit status {status}, groups {left}')

    def sigterm(self):
        """SIGTERM."""
        vm = self.g.restored('term')
        self.mid_phase(vm)
        vm.signal(signal.SIGTERM)
        status = vm.wait_exit()
        left = self.g.vamp_groups(vm)
        check(status == 0 and not left, f'exit status {status}, groups {left}')

    def sigkill(self):
        """SIGKILL, and the next QEMU."""
        vm = self.g.restored('kill')
        self.mid_phase(vm)
        vm.kill()
        left = self.g.vamp_groups(vm)
        group = self.g.group_of['kill']
        check(all(n.startswith(f'vamp-{vm.pid}-vcpu') for n in left),
              f'groups {left}')
        # What was killed may take a moment to leave
        eventually(lambda: next(
            (f'{n} is not empty' for n in left
             if read(os.path.join(group, n, 'cgroup.procs'))), None))
        diagnose(f'left: {left}')
        other = self.g.start('sweeper', ['-object', 'vamp-policy,id=vamp0'],
                             like='kill')
        other.qmp.cmd('vamp-query')
        now = self.g.vamp_groups(other)
        check(now and all(n.startswith(f'vamp-{other.pid}-') for n in now),
              f'groups {now} with QEMU {other.pid}')
        with contextlib.suppress(GuestError):
            other.qmp.cmd('quit')
        other.wait_exit()
        check(not self.g.vamp_groups(other),
              f'groups {self.g.vamp_groups(other)} after quit')

    def harmless(self, vm, words):
        """No means at all: phases are told, nothing changes, the guest lives."""
        before = self.g.outside(vm)
        time.sleep(SETTLE_S)
        self.g.mixed(vm, lambda: self.g.send_key(vm))
        query = vm.qmp.cmd('vamp-query')
        check(query['actuator']['active'] == 'none' and
              all(w in query['actuator']['reason'] for w in words),
              f'actuator: {query["actuator"]}, not for {words}')
        check(query['counters']['weight-changes'] == 0 and
              query['counters']['faults'] == 0 and 'fault' not in query,
              f'counters: {query["counters"]}')
        self.g.check_untouched(vm, before, 'in the phase')
        self.g.answered(vm, lambda: self.g.send_key(vm))
        with contextlib.suppress(GuestError):
            vm.qmp.cmd('quit')
        status = vm.wait_exit()
        check(status == 0, f'exit status {status}:\n{vm.last_words()}')

    def sandbox(self):
        """A seccomp filter forbids setpriority, with death or with EPERM."""
        vm = self.g.restored('sandbox', [
            '-sandbox', 'on,resourcecontrol=deny', '-object',
            f'vamp-policy,id=vamp0,actuator=nice,max-phase-ms={LONG_MS}'])
        self.harmless(vm, ['nice: ', 'resourcecontrol=deny'])

    def nobody(self):
        """A user who may not undo a nice value."""
        if os.geteuid():
            raise Skip('only root can become another user')
        try:
            user = pwd.getpwnam('nobody')
        except KeyError:
            raise Skip('there is no user nobody') from None
        tmp = os.path.join(self.g.tmp, 'nobody')
        os.mkdir(tmp, 0o700)
        os.chown(tmp, user.pw_uid, user.pw_gid)
        vm = self.g.restored('nobody', [
            '-object', f'vamp-policy,id=vamp0,max-phase-ms={LONG_MS}'],
            user=user.pw_uid, tmp=tmp)
        uids = [line for line in read(f'/proc/{vm.pid}/status').splitlines()
                if line.startswith('Uid:')]
        check(uids[0].split()[1:] == [str(user.pw_uid)] * 4,
              f'QEMU does not run as nobody: {uids}')
        self.harmless(vm, ['cgroup: ', 'nice: ', 'RLIMIT_NICE is 0'])


def claims(stack):
    """(name, function), in their order."""
    c = Claims(stack)
    return [
        ('boot', c.boot),
        ('no object: no policy, no events', c.no_object),
        ('idle guest: a key changes no weight', c.idle),
        ('VNC key: mixed phase, the hog\'s weight, object-del', c.vnc),
        ('actuator nice: the hog\'s nice value, object-del', c.nice),
        ('SPICE key: mixed phase, the hog\'s weight', c.spice),
        ('QMP send-key', c.qmp_key),
        ('HMP sendkey', c.hmp_key),
        ('a phase ends by itself', c.ends),
        ('migration in mid-phase to a QEMU without the object',
         c.migrate_away),
        ('saving the guest\'s state', c.save),
        ('migration to a QEMU with the object', c.migrate_back),
        ('hot-plug of a vCPU in mid-phase', c.plug),
        ('hot-unplug of a vCPU in mid-phase', c.unplug),
        ('quit in mid-phase', c.quit),
        ('SIGTERM in mid-phase', c.sigterm),
        ('SIGKILL in mid-phase, and the next QEMU', c.sigkill),
        ('-sandbox resourcecontrol=deny', c.sandbox),
        ('user nobody with RLIMIT_NICE 0', c.nobody),
    ]


if __name__ == '__main__':
    sys.exit(main(claims, qemu_missing(), [GuestError]))
