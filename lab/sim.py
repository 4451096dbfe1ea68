"""
One run of the simulated host

  Host(build, qemu)     what does not change between runs
  Host.run(...)         boots a plan unless its result is there already
  Result                what the guest printed, as numbers

The guest prints raw facts; what they mean is lab/report.py's business.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import hashlib
import os
import re
import subprocess
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(HERE)
BROKER = 'broker/qemu-vamp-broker'

# Deterministic: one thread runs all CPUs, and the clock counts their
# instructions. An instruction takes 2 ns; with 8 ns (shift=3) what the kernel
# does would be too dear. Without -seed and -rtc two runs differ.
ICOUNT = ['-accel', 'tcg,thread=single', '-icount', 'shift=1,sleep=off',
          '-seed', '1', '-rtc', 'base=2026-01-01,clock=vm']
MACHINE = ['-M', 'q35', '-cpu', 'max', '-m', '512', '-nodefaults',
           '-display', 'none', '-no-reboot']
APPEND = 'console=ttyS0 panic=-1 quiet nokaslr norandmaps tsc=reliable'
# A virtual second of two CPUs takes half a second here, but a machine may be
# busy.
TIMEOUT_S_PER_S = 30


class SimError(Exception):
    """A run has failed; the text says why."""


class Result:
    """
    What the guest printed. Times in ns from the start of all VMs.

    kernel, vms      its release; names of the VMs
    samples          [(time, [CPU time of each VM])], in the measured time
    broker_cpu       CPU time of the broker in the measured time
    hog_cpu          {VM: CPU time of its hogs in the measured time}
    answer_cpu       the same of its threads that answer input
    events           {(VM, thread id, number): dict}
    sleeps           of each VM a list with the sleeps of each thread
    status           lines of the broker's report
    """

    def __init__(self, text, path):
        self.kernel = None
        self.vms = []
        self.samples = []
        self.hog_cpu = {}
        self.answer_cpu = {}
        self.events = {}
        self.sleeps = []
        self.status = []
        self._ids = {}
        broker = []
        lines = text.splitlines()
        try:
            for line in lines:
                self._line(line, broker)
        except (ValueError, IndexError, KeyError):
            raise SimError(f'{path} is damaged: {line!r}') from None
        if not lines or lines[-1] != 'end':
            raise SimError(f'{path} is not complete')
        self.broker_cpu = broker[-1] - broker[0]

    def _line(self, line, broker):
        kind, *words = line.split()
        if kind == 'vamp-lab':
            self.kernel = words[1]
        elif kind == 'vm':
            self.vms.append(words[1])
            self.sleeps.append([])
        elif kind == 'sample':
            numbers = [int(w) for w in words]
            broker.append(numbers[1])
            self.samples.append((numbers[0], numbers[2:]))
        elif kind == 'thread':
            vm, index, ident = (int(w) for w in words[:3])
            self._ids[vm, index] = ident
            self.sleeps[vm].append([])
            of_kind = self.hog_cpu if words[3] == 'hog' else self.answer_cpu
            name = self.vms[vm]
            of_kind[name] = of_kind.get(name, 0) + int(words[4])
        elif kind == 'event':
            vm, index, k, *numbers = (int(w) for w in words)
            names = ('arrival', 'begin', 'done', 'cpu', 'rt', 'phase')
            self.events[self.vms[vm], self._ids[vm, index], k] = \
                dict(zip(names, numbers))
        elif kind == 'sleep':
            vm, index, a, b = (int(w) for w in words)
            self.sleeps[vm][index].append((a, b))
        elif kind == 'status':
            self.status.append(line.partition(' ')[2])
        elif kind != 'end':
            raise ValueError


def _read(path):
    with open(path, 'rb') as f:
        return f.read()


class Host:
    """What all runs have in common. @qemu: the program; @build: made things."""

    def __init__(self, build, qemu):
        self.qemu = qemu
        self.build = build
        self.init = os.path.join(build, 'lab', 'init')
        self.kernel = os.path.join(build, 'kernel', 'vmlinuz')
        self.broker = os.path.join(build, 'bin', 'qemu-vamp-broker')
        for path in (self.qemu, self.init, self.kernel):
            if not path or not os.path.exists(path):
                raise SimError(f'{path} is missing: run make build, '
                               'make -C lab')
        self.version = subprocess.run(
            [qemu, '--version'], check=True, text=True,
            stdout=subprocess.PIPE).stdout.splitlines()[0]

    def broker_missing(self):
        """Why there is no policy "broker", or None."""
        if not os.path.exists(self.broker):
            return f'{self.broker} is not built'
        return None

    def _broker_files(self):
        """(file, path in the guest): the broker, its libraries, its loader."""
        out = subprocess.run(['ldd', self.broker], check=True, text=True,
                             stdout=subprocess.PIPE).stdout
        libraries = sorted(set(re.findall(r'(/\S+)', out)))
        return [(self.broker, BROKER)] + \
            [(os.path.realpath(name), name.lstrip('/')) for name in libraries]

    def _files(self, plan):
        return self._broker_files() if plan.startswith('policy broker') else []

    def key(self, plan, cpus):
        """Names everything that a result depends on."""
        digest = hashlib.sha256()
        for part in [self.version, plan, str(cpus), APPEND] + ICOUNT + MACHINE:
            digest.update(part.encode() + b'\0')
        for path in [self.init, self.kernel] + \
                [file for file, _ in self._files(plan)]:
            digest.update(hashlib.sha256(_read(path)).digest())
        return digest.hexdigest()

    def boot(self, plan, cpus, seconds):
        """Runs @plan; returns the text that the guest printed."""
        with tempfile.TemporaryDirectory(prefix='vamp-lab-') as tmp:
            def name(file):
                return os.path.join(tmp, file)

            with open(name('plan'), 'w', encoding='ascii') as f:
                f.write(plan)
            files = [(name('plan'), 'plan')] + self._files(plan)
            made = subprocess.run(
                [os.path.join(TOP, 'scripts', 'mkinitramfs'), '-i', self.init,
                 '-o', name('initramfs.gz')] + [f'{a}:{b}' for a, b in files],
                check=False, text=True, stderr=subprocess.PIPE)
            if made.returncode:
                raise SimError(made.stderr.strip())
            args = [self.qemu] + ICOUNT + MACHINE + [
                '-smp', str(cpus), '-kernel', self.kernel,
                '-initrd', name('initramfs.gz'), '-append', APPEND,
                '-serial', f'file:{name("console")}',
                '-serial', f'file:{name("result")}']
            try:
                done = subprocess.run(args, stdin=subprocess.DEVNULL,
                                      check=False, text=True,
                                      timeout=TIMEOUT_S_PER_S * seconds + 120,
                                      stdout=subprocess.DEVNULL,
                                      stderr=subprocess.PIPE)
            except subprocess.TimeoutExpired as e:
                raise SimError(f'not done after {e.timeout:.0f} s') from None
            except OSError as e:
                raise SimError(f'{self.qemu} cannot be started: '
                               f'{e.strerror}') from None
            if done.returncode:
                raise SimError('QEMU: ' + done.stderr.strip())
            text = _read(name('result')).decode('ascii', 'replace')
            console = _read(name('console')).decode('ascii', 'replace')
        errors = re.findall(r'^error: (.*)', text, re.M)
        if errors:
            raise SimError(errors[0] + ('\n' + console.strip()[-1000:]))
        if not text.endswith('end\n'):
            raise SimError('the guest did not come to its end:\n' +
                           console.strip()[-2000:])
        return text

    def run(self, plan, cpus, seconds, path):
        """
        The Result of @plan. @path: where its text is kept; one that is there
        and came from the same plan and programs is not made again.
        """
        key = f'key {self.key(plan, cpus)}\n'
        if os.path.exists(path):
            text = _read(path).decode('ascii', 'replace')
            if text.startswith(key) and text.endswith('end\n'):
                return Result(text[len(key):], path), False
        text = self.boot(plan, cpus, seconds)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path + '.tmp', 'w', encoding='ascii') as f:
            f.write(key + text)
        os.rename(path + '.tmp', path)
        return Result(text, path), True
