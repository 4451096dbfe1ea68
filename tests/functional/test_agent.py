#!/usr/bin/env python3
"""
The guest agent's commands: a real qemu-ga, with nobody, a stand-in that lies,
and a real vdiguest at the other end; and its list in a QEMU's policy. No guest
is needed: qemu-ga listens on a unix socket.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
# pylint: disable=wrong-import-position
import tap
from vamp_agent import ANSWER_S, Agent, Isolated, StandIn, missing
from vamp_guest import GuestError, Qmp, find_qemu

COMMANDS = ['guest-vamp-get-status', 'guest-vamp-get-tasks',
            'guest-vamp-set-policy', 'guest-vamp-isolate',
            'guest-vamp-release']
TASKS = {
    'tasks': [
        {'id': 812, 'pid': 800, 'name': 'cc1', 'load-permille': 980, 'vcpu': 1,
         'background': True},
        {'id': 90, 'pid': 90, 'name': 'make job', 'load-permille': 600,
         'background': True},
        {'id': 33, 'pid': 33, 'name': 'Xorg', 'load-permille': 40, 'vcpu': 0,
         'background': False}],
    'fast': '0', 'slow': '1', 'sound': True}
STATUS = {
    'isolated': True, 'reason': 'slow tasks', 'mode': 'dynamic',
    'vcpus': '0-1', 'fast': '0', 'slow': '1', 'slow-tasks': [
        {'kind': 'job', 'id': 90, 'name': 'make', 'load-permille': 600}],
    'fast-threads': 3, 'slow-threads': 1, 'left-threads': 0,
    'means': 'affinity', 'cpuset-groups': False, 'interrupts': 0,
    'input': 'none', 'sound': False, 'sound-source': 'none',
    'host': 'not asked', 'processes': 4, 'triggers': 0, 'phases': 1,
    'isolations': 1, 'isolation-us': 812, 'up-ms': 5000, 'cpu-us': 900}


def text(value):
    """JSON, as vdiguest sends it."""
    return json.dumps(value).encode() + b'\n'


class Tests:
    """In this order; each ends what it has started."""

    def __init__(self, rundir, stack):
        self.rundir = rundir
        self.stack = stack
        self.path = os.path.join(rundir, 'stand-in')
        self.agent = None
        self.vdiguest = None

    def begin(self):
        """qemu-ga runs and offers the commands"""
        self.agent = Agent(self.rundir, self.path)
        self.stack.callback(self.agent.kill)
        offered = {c['name']: c['enabled'] for c in
                   self.agent.cmd('guest-info')['supported_commands']}
        absent = [c for c in COMMANDS if not offered.get(c)]
        tap.check(not absent, f'not offered: {absent}')

    def need(self):
        """The agent, if it came up."""
        if not self.agent:
            raise tap.Fail('no agent runs: see above')
        return self.agent

    def nobody(self):
        """without vdiguest each command says so"""
        agent = self.need()
        for command in COMMANDS:
            words = {'mode': 'load'} if command.endswith('policy') else {}
            agent.refuses(command, 'vdiguest does not run in this guest',
                          self.path, 'No such file', **words)
        # One that was killed leaves its socket
        StandIn(self.path).close()
        agent.refuses(COMMANDS[0], 'does not run', 'Connection refused')
        os.unlink(self.path)

    def stand_in(self):
        """Somebody in vdiguest's place, until the end of the test."""
        stand_in = StandIn(self.path)

        def close():
            stand_in.close()
            os.unlink(self.path)
        return stand_in, close

    def passes(self):
        """what is asked goes to vdiguest, what it says comes back"""
        agent = self.need()
        who, close = self.stand_in()
        try:
            who.answer = text(TASKS)
            tap.check(agent.cmd('guest-vamp-get-tasks') == TASKS, who.heard)
            who.answer = text(STATUS)
            for command, words in (
                    ('guest-vamp-get-status', {}),
                    ('guest-vamp-set-policy', {'mode': 'dynamic-load'}),
                    ('guest-vamp-set-policy', {'fast-vcpus': 2}),
                    ('guest-vamp-set-policy', {'mode': 'load',
                                               'fast-vcpus': 0}),
                    ('guest-vamp-isolate', {}),
                    ('guest-vamp-isolate', {'duration-ms': 700}),
                    ('guest-vamp-release', {})):
                said = agent.cmd(command, **words)
                tap.check(said == STATUS, f'{command}: {said}')
            tap.check(who.heard == [
                'tasks\n', 'status\n', 'policy mode=dynamic-load\n',
                'policy fast=2\n', 'policy mode=load fast=0\n', 'isolate\n',
                'isolate length=700\n', 'release\n'], who.heard)
            who.heard.clear()
            agent.refuses('guest-vamp-set-policy', 'mode, fast-vcpus or both')
            agent.refuses('guest-vamp-set-policy', 'mode', mode='best')
            agent.refuses('guest-vamp-isolate', 'duration-ms',
                          duration_ms='long')
            tap.check(not who.heard, f'vdiguest was asked: {who.heard}')
        finally:
            close()

    def lies(self):
        """what is no answer is refused, and the agent lives on"""
        agent = self.need()
        who, close = self.stand_in()

        def wrong(**changes):
            return text({k: v for k, v in {**STATUS, **changes}.items()
                         if v is not None})
        try:
            for answer, *words in (
                    (b'', 'ended before it answered'),
                    (b'\0' * 100, 'no text'),
                    (b'\xff\xfe{', 'no object of JSON'),
                    (b'[1]', 'no object of JSON'),
                    (b'{"isolated": tru', 'no object of JSON'),
                    (b'[' * 5000, 'no object of JSON'),
                    (b'{"a":' * 5000, 'no object of JSON'),
                    (b'{} {}', 'no object of JSON'),
                    (b'x' * 70000, 'longer than 65536 bytes'),
                    (b'{}', 'not as this agent knows it', 'isolated'),
                    (wrong(isolated=1), 'not as this agent', 'isolated'),
                    (wrong(mode='best'), 'not as this agent', 'mode'),
                    (wrong(processes='4'), 'not as this agent', 'processes'),
                    (wrong(news='x'), 'not as this agent', 'news'),
                    (wrong(host=None), 'not as this agent', 'host'),
                    (wrong(**{'slow-tasks': [{'kind': 'job'}]}), 'slow-tasks'),
                    (text({'error': 'no, ' + 'x' * 3000}), 'vdiguest: no, x')):
                who.answer = answer
                agent.refuses('guest-vamp-get-status', *words)
            who.answer = wrong(**{'error': 'not now'})
            agent.refuses('guest-vamp-get-tasks', 'vdiguest: not now')
            agent.cmd('guest-ping')
        finally:
            close()

    def silence(self):
        """one that never ends its answer does not hold the agent"""
        agent = self.need()
        who, close = self.stand_in()

        def drip(peer):
            while True:
                peer.sendall(b' ')
                time.sleep(0.2)
        try:
            who.answer = drip
            agent.refuses('guest-vamp-get-status', 'no answer within 5 s')
        finally:
            close()
        agent.cmd('guest-ping')

    def stranger(self):
        """a program of another user is not taken for vdiguest"""
        agent = self.need()
        if os.geteuid():
            raise tap.Skip('only root can become another user')
        listen = 'import socket, sys; s = socket.socket(socket.AF_UNIX); ' \
                 's.bind(sys.argv[1]); s.listen(1); s.accept()[0].sendall' \
                 '(b"{}")'
        folder = os.path.join(self.rundir, 'strange')
        os.mkdir(folder)
        os.chmod(folder, 0o777)
        os.chmod(self.rundir, 0o755)
        path = os.path.join(folder, 's')
        # One in somebody's home is nothing for that user.
        python = shutil.which('python3', path='/usr/bin:/usr/local/bin')
        if not python:
            raise tap.Skip('no python3 for all users')
        program = subprocess.Popen([python, '-c', listen, path], user=65534,
                                   group=65534, extra_groups=[],
                                   stdin=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            tap.eventually(lambda: None if os.path.exists(path) else
                           'nothing listens', ANSWER_S)
            os.symlink(path, self.path)
            agent.refuses('guest-vamp-get-status', 'a program of user 65534')
        finally:
            if os.path.islink(self.path):
                os.unlink(self.path)
            program.kill()
            program.wait()

    def real(self):
        """a real vdiguest: status and tasks"""
        agent = self.need()
        why_not = Isolated.missing()
        if why_not:
            raise tap.Skip(why_not)
        self.vdiguest = Isolated(self.rundir)
        self.stack.callback(self.vdiguest.kill)
        os.symlink(self.vdiguest.socket, self.path)
        status = agent.cmd('guest-vamp-get-status')
        tap.check(not status['isolated'] and status['mode'] == 'dynamic' and
                  status['reason'] == 'no event so far', status)

        def both():
            found = agent.cmd('guest-vamp-get-tasks')['tasks']
            back = [t for t in found if t['background']]
            if {t['id'] for t in back} != set(self.vdiguest.hogs()):
                return f'{self.vdiguest.hogs()}: {found}'
            tap.check(all(t['name'].startswith(Isolated.HOG[:15]) and
                          t['pid'] == t['id'] and t['load-permille'] > 500
                          for t in back), back)
            return None
        tap.eventually(both, ANSWER_S)

    def need_real(self):
        """The agent, with vdiguest."""
        if not self.vdiguest:
            raise tap.Skip('no vdiguest runs: see above')
        return self.need()

    def isolates(self):
        """isolate and release move real tasks"""
        agent = self.need_real()
        cpus = sorted(os.sched_getaffinity(0))

        def isolated():
            now = agent.cmd('guest-vamp-isolate')
            return None if now['isolated'] and len(now['slow-tasks']) == 2 \
                else now
        tap.eventually(isolated, ANSWER_S, 0.5)
        tap.check(all(c == set(cpus[1:])
                      for c in self.vdiguest.hogs().values()),
                  f'{self.vdiguest.hogs()} of {cpus}')
        now = agent.cmd('guest-vamp-get-tasks')
        tap.check(now['fast'] == str(cpus[0]) and now['slow'] != '-', now)
        now = agent.cmd('guest-vamp-release')
        tap.check(not now['isolated'] and
                  now['reason'] == 'it was asked to end', now)
        tap.check(all(c == set(cpus) for c in self.vdiguest.hogs().values()),
                  self.vdiguest.hogs())
        agent.cmd('guest-vamp-isolate', duration_ms=100)
        tap.eventually(lambda: None if not agent.cmd('guest-vamp-get-status')[
            'isolated'] else 'still isolated', ANSWER_S)

    def policies(self):
        """set-policy counts from then on, and is bounded"""
        agent = self.need_real()
        cpus = len(os.sched_getaffinity(0))
        agent.refuses('guest-vamp-set-policy', f'there are {cpus} vCPUs',
                      fast_vcpus=cpus)
        agent.refuses('guest-vamp-set-policy', 'not valid', fast_vcpus=-1)
        agent.refuses('guest-vamp-isolate', '100..60000', duration_ms=99)
        now = agent.cmd('guest-vamp-set-policy', mode='static', fast_vcpus=1)
        tap.check(now['mode'] == 'static' and now['isolated'], now)
        agent.refuses('guest-vamp-release', 'static mode')
        now = agent.cmd('guest-vamp-set-policy', mode='dynamic')
        tap.check(now['mode'] == 'dynamic' and not now['isolated'], now)

    def shares(self):
        """many that say nothing do not keep others from vdiguest"""
        self.need_real()
        who = []
        try:
            for _ in range(20):
                s = socket_to(self.vdiguest.socket)
                who.append(s)
            # They are sent away after 5 s; until then there may be no room.
            tap.eventually(self._answers, ANSWER_S, 0.5)
        finally:
            for s in who:
                s.close()
        tap.check('{' in ask(self.vdiguest.socket, b'status\n'), 'no status')
        for line in (b'', b'\n', b'status now\n', b'policy mode=load mode=load'
                     b'\n', b'policy fast=4294967297\n', b'isolate length=1\n',
                     b'\xff\xff\n', b'status', b'x' * 256):
            said = ask(self.vdiguest.socket, line)
            tap.check('error' in json.loads(said), f'{line}: {said}')

    def _answers(self):
        try:
            self.agent.cmd('guest-vamp-get-status')
        except GuestError as e:
            return e
        return None

    def policy_of_a_host(self):
        """guest-vamp-get-tasks gives vamp-set-tasks its arguments"""
        agent = self.need()
        if not find_qemu():
            raise tap.Skip('no QEMU was built')
        path = os.path.join(self.rundir, 'qmp')
        qemu = subprocess.Popen(
            [find_qemu(), '-nodefaults', '-display', 'none', '-machine', 'q35',
             '-accel', 'tcg', '-smp', '2', '-S',
             '-qmp', f'unix:{path},server=on,wait=off',
             '-object', 'vamp-policy,id=vamp0,tracker=guest'],
            stdin=subprocess.DEVNULL)
        self.stack.callback(qemu.wait)
        self.stack.callback(qemu.kill)
        qmp = Qmp(path, lambda: qemu.poll() is None, ANSWER_S)

        def hand_over():
            tasks = agent.cmd('guest-vamp-get-tasks')
            qmp.cmd('vamp-set-tasks', **tasks)
            guest = qmp.cmd('vamp-query')['guest']
            tap.check(guest['source'] == 'management', guest)
            tap.check([(t['id'], t['name'], t['load-percent'], t.get('vcpu'))
                       for t in guest['tasks']] ==
                      [(t['id'], t['name'], t['load-permille'] / 10,
                        t.get('vcpu'))
                       for t in tasks['tasks'] if t['background']],
                      f'{tasks} has become {guest}')
            return guest
        if self.vdiguest:
            hand_over()
            os.unlink(self.path)
        who, close = self.stand_in()
        try:
            who.answer = text(TASKS)
            guest = hand_over()
            tap.check(len(guest['tasks']) == 2 and guest['fast'] == '0' and
                      guest['slow'] == '1' and guest['sound'], guest)
        finally:
            close()

    def all(self):
        """(name, function)"""
        return [(f.__doc__, f) for f in (
            self.begin, self.nobody, self.passes, self.lies, self.silence,
            self.stranger, self.real, self.isolates, self.policies,
            self.shares, self.policy_of_a_host)]


def socket_to(path):
    """A connection that says nothing."""
    s = socket.socket(socket.AF_UNIX)
    # With a timeout, connect() would not wait for a place in a full queue.
    s.connect(path)
    s.settimeout(ANSWER_S)
    return s


def ask(path, line):
    """What a vdiguest answers to @line and the end of the file."""
    with socket_to(path) as s:
        s.sendall(line)
        s.shutdown(socket.SHUT_WR)
        parts = []
        while True:
            part = s.recv(65536)
            if not part:
                return b''.join(parts).decode()
            parts.append(part)


def main():
    with tempfile.TemporaryDirectory(prefix='vamp-qga-') as rundir:
        return tap.main(lambda stack: Tests(rundir, stack).all(), missing(),
                        (GuestError,))


if __name__ == '__main__':
    sys.exit(main())
