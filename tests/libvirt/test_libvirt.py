#!/usr/bin/env python3
"""
Domains of a real libvirtd: what it permits, what it undoes, what it keeps.

Once as Debian configures it (QEMU as a user of its own, in a sandbox), once
without the sandbox, as the manual of osnet-cpumap demands.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import sys

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[1:1] = [TESTS, os.path.join(TESTS, 'functional')]
# pylint: disable=wrong-import-position
from guest_interrupts import GuestInterrupts
from libvirtd import (LOCKS, UID, Libvirtd, cpu_hierarchy, enter, missing,
                      mixed, threads, weight_file, weights)
from tap import Fail, Skip, check, diagnose, eventually, main
from vamp_guest import GuestError

POLICY = ['-object', 'vamp-policy,id=vamp0,max-phase-ms=4000']
NO_SANDBOX = 'seccomp_sandbox = 0\n'
SHARES = 512                    # what an administrator gives the domain


def cpumap(text):
    """Arguments with a map. The option takes no doubled commas."""
    return ['-osnet_cpumap', f'map={text}']


class Suite:
    """The claims; the daemon and the domain that they share."""

    def __init__(self, stack):
        self.stack = stack
        self.daemon = None
        self.domain = None
        self.host_cpus = sorted(os.sched_getaffinity(0))

    def need(self):
        """The daemon, if it came up."""
        if not self.daemon:
            raise Fail('no libvirtd runs: see above')
        return self.daemon

    def cpu_controller(self):
        """The daemon, where the host has groups with weights."""
        if not cpu_hierarchy():
            raise Skip('there is no cpu controller')
        return self.need()

    def running(self):
        """The domain of the policy, if it came up."""
        self.cpu_controller()
        if not self.domain or not self.domain.alive():
            raise Fail('no domain runs: see above')
        return self.domain

    def two_cpus(self):
        """(daemon without a domain, two CPUs to map to)"""
        daemon = self.need()
        if len(self.host_cpus) < 2:
            raise Skip('this machine has one CPU only')
        daemon.destroy_all()
        return daemon, *self.host_cpus[:2]

    # --- as Debian has it -----------------------------------------------------

    def boot(self):
        """libvirtd comes up"""
        daemon = Libvirtd()
        self.stack.callback(daemon.kill)
        daemon.prepare()
        daemon.start()
        self.daemon = daemon
        diagnose(daemon.virsh('version'))

    def sandbox(self):
        """sandbox: a map is refused, and virsh says why"""
        domain = self.need().domain('map', args=cpumap('0-0'))
        try:
            domain.create()
        except GuestError as e:
            check('osnet-cpumap cannot be used: -sandbox resourcecontrol=deny '
                  'forbids it' in str(e), e)
        else:
            raise Fail('the domain runs')

    def policy(self):
        """a domain with vamp-policy boots its guest"""
        domain = self.cpu_controller().domain('desk', args=POLICY)
        domain.create()
        domain.wait_ready()
        self.domain = domain

    def interrupts(self):
        """vamp-query-interrupts through libvirt agrees with the guest"""
        guest = GuestInterrupts(self.running())
        wrong = guest.disagreement()
        if wrong:
            guest.show()
            raise Fail(wrong)

    def denied(self):
        """libvirt's groups are root's: no weights, and the reason"""
        info = self.running().cmd('vamp-query')
        check(info['actuator']['active'] == 'none', info['actuator'])
        reason = info['actuator']['reason']
        check(re.search(rf'cgroup: cannot \w+ \S+/vcpu\d+/\S+: user {UID} may '
                        'not', reason), reason)
        check('nice: ' in reason, reason)

    def granted(self):
        """weight files given to QEMU's user, as in the manual: cgroup works"""
        domain = self.running()
        groups = domain.groups()
        check(len(set(groups)) == domain.smp, groups)
        for n, group in enumerate(groups):
            check(group.endswith(f'/vcpu{n}'), groups)
            os.chown(weight_file(group), UID, UID)
        domain.cmd('qom-set', path='/objects/vamp0', property='actuator',
                   value='auto')
        info = domain.cmd('vamp-query')
        check(info['actuator']['active'] == 'cgroup', info['actuator'])

    def schedinfo(self):
        """The domain's weight as virsh shows it."""
        text = self.domain.daemon.virsh('schedinfo', self.domain.name)
        return int(re.search(r'cpu_shares\s*:\s*(\d+)', text)[1])

    def phase(self):
        """a key through virsh: the hog's vCPU gets a third"""
        before = [weights()[g] for g in self.running().groups()]
        check(len(set(before)) == 1, before)
        low, high = sorted(mixed(self.running()))
        check(high <= before[0] and high == 3 * low, (before, low, high))

    def administrator(self):
        """what virsh schedinfo sets stays, in a phase and after it"""
        domain = self.running()
        domain.daemon.virsh('schedinfo', domain.name,
                            f'cpu_shares={SHARES}')
        groups = domain.groups()
        neutral = max(weights()[g] for g in groups)
        mixed(domain)
        check(self.schedinfo() == SHARES, self.schedinfo())
        domain.control('hogs 0')

        def wrong():
            now = [weights()[g] for g in groups]
            phase = domain.cmd('vamp-query')['phase']
            return None if phase == 'normal' and \
                all(w >= neutral for w in now) else f'{phase}: {now}'
        eventually(wrong, 60, 0.2)
        now = weights()
        check(len({now[g] for g in groups}) == 1, now)
        check(now[os.path.dirname(groups[0])] == self.schedinfo() == SHARES,
              now)

    def destroy(self):
        """virsh destroy in a phase: every group and thread is as before"""
        domain = self.running()
        neighbour = self.daemon.domain('beside')
        neighbour.create()
        pid = neighbour.pid
        found = threads(pid)
        before = weights()
        mixed(domain)
        group = os.path.dirname(domain.groups()[0])
        gone = domain.pid
        domain.destroy()
        check(not os.path.exists(f'/proc/{gone}'), 'QEMU still runs')
        check(not os.path.exists(group), f'{group} is still there')
        now = weights()
        check(now == {g: w for g, w in before.items()
                      if not g.startswith(group)}, (before, now))
        check(threads(pid) == found, 'the other domain has changed')
        neighbour.destroy()
        left = [g for g in weights() if domain.name in g or neighbour.name in g]
        check(not left, left)

    # --- without the sandbox ---------------------------------------------------

    def restart(self):
        """libvirtd with seccomp_sandbox = 0 comes up"""
        self.need().start(NO_SANDBOX)

    def mapped(self, name, mapping, **kwargs):
        """A domain with vCPU N on host CPU mapping[N]."""
        text = ','.join(f'{v}-{c}' for v, c in enumerate(mapping))
        domain = self.daemon.domain(name, args=cpumap(text), **kwargs)
        domain.create()
        return domain

    def info(self, domain):
        """(vamp-query-cpumap, its rows of vCPUs)"""
        info = domain.cmd('vamp-query-cpumap')
        rows = sorted((t for t in info['threads'] if t['kind'] == 'vcpu'),
                      key=lambda t: t['vcpu'])
        for row in rows:
            check(self.host_list(row['affinity']) ==
                  domain.affinity(row['thread-id']), row)
        return info, rows

    @staticmethod
    def host_list(text):
        """{0, 1} of "0-1"."""
        found = set()
        for part in text.split(','):
            first, _, last = part.partition('-')
            found.update(range(int(first), int(last or first) + 1))
        return found

    def in_force(self, domain, mapping):
        """The map is in force, seen from inside and outside."""
        info, rows = self.info(domain)
        check(info['enabled'] and info['lock-dir'] == LOCKS, info)
        for row, cpu in zip(rows, mapping):
            check(row['pinned'] and row['reason'] == 'as mapped', row)
            check(domain.affinity(row['thread-id']) == {cpu}, row)

    def no_vcpupin(self):
        """without vcpupin: the map is in force when the domain runs"""
        _, first, second = self.two_cpus()
        domain = self.mapped('free', [second, first])
        self.in_force(domain, [second, first])

    def two_domains(self):
        """a CPU of another domain: refused, and virsh says whose it is"""
        _, first, second = self.two_cpus()
        holder = self.mapped('one', [first, second])
        try:
            self.mapped('two', [second], smp=1)
        except GuestError as e:
            check(f"claimed by another VM: '{holder.name}'" in str(e), e)
        else:
            raise Fail('both domains run')
        holder.destroy()
        self.mapped('three', [second], smp=1)

    def agreeing(self):
        """vcpupin that says the same: as mapped"""
        _, first, second = self.two_cpus()
        domain = self.mapped('agree', [second, first], cputune=(
            f"<vcpupin vcpu='0' cpuset='{second}'/>"
            f"<vcpupin vcpu='1' cpuset='{first}'/>"))
        self.in_force(domain, [second, first])

    def conflicting(self):
        """vcpupin that says otherwise wins, and what is in the way is named"""
        _, first, second = self.two_cpus()
        domain = self.mapped('fight', [first, second], cputune=(
            f"<vcpupin vcpu='0' cpuset='{second}'/>"))
        _, rows = self.info(domain)
        check(not rows[0]['pinned'] and
              rows[0]['reason'] == 'somebody else has changed it since', rows)
        check(domain.affinity(rows[0]['thread-id']) == {second}, rows)
        text = rf'vCPU 0 \(thread \d+\) cannot be put on host CPU {first}: ' \
               rf'.*permits only host CPU {second} \(libvirt\'s vcpupin'
        if not self.has_cpusets():
            text = rf'vCPU 0 .*has pinned it to host CPU {second}'
        check(re.search(text, domain.log()), domain.log()[-1000:])
        try:
            domain.cmd('vamp-set-cpumap', map=[{'vcpu': 0, 'cpu': first}])
        except GuestError as e:
            check(re.search(text, str(e)), e)
        else:
            raise Fail('vamp-set-cpumap has no objection')
        check(domain.affinity(rows[0]['thread-id']) == {second}, rows)
        # Where libvirt leaves room the map holds.
        domain.cmd('vamp-set-cpumap', map=[{'vcpu': 0, 'cpu': second},
                                           {'vcpu': 1, 'cpu': first}])
        self.in_force(domain, [second, first])

    @staticmethod
    def has_cpusets():
        """Does libvirt have a cpuset controller to pin with?"""
        return any(os.path.exists(os.path.join(group, name))
                   for group in Libvirtd.machine_groups()
                   for name in ('cpuset.cpus', 'cpuset.cpus.effective'))

    def forbidden(self):
        """a <vcpu cpuset> without the CPU: refused, and virsh says why"""
        _, first, second = self.two_cpus()
        try:
            self.mapped('cpuset', [first], smp=1, cpuset=str(second))
        except GuestError as e:
            check(re.search(rf'vCPU 0 .*cannot be put on host CPU {first}: .*'
                            rf'host CPU {second}', str(e)), e)
        else:
            raise Fail('the domain runs')

    def later(self):
        """virsh vcpupin of a domain that runs wins, also after a pause"""
        daemon, first, second = self.two_cpus()
        domain = self.mapped('later', [first, second])
        both = f'{first},{second}'
        daemon.virsh('vcpupin', domain.name, '0', both)
        daemon.virsh('suspend', domain.name)
        daemon.virsh('resume', domain.name)
        _, rows = self.info(domain)
        check(not rows[0]['pinned'] and
              rows[0]['reason'] == 'somebody else has changed it since', rows)
        check(domain.affinity(rows[0]['thread-id']) == {first, second}, rows)
        check(rows[1]['pinned'], rows)

    def plugged(self):
        """a vCPU that libvirt plugs in: at the latest a new map moves it"""
        daemon, first, second = self.two_cpus()
        domain = self.mapped('plug', [second, first], plugged=1)
        daemon.virsh('setvcpus', domain.name, '2', '--live')
        _, rows = self.info(domain)
        check(len(rows) == 2 and rows[0]['pinned'], rows)
        # With cgroup v1, libvirt's move to a cpuset has undone it.
        diagnose(f'after the plug: {rows[1]["affinity"]}, {rows[1]["reason"]}')
        check(rows[1]['pinned'] or
              rows[1]['reason'] == 'somebody else has changed it since', rows)
        domain.cmd('vamp-set-cpumap', map=[{'vcpu': 0, 'cpu': second},
                                           {'vcpu': 1, 'cpu': first}])
        self.in_force(domain, [second, first])

    def tests(self):
        """(name, function)"""
        return [(f.__doc__.splitlines()[0], f) for f in (
            self.boot, self.sandbox, self.policy, self.interrupts, self.denied,
            self.granted, self.phase, self.administrator, self.destroy,
            self.restart, self.no_vcpupin, self.two_domains, self.agreeing,
            self.conflicting, self.forbidden, self.later, self.plugged)]


if __name__ == '__main__':
    WHY = missing()
    if not WHY:
        enter()
    sys.exit(main(lambda stack: Suite(stack).tests(), WHY, [GuestError]))
