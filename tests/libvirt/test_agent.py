#!/usr/bin/env python3
"""
The guest agent's commands through libvirt: virsh qemu-agent-command, a real
qemu-ga and a real vdiguest in a guest, and what they say handed to the policy
of the domain, which has no vamp-hints.

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
import vdi_guest
from libvirtd import PORT_AGENT, Libvirtd, enter, missing
from tap import Fail, check, eventually, main
from vamp_guest import BUILD, GuestError

AGENT = os.path.join(BUILD, 'bin', 'qemu-ga')
PROGRAM = '/vdi/qemu-ga'
# The test guest's one program plays the hog, too.
HOG = 'init'
# Long enough for every claim that is made about a phase.
POLICY = ['-object', 'vamp-policy,id=vamp0,tracker=guest,max-phase-ms=60000']
PATIENCE_S = 120


class Suite:
    """The claims; the domain that they share."""

    def __init__(self, stack):
        self.stack = stack
        self.daemon = None
        self.domain = None
        self.hog = None

    def boot(self):
        """a domain with the agent's channel boots"""
        daemon = Libvirtd()
        self.stack.callback(daemon.kill)
        daemon.prepare()
        daemon.start()
        initrd = os.path.join(daemon.rundir, 'agent.cpio')
        vdi_guest.make_initrd(initrd, {PROGRAM: AGENT,
                                       vdi_guest.PROGRAM: vdi_guest.VDIGUEST})
        os.chmod(initrd, 0o644)
        self.daemon = daemon
        domain = daemon.domain('agent', args=POLICY, initrd=initrd, agent=True)
        domain.create()
        domain.wait_ready()
        self.domain = domain

    def need(self):
        """The domain, if it came up."""
        if not self.domain or not self.domain.alive():
            raise Fail('no domain runs: see above')
        return self.domain

    def port(self):
        """The agent's port in the guest, where no udev gives it a name."""
        for number in range(1, 32):
            try:
                name = self.need().control(
                    f'read 0 /sys/class/virtio-ports/vport0p{number}/name')
            except GuestError:
                continue
            if PORT_AGENT in name:
                return f'/dev/vport0p{number}'
        raise Fail(f'the guest has no port {PORT_AGENT}')

    def alone(self):
        """qemu-ga answers, and says that there is no vdiguest"""
        domain = self.need()
        domain.control(f'start {PROGRAM} -p {self.port()} -t /tmp')

        def wrong():
            try:
                said = domain.ask_agent('guest-vamp-get-status')
            except GuestError as e:
                said = e
            return None if 'vdiguest does not run in this guest' in \
                str(said) else said
        eventually(wrong, PATIENCE_S, 0.5)

    def tasks(self):
        """with vdiguest it tells a task in the background"""
        domain = self.need()
        domain.control(f'start {vdi_guest.PROGRAM} -p 200 -i none')
        self.hog = int(domain.control('hogs 1'))

        def wrong():
            try:
                found = domain.ask_agent('guest-vamp-get-tasks')['tasks']
            except GuestError as e:
                return e
            # Threads know their vCPU.
            return None if [t['id'] for t in found if t['background'] and
                            t['name'] == HOG and t['vcpu'] in (0, 1)] == \
                [self.hog] else found
        eventually(wrong, PATIENCE_S, 0.5)

    def cpus(self):
        """Where the hog may run."""
        text = self.need().control(f'read 0 /proc/{self.hog}/status')
        offset = 0
        while 'Cpus_allowed_list' not in text and offset < 4000:
            offset += 100
            text = self.need().control(f'read {offset} /proc/{self.hog}/status')
        return re.search(r'Cpus_allowed_list:\W*([\d,-]+)', text)[1]

    def isolates(self):
        """isolate and release through virsh move it"""
        domain = self.need()

        def wrong():
            now = domain.ask_agent('guest-vamp-isolate', duration_ms=60000)
            return None if now['isolated'] else now
        eventually(wrong, PATIENCE_S, 0.5)
        check(self.cpus() == '1', f'the hog runs on {self.cpus()}')
        now = domain.ask_agent('guest-vamp-release')
        check(not now['isolated'], now)
        check(self.cpus() == '0-1', f'the hog runs on {self.cpus()}')
        now = domain.ask_agent('guest-vamp-set-policy', mode='static')
        check(now['mode'] == 'static' and now['isolated'], now)
        domain.ask_agent('guest-vamp-set-policy', mode='dynamic')

    def handed_over(self):
        """its list makes a plan of the domain's policy"""
        domain = self.need()
        eventually(lambda: None if domain.ask_agent('guest-vamp-isolate')[
            'isolated'] else 'nothing is slow', PATIENCE_S, 0.5)

        def wrong():
            tasks = domain.ask_agent('guest-vamp-get-tasks')
            domain.cmd('vamp-set-tasks', **tasks)
            self.daemon.virsh('send-key', domain.name, 'KEY_ENTER')
            info = domain.cmd('vamp-query')
            classes = [v['class'] for v in info['vcpus']]
            if classes != ['interactive', 'background']:
                return f'{tasks}: {info}'
            check(info['guest']['source'] == 'management' and
                  info['tracker']['active'] == 'guest', info)
            check([(t['name'], t['id']) for t in info['guest']['tasks']] ==
                  [(HOG, self.hog)], info['guest'])
            return None
        eventually(wrong, PATIENCE_S, 0.7)

    def tests(self):
        """(name, function)"""
        return [(f.__doc__, f) for f in (
            self.boot, self.alone, self.tasks, self.isolates,
            self.handed_over)]


if __name__ == '__main__':
    WHY = missing() or vdi_guest.missing()
    if not WHY and not os.access(AGENT, os.X_OK):
        WHY = f'{AGENT} is missing (make build)'
    if not WHY:
        enter()
    sys.exit(main(lambda stack: Suite(stack).tests(), WHY, [GuestError]))
