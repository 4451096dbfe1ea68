"""
A Linux host on an emulated Intel processor with VMX: Bochs runs it.

QEMU's emulator has AMD's SVM only. Bochs has VMX with EPT and VPID, and PCID, and
none of the paravirtual devices: a host boots from a CD image that GRUB starts, and
tells the serial line what it has to say.

Copyright (c) 2026 The VAMP authors

SPDX-License-Identifier: GPL-2.0-or-later
"""

import contextlib
import fcntl
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import termios
import time
import tty

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[1:1] = [os.path.join(os.path.dirname(HERE), 'functional')]
# pylint: disable=wrong-import-position
from vamp_guest import GuestError, child_setup

PROGRAMS = {'bochs': 'bochs', 'grub-mkrescue': 'grub-common',
            'xorriso': 'xorriso', 'mformat': 'mtools'}
FILES = {'/usr/share/bochs/BIOS-bochs-latest': 'bochsbios',
         '/usr/share/seabios/vgabios-stdvga.bin': 'seabios',
         '/usr/lib/grub/i386-pc/boot.img': 'grub-pc-bin'}
# Its only display without a window is a terminal.
DISPLAY = '/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so'

# A processor of 2013: VMX with EPT, VPID, unrestricted guests; PCID and INVPCID.
# Its clock is the count of its instructions. The speaker asks for a sound card.
CONFIG = """\
config_interface: textconfig
display_library: term
cpu: model=corei7_haswell_4770, count=1, ips=50000000, reset_on_triple_fault=0
memory: guest=512, host=512
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/seabios/vgabios-stdvga.bin
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path={image}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={serial}
speaker: enabled=1, mode=none
plugin_ctrl: speaker=0
clock: sync=none
log: {log}
panic: action=fatal
error: action=ignore
info: action=ignore
"""
GRUB = """\
set timeout=0
menuentry host {{
    linux /vmlinuz console=ttyS0 quiet panic=-1 mitigations=off tsc=reliable \
no_timer_check {append}
    initrd /initrd
}}
"""


def missing():
    """Why Bochs cannot be used here, or None."""
    for name, package in PROGRAMS.items():
        if not shutil.which(name):
            return f'{name} is missing (package {package})'
    for path, package in dict(FILES, **{DISPLAY: 'bochs-term'}).items():
        if not os.path.exists(path):
            return f'{path} is missing (package {package})'
    return None


class Bochs:
    """One host, which boots @kernel with @initrd; its files are in @rundir."""

    def __init__(self, rundir, kernel, initrd, append=''):
        self.rundir = rundir
        self.serial = os.path.join(rundir, 'serial')
        self.log = os.path.join(rundir, 'bochs.log')
        self._proc = None
        self._terminals = []
        self._said = ''
        self._seen = 0
        self._make_image(kernel, initrd, append)

    def _path(self, name):
        return os.path.join(self.rundir, name)

    def _write(self, name, text):
        with open(self._path(name), 'w', encoding='ascii') as f:
            f.write(text)

    def _make_image(self, kernel, initrd, append):
        tree = self._path('tree')
        os.makedirs(os.path.join(tree, 'boot', 'grub'))
        shutil.copy(kernel, os.path.join(tree, 'vmlinuz'))
        shutil.copy(initrd, os.path.join(tree, 'initrd'))
        self._write('tree/boot/grub/grub.cfg', GRUB.format(append=append))
        done = subprocess.run(
            ['grub-mkrescue', '-d', '/usr/lib/grub/i386-pc', '-o',
             self._path('image'), tree], check=False, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        if done.returncode:
            raise GuestError(f'grub-mkrescue: {done.stdout}')

    def start(self):
        """Turns it on."""
        self._write('bochsrc', CONFIG.format(
            image=self._path('image'), serial=self.serial, log=self.log))
        # Debian's has a debugger, which waits for an order to begin.
        self._write('orders', 'c\n')
        terminal, end = pty.openpty()
        self._terminals.append(terminal)
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack('4H', 50, 132, 0, 0))
        try:
            self._proc = subprocess.Popen(
                ['bochs', '-q', '-f', self._path('bochsrc'),
                 '-rc', self._path('orders')],
                stdin=end, stdout=end, stderr=end, start_new_session=True,
                env=dict(os.environ, TERM='xterm'), preexec_fn=child_setup())
        finally:
            os.close(end)

    def _drain(self, seconds):
        """
        It waits for terminals that nobody reads. Beside ours, which its debugger
        has, that is one of its own for the screen, whose name it says.
        """
        ready = select.select(self._terminals, [], [], seconds)[0]
        for terminal in ready:
            try:
                text = os.read(terminal, 65536)
            except OSError:     # it has ended, and its terminals with it
                time.sleep(seconds)
                return
            if len(self._terminals) == 1:
                self._said += text.decode(errors='replace')
                screen = re.search(r'screen "(/dev/pts/\d+)"', self._said)
                if screen:
                    self._terminals.append(os.open(
                        screen[1], os.O_RDWR | os.O_NOCTTY))
                    tty.setraw(self._terminals[1])

    def lines(self, timeout):
        """
        Yields what the serial line says, line by line, for at most @timeout
        seconds each; ends when Bochs has ended.
        """
        rest = ''
        deadline = time.monotonic() + timeout
        while True:
            alive = self._proc.poll() is None
            text = ''
            with contextlib.suppress(FileNotFoundError), \
                    open(self.serial, encoding='utf-8', errors='replace') as f:
                f.seek(self._seen)
                text = f.read()
                self._seen = f.tell()
            if text:
                *whole, rest = (rest + text).replace('\r', '').split('\n')
                for line in whole:
                    yield line
                deadline = time.monotonic() + timeout
            elif not alive:
                return
            elif time.monotonic() > deadline:
                raise GuestError(f'the host says nothing for {timeout} s; its '
                                 f'last line: {rest}')
            self._drain(0.2)

    def kill(self):
        """Ends it, if it has not ended."""
        if self._proc and self._proc.poll() is None:
            self._proc.send_signal(signal.SIGKILL)
            self._proc.wait()
        while self._terminals:
            os.close(self._terminals.pop())
