#!/usr/bin/env python3
"""
A real Debian guest with systemd, PipeWire or PulseAudio, an X server and a
compile job: a key starts an X client, vdiguest isolates the compile, the host
sees it by name as background, and who plays sound is not. Our package beside
Debian's own guest agent and without it.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import sys
import tempfile

sys.dont_write_bytecode = True
HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.dirname(HERE))
# pylint: disable=wrong-import-position
import tap
from debian_guest import PATIENCE_S, Debian, missing
from vamp_guest import GuestError

# They play sound, or serve it.
SOUND = ('paplay', 'pipewire', 'pipewire-pulse')
DESKTOP = SOUND + ('Xvfb', 'xterm')
# The second guest also has Debian's own guest agent.
V1 = 'systemd.unified_cgroup_hierarchy=0 ' \
     'systemd.legacy_systemd_cgroup_controller=1 vamp.agent=debian'
OUR_AGENT = '/usr/lib/vamp/qemu-ga'
AS_USER = 'setpriv --reuid=desk --regid=desk --init-groups env ' \
          'XDG_RUNTIME_DIR=/run/user/1000 '
PULSE_CONF = '/etc/pulse/daemon.conf.d/vamp-test.conf'
# Of a desktop, with those of the guest's kernel.
PROCESSES = 200
ISOLATIONS = 20


class Tests:
    """In this order; @version of the control groups."""

    def __init__(self, rundir, stack, version):
        self.rundir = rundir
        self.stack = stack
        self.version = version
        self.guest = None

    def boot(self):
        """systemd is up, and our package is installed"""
        self.guest = Debian(f'v{self.version}', self.rundir, self.stack,
                            V1 if self.version == 1 else '')
        g = self.guest
        tap.check(g.cgroup_version() == self.version,
                  g.sh('grep cgroup /proc/mounts'))
        tap.eventually(lambda: None if self.status() else
                       'vdiguest does not answer', PATIENCE_S, 1)
        units = ['vdiguest.service', 'qemu-guest-agent.service',
                 'vamp-guest-agent.service']
        state = g.sh(f'systemctl is-active {" ".join(units)} || true').split()
        wanted = ['active', 'active', 'inactive'] if self.version == 1 else \
            ['active', 'inactive', 'active']
        tap.check(state == wanted, f'{units} are {state}')
        agents = g.sh('readlink /proc/[0-9]*/exe | grep qemu-ga').split()
        tap.check(agents == [OUR_AGENT], f'the agents are {agents}')

    def need(self):
        """The guest, if it came up."""
        if not self.guest or not self.guest.vm.alive():
            raise tap.Fail('no guest runs: see above')
        return self.guest

    def status(self):
        """Of vdiguest; None while nobody answers."""
        try:
            return self.guest.agent('guest-vamp-get-status')
        except GuestError:
            return None

    def sound(self):
        """vdiguest hears that PipeWire plays"""
        g = self.need()
        g.sh('systemctl start player')

        def silent():
            # It looks for new servers when an event comes.
            now = g.agent('guest-vamp-isolate')
            g.agent('guest-vamp-release')
            return None if now['sound'] else \
                f'{now}: {g.sh("systemctl status player user@1000 || true")}'
        tap.eventually(silent, PATIENCE_S, 1)

    def compiles(self):
        """a compile job begins, and the guest agent sees it"""
        g = self.need()
        g.sh('systemctl start compile')

        def unseen():
            found = g.agent('guest-vamp-get-tasks')['tasks']
            return None if 'cc1' in [t['name'] for t in found
                                     if t['background']] else found
        tap.eventually(unseen, PATIENCE_S, 1)

    def key(self):
        """a key starts an X client; the compile leaves the fast vCPUs"""
        g = self.need()
        tap.check('xterm' not in g.processes(), 'who has started it?')

        def wrong():
            if not (self.status() or {}).get('isolated'):
                g.press()
                return f'not isolated: {self.status()}'
            found = g.processes()
            wanted = dict.fromkeys(DESKTOP, '0-1')
            wanted['cc1'] = '2-3'
            for name, cpus in wanted.items():
                there = [p[1] for p in found.get(name, [])]
                if not there or any(c != cpus for c in there):
                    return f'{name} is on {there}, not {cpus}: {self.status()}'
            return None
        tap.eventually(wrong, PATIENCE_S, 1)

    def units(self):
        """each process is in the group of its unit still"""
        g = self.need()
        found = g.processes()
        for name, unit in (('cc1', 'compile.service'),
                           ('xterm', 'launcher.service'),
                           ('paplay', 'player.service'),
                           ('pipewire-pulse', 'pipewire-pulse.service')):
            for pid, _, groups in found.get(name, [(0, '', [])]):
                tap.check(g.unit_of(groups) == unit,
                          f'{name} {pid} is in {groups}, not in {unit}')

    def host(self):
        """the host has it as background by name, and not who plays sound"""
        g = self.need()

        def wrong():
            if not (self.status() or {}).get('isolated'):
                g.press()
            info = g.vm.qmp.cmd('vamp-query')
            guest = info['guest']
            names = {t['name'] for t in guest.get('tasks', [])}
            if guest['source'] != 'channel' or 'cc1' not in names:
                return f'{guest}'
            tap.check(not names & set(DESKTOP), f'in the background: {guest}')
            classes = [v['class'] for v in info['vcpus']]
            if classes != ['interactive'] * 2 + ['background'] * 2 or \
                    (guest['fast'], guest['slow']) != ('0-1', '2-3'):
                return f'{info}'
            tap.check(info['tracker']['active'] == 'guest' and
                      guest['sound'], info)
            return None
        tap.eventually(wrong, PATIENCE_S, 1)

    def latency(self):
        """how long isolations take is told"""
        g = self.need()
        g.sh(f'n=$(ls -d /proc/[0-9]* | wc -l); while [ $n -lt {PROCESSES} ]; '
             'do sleep 100000 & n=$((n + 1)); done > /dev/null 2>&1')
        found = []

        def more():
            before = g.agent('guest-vamp-release')['isolations']
            now = g.agent('guest-vamp-isolate')
            if now['isolations'] > before:
                found.append(now['isolation-us'])
            return None if len(found) == ISOLATIONS else f'{now}'
        tap.eventually(more, PATIENCE_S, 0.1)
        found.sort()
        tap.diagnose(f'{len(found)} isolations, '
                     f'{self.status()["processes"]} processes with those of '
                     f'the kernel: median {found[len(found) // 2] / 1000:.1f} '
                     f'ms, least {found[0] / 1000:.1f}, most '
                     f'{found[-1] / 1000:.1f} (emulated)')

    def split(self, fast, sound):
        """Waits for an isolation with @fast vCPUs, and @sound playing or not."""
        g = self.need()

        def wrong():
            now = self.status() or {}
            if not now.get('isolated'):
                now = g.agent('guest-vamp-isolate')
            return None if (now['isolated'], now['fast'], now['sound']) == \
                (True, fast, sound) else f'{now}'
        tap.eventually(wrong, PATIENCE_S, 1)

    def pulse(self):
        """PulseAudio in PipeWire's place: its sound is heard to start and stop,
        two vCPUs are fast for it, and it is not in the background"""
        g = self.need()
        g.agent('guest-vamp-set-policy', fast_vcpus=1)
        g.sh('systemctl stop player')
        self.split('0', False)
        g.sh(f'{AS_USER} systemctl --user stop pipewire.socket '
             'pipewire-pulse.socket wireplumber pipewire-pulse pipewire')
        # The dearest way to make 44100 samples of 8000: a server that computes
        # nearly as a background task does, or as one where the CPU is slow.
        g.sh(f'mkdir -p {os.path.dirname(PULSE_CONF)}; '
             f'echo resample-method = speex-float-10 > {PULSE_CONF}')
        g.sh(f'{AS_USER} systemctl --user start pulseaudio')
        g.agent('guest-vamp-release')
        self.split('0', False)
        g.sh('systemctl start player')
        self.split('0-1', True)

        def wrong():
            if not (self.status() or {}).get('isolated'):
                return f'{g.agent("guest-vamp-isolate")}'
            found = {n: [p[1] for p in g.processes().get(n, [])]
                     for n in ('pulseaudio', 'paplay', 'cc1')}
            tasks = g.agent('guest-vamp-get-tasks')['tasks']
            # The server's thread that computes is called null-sink.
            tap.check(not any(t['background'] for t in tasks if t['name'] in
                              ('pulseaudio', 'null-sink', 'paplay')), tasks)
            return None if found == {
                'pulseaudio': ['0-1'], 'paplay': ['0-1'],
                'cc1': ['2-3'] * len(found['cc1'])} else f'{found}: {tasks}'
        tap.eventually(wrong, PATIENCE_S, 1)
        tap.diagnose(self.status()['sound-source'])
        g.sh('systemctl stop player')
        self.split('0', False)

    def removed(self):
        """removed in mid-phase it puts all back, and Debian's agent answers"""
        g = self.need()
        tap.check((self.status() or {}).get('isolated'), self.status())
        # The agent begins anew, and with it what it has started.
        g.sh('systemd-run -q --on-active=1 dpkg -r vdiguest')
        g.vm.qmp.events.clear()
        g.wait_port(False)
        g.wait_port(True)
        offered = [c['name'] for c in
                   g.agent('guest-info')['supported_commands']]
        tap.check('guest-exec' in offered and
                  not [c for c in offered if 'vamp' in c], offered)
        agents = g.sh('readlink /proc/[0-9]*/exe | grep qemu-ga').split()
        tap.check(agents == ['/usr/sbin/qemu-ga'], f'the agents are {agents}')
        self.unbound()

    def put_back(self):
        """all is put back when the daemon ends"""
        self.need().sh('systemctl stop vdiguest')
        self.unbound()

    def unbound(self):
        """Nothing is bound any more; ends the guest."""
        g = self.need()
        bound = {n: p for n, p in g.processes().items()
                 if any(c != '0-3' for _, c, _ in p)}
        g.vm.kill()
        tap.check(not bound, f'still bound: {bound}')

    def all(self):
        """(name, function)"""
        claims = [self.boot, self.sound, self.compiles, self.key, self.units,
                  self.host]
        # One of each is enough.
        claims += [self.pulse, self.removed] if self.version == 1 else \
            [self.latency, self.put_back]
        return [(f'cgroup v{self.version}: ' + ' '.join(f.__doc__.split()), f)
                for f in claims]


def main():
    with tempfile.TemporaryDirectory(prefix='vamp-debian-') as rundir:
        return tap.main(
            lambda stack: Tests(rundir, stack, 2).all() +
            Tests(rundir, stack, 1).all(), missing(), (GuestError,))


if __name__ == '__main__':
    sys.exit(main())
