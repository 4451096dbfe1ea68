#!/usr/bin/env python3
"""
Do the documents say what the code has, and nothing else?

Compares docs/ with the schema, the properties, the trace events, the
reasons that vamp-query can give, the package lists, and the tests that
the specification names. One line a miss; the exit code is 1 if there is
one. Reads only; needs no build.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import re
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
MANUAL = 'docs/system/vamp.rst'
CPUMAP_MANUAL = 'docs/system/vamp-cpumap.rst'
INTERRUPTS_MANUAL = 'docs/system/vamp-interrupts.rst'
GUEST_MANUAL = 'docs/system/vamp-hints.rst'
MANUALS = (MANUAL, CPUMAP_MANUAL, INTERRUPTS_MANUAL, GUEST_MANUAL)
MAN_PAGE = 'docs/system/vamp-object.rst.inc'
DEVEL = 'docs/devel/vamp.rst'

# Struct of an object's properties: its manual, and the file that adds them
OBJECTS = {
    'VampPolicyProperties': (MANUAL, 'hw/vamp/properties.c'),
    'OsnetCpumapProperties': (CPUMAP_MANUAL, 'hw/vamp/cpumap-properties.c'),
}

# Files whose errors end as a reason in vamp-query or as the answer to a
# property or a command.
REASON_FILES = (
    'accel/kvm/vamp-sample.c', 'accel/kvm/vamp-sample-stub.c',
    'accel/tcg/vamp-tcg.c', 'accel/tcg/vamp-tcg-stub.c',
    'audio/vamp-sound.c', 'core/cpumap.c', 'core/hintformat.c', 'core/policy.c',
    'hw/vamp/actuator-broker.c', 'hw/vamp/actuator-cgroup.c',
    'hw/vamp/actuator-nice.c', 'hw/vamp/broker-client.c',
    'hw/vamp/cgroup-group.c', 'util/vamp-cgroup.c', 'hw/vamp/cpumap.c',
    'hw/vamp/cpumap-properties.c',
    'hw/vamp/cpumap-file.c', 'hw/vamp/cpumap-host.c', 'hw/vamp/cpumap-lock.c',
    'hw/vamp/cpumap-pin.c', 'hw/vamp/cpumap-qmp.c', 'hw/vamp/guest.c',
    'hw/vamp/guest-qmp.c', 'hw/vamp/hints-port.c', 'hw/vamp/hooks.c',
    'hw/vamp/means.c', 'hw/vamp/names.c', 'hw/vamp/phase.c', 'hw/vamp/policy.c', 'hw/vamp/probe-util.c',
    'hw/vamp/properties.c', 'hw/vamp/qmp.c', 'hw/vamp/seccomp-probe.c',
    'hw/vamp/stubs.c',
)
# Text of a reason stands where one of these begins.
REASON_START = re.compile(
    r'error_setg\w*\s*\(|warn_report\w*\s*\(|error_report\s*\(|'
    r'g_string_append\w*\s*\(|g_strdup\w*\s*\(|return\s|[?:]\s(?=")')
LITERAL = re.compile(r'"(?:[^"\\]|\\.)*"')
CONVERSION = re.compile(r'"?\s*PRI[a-zA-Z0-9]+\s*"?|%[-+ #0-9.]*(?:ll|l|z)?[a-zA-Z]|%(?="|$)')
# Shorter pieces say nothing on their own ("cannot ", "; ", " is ").
MIN_REASON = 12
# Faults of the map's parser that hw/vamp/cpumap-file.c words by itself
NEVER_SHOWN = ('nothing is wrong', 'unknown fault',
               'the vCPU is mapped already', 'the host CPU is used already')

misses = []


def miss(text):
    """Notes one finding."""
    misses.append(text)


def read(name):
    """Text of a file of the repository, '' if there is none."""
    path = TOP / name
    return path.read_text(encoding='utf-8') if path.is_file() else ''


def flat(text):
    """@text with every run of white space as one blank, without ``marks``."""
    return re.sub(r'\s+', ' ', text.replace('``', '').replace('\\', ''))


def without_comments(text):
    """C code without its comments."""
    return re.sub(r'/\*.*?\*/', '', text, flags=re.S)


# --- what the code has ------------------------------------------------------

def schema():
    """(kind, name, members) of each definition of qapi/vamp*.json."""
    result = []
    for name in sorted((TOP / 'qapi').glob('vamp*.json')):
        text = re.sub(r'^\s*#.*$', '', name.read_text(encoding='utf-8'),
                      flags=re.M)
        for m in re.finditer(r"\{\s*'(command|event|struct|enum)':\s*'([\w-]+)'"
                             r"(.*?)(?=\n\{|\Z)", text, flags=re.S):
            data = re.search(r"'data':\s*(\{.*\}|\[.*\])", m[3], flags=re.S)
            body = data[1] if data else ''
            if m[1] == 'enum':
                members = re.findall(r"'([\w-]+)'", body)
            else:
                members = re.findall(r"'\*?([\w-]+)'\s*:", body)
            result.append((m[1], m[2], members))
    return result


def registered_properties(name):
    """Names that file @name gives to QOM."""
    return re.findall(r'object_class_property_add(?:_\w+)?\(oc,\s*"([\w-]+)"',
                      read(name))


def trace_events():
    """Names in hw/vamp/trace-events."""
    return re.findall(r'^(?:disable\s+)?(vamp_\w+)\(',
                      read('hw/vamp/trace-events'), flags=re.M)


def literals(code):
    """Each run of adjacent string literals that a reason may begin with."""
    for m in REASON_START.finditer(code):
        # Up to the end of the statement, or of the argument list.
        rest = code[m.end():m.end() + 1200]
        end = rest.find(';')
        rest = rest[:end] if end >= 0 else rest
        first = LITERAL.search(rest)
        if not first:
            continue
        # Nothing but identifiers, numbers and commas may come before.
        if not re.fullmatch(r'[\w\s,&>.()*-]*', rest[:first.start()]):
            continue
        text, pos = '', first.start()
        while True:
            piece = re.compile(r'\s*(?:PRI\w+\s*)?("(?:[^"\\]|\\.)*")').match(
                rest, pos)
            if not piece:
                break
            if 'PRI' in piece[0][:piece.start(1) - piece.start()]:
                text += '\0'
            text += piece[1][1:-1]
            pos = piece.end()
        yield text.replace('\\"', '"').replace('\\n', ' ')


def reasons():
    """(file, longest constant piece) of each reason."""
    seen = set()
    for name in REASON_FILES:
        code = without_comments(read(name))
        if name == 'core/policy.c':
            # QEMU checks configurations by itself.
            code = code[code.find('vamp_reason_text'):]
        for text in literals(code):
            pieces = [p for part in text.split('\0')
                      for p in CONVERSION.split(part)]
            piece = flat(max(pieces, key=len)).strip(' ():,;\'"')
            if len(piece) >= MIN_REASON and ' ' in piece \
                    and piece not in seen and piece not in NEVER_SHOWN:
                seen.add(piece)
                yield name, piece


# --- what the documents have ------------------------------------------------

def documented_properties(text):
    """The manual's entries of the form ``name=...``, as definition terms."""
    return re.findall(r'^``([\w-]+)=[^`]*``(?: \(.*\))?$', text, flags=re.M)


def check_schema(manual):
    """Commands, events, and their members."""
    for kind, name, members in schema():
        if kind in ('command', 'event') and f'``{name}``' not in manual:
            miss(f'{MANUAL}: {kind} {name} is missing')
        if name in OBJECTS:
            continue
        if kind == 'struct' or kind == 'event' or kind == 'command':
            for member in members:
                if f'``{member}``' not in manual:
                    miss(f'{MANUAL}: {name}.{member} is missing')
        elif kind == 'enum':
            for member in members:
                if not re.search(r'\b' + re.escape(member) + r'\b', manual):
                    miss(f'{MANUAL}: {name} {member} is missing')


def check_properties(both):
    """Each object's properties, in both directions."""
    structs = {name: members for _, name, members in schema()}
    man_page = read(MAN_PAGE)
    for struct, (manual, source) in OBJECTS.items():
        properties = structs.get(struct, [])
        if not properties:
            miss(f'qapi/vamp-types.json: {struct} not found')
        documented = documented_properties(read(manual))
        registered = registered_properties(source)
        for name in properties:
            if name not in documented:
                miss(f'{manual}: property {name} is missing')
            if f'{name}=' not in man_page:
                miss(f'{MAN_PAGE}: property {name} is missing')
            if name not in registered:
                miss(f'{source}: no property {name}, but the schema has it')
        for name in documented:
            if name not in properties:
                miss(f'{manual}: property {name} does not exist')
        for name in registered:
            if name not in properties and f'``{name}``' not in both:
                miss(f'{DEVEL}: property {name} of the tests is missing')


def check_names(manual, both):
    """Nothing is documented that is not there."""
    commands = {n for k, n, _ in schema() if k == 'command'}
    events = {n for k, n, _ in schema() if k == 'event'}
    known = set(trace_events())
    for name in sorted(known):
        if f'``{name}``' not in both:
            miss(f'{MANUAL}: trace event {name} is missing')
    for name in sorted(set(re.findall(r'``(vamp_\w+)``', manual))):
        if name not in known:
            miss(f'{MANUAL}: trace event {name} does not exist')
    for name in sorted(set(re.findall(r'\b(VAMP_[A-Z_]+)\b', manual))):
        if name not in events:
            miss(f'{MANUAL}: event {name} does not exist')
    for name in sorted(set(re.findall(r'"execute": "(vamp-[\w-]+)"', both))):
        if name not in commands:
            miss(f'{MANUAL}: command {name} does not exist')


def check_files():
    """Package lists and other files that the documents name."""
    for doc in sorted((TOP / 'docs').rglob('*')) + sorted(TOP.glob('*.md')):
        if doc.suffix not in ('.rst', '.md', '.inc'):
            continue
        name = doc.relative_to(TOP)
        text = doc.read_text(encoding='utf-8')
        for path in sorted(set(re.findall(
                r'(?<![\w/.-])((?:accel|audio|core|lab|hw/vamp|include/hw/vamp|'
                r'qapi|scripts|tests|ui|upstream|docs|configs)/'
                r'[\w./+-]*\w)', text))):
            pending = re.search(re.escape(path) + r'`* \(pending\)', text)
            if (TOP / path).exists():
                if pending:
                    miss(f'{name}: {path} is there, but called pending')
            elif not pending and not in_qemu(path) and \
                    not list(TOP.glob(path + '*')):
                # The last: tests/unit/test-actuator-* and the like.
                miss(f'{name}: {path} does not exist')
        for path in sorted(set(re.findall(r'packages\.(\w+)', text))):
            if not (TOP / f'scripts/packages.{path}').is_file():
                miss(f'{name}: there is no package list packages.{path}')


# QEMU's own files that the documents name and no patch touches
QEMU_FILES = ('audio/audio.c', 'docs/devel/style.rst')


def in_qemu(path):
    """Is @path one of QEMU's own files that the documents may name?"""
    return path in QEMU_FILES or any(f'/{path}\n' in p.read_text(encoding='utf-8') for p in
               (TOP / 'upstream/patches/qemu').glob('*.patch'))


def check_reasons(both):
    """Every reason is explained."""
    text = flat(both)
    for name, piece in reasons():
        if piece not in text:
            miss(f'{MANUAL}: reason "{piece}" of {name} is missing')


def check_vdiguest():
    """The man page has the daemon's options, and no others."""
    page = read('docs/tools/vdiguest.rst')
    real = set(re.findall(r'^    \{ "([\w-]+)", \w+_argument',
                          read('guest/options.c'), flags=re.M))
    told = set(re.findall(r'--([a-z][\w-]+)', page))
    if not real:
        miss('guest/options.c: no options found')
    for name in sorted(real - told):
        miss(f'docs/tools/vdiguest.rst: option --{name} is missing')
    for name in sorted(told - real):
        miss(f'docs/tools/vdiguest.rst: option --{name} does not exist')


def check_agent():
    """The guest agent's commands, their arguments, and what they need."""
    manual = read('docs/system/vamp-guest.rst')
    schema_text = re.sub(r'^\s*#.*$', '', read('qga/vamp.json'), flags=re.M)
    commands = re.findall(r"'command':\s*'([\w-]+)'(.*?)\n\s*'if'", schema_text,
                          flags=re.S)
    if not commands:
        miss('qga/vamp.json: no commands found')
    for name, rest in commands:
        for word in [name] + re.findall(r"'\*?([\w-]+)'\s*:", rest):
            if word not in ('data', 'returns') and f'``{word}``' not in manual:
                miss(f'docs/system/vamp-guest.rst: {word} of {name} is missing')
    for name in sorted(set(re.findall(r'guest-vamp-[\w-]*\w', manual))):
        if name not in dict(commands):
            miss(f'docs/system/vamp-guest.rst: {name} does not exist')


def check_specification():
    """Every test that the specification names exists."""
    tests = ' '.join(p.read_text(encoding='utf-8')
                     for p in (TOP / 'tests').rglob('*.c'))
    spec = read('SPECIFICATION.md')
    if not spec:
        miss('SPECIFICATION.md does not exist')
    for name in sorted(set(re.findall(r'`(/[a-z-]+/[\w/-]+)`', spec))):
        # tests/unit/test-policy.c puts "/policy/" before each name.
        short = name.removeprefix('/policy/')
        if f'"{name}"' not in tests and f'"{short}"' not in tests:
            miss(f'SPECIFICATION.md: there is no test {name}')


def main():
    """Returns the exit code."""
    if '--reasons' in sys.argv:
        for name, piece in reasons():
            print(f'{name}: {piece}')
        return 0
    manual = ''.join(read(name) for name in MANUALS)
    both = manual + read(DEVEL)
    if not manual:
        miss(f'{MANUAL} does not exist')
    check_schema(manual)
    check_properties(both)
    check_names(manual, both)
    check_reasons(both)
    check_files()
    check_vdiguest()
    check_agent()
    check_specification()
    for text in misses:
        print(text)
    return 1 if misses else 0


if __name__ == '__main__':
    sys.exit(main())
