#!/usr/bin/env python3
"""
Domains of a real libvirtd, as Debian configures it, and qemu-vamp-broker.

QEMU is a user of its own, in a sandbox, in control groups that are root's; so
without the broker there is nothing that it could change. With it, a key
through virsh changes the groups and threads that libvirt has made, and
whoever ends, all others are as they were.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import os
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[1:1] = [TESTS, os.path.join(TESTS, 'functional')]
# pylint: disable=wrong-import-position
from libvirtd import (UID, USER, Libvirtd, cpu_hierarchy, enter, missing,
                      mixed, threads, weights)
from tap import Fail, Skip, check, diagnose, eventually, main
from vamp_guest import BUILD, GuestError

BROKER = os.path.join(BUILD, 'bin', 'qemu-vamp-broker')
# In the /run of our namespace.
FOLDER = '/run/broker'
SOCKET = FOLDER + '/socket'
STATE = FOLDER + '/state'
POLICY = ['-object', 'vamp-policy,id=vamp0,max-phase-ms=4000,actuator=broker,'
                     f'broker={SOCKET}']
RR = os.SCHED_RR | os.SCHED_RESET_ON_FORK
# Of real-time class, in us of each second, for the groups of all domains, one
# domain, and a part of it: where it is given to groups, libvirt gives none.
RT_US = (850000, 800000, 250000)
END_S = 60


class Suite:
    """The claims; the daemons and the domain that they share."""

    def __init__(self, stack):
        self.stack = stack
        self.daemon = None
        self.broker = None
        self.domain = None
        self.real_time = True
        self.found = None

    def running(self):
        """The domain, if it came up."""
        if not self.daemon:
            raise Fail('libvirtd or the broker does not run: see above')
        if not self.domain or not self.domain.alive():
            raise Fail('no domain runs: see above')
        return self.domain

    # --- the broker -----------------------------------------------------------

    def start_broker(self):
        """Starts it; its socket is for QEMU's user."""
        log = tempfile.TemporaryFile('w+', dir=FOLDER)
        self.broker = subprocess.Popen(
            [BROKER, '--socket', SOCKET, '--state', STATE, '--group', USER,
             '--uid', USER], stdin=subprocess.DEVNULL, stdout=log, stderr=log)

        def wrong():
            if self.broker.poll() is None and os.path.exists(SOCKET):
                return None
            log.seek(0)
            return f'the broker does not run: {log.read()}'
        eventually(wrong, END_S)

    def end_broker(self, how):
        """Ends it, if it runs."""
        if self.broker:
            self.broker.send_signal(how)
            self.broker.wait(END_S)
            self.broker = None

    def vms(self):
        """{pid: what the broker says of it}"""
        text = subprocess.run([BROKER, '--socket', SOCKET, '--status',
                               '--json'], check=True, text=True,
                              stdout=subprocess.PIPE).stdout
        return {vm['pid']: vm for vm in json.loads(text)['vms']}

    # --- real-time class of groups --------------------------------------------

    def grant_real_time(self, domain):
        """
        Gives the domain's groups real-time class, where the kernel gives it to
        groups, and others have left some of it.
        """
        parts = domain.groups()
        top = os.path.dirname(parts[0])
        parts.append(os.path.join(top, 'emulator'))
        groups = [(os.path.dirname(top), RT_US[0]), (top, RT_US[1])] + \
            [(part, RT_US[2]) for part in parts]
        try:
            for group, us in groups:
                file = os.path.join(group, 'cpu.rt_runtime_us')
                if os.path.exists(file):
                    with open(file, 'w', encoding='ascii') as f:
                        f.write(str(us))
        except OSError as e:
            self.real_time = False
            diagnose(f'without real-time class: {file}: {e.strerror}')

    # --- the claims -----------------------------------------------------------

    def boot(self):
        """libvirtd and the broker come up"""
        if not cpu_hierarchy():
            raise Skip('there is no cpu controller')
        if not os.path.exists(BROKER):
            raise Skip(f'{BROKER} was not built')
        daemon = Libvirtd()
        self.stack.callback(daemon.kill)
        daemon.prepare()
        daemon.start()
        os.mkdir(FOLDER)
        self.stack.callback(self.end_broker, signal.SIGTERM)
        self.start_broker()
        self.daemon = daemon

    def policy(self):
        """a domain of QEMU's own user, in its sandbox, is the broker's client"""
        if not self.daemon:
            raise Fail('libvirtd or the broker does not run: see above')
        domain = self.daemon.domain('desk', args=POLICY)
        domain.create()
        domain.wait_ready()
        check(os.stat(f'/proc/{domain.pid}').st_uid == UID, 'another user')
        info = domain.cmd('vamp-query')
        check(info['actuator']['active'] == 'broker', info['actuator'])
        self.grant_real_time(domain)
        group = os.path.dirname(domain.groups()[0])

        def wrong():
            vm = self.vms().get(domain.pid)
            return None if vm and group.endswith(vm.get('group', '?')) else \
                f'{group}: {vm}'
        eventually(wrong)
        self.found = (weights(), threads(domain.pid))
        self.domain = domain

    def phase_is_on(self, domain):
        """None, or why groups and threads are not as in a phase."""
        low, high = sorted(mixed(domain))
        if high != 3 * low:
            return f'weights {low} and {high}'
        info = domain.cmd('vamp-query')
        classes = {v['thread-id']: v['class'] for v in info['vcpus']}
        found = threads(domain.pid)
        now = {tid: found[tid][1] for tid in classes}
        want = {tid: RR if c == 'interactive' and self.real_time else
                os.SCHED_OTHER for tid, c in classes.items()}
        state = info['actuator'].get('broker', {}).get('state')
        if sorted(classes.values()) != ['background', 'interactive'] or \
                now != want:
            return f'threads {now}, classes {classes}, state {state}'
        return None if state == ('boost' if self.real_time else 'weights') \
            else f'state {state}'

    def phase(self):
        """a key through virsh changes vcpuN groups and threads, as classes say"""
        domain = self.running()
        # Two looks at what goes on may see two moments.
        eventually(lambda: self.phase_is_on(domain), 120, 0.2)

    def changed(self, domain):
        """None, or what is not as it was before any phase."""
        now = (weights(), threads(domain.pid))
        # QEMU has threads that come and go, as it has work for them.
        both = set(now[1]) & set(self.found[1])
        return None if now[0] == self.found[0] and all(
            now[1][t] == self.found[1][t] for t in both) else \
            f'{now}, not {self.found}'

    def over(self):
        """when it ends, all groups and threads are as they were"""
        domain = self.running()
        domain.control('hogs 0')
        eventually(lambda: self.changed(domain))

    def killed(self):
        """SIGKILL of the broker in a phase: its successor puts all back"""
        domain = self.running()
        eventually(lambda: self.phase_is_on(domain), 120, 0.2)
        self.end_broker(signal.SIGKILL)
        os.unlink(SOCKET)
        domain.control('hogs 0')
        self.start_broker()
        eventually(lambda: self.changed(domain))

        def wrong():
            # Which begins a phase, and with it looks for the broker.
            domain.daemon.virsh('send-key', domain.name, 'KEY_ENTER')
            info = domain.cmd('vamp-query')['actuator']
            return None if info['active'] == 'broker' else info
        eventually(wrong, 60, 1)

    def destroy(self):
        """virsh destroy in a phase: every group and thread is as before"""
        domain = self.running()
        neighbour = self.daemon.domain('beside', args=POLICY)
        neighbour.create()
        before = threads(neighbour.pid)
        groups = {g: w for g, w in weights().items() if 'beside' in g}
        eventually(lambda: self.phase_is_on(domain), 120, 0.2)
        gone = domain.pid
        domain.destroy()
        check(not os.path.exists(f'/proc/{gone}'), 'QEMU still runs')

        def wrong():
            if set(self.vms()) != {neighbour.pid}:
                return f'the broker knows {list(self.vms())}'
            now = weights()
            left = {t: s for t, s in threads(neighbour.pid).items()
                    if t in before and s != before[t]}
            # Whose weight had a part in what the other one borrowed.
            if {g: w for g, w in now.items() if g in groups} != groups or left:
                return f'the other domain: {now}, {left}; it was {groups}'
            return f'left: {now}' if any(domain.name in g for g in now) else \
                None
        eventually(wrong)
        neighbour.destroy()
        left = [g for g in weights() if 'beside' in g or domain.name in g]
        check(not left, left)

    def end(self):
        """the broker ends, and has nothing noted that was to be undone"""
        if not self.broker:
            raise Fail('the broker does not run: see above')
        self.end_broker(signal.SIGTERM)
        check(not os.path.exists(STATE), f'{STATE} is still there')

    def tests(self):
        """(name, function)"""
        return [(f.__doc__.splitlines()[0], f) for f in (
            self.boot, self.policy, self.phase, self.over, self.killed,
            self.destroy, self.end)]


if __name__ == '__main__':
    WHY = missing()
    if not WHY:
        enter()
    sys.exit(main(lambda stack: Suite(stack).tests(), WHY, [GuestError]))
