#!/usr/bin/env python3
"""
A real Linux with its stock driver speaks to the device vamp-hints: what it
says of its background is shown by name, the plan follows it, and the guest
hears when a user is served.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import shutil
import sys
import tempfile

sys.dont_write_bytecode = True  # the source folder stays as it is
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(1, os.path.dirname(HERE))
# pylint: disable=wrong-import-position
from tap import Fail, Skip, check, diagnose, eventually, main
from vamp_guest import GuestError, Vm, qemu_missing

BOOT_S = 240
ANSWER_S = 120
# A phase that lasts while we look at it; the longest that is valid.
LONG_MS = 60000


class Suite:
    """One guest, one conversation after the other."""

    def __init__(self, stack):
        self.tmp = tempfile.mkdtemp(prefix='vamp-hints-')
        stack.callback(shutil.rmtree, self.tmp, ignore_errors=True)
        self.stack = stack
        self.vm = None

    def need(self):
        """The guest, or skip."""
        if not self.vm:
            raise Skip('the guest did not boot')
        return self.vm

    def control(self, command):
        """Makes the guest do something."""
        return self.need().control(command, ANSWER_S)

    def guest(self):
        """What vamp-query says of the guest."""
        return self.need().qmp.cmd('vamp-query')['guest']

    def hears(self, what):
        """Waits until the guest reads a line that begins with @what."""
        heard = []

        def look():
            while True:
                line = self.control('hints hear')
                if line == '-':
                    return f'the guest has not heard "{what}", but {heard}'
                heard.append(line[1:-1])
                if heard[-1].startswith(what):
                    return None
        eventually(look, ANSWER_S)
        return heard[-1]

    def boot(self):
        """a guest with the device boots"""
        vm = Vm('hints', self.tmp, smp=2, extra=[
            '-object', 'vamp-policy,id=vamp0,actuator=none,tracker=guest,'
            f'max-phase-ms={LONG_MS}',
            '-device', 'vamp-hints,id=hints'])
        self.stack.callback(vm.kill)
        vm.start()
        vm.wait_ready(BOOT_S)
        self.vm = vm
        guest = self.guest()
        check(guest['source'] == 'none' and 'has opened' in guest['reason'],
              guest)

    def hello(self):
        """the host greets, and the guest answers"""
        self.control('hints open')
        line = self.hears('hello version=1 name=qemu')
        diagnose(line)
        self.control('hints say hello version=1 name=test%20guest')
        eventually(lambda: None if self.guest()['source'] == 'channel'
                   else self.guest(), ANSWER_S)
        check(self.guest()['program'] == 'test guest', self.guest())

    def names(self):
        """its hogs are shown by name, with their own numbers"""
        self.control('hogs 2')

        def both():
            # A process is no hog until it has become one.
            count = self.control('hints hogs')
            return None if count == '2' else f'{count} hogs'
        eventually(both, ANSWER_S)
        eventually(lambda: None if len(self.guest().get('tasks', [])) == 2
                   else self.guest(), ANSWER_S)
        for task in self.guest()['tasks']:
            check(task['name'] == 'hog' and task['id'] > 1 and
                  task['load-percent'] == 100 and task['vcpu'] in (0, 1), task)
            line = self.control(f'read 0 /proc/{task["id"]}/cmdline')
            check(line.startswith('[hog'), line)
        text = self.need().qmp.cmd('human-monitor-command',
                                   command_line='info vamp')
        check("guest's background task hog" in text, text)

    def plan(self):
        """a phase takes the guest's word, and the guest hears of it"""
        vm = self.need()
        self.control('hints say split fast=0 slow=1')

        def mixed():
            # The load has to be there for a window before the event; what is
            # said holds for 30 s.
            self.control('hints hogs')
            vm.qmp.cmd('vamp-input')
            info = vm.qmp.cmd('vamp-query')
            return None if info['phase'] == 'mixed' else info['reason']
        eventually(mixed, ANSWER_S, 0.7)
        info = vm.qmp.cmd('vamp-query')
        check(info['tracker']['active'] == 'guest', info['tracker'])
        check([v['class'] for v in info['vcpus']] ==
              ['interactive', 'background'], info['vcpus'])
        line = self.hears('phase begin cause=input mixed=1 length=')
        length = int(line.rpartition('=')[2])
        check(0 < length <= LONG_MS, line)
        # It changes its mind in the middle of the phase.
        self.control('hints say split fast=1 slow=0')

        def swapped():
            self.control('hints hogs')
            classes = [v['class'] for v in vm.qmp.cmd('vamp-query')['vcpus']]
            return None if classes == ['background', 'interactive'] else classes
        eventually(swapped, ANSWER_S)

    def ends(self):
        """the guest hears of the end"""
        # A tracker that is chosen again ends the phase.
        self.tracker('guest')
        self.hears('phase end')

    def tracker(self, kind):
        """Chooses the tracker @kind; a phase that is on ends."""
        self.need().qmp.cmd('qom-set', path='/objects/vamp0',
                            property='tracker', value=kind)

    def say_list(self, *tasks):
        """Makes the guest say a whole list; each task is "key=value ..."."""
        self.control('hints say tasks begin')
        for number, task in enumerate(tasks, 1):
            self.control(f'hints say task id={number} load=900 {task}')
        self.control('hints say tasks end')

    def mixed_by_task(self):
        """Waits for a mixed phase with tasks, returns vamp-query's answer."""
        vm = self.need()

        def look():
            vm.qmp.cmd('vamp-input')
            info = vm.qmp.cmd('vamp-query')
            return None if info.get('background-tasks') else info['reason']
        eventually(look, ANSWER_S, 0.7)
        return vm.qmp.cmd('vamp-query')

    def compare(self):
        """the host sees for itself, and both views are compared"""
        vm = self.need()
        self.tracker('tcg')
        tasks = self.mixed_by_task()['background-tasks']
        self.hears(f'task load={round(tasks[0]["load-percent"] * 10)} '
                   f'aspace={tasks[0]["task"]}')
        self.hears('phase begin cause=input mixed=1')
        self.say_list(f'name=hog aspace={tasks[0]["task"]}',
                      'name=unknown', 'name=wrong aspace=0x7000')

        def compared():
            info = vm.qmp.cmd('vamp-query')
            want = {'both': 1, 'guest-only': 1, 'unidentified': 1,
                    'host-only': len(info['background-tasks']) - 1}
            guest = info['guest']
            if guest.get('comparison') != want:
                return f'{guest}'
            check([t.get('host-agrees') for t in guest['tasks']] ==
                  [True, None, False], guest)
            named = [t for t in info['background-tasks'] if 'name' in t]
            check([(t['name'], t['id']) for t in named] == [('hog', 1)], info)
            return None
        eventually(compared, ANSWER_S)

    def aspaces(self):
        """a guest that knows address spaces is followed by task"""
        vm = self.need()
        hog = next(t for t in vm.qmp.cmd('vamp-query')['background-tasks']
                   if 'name' in t)
        self.tracker('guest')

        def by_task():
            self.say_list(f'name=hog aspace={hog["task"]}')
            vm.qmp.cmd('vamp-input')
            info = vm.qmp.cmd('vamp-query')
            names = [t.get('name') for t in info.get('background-tasks', [])]
            return None if names == ['hog'] else f'{names}: {info["reason"]}'
        eventually(by_task, ANSWER_S, 0.7)

        def seen():
            info = vm.qmp.cmd('vamp-query')
            wrong = [v for v in info['vcpus'] if
                     (v.get('current-task') == hog['task']) !=
                     (v['class'] == 'background')]
            busy = [v for v in info['vcpus'] if v['class'] == 'background']
            return None if busy and not wrong else info['vcpus']
        eventually(seen, ANSWER_S)

    def sound(self):
        """its sound is a sound"""
        vm = self.need()
        self.control('hints say sound on')

        def playing():
            info = vm.qmp.cmd('vamp-query')
            return None if info['sound']['playing'] else info['sound']
        eventually(playing, ANSWER_S)
        self.hears('phase begin cause=sound')

    def wrong(self):
        """what is wrong is said, and harms nothing"""
        self.control('hints hogs')
        self.control('hints say task id=1 load=1 name=stray')
        self.hears('error text=a%20task%20or')
        check(self.guest()['counters']['errors'] == 1, self.guest())
        check(len(self.guest()['tasks']) == 2, self.guest())

    def again(self):
        """it closes the port and comes again"""
        self.control('hints close')
        eventually(lambda: None if self.guest()['source'] == 'none'
                   else self.guest(), ANSWER_S)
        self.hello()
        if 'tasks' in self.guest():
            raise Fail(f'what was said before is still known: {self.guest()}')

    def tests(self):
        """(name, function)"""
        return [(f.__doc__, f) for f in (
            self.boot, self.hello, self.names, self.plan, self.compare,
            self.aspaces, self.ends, self.sound, self.wrong, self.again)]


if __name__ == '__main__':
    sys.exit(main(lambda stack: Suite(stack).tests(), qemu_missing(),
                  [GuestError]))
