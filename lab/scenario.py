"""
Scenario files: which VMs share which host, and what they do

  load(path)      a Scenario; ScenarioError names file, line, value, and what
                  would be valid

docs/devel/vamp-lab.rst describes the format.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import dataclasses
import os
import re

# lab/guest/lab.h has the same limits.
MAX_VMS = 128
MAX_THREADS = 16
MAX_CPUS = 8
# Samples are taken every 100 ms, and there is room for 4096.
MAX_MEASURE_S = 400
SAMPLE_MS = 100


class ScenarioError(Exception):
    """A scenario file is wrong; the text is for its author."""


@dataclasses.dataclass
class Vm:
    """One VM. Ranges are pairs (lowest, highest)."""
    name: str
    id: int
    weight: int = 100
    vamp: bool = True
    threads: tuple = ('hog', 'hog')
    event_interval_ms: tuple = (200, 400)
    event_cpu_ms: tuple = (30, 50)
    event_bursts: tuple = (1, 5)
    burst_pause_ms: tuple = (1, 5)
    sleep_s: tuple = (0, 0)
    runaway_every: int = 0
    runaway_cpu_ms: int = 0

    def interactive(self):
        """Does it answer input?"""
        return 'interactive' in self.threads


@dataclasses.dataclass
class Scenario:
    """A host and its VMs."""
    name: str
    title: str = ''
    cpus: int = 2
    warmup_s: int = 4
    measure_s: int = 34
    ratio: int = 3
    response_limits: str = 'none'
    deviation_limit_percent: int = 2
    broker_cpu_limit_percent: int = 0       # 0: none
    vms: list = dataclasses.field(default_factory=list)


def _number(lo, hi):
    def parse(text):
        if not re.fullmatch(r'\d{1,9}', text) or not lo <= int(text) <= hi:
            raise ValueError(f'a whole number from {lo} to {hi}')
        return int(text)
    return parse


def _range(lo, hi, may_be_decimal=False):
    number = r'\d{1,6}(?:\.\d{1,3})?' if may_be_decimal else r'\d{1,9}'

    def parse(text):
        match = re.fullmatch(rf'({number})\s*-\s*({number})', text)
        if match:
            kind = float if may_be_decimal else int
            a, b = kind(match[1]), kind(match[2])
            if lo <= a <= b <= hi:
                return a, b
        raise ValueError(f'LOWEST-HIGHEST, both from {lo} to {hi}'
                         + (', at most 3 decimals' if may_be_decimal else ''))
    return parse


def _choice(**values):
    def parse(text):
        if text not in values:
            raise ValueError(' or '.join(values))
        return values[text]
    return parse


def _title(text):
    if not re.fullmatch(r"[A-Za-z0-9 ,.:;()/+-]{1,70}", text):
        raise ValueError('1 to 70 letters, digits, blanks or , . : ; ( ) / + -')
    return text


def _threads(text):
    words = tuple(word.strip() for word in text.split(','))
    if not 1 <= len(words) <= MAX_THREADS or \
            set(words) - {'interactive', 'hog'}:
        raise ValueError(f"1 to {MAX_THREADS} of 'interactive' and 'hog', "
                         'with commas')
    return words


HOST_KEYS = {
    'title': _title,
    'cpus': _number(1, MAX_CPUS),
    'warmup-s': _number(3, 60),
    'measure-s': _number(10, MAX_MEASURE_S),
    'ratio': _number(1, 100),
    # Which limits of DESIGN.md section 7 hold for the response
    'response-limits': _choice(one='one', all='all', none='none'),
    'deviation-limit-percent': _number(1, 100),
    'broker-cpu-limit-percent': _number(1, 100),
}

VM_KEYS = {
    'count': _number(1, MAX_VMS),
    'weight': _number(1, 10000),
    'vamp': _choice(yes=True, no=False),
    'threads': _threads,
    'event-interval-ms': _range(10, 60000),
    'event-cpu-ms': _range(0.1, 10000, True),
    'event-bursts': _range(1, 16),
    'burst-pause-ms': _range(0, 10000),
    'sleep-s': _range(0, MAX_MEASURE_S + 60),
    'runaway-every': _number(2, 1000),
    'runaway-cpu-ms': _number(1, 60000),
}


class _Parser:
    def __init__(self, path):
        self.path = path
        self.line = 0
        self.scenario = Scenario(os.path.splitext(os.path.basename(path))[0])
        self.keys = None        # of the section that is open
        self.section = None
        self.values = {}
        self.lines = {}         # where each value was given
        self.names = set()
        self.have_host = False

    def fail(self, text, line=None):
        raise ScenarioError(f'{self.path}:{line or self.line}: {text}')

    def parse(self, text):
        for self.line, line in enumerate(text.split('\n'), 1):
            line = line.split('#')[0].strip()
            if not line:
                continue
            if line.startswith('['):
                self.close()
                self.open(line)
            else:
                self.key(line)
        self.close()
        if not self.have_host:
            self.fail('there is no section [host]')
        if not self.scenario.vms:
            self.fail('there is no VM: a section [vm NAME] is needed')
        if not any(vm.interactive() for vm in self.scenario.vms):
            self.fail("no VM answers input: one needs 'interactive' in its "
                      'threads')
        return self.scenario

    def open(self, line):
        match = re.fullmatch(r'\[(host|vm\s+(\S+))\]', line)
        if not match:
            self.fail(f"'{line}' is not a section (valid: [host], [vm NAME])")
        if match[2] is None:
            if self.have_host:
                self.fail('a second section [host] (only one is valid)')
            self.have_host = True
            self.keys = HOST_KEYS
        else:
            if not re.fullmatch(r'[A-Za-z][A-Za-z0-9]{0,15}', match[2]):
                self.fail(f"'{match[2]}' is not a VM's name (valid: a letter, "
                          'then up to 15 letters or digits)')
            self.keys = VM_KEYS
        self.section = match[1].split()
        self.values = {}
        self.lines = {'': self.line}

    def key(self, line):
        if self.section is None:
            self.fail(f"'{line}' is before the first section (valid here: "
                      '[host], [vm NAME])')
        name, equals, value = (part.strip() for part in line.partition('='))
        if not equals:
            self.fail(f"'{line}' is not KEY = VALUE")
        if name not in self.keys:
            self.fail(f"'{name}' is not a key of [{self.section[0]}] (valid: "
                      f"{', '.join(self.keys)})")
        if name in self.values:
            self.fail(f"'{name}' is given again, after line "
                      f'{self.lines[name]}')
        try:
            self.values[name] = self.keys[name](value)
        except ValueError as valid:
            self.fail(f"{name} = '{value}' is not valid (valid: {valid})")
        self.lines[name] = self.line

    def close(self):
        if self.section is None:
            return
        values = {k.replace('-', '_'): v for k, v in self.values.items()}
        if self.section[0] == 'host':
            for name, value in values.items():
                setattr(self.scenario, name, value)
            return
        if ('runaway_every' in values) != ('runaway_cpu_ms' in values):
            self.fail('runaway-every and runaway-cpu-ms need each other',
                      self.lines[''])
        count = values.pop('count', None)
        name = self.section[1]
        for name in [name] if count is None else \
                [f'{name}{i + 1}' for i in range(count)]:
            if name in self.names:
                self.fail(f"there is a VM '{name}' already", self.lines[''])
            if len(self.scenario.vms) == MAX_VMS:
                self.fail(f'more than {MAX_VMS} VMs', self.lines[''])
            self.names.add(name)
            self.scenario.vms.append(Vm(name, len(self.scenario.vms),
                                        **values))


def load(path):
    """Reads the scenario file @path."""
    try:
        with open(path, encoding='utf-8') as f:
            text = f.read()
    except (OSError, UnicodeDecodeError) as e:
        raise ScenarioError(f'{path}: cannot be read: {e}') from None
    return _Parser(path).parse(text)


def plan(scenario, policy, seed, alone=None):
    """
    What the guest reads: @scenario under @policy. @alone: the one VM that is
    on the host, without its hogs.
    """
    def ns(ms):
        return round(ms * 1000000)

    lines = [f"policy {'stock' if policy == 'idle' else policy}",
             f'seed {seed}', f'cpus {scenario.cpus}', f'ratio {scenario.ratio}',
             f'warmup {ns(scenario.warmup_s * 1000)}',
             f'measure {ns(scenario.measure_s * 1000)}',
             f'sample {ns(SAMPLE_MS)}']
    for vm in scenario.vms:
        if alone and vm is not alone:
            continue
        lines.append(f'vm {vm.name} {vm.id} {vm.weight} {int(vm.vamp)}')
        for i, thread in enumerate(vm.threads):
            if thread == 'hog' and not alone:
                sleep = [ns((t + scenario.warmup_s) * 1000) if t else 0
                         for t in vm.sleep_s]
                lines.append(f'hog {i} {sleep[0]} {sleep[1]}')
            elif thread == 'interactive':
                numbers = [ns(t) for pair in (vm.event_interval_ms,
                                              vm.event_cpu_ms) for t in pair]
                numbers += vm.event_bursts
                numbers += [ns(t) for t in vm.burst_pause_ms]
                numbers += [vm.runaway_every, ns(vm.runaway_cpu_ms)]
                lines.append(f'interactive {i} ' + ' '.join(map(str, numbers)))
    return '\n'.join(lines) + '\n'
