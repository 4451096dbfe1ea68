"""
A full host in a box, for measurements: with the companion modules, the broker, a
group for each VM, and a clock that counts instructions.

The CPUs take turns, and that clock counts for all of them: what a CPU gets done
in a ms depends on what the others run. So idle, to which all else is compared,
is not a host that sleeps, but one whose CPUs are kept busy by threads that get
only what nobody else wants (cpu.idle).

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import os
import shutil
import signal
import statistics
import subprocess
import tempfile

import vdi_guest
from nested import Guest, Host, missing, missing_kmod, program
from vamp_guest import BUILD, TOP, GuestError

HERE = os.path.dirname(os.path.abspath(__file__))
MODULES = ['kvm-amd']
BROKER = os.path.join(BUILD, 'bin', 'qemu-vamp-broker')
SOCKET = '/run/broker'
CGROUPS = '/sys/fs/cgroup'
MACHINE = CGROUPS + '/machine'
FILLER = CGROUPS + '/filler'
# As management tools start a Linux guest: it has no use for that timer, leaves it
# to run, and each of its ticks is a wake-up of QEMU's.
MACHINE_TYPE = 'q35,hpet=off'
# The kernel's own tests of its ciphers take seconds of a slow CPU.
QUIET = 'cryptomgr.notests'
WITH_VDIGUEST = '+vdiguest'
# Policy: actuator of the desktops; None: no other work is there
ACTUATORS = {'idle': None, 'stock': 'none', 'kvm': 'kvm', 'broker': 'broker'}
# A phase is one second, so that each key begins one with loads of its own.
PHASE_MS = 1000
SETTLE_S = 2    # the load's window is a second


def unusable():
    """Why nothing can be measured here, or None."""
    return missing(MODULES) or missing_kmod() or vdi_guest.missing() or \
        (None if os.path.exists(BROKER) else f'{BROKER} was not built')


def _neighbour_program(tmp):
    path = os.path.join(tmp, 'neighbour')
    subprocess.run(['cc', '-O2', '-static', '-s', '-pthread', f'-I{TOP}', '-o',
                    path, os.path.join(HERE, 'neighbour.c'),
                    os.path.join(TOP, 'core', 'brokermsg.c')], check=True)
    return path


def _p95(values):
    return sorted(values)[int(len(values) * .95)]


def figures(found):
    """{policy: figures} of {policy: [response]}; ratios to idle."""
    idle = found['idle']
    return {policy: {
        'mean': statistics.mean(values),
        'p50': statistics.median(values),
        'p95': _p95(values),
        'ratio': statistics.mean(values) / statistics.mean(idle),
        'ratio_p95': _p95(values) / _p95(idle),
        'n': len(values)}
            for policy, values in found.items()}


def show(name, table):
    """What figures() has found, for people."""
    print(f'{name:20} {"mean":>6} {"p50":>6} {"p95":>6} {"/ idle":>6} '
          f'{"p95":>6}  n')
    for policy, row in table.items():
        print(f'  {policy:18} {row["mean"]:6.2f} {row["p50"]:6.2f} '
              f'{row["p95"]:6.2f} {row["ratio"]:6.2f} '
              f'{row["ratio_p95"]:6.2f}  {row["n"]}', flush=True)


class Crowded:
    """
    The host, with @cpus and @memory MiB. @files as for Host; @programs: {place:
    program here}, which are taken there with their libraries.
    """

    def __init__(self, stack, cpus, memory=2048, files=(), programs=()):
        tmp = tempfile.mkdtemp(prefix=f'vamp-kvm-{os.getpid()}-', dir='/tmp')
        stack.callback(shutil.rmtree, tmp, ignore_errors=True)
        files = dict(files)
        for place, path in {'usr/bin/qemu-vamp-broker': BROKER,
                            **dict(programs)}.items():
            path = os.path.realpath(path)
            files.update(program(path))
            files[place] = files.pop(path.lstrip('/'))
        initrd = os.path.join(tmp, 'initrd')
        vdi_guest.make_initrd(initrd)
        files[Guest.INITRD.lstrip('/')] = initrd
        files['bin/neighbour'] = _neighbour_program(tmp)
        self.host = Host('host', tmp, modules=MODULES, files=files, smp=cpus,
                         memory=memory, append=QUIET, kmod=True, icount=True)
        stack.callback(self.host.kill)
        self.host.start()
        self.host.wait_ready()
        self.host.sh(f'echo +cpu > {CGROUPS}/cgroup.subtree_control; '
                     f'mkdir {MACHINE} {FILLER}; echo 1 > {FILLER}/cpu.idle; '
                     f'echo +cpu > {MACHINE}/cgroup.subtree_control')
        self.host.sh(f'/usr/bin/qemu-vamp-broker --socket {SOCKET} '
                     '--state /run/broker.state < /dev/null > /run/broker.log '
                     '2>&1 &')
        # Bound: nobody would balance what asks for next to nothing.
        self.fillers = [self.busy(FILLER, f'filler{n} 1 -', f'taskset {1 << n:x} ')
                        for n in range(cpus)]

    def group(self, name, weight=100):
        """Makes the one of VM @name; returns its path."""
        path = f'{MACHINE}/{name}'
        self.host.sh(f'mkdir {path}; echo {weight} > {path}/cpu.weight')
        return path

    def busy(self, group, words, how=''):
        """Busy threads in @group, by the command @how: neighbour.c with the
        arguments @words. Returns their process."""
        return int(self.host.sh(
            f'(echo 0 > {group}/cgroup.procs && exec {how}neighbour {words}) '
            '< /dev/null >> /run/neighbour.log 2>&1 & echo $!'))

    def let_run(self, run, stop):
        """These processes of busy(), and not those."""
        self.host.sh('; '.join(
            f'kill -{name} {" ".join(map(str, pids))}'
            for name, pids in (('CONT', run), ('STOP', stop)) if pids) or ':')

    def sleep(self, seconds):
        """Of the host's clock, which has its own speed."""
        self.host.sh(f'usleep {int(seconds * 1e6)}', 600)


class Desk:
    """A guest that somebody works with."""

    def __init__(self, bed, guest):
        self.bed = bed
        self.guest = guest
        self.helper = None

    @staticmethod
    def policy(ratio=3):
        """Arguments of its QEMU."""
        return ['-device', 'vamp-hints', '-object',
                f'vamp-policy,id=vamp0,broker={SOCKET},ratio={ratio},'
                f'max-phase-ms={PHASE_MS}']

    def use(self, policy, hogs):
        """From now on. @hogs: how many there are, if any other work is."""
        actuator = ACTUATORS[policy.removesuffix(WITH_VDIGUEST)]
        self._vdiguest(policy.endswith(WITH_VDIGUEST))
        self.guest.control(f'hogs {hogs if actuator else 0}')
        name = actuator or 'none'
        self.guest.qmp.cmd('qom-set', path='/objects/vamp0',
                           property='actuator', value=name)
        active = self.guest.qmp.cmd('vamp-query')['actuator']
        if active['active'] != name:
            raise GuestError(f'{policy}: {active}')

    def _vdiguest(self, wanted):
        if bool(self.helper) == wanted:
            return
        if self.helper:
            self.guest.control(f'signal {self.helper} {int(signal.SIGTERM)}')
            self.helper = None
            return
        self.helper = int(self.guest.control(f'start {vdi_guest.PROGRAM}'))
        for _ in range(60):
            if self.guest.control(f'run {vdi_guest.PROGRAM} --status') == '0':
                return
            self.bed.sleep(0.5)
        raise GuestError('vdiguest does not answer')
