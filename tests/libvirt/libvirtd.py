"""
A libvirtd of our own, and domains in it.

  enter()    goes where this daemon can be: namespaces in which the folders that
             libvirt uses are new and empty, and in which all processes end with
             this one. Nothing of it is seen outside, except control groups.
  Libvirtd   the daemon, as Debian's package starts it, but for its folders
  Domain     a domain with the test guest

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import sys
import tempfile
import time
from xml.sax.saxutils import quoteattr

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[1:1] = [os.path.join(TOP, 'tests'),
                 os.path.join(TOP, 'tests', 'functional')]
# pylint: disable=wrong-import-position
from tap import eventually
from vamp_guest import (BUILD, PORT_CONTROL, CpuGroups, GuestError, Lines,
                        QmpError, find_qemu)

URI = 'qemu:///system'
NEEDED = {'libvirtd': 'libvirt-daemon', 'virsh': 'libvirt-clients',
          'unshare': 'util-linux', 'mount': 'mount'}
UNSHARE = ['unshare', '--mount', '--pid', '--fork', '--kill-child',
           '--mount-proc']
# Holds the process id outside, which names what others can see.
INSIDE = 'VAMP_TEST_LIBVIRT'
FOLDERS = ['/run', '/etc/libvirt', '/var/lib/libvirt', '/var/cache/libvirt',
           '/var/log/libvirt']
# Devices of our /dev: no KVM, so that libvirt does not try for each domain anew
# whether one that runs no system works; and none of the machine's for it to touch.
DEVICES = {'null': (1, 3), 'zero': (1, 5), 'full': (1, 7), 'random': (1, 8),
           'urandom': (1, 9), 'tty': (5, 0)}
DEV_LINKS = {'ptmx': 'pts/ptmx', 'fd': '/proc/self/fd',
             'stdin': '/proc/self/fd/0', 'stdout': '/proc/self/fd/1',
             'stderr': '/proc/self/fd/2'}
# Debian's user of QEMU; libvirtd does not start without it.
USER, UID = 'libvirt-qemu', 64055
LOCKS = '/run/vamp'
PORT_AGENT = 'org.qemu.guest_agent.0'
START_S = 60
COMMAND_S = 120
BOOT_S = 240


def missing():
    """Why libvirtd cannot run here, or None."""
    for name, package in NEEDED.items():
        if not shutil.which(name):
            return f'{name} is missing (package {package})'
    if os.geteuid():
        return 'only root can run a libvirtd for the whole machine'
    trial = 'mount --make-rprivate / && mount -t tmpfs tmpfs /run && ' \
            'mknod /run/null c 1 3'
    done = subprocess.run(UNSHARE + ['sh', '-c', trial], check=False,
                          stdin=subprocess.DEVNULL, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    return done.stdout.strip() if done.returncode else None


def enter():
    """Runs this program again where libvirtd can be; returns there."""
    if INSIDE not in os.environ:
        os.environ[INSIDE] = str(os.getpid())
        os.execvp(UNSHARE[0], UNSHARE + [sys.executable] + sys.argv)
    # The first process of the namespace inherits orphans. libvirtd waits until
    # a QEMU that it has made one is gone: somebody has to take its status.
    program = os.fork()
    if not program:
        return
    while True:
        pid, status = os.wait()
        if pid == program:
            os._exit(os.waitstatus_to_exitcode(status) & 0xff)


def _run(*command):
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


class Libvirtd:
    """
    The daemon. @rundir is a folder that all users can read; kill() ends the
    daemon with its domains, and removes @rundir and its control groups.
    """

    def __init__(self):
        self.rundir = tempfile.mkdtemp(
            prefix=f'vamp-libvirt-{os.environ[INSIDE]}-', dir='/tmp')
        self._proc = None
        self._domains = []
        self.qemu = os.path.join(self.rundir, 'qemu-system-x86_64')
        self._groups = set(self.machine_groups())

    def prepare(self):
        """Makes its surroundings."""
        os.chmod(self.rundir, 0o755)
        _run('mount', '--make-rprivate', '/')
        self._private_dev()
        self._private_folders()
        self._add_user()
        # Whose user can read them, and which libvirt may give to that user.
        for file in (os.path.join(BUILD, 'kernel', 'vmlinuz'),
                     os.path.join(BUILD, 'guest', 'initramfs.gz')):
            if not os.path.exists(file):
                raise GuestError(f'{file} is missing: make -C tests/functional')
            shutil.copy(file, self.rundir)
        shutil.copy(os.path.realpath(find_qemu()), self.qemu)

    @staticmethod
    def machine_groups():
        """Groups in which libvirt has its domains."""
        found = []
        for line in open('/proc/self/mounts', encoding='utf-8'):
            _, where, kind = line.split()[:3]
            path = os.path.join(where, 'machine')
            if kind.startswith('cgroup') and os.path.isdir(path):
                found.append(path)
        return found

    def _private_dev(self):
        dev = os.path.join(self.rundir, 'dev')
        os.mkdir(dev)
        _run('mount', '-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', dev)
        for name, numbers in DEVICES.items():
            path = os.path.join(dev, name)
            os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(*numbers))
            os.chmod(path, 0o666)
        for name, to in DEV_LINKS.items():
            os.symlink(to, os.path.join(dev, name))
        for name, kind, options in (('pts', 'devpts', 'newinstance,'
                                     'ptmxmode=0666,mode=620'),
                                    ('shm', 'tmpfs', 'mode=1777')):
            os.mkdir(os.path.join(dev, name))
            _run('mount', '-t', kind, '-o', options, kind,
                 os.path.join(dev, name))
        # Not only covered: libvirt takes along all that is mounted below /dev.
        _run('sh', '-c', 'umount --recursive --lazy /dev && '
                         'mount --move "$0" /dev', dev)
        os.rmdir(dev)

    @staticmethod
    def _private_folders():
        for folder in FOLDERS:
            os.makedirs(folder, exist_ok=True)
            _run('mount', '-t', 'tmpfs', '-o', 'mode=755', 'tmpfs', folder)
        os.mkdir('/run/lock')
        # As the manual of osnet-cpumap has it.
        os.mkdir(LOCKS)
        os.chmod(LOCKS, 0o1777)

    def _add_user(self):
        for name, line in (('passwd', f'{USER}:x:{UID}:{UID}::/:/bin/false'),
                           ('group', f'{USER}:x:{UID}:')):
            own = os.path.join(self.rundir, name)
            with open(f'/etc/{name}', encoding='utf-8') as f:
                text = f.read()
            with open(own, 'w', encoding='utf-8') as f:
                f.write(''.join(t for t in text.splitlines(True)
                                if not t.startswith(USER + ':')) + line + '\n')
            _run('mount', '--bind', own, f'/etc/{name}')

    def start(self, settings=''):
        """Starts it, or starts it again, with @settings in qemu.conf."""
        self.stop()
        with open('/etc/libvirt/qemu.conf', 'w', encoding='utf-8') as f:
            # Without virtlogd; no extended attributes on files of the build.
            f.write('stdio_handler = "file"\nremember_owner = 0\n' + settings)
        conf = os.path.join(self.rundir, 'libvirtd.conf')
        with open(conf, 'w', encoding='utf-8') as f:
            f.write('auth_unix_ro = "none"\nauth_unix_rw = "none"\n')
        # It knows no architecture without a QEMU that it finds by itself, and
        # the machine may have none.
        env = dict(os.environ, PATH=f'{self.rundir}:{os.environ["PATH"]}')
        with open(self.log, 'ab') as log:
            self._proc = subprocess.Popen(['libvirtd', '-f', conf], env=env,
                                          stdin=subprocess.DEVNULL, stdout=log,
                                          stderr=log)
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.virsh('version')
                return
            except GuestError as e:
                if self._proc.poll() is not None or \
                        time.monotonic() > deadline:
                    raise GuestError(f'libvirtd does not start: {e}\n'
                                     f'{self.last_words()}') from None
            time.sleep(0.1)

    @property
    def log(self):
        """File with what the daemon says."""
        return os.path.join(self.rundir, 'libvirtd.log')

    def last_words(self):
        """What it said last."""
        with open(self.log, encoding='utf-8', errors='replace') as f:
            return ''.join(f.readlines()[-10:])

    def virsh(self, *args):
        """What `virsh ARGS` answers; an error is a GuestError with its text."""
        env = dict(os.environ, LC_ALL='C', HOME=self.rundir)
        try:
            done = subprocess.run(['virsh', '-q', '-c', URI, *args], env=env,
                                  stdin=subprocess.DEVNULL, text=True,
                                  stdout=subprocess.PIPE, check=False,
                                  stderr=subprocess.PIPE, timeout=COMMAND_S)
        except subprocess.TimeoutExpired:
            raise GuestError(f'virsh {args[0]} does not end') from None
        if done.returncode:
            raise GuestError(done.stderr.strip())
        return done.stdout.strip()

    def domain(self, name, **kwargs):
        """A domain, not started: see Domain."""
        domain = Domain(self, f'vamp{os.environ[INSIDE]}{name}', **kwargs)
        self._domains.append(domain)
        return domain

    def destroy_all(self):
        """Ends all domains."""
        while self._domains:
            # Some have ended, some have never begun.
            with contextlib.suppress(GuestError):
                self._domains.pop().destroy()

    def stop(self):
        """Ends the daemon; domains first, nobody else could end them."""
        self.destroy_all()
        if self._proc:
            self._proc.terminate()
            try:
                self._proc.wait(20)
            except subprocess.TimeoutExpired:
                self._proc.kill()
                self._proc.wait()
            self._proc = None

    def kill(self):
        """Ends it and removes what it has made."""
        self.stop()
        for top in set(self.machine_groups()) - self._groups:
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(folder)
        shutil.rmtree(self.rundir, ignore_errors=True)


class Domain:
    """
    A domain with the test guest, under TCG.

    @args     arguments of QEMU, by <qemu:commandline>
    @cputune  what <cputune> contains
    @cpuset   attribute of <vcpu>
    @smp      vCPUs
    @plugged  how many of them are there at the start
    @initrd   its initramfs, one that libvirt may give to QEMU's user
    @agent    it has the channel of the guest agent

    .qmp is the domain itself: cmd() as in vamp_guest.Qmp.
    """

    def __init__(self, daemon, name, args=(), cputune='', cpuset=None, smp=2,
                 plugged=None, initrd=None, agent=False):
        self.daemon = daemon
        self.name = name
        self.args = list(args)
        self.cputune = cputune
        self.cpuset = cpuset
        self.smp = smp
        self.plugged = plugged or smp
        self.initrd = initrd or os.path.join(daemon.rundir, 'initramfs.gz')
        self.agent = agent
        self.socket = f'/run/{name}.ctl'
        self.qmp = self
        self._control = None

    def xml(self):
        """Its description."""
        args = ''.join(f'<qemu:arg value={quoteattr(a)}/>' for a in self.args)
        cpuset = f" cpuset='{self.cpuset}'" if self.cpuset else ''
        agent = f"<channel type='unix'><target type='virtio' " \
                f"name='{PORT_AGENT}'/></channel>" if self.agent else ''
        return f"""
<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>
  <name>{self.name}</name>
  <memory unit='MiB'>256</memory>
  <vcpu placement='static'{cpuset} current='{self.plugged}'>{self.smp}</vcpu>
  <cputune>{self.cputune}</cputune>
  <os>
    <type arch='x86_64' machine='q35'>hvm</type>
    <kernel>{self.daemon.rundir}/vmlinuz</kernel>
    <initrd>{self.initrd}</initrd>
    <cmdline>quiet panic=-1 mitigations=off tsc=reliable no_timer_check</cmdline>
  </os>
  <features><acpi/><apic/></features>
  <devices>
    <emulator>{self.daemon.qemu}</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <channel type='unix'>
      <source mode='bind' path='{self.socket}'/>
      <target type='virtio' name='{PORT_CONTROL}'/>
    </channel>
    {agent}
  </devices>
  <qemu:commandline>{args}</qemu:commandline>
</domain>
"""

    def create(self):
        """Starts it."""
        file = os.path.join(self.daemon.rundir, self.name + '.xml')
        with open(file, 'w', encoding='utf-8') as f:
            f.write(self.xml())
        self.daemon.virsh('create', file)

    def wait_ready(self, timeout=BOOT_S):
        """Waits for the test guest."""
        self._control = Lines(self.socket, self.alive)
        line = self._control.line(timeout)
        if not line or not line.startswith('ready '):
            raise GuestError(f'the guest of {self.name} is not up after '
                             f'{timeout} s: {line}\n{self.log()}')

    def control(self, command, timeout=COMMAND_S):
        """As vamp_guest.Vm.control()."""
        self._control.send(command + '\n')
        reply = self._control.line(timeout)
        if not reply or not reply.startswith('ok'):
            raise GuestError(f'the guest: "{command}": {reply}')
        return reply[2:].strip()

    def cmd(self, command, **arguments):
        """A QMP command, past libvirt; returns its result."""
        message = {'execute': command, 'arguments': {
            k.replace('_', '-'): v for k, v in arguments.items()}}
        reply = json.loads(self.daemon.virsh(
            'qemu-monitor-command', self.name, json.dumps(message)))
        if 'error' in reply:
            raise QmpError(command, reply['error'])
        return reply['return']

    def ask_agent(self, command, **arguments):
        """A command of the guest agent; returns its result. GuestError with
        the text of an error, of libvirt's or the agent's."""
        message = {'execute': command, 'arguments': {
            k.replace('_', '-'): v for k, v in arguments.items()}}
        return json.loads(self.daemon.virsh(
            'qemu-agent-command', '--timeout', str(COMMAND_S // 2), self.name,
            json.dumps(message)))['return']

    def log(self):
        """What QEMU said."""
        with open(f'/var/log/libvirt/qemu/{self.name}.log', encoding='utf-8',
                  errors='replace') as f:
            return f.read()

    @property
    def pid(self):
        """Of its QEMU."""
        with open(f'/run/libvirt/qemu/{self.name}.pid', encoding='ascii') as f:
            return int(f.read())

    def alive(self):
        """Does its QEMU run?"""
        try:
            return os.path.exists(f'/proc/{self.pid}')
        except OSError:
            return False

    def vcpu_tids(self):
        """Thread ids of the vCPUs."""
        cpus = self.cmd('query-cpus-fast')
        return [c['thread-id'] for c in sorted(cpus,
                                               key=lambda c: c['cpu-index'])]

    def affinity(self, tid):
        """CPUs that the thread may run on."""
        return os.sched_getaffinity(tid)

    def groups(self):
        """Folder of the cpu controller's group of each vCPU."""
        mount = cpu_hierarchy()
        found = []
        for tid in self.vcpu_tids():
            with open(f'/proc/{tid}/cgroup', encoding='utf-8') as f:
                found.append(mount + CpuGroups.path_of(f.read()))
        return found

    def destroy(self):
        """Ends it."""
        if self._control:
            self._control.close()
            self._control = None
        self.daemon.virsh('destroy', self.name)


def mixed(domain):
    """
    Weights of the vCPUs' groups in a phase with a hog, which virsh's key began.
    """
    domain.control('hogs 1')
    found = []

    def wrong():
        domain.daemon.virsh('send-key', domain.name, 'KEY_ENTER')
        now = weights()
        found[:] = [now[g] for g in domain.groups()]
        info = domain.cmd('vamp-query')
        return None if len(set(found)) > 1 and info['phase'] == 'mixed' \
            else f'weights {found}: {info}'
    eventually(wrong, 120, 0.2)
    return found


def threads(pid):
    """{thread: (nice, policy, affinity)}"""
    found = {}
    for tid in map(int, os.listdir(f'/proc/{pid}/task')):
        # Some may go while we look.
        with contextlib.suppress(ProcessLookupError):
            found[tid] = (os.getpriority(os.PRIO_PROCESS, tid),
                          os.sched_getscheduler(tid),
                          tuple(os.sched_getaffinity(tid)))
    return found


def cpu_hierarchy():
    """Where the cpu controller's groups are, or None."""
    v2 = None
    for line in open('/proc/self/mounts', encoding='utf-8'):
        _, where, kind, options = line.split()[:4]
        if kind == 'cgroup' and 'cpu' in options.split(','):
            return where
        if kind == 'cgroup2':
            with contextlib.suppress(OSError):
                with open(f'{where}/cgroup.controllers',
                          encoding='ascii') as f:
                    if 'cpu' in f.read().split():
                        v2 = where
    return v2


def weight_file(group):
    """The file with the weight of @group; it need not exist."""
    v1 = os.path.join(group, 'cpu.shares')
    return v1 if os.path.exists(v1) else os.path.join(group, 'cpu.weight')


def weights():
    """{group: weight} of the cpu controller, of all that libvirt has made."""
    found = {}
    for folder, _, _ in os.walk(os.path.join(cpu_hierarchy(), 'machine')):
        # Some may go while we look.
        with contextlib.suppress(OSError):
            with open(weight_file(folder), encoding='ascii') as f:
                found[folder] = int(f.read())
    return found
