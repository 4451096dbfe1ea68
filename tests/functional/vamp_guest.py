"""
Test guests: start QEMU with the little guest of guest/, talk to it, end it.

  Qmp            a QMP client on a unix socket (blocking, standard library only)
  Vm             one QEMU with the test guest, its console, its ports, its threads
  Presser        the VNC client that presses keys in a Vm and times the answers
  SpicePresser   a SPICE client that presses keys
  Answers        what the guest answers, without a client
  CpuGroups      a CPU cgroup per VM, where this user may have one
  choose_cpus()  which host CPUs the VMs shall share
  kvm_missing()  why KVM cannot be used here, or None if a trial boot decides

Everything that is started here dies with this process, even with SIGKILL.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import collections
import contextlib
import ctypes
import json
import os
import re
import resource
import select
import shutil
import signal
import socket
import subprocess
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
BUILD = os.environ.get('BUILD', os.path.join(TOP, 'build'))

PORT_CONTROL = 'vamp.test.control'
PORT_ANSWER = 'vamp.test.answer'

KEY_RETURN = 0xff0d     # keysym of Enter
SCANCODE_RETURN = 0x1c  # PC scan code of it

TICK = os.sysconf('SC_CLK_TCK')
_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class GuestError(Exception):
    """Something that a user can read: a guest, QEMU or the client failed."""


def _read(path):
    with open(path, encoding='utf-8', errors='replace') as f:
        return f.read()


def child_setup(cpus=None, group=None, no_nice=False):
    """For preexec_fn: die with the parent, run on @cpus in the cgroup @group, no
    inherited mask; @no_nice: RLIMIT_NICE is 0."""
    def setup():
        if no_nice:
            resource.setrlimit(resource.RLIMIT_NICE, (0, 0))
        if group:
            with open(os.path.join(group, 'cgroup.procs'), 'wb', 0) as f:
                f.write(b'0')
        _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        if cpus:
            os.sched_setaffinity(0, cpus)
    return setup


class Lines:
    """Lines from a socket, with a deadline."""

    def __init__(self, path, alive, timeout=10):
        deadline = time.monotonic() + timeout
        self.sock = socket.socket(socket.AF_UNIX)
        while True:
            try:
                self.sock.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if not alive() or time.monotonic() > deadline:
                    self.sock.close()
                    raise GuestError(f'nothing listens on {path}') from None
                time.sleep(0.02)
        self.buf = b''

    def send(self, text):
        self.sock.sendall(text.encode())

    def line(self, timeout):
        """The next line without its end; None when @timeout has passed."""
        deadline = time.monotonic() + timeout
        while b'\n' not in self.buf:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self.sock], [], [], left)[0]:
                return None
            data = self.sock.recv(65536)
            if not data:
                raise EOFError
            self.buf += data
        line, self.buf = self.buf.split(b'\n', 1)
        return line.decode(errors='replace')

    def close(self):
        self.sock.close()


class QmpError(GuestError):
    """QEMU answered a command with an error; .cls is its class."""

    def __init__(self, command, error):
        self.cls = error.get('class')
        self.desc = error.get('desc')
        super().__init__(f'{command}: {self.desc}')


class Qmp:
    """
    A QMP connection.

    @timeout  of a command, in seconds
    @launch   called when the socket is connected: what greets there comes then
    """

    def __init__(self, path, alive, timeout=20, launch=None):
        self._lines = Lines(path, alive)
        self._timeout = timeout
        self.events = []        # all that came, in their order
        if launch:
            launch()
        deadline = time.monotonic() + timeout
        while self._receive(1) is None:
            if not alive() or time.monotonic() > deadline:
                raise GuestError('QEMU does not greet on its QMP socket')
        self.cmd('qmp_capabilities')

    def _receive(self, timeout):
        try:
            line = self._lines.line(timeout)
        except (EOFError, ConnectionError):
            raise GuestError('QEMU closed its QMP socket') from None
        return None if line is None else json.loads(line)

    def cmd(self, command, _timeout=None, **arguments):
        """Executes @command, returns its result. '_' in names becomes '-'."""
        _timeout = _timeout or self._timeout
        msg = {'execute': command}
        if arguments:
            msg['arguments'] = {k.replace('_', '-'): v
                                for k, v in arguments.items()}
        try:
            self._lines.send(json.dumps(msg) + '\n')
        except ConnectionError:
            raise GuestError('QEMU closed its QMP socket') from None
        deadline = time.monotonic() + _timeout
        while True:
            reply = self._receive(deadline - time.monotonic())
            if reply is None:
                raise GuestError(f'QEMU did not answer {command}')
            if 'event' in reply:
                self.events.append(reply)
            elif 'error' in reply:
                raise QmpError(command, reply['error'])
            else:
                return reply['return']

    def event(self, name):
        """The first event @name that has come so far, or None; it stays."""
        while True:
            for event in self.events:
                if event['event'] == name:
                    return event
            # Not 0: the deadline has passed when it is looked at.
            reply = self._receive(0.01)
            if reply is None:
                return None
            if 'event' in reply:
                self.events.append(reply)

    def wait_event(self, name, timeout=10):
        """Takes the first event @name out of .events, waits for it if need be."""
        deadline = time.monotonic() + timeout
        while True:
            for i, event in enumerate(self.events):
                if event['event'] == name:
                    return self.events.pop(i)
            reply = self._receive(deadline - time.monotonic())
            if reply is None:
                raise GuestError(f'no event {name} within {timeout} s')
            if 'event' in reply:
                self.events.append(reply)

    def close(self):
        self._lines.close()


class Vm:
    """
    One QEMU with the test guest.

    @rundir   an existing private folder with a short path (sockets, console log)
    @accel    'kvm', 'tcg', or the whole argument of -accel
    @display  a VNC server (.vnc) and a display
    @extra    more arguments of QEMU
    @append   more words of the guest kernel's command line
    """

    # What QEMU does when the guest resets itself or powers off
    END = ['-no-reboot']

    def __init__(self, name, rundir, qemu=None, kernel=None, initrd=None,
                 accel='tcg', smp=2, memory=256, machine='q35', display=False,
                 extra=(), append=''):
        self.name = name
        self.qemu = qemu or os.path.join(BUILD, 'bin', 'qemu-system-x86_64')
        self.kernel = kernel or os.path.join(BUILD, 'kernel', 'vmlinuz')
        self.initrd = initrd or os.path.join(BUILD, 'guest', 'initramfs.gz')
        self.accel = {'tcg': 'tcg,thread=multi'}.get(accel, accel)
        self.smp = smp
        self.memory = memory
        self.machine = machine
        self.display = display
        self.extra = list(extra)
        self.append = append
        base = os.path.join(rundir, name)
        self.console = base + '.console'
        self.errors = base + '.stderr'
        self.qmp_path = base + '.qmp'
        self.control_path = base + '.ctl'
        self.answer_path = base + '.ans'
        self.vnc = base + '.vnc' if display else None
        self.release = None     # of the guest's kernel, once it is ready
        self.qmp = None
        self._control = None
        self._proc = None

    @staticmethod
    def chardev(name, path):
        """Argument of -chardev for one end of a line to the guest."""
        return f'socket,id={name},path={path},server=on,wait=off'

    def args(self):
        """The command line."""
        append = 'console=ttyS0 quiet panic=-1 reboot=t mitigations=off ' \
                 'vt.global_cursor_default=0'
        if self.accel.startswith('tcg'):
            # Neither clock keeps step with the other while this machine does
            # something else. Without the second, a kernel with interrupt
            # remapping panics: "timer doesn't work".
            append += ' tsc=reliable no_timer_check'
        append = f'{append} {self.append}'.strip()
        args = [
            self.qemu, '-name', self.name + ',debug-threads=on',
            '-nodefaults', '-no-user-config', *self.END,
            '-machine', self.machine, '-accel', self.accel,
            '-smp', str(self.smp), '-m', str(self.memory),
            '-kernel', self.kernel, '-initrd', self.initrd, '-append', append,
            '-chardev', f'file,id=con,path={self.console}',
            '-serial', 'chardev:con',
            '-chardev', self.chardev('qmp', self.qmp_path),
            '-mon', 'chardev=qmp,mode=control',
            '-device', 'virtio-serial-pci,id=serial0',
            '-chardev', self.chardev('ctl', self.control_path),
            '-device', f'virtserialport,chardev=ctl,name={PORT_CONTROL}',
            '-chardev', self.chardev('ans', self.answer_path),
            '-device', f'virtserialport,chardev=ans,name={PORT_ANSWER}',
        ]
        if self.accel.startswith('kvm'):
            args += ['-cpu', 'host']
        if self.display:
            args += ['-device', 'VGA', '-vnc', f'unix:{self.vnc}']
        else:
            args += ['-display', 'none']
        return args + self.extra

    def start(self, cpus=None, group=None, user=None):
        """Starts QEMU in a session of its own, on the host CPUs @cpus, in the
        cgroup @group (see CpuGroups.make). @user: as that uid, which may then
        not raise a thread's priority."""
        for path in (self.kernel, self.initrd):
            if not os.path.exists(path):
                raise GuestError(f'{path} is missing: make -C tests/functional')
        with open(self.errors, 'wb') as err:
            try:
                self._proc = subprocess.Popen(
                    self.args(), stdin=subprocess.DEVNULL, stdout=err,
                    stderr=err, start_new_session=True, user=user, group=user,
                    extra_groups=[] if user else None,
                    preexec_fn=child_setup(cpus, group, bool(user)))
            except OSError as e:
                raise GuestError(f'{self.qemu} cannot be run: {e.strerror}') \
                    from None
        try:
            self.qmp = Qmp(self.qmp_path, self.alive)
            self._control = Lines(self.control_path, self.alive)
        except GuestError as e:
            raise GuestError(f'{self.name}: QEMU did not start: '
                             f'{self.last_words() or e}') from None

    @property
    def pid(self):
        return self._proc.pid

    def alive(self):
        return self._proc is not None and self._proc.poll() is None

    def last_words(self, lines=24):
        """What QEMU and the guest's console said last."""
        text = ''
        for path in (self.errors, self.console):
            with contextlib.suppress(OSError):
                text += _read(path)
        # Without the firmware's and the kernel's escape sequences
        text = re.sub(r'\x1b\[[0-9;?]*[A-Za-z]|\x1bc|\r', '', text)
        kept = [t for t in text.splitlines() if t.strip()]
        return '\n'.join(kept[-lines:])

    def cpus_say(self):
        """Where each vCPU is, and its timer: of a guest that hangs or died."""
        said = ''
        with contextlib.suppress(GuestError, AttributeError):
            for cpu in self.qmp.cmd('query-cpus-fast'):
                n = cpu['cpu-index']
                text = ''.join(self.qmp.cmd('human-monitor-command',
                                            cpu_index=n, command_line=line)
                               for line in ('info registers', 'info lapic'))
                said += f'vCPU {n}: ' + ' '.join(re.findall(
                    r'R[IS]P=\w+|RFL=\w+|CR[23]=\w+|HLT=\d|'
                    r'LVTT.*|Timer.*|IRR.*|ISR.*',
                    text.replace('\r', ''))) + '\n'
        return said

    def exit_status(self):
        """Of a QEMU that has ended."""
        return self._proc.returncode

    def wait_ready(self, timeout=60):
        """Waits until the guest's init serves its control port."""
        try:
            line = self._control.line(timeout)
        except EOFError:
            line = None
            # It has just gone, or has closed the port and lives on
            if self._proc:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._proc.wait(2)
        if not line or not line.startswith('ready '):
            why = f'is not up after {timeout} s' if self.alive() \
                else f'ended with status {self.exit_status()}'
            words = self.last_words() or '(nothing)'
            raise GuestError(f'the guest {self.name} {why}. '
                             f'Its console said last:\n{words}')
        self.release = line.split()[1]

    def control(self, command, timeout=30):
        """Sends the guest a command (see guest/init.c), returns its reply
        without the "ok"."""
        self.send(command)
        return self.reply(command, timeout)

    def send(self, command):
        """The first half of control()."""
        self._control.send(command + '\n')

    def reply(self, command, timeout=30):
        """The other half, for @command that was sent."""
        try:
            reply = self._control.line(timeout)
        except EOFError:
            reply = None
        if reply is None:
            raise GuestError(f'the guest {self.name} did not answer "{command}"'
                             f'. Its console said last:\n{self.last_words()}\n'
                             f'{self.cpus_say()}')
        if not reply.startswith('ok'):
            raise GuestError(f'the guest {self.name}: "{command}": {reply}')
        return reply[2:].strip()

    def sleep(self, timeout=120, asleep=lambda: None):
        """Suspends the guest to memory (ACPI's S3), calls @asleep, and wakes it
        up again; each within @timeout seconds."""
        command = 'write /sys/power/state mem'
        self.send(command)
        self.qmp.wait_event('SUSPEND', timeout)
        asleep()
        self.qmp.cmd('system_wakeup')
        self.reply(command, timeout)

    def stop(self):
        """Stops the vCPUs."""
        self.qmp.cmd('stop')

    def cont(self):
        """Lets the vCPUs run on."""
        self.qmp.cmd('cont')

    def cpu_seconds(self):
        """CPU time of the whole process so far, threads that ended included."""
        with contextlib.suppress(OSError):
            fields = _read(f'/proc/{self.pid}/stat').rpartition(')')[2].split()
            return (int(fields[11]) + int(fields[12])) / TICK
        return 0.0

    def threads(self):
        """{thread id: name} of QEMU's threads."""
        result = {}
        with contextlib.suppress(OSError):
            for tid in os.listdir(f'/proc/{self.pid}/task'):
                with contextlib.suppress(OSError):
                    result[int(tid)] = \
                        _read(f'/proc/{self.pid}/task/{tid}/comm').strip()
        return result

    def vcpu_tids(self):
        """Thread ids of the vCPUs, by index."""
        cpus = self.qmp.cmd('query-cpus-fast')
        return [c['thread-id'] for c in sorted(cpus,
                                               key=lambda c: c['cpu-index'])]

    def scheduling(self):
        """(class, nice, RT priority, cpu cgroup) of each vCPU as /proc has it."""
        result = []
        for tid in self.vcpu_tids():
            base = f'/proc/{self.pid}/task/{tid}'
            fields = _read(base + '/stat').rpartition(')')[2].split()
            group = CpuGroups.path_of(_read(base + '/cgroup'))
            result.append((int(fields[38]), int(fields[16]), int(fields[37]),
                           group))
        return result

    def signal(self, number):
        """Sends QEMU a signal."""
        self._proc.send_signal(number)

    def wait_exit(self, timeout=60):
        """Waits until QEMU has ended by itself; returns its exit status."""
        try:
            return self._proc.wait(timeout)
        except subprocess.TimeoutExpired:
            raise GuestError(f'{self.name}: QEMU has not ended after '
                             f'{timeout} s') from None

    def kill(self):
        """Ends QEMU; harmless if it is not there."""
        for closing in (self.qmp, self._control):
            if closing:
                closing.close()
        self.qmp = self._control = None
        if self._proc:
            if self._proc.poll() is None:
                self._proc.kill()
            self._proc.wait()


Answer = collections.namedtuple('Answer', 'index pressed answered ms text')


class _Client:
    """A program that presses keys at a display server: commands in, lines out."""

    def __init__(self, what, args, cpus=None):
        self._what = what
        try:
            self._proc = subprocess.Popen(
                args, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                stderr=subprocess.PIPE, start_new_session=True,
                preexec_fn=child_setup(cpus))
        except OSError as e:
            raise GuestError(f'{args[0]} cannot be run: {e.strerror}') from None
        self._buf = b''
        try:
            self.width, self.height, self.scheduler = \
                self._expect('ready', 60).split()
        except GuestError:
            self.kill()
            raise

    def _line(self, timeout):
        deadline = time.monotonic() + timeout
        out = self._proc.stdout
        while b'\n' not in self._buf:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([out], [], [], left)[0]:
                raise GuestError(f'the {self._what} client does not answer')
            data = os.read(out.fileno(), 65536)
            if not data:
                why = self._proc.stderr.read().decode(errors='replace').strip()
                raise GuestError(why or f'the {self._what} client ended')
            self._buf += data
        line, self._buf = self._buf.split(b'\n', 1)
        return line.decode()

    def _expect(self, word, timeout):
        while True:
            first, _, rest = self._line(timeout).partition(' ')
            if first == word:
                return rest

    def _send(self, text):
        try:
            self._proc.stdin.write((text + '\n').encode())
            self._proc.stdin.flush()
        except BrokenPipeError:
            raise GuestError(f'the {self._what} client ended') from None

    def press(self, key):
        """Presses a key once and does not wait for the answer. Returns when
        (CLOCK_MONOTONIC, ns)."""
        self._send(f'press {key:#x}')
        return int(self._expect('pressed', 30).split()[1])

    def kill(self):
        """Ends the client."""
        if self._proc.poll() is None:
            self._proc.kill()
        self._proc.wait()
        for pipe in (self._proc.stdin, self._proc.stdout, self._proc.stderr):
            with contextlib.suppress(OSError):
                pipe.close()


class Presser(_Client):
    """The client vnc-press, connected to the VNC server and answer port of @vm."""

    def __init__(self, vm, client=None, cpus=None):
        client = client or os.path.join(BUILD, 'bin', 'vnc-press')
        super().__init__('VNC', [client, vm.vnc, vm.answer_path], cpus)

    def press(self, key=KEY_RETURN):
        """As in _Client; @key is a keysym."""
        return super().press(key)

    def block(self, n, gap_ms, seed, keysym=KEY_RETURN, timeout_ms=10000):
        """Presses @n times with pseudo-random gaps of gap_ms = (min, max);
        yields an Answer each, .answered and .ms are None if it was lost."""
        self._send(f'block {n} {keysym:#x} {gap_ms[0]} {gap_ms[1]} {seed} '
                   f'{timeout_ms}')
        while True:
            line = self._line(timeout_ms / 1000 + gap_ms[1] / 1000 + 5)
            word, _, rest = line.partition(' ')
            if word == 'answer':
                index, t0, t1, text = rest.split(' ', 3)
                yield Answer(int(index), int(t0), int(t1),
                             (int(t1) - int(t0)) / 1e6, text)
            elif word == 'lost':
                index, t0 = rest.split()
                yield Answer(int(index), int(t0), None, None, None)
            elif word == 'done':
                return


class SpicePresser(_Client):
    """The client spice-press, connected to the SPICE server at @where (a unix
    socket's path or HOST:PORT)."""

    PATH = os.path.join(BUILD, 'bin', 'spice-press')

    def __init__(self, where, cpus=None):
        super().__init__('SPICE', [self.PATH, where], cpus)

    def press(self, key=SCANCODE_RETURN):
        """As in _Client; @key is a PC scan code."""
        return super().press(key)


class Answers:
    """The answer port of @vm, for presses that no client of ours times. The
    port serves one reader: not beside a Presser."""

    def __init__(self, vm):
        self._vm = vm
        self._lines = Lines(vm.answer_path, vm.alive)

    def next(self, timeout=60):
        """The next answer as list of its words (see guest/respond.c)."""
        try:
            line = self._lines.line(timeout)
        except (EOFError, ConnectionError):
            line = None
        if line is None:
            raise GuestError(f'the guest {self._vm.name} has answered no key '
                             f'within {timeout} s')
        return line.split()

    def close(self):
        """Leaves the port to others."""
        self._lines.close()


class CpuGroups:
    """
    A CPU cgroup per VM, all of equal weight, as libvirt and others make them.

    .kind is 'cgroup v1', 'cgroup v2' or None, .why says why not. Needs root or a
    delegated part of the hierarchy.
    """

    def __init__(self, prefix='vamp-run'):
        self.prefix = f'{prefix}-{os.getpid()}'
        self.kind = self.parent = None
        self.why = 'the cpu controller is not available (neither a v1 ' \
                   'hierarchy nor a cgroup.subtree_control has it)'
        self._made = []
        for kind, parent in self._candidates():
            reason = self._try(parent)
            if reason is None:
                self.kind, self.parent, self.why = kind, parent, None
                break
            self.why = reason

    @staticmethod
    def path_of(cgroup):
        """The path in the hierarchy with the CPU controller, from the text
        of /proc/PID/cgroup."""
        v2 = ''
        for line in cgroup.splitlines():
            _, controllers, path = line.split(':', 2)
            if 'cpu' in controllers.split(','):
                return path
            if not controllers:
                v2 = path
        return v2

    @staticmethod
    def _candidates():
        own_v1 = own_v2 = None
        for line in _read('/proc/self/cgroup').splitlines():
            _, controllers, path = line.split(':', 2)
            if 'cpu' in controllers.split(','):
                own_v1 = path
            elif not controllers:
                own_v2 = path
        for line in _read('/proc/self/mounts').splitlines():
            _, where, fstype, options = line.split()[:4]
            if fstype == 'cgroup' and 'cpu' in options.split(',') and own_v1:
                path = where + own_v1.rstrip('/')
                yield 'cgroup v1', path if os.path.isdir(path) else where
        for line in _read('/proc/self/mounts').splitlines():
            _, where, fstype = line.split()[:3]
            if fstype != 'cgroup2' or own_v2 is None:
                continue
            # From our own group upwards: a group with processes in it cannot
            # have children with controllers, its parent can.
            path = own_v2.rstrip('/')
            while True:
                with contextlib.suppress(OSError):
                    control = _read(f'{where}{path}/cgroup.subtree_control')
                    if 'cpu' in control.split():
                        yield 'cgroup v2', where + path
                if not path:
                    break
                path = path.rpartition('/')[0]

    def _try(self, parent):
        """Can a process be moved to a group of ours in @parent? None or why not."""
        self._remove_stale(parent)
        group = os.path.join(parent, self.prefix + '-probe')
        try:
            os.mkdir(group)
        except OSError as e:
            return f'no group can be made in {parent} ({e.strerror})'
        child = None
        try:
            child = subprocess.Popen(['sleep', '60'],
                                     stdin=subprocess.DEVNULL,
                                     start_new_session=True,
                                     preexec_fn=child_setup())
            self._write(group, 'cgroup.procs', child.pid)
            return None
        except OSError as e:
            return f'no process can be moved to {parent} ({e.strerror})'
        finally:
            if child:
                child.kill()
                child.wait()
            self._remove(group)

    @staticmethod
    def _write(group, name, value):
        fd = os.open(os.path.join(group, name), os.O_WRONLY)
        try:
            os.write(fd, str(value).encode())
        finally:
            os.close(fd)

    def make(self, name):
        """Makes a group for a VM called @name. Returns the group's path."""
        group = os.path.join(self.parent, f'{self.prefix}-{name}')
        os.mkdir(group)
        self._made.append(group)
        if self.kind == 'cgroup v1':
            self._write(group, 'cpu.shares', 1024)
        else:
            self._write(group, 'cpu.weight', 100)
        # Where the kernel shares out real-time class by groups, a new one has
        # none of it: 40 % for each of two VMs
        with contextlib.suppress(OSError):
            self._write(group, 'cpu.rt_runtime_us', 400000)
        return group

    def add(self, vm):
        """Puts @vm into a group of its own. Returns the group's path."""
        group = self.make(vm.name)
        self._write(group, 'cgroup.procs', vm.pid)
        return group

    @staticmethod
    def _remove(group):
        for folder, _, _ in os.walk(group, topdown=False):
            # What was killed may take a moment to leave
            for _ in range(50):
                try:
                    os.rmdir(folder)
                    break
                except FileNotFoundError:
                    break
                except OSError:
                    time.sleep(0.02)

    def _remove_stale(self, parent):
        """Removes what a run left that was killed with SIGKILL."""
        pattern = re.compile(re.escape(self.prefix.rpartition('-')[0]) +
                             r'-(\d+)-')
        for name in os.listdir(parent):
            match = pattern.match(name)
            if match and not os.path.exists(f'/proc/{match.group(1)}'):
                self._remove(os.path.join(parent, name))

    def remove(self):
        """Removes the groups, and what an actuator made in them."""
        while self._made:
            self._remove(self._made.pop())


def choose_cpus(n=2):
    """@n of the CPUs that we may use, of different cores if there are enough."""
    allowed = sorted(os.sched_getaffinity(0))
    cores, chosen = set(), []
    for cpu in allowed:
        core = str(cpu)
        with contextlib.suppress(OSError):
            core = _read(f'/sys/devices/system/cpu/cpu{cpu}'
                         '/topology/thread_siblings_list').strip()
        if core not in cores:
            cores.add(core)
            chosen.append(cpu)
    chosen += [cpu for cpu in allowed if cpu not in chosen]
    return chosen[:n]


def kvm_missing():
    """Why KVM is out of the question here; None: a trial boot must tell.

    /dev/kvm alone says nothing: it may be a nested one that runs firmware only.
    """
    flags = set()
    for line in _read('/proc/cpuinfo').splitlines():
        if line.startswith('flags'):
            flags = set(line.partition(':')[2].split())
            break
    if not flags & {'vmx', 'svm'}:
        return 'the processor has neither vmx nor svm'
    try:
        os.close(os.open('/dev/kvm', os.O_RDWR))
    except OSError as e:
        return f'/dev/kvm: {e.strerror}'
    return None


def qemu_missing():
    """Why no QEMU can be run, or None."""
    return None if find_qemu() else 'no QEMU was built'


def find_qemu():
    """The QEMU of our build, else that of the system, else None."""
    ours = os.path.join(BUILD, 'bin', 'qemu-system-x86_64')
    return ours if os.access(ours, os.X_OK) else shutil.which('qemu-system-x86_64')
