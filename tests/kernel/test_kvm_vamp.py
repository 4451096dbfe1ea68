#!/usr/bin/env python3
"""
The companion modules in a host in a box, and a guest that knows itself.

The program of vmm/ is a VMM with a guest of a few instructions, which counts
its own switches and times; each of its claims is a process and a test here.
After each, the host's log has no complaint. Then: the modules let the kernel's
own take their place, and no killed VMM holds them.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
sys.path[1:1] = [TESTS, os.path.join(TESTS, 'functional')]
# pylint: disable=wrong-import-position
from nested import Host, kmod_files, missing_kmod, missing
from tap import Fail, Skip, check, diagnose, eventually, main
from vamp_guest import BUILD, GuestError

MODULES = ['kvm-amd']
VMM = os.path.join(BUILD, 'kernel-tests', 'vmm')
# The slowest takes 20 s on a quiet machine.
CLAIM_S = 300
# What a kernel says when it finds itself broken.
BROKEN = re.compile(r'WARNING:|BUG:|Oops|general protection|Call Trace|'
                    r'INFO: (task|rcu)|soft lockup|refcount')
TRACING = '/sys/kernel/tracing'


class Suite:
    """The claims; the host that they share."""

    def __init__(self, stack):
        self.stack = stack
        self.host = None

    def on(self):
        """The host, if it came up and has our modules."""
        if not self.host or not self.host.alive():
            raise Fail('no host runs: see above')
        return self.host

    def complaints(self):
        """The host's log has none since the last look."""
        log = self.on().sh('dmesg -c')
        check(not BROKEN.search(log), f'the host complains:\n{log}')

    def boot(self):
        """our modules take the place of the kernel's own"""
        tmp = tempfile.mkdtemp(prefix=f'vamp-test-{os.getpid()}-', dir='/tmp')
        self.stack.callback(shutil.rmtree, tmp, ignore_errors=True)
        host = Host('host', tmp, modules=MODULES, guests=0, smp=2, memory=1024,
                    files=dict(kmod_files(), **{'bin/vmm': VMM}))
        self.stack.callback(host.kill)
        host.start()
        host.wait_ready()
        host.swap_kvm(True)
        self.host = host
        host.sh('mount -t tracefs tracefs ' + TRACING)
        self.complaints()

    def claim(self, name):
        """A claim of vmm's as a test."""
        def test():
            status, output = self.on().run(f'vmm {name}', CLAIM_S)
            if status == 77:
                raise Skip(output)
            check(not status, output)
            if output:
                diagnose(output)
            self.complaints()
        return test

    def traced(self, name):
        """A claim of vmm's leaves its events in the trace; returns the host."""
        host = self.on()
        events = f'{TRACING}/events/kvm_vamp/enable'
        host.sh(f'echo > {TRACING}/trace; echo 1 > {events}')
        try:
            host.sh(f'vmm {name}', CLAIM_S)
        finally:
            host.run(f'echo 0 > {events}')
        return host

    def trace(self):
        """trace events tell of each switch"""
        host = self.traced('exact-1')
        count = int(host.sh(f'grep -c kvm_vamp_switch: {TRACING}/trace'))
        line = host.sh(f'grep -m 1 kvm_vamp_switch: {TRACING}/trace')
        check(count > 100, f'{count} lines')
        check(re.search(r'vcpu 0 from 0x10\d000 to 0x10\d000$', line), line)
        self.complaints()

    def trace_sound(self):
        """trace events tell who plays, and why"""
        host = self.traced('sound-pull')
        for event, text in (
                ('sound_irq', r'vcpu 0 vector 96'),
                ('sound', r'vcpu 0 pio 0x301 handled in 0x108000'),
                ('sound', r'vcpu 1 pio 0x300 by task 0x102000'),
                ('wakeup', r'vcpu 2 task 0x103000 by another vcpu for sound'),
                ('audio', r'vm [0-9]+ task 0x103000 driver 0x102000')):
            status, line = host.run(
                f'grep -E -m 1 "kvm_vamp_{event}: {text}" {TRACING}/trace')
            check(status == 0, f'no {event}: {text} {line}')
        self.complaints()

    def idle(self):
        """Nobody holds the modules."""
        def wrong():
            count = self.host.sh('cat /sys/module/kvm_amd/refcnt').strip()
            return None if count == '0' else f'kvm_amd is held {count} times'
        eventually(wrong, 30)

    def killed(self):
        """a VMM that is killed in a plan leaves nothing"""
        host = self.on()
        for _ in range(3):
            host.sh('vmm until-killed > /run/killed & pid=$!; '
                    'for i in $(seq 600); do '
                    'grep -q runs /run/killed && break; usleep 100000; done; '
                    'grep runs /run/killed && kill -9 $pid && wait $pid; '
                    '[ $? = 137 ]', CLAIM_S)
            self.idle()
        self.complaints()

    def unload(self):
        """after use they go, the kernel's own serve, and they come again"""
        host = self.on()
        self.idle()
        host.swap_kvm(False)
        status, output = host.run('vmm version')
        check(status == 1 and 'does not have version' in output,
              f'the kernel\'s own: {status} {output}')
        host.swap_kvm(True)
        host.sh('vmm exact-1')
        self.complaints()


def claims():
    """[(name, text)] of vmm, which is built if need be."""
    subprocess.run(['make', '-s', '-C', os.path.join(HERE, 'vmm'),
                    f'BUILD={BUILD}'], check=True, stdout=sys.stderr)
    out = subprocess.run([VMM, '--list'], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    return [line.split(' ', 1) for line in out.splitlines()]


def tests(stack):
    """All tests, in their order."""
    suite = Suite(stack)
    result = [(suite.boot.__doc__, suite.boot)]
    # Those without a text are for other callers.
    result += [(f'{name}: {text}', suite.claim(name))
               for name, text in claims() if text]
    result += [(f.__doc__, f) for f in (suite.trace, suite.trace_sound,
                                        suite.killed, suite.unload)]
    return result


if __name__ == '__main__':
    sys.exit(main(tests, missing(MODULES) or missing_kmod(), (GuestError,)))
