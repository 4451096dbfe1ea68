#!/bin/sh
#
# Runs as a service under a real systemd, in a guest: what becomes of the
# broker's units. Prints TAP lines, then the log of a client, and powers off.
#
# Copyright (c) 2026 The VAMP authors
#
# SPDX-License-Identifier: GPL-2.0-or-later

PATH=/bin
export PATH
LOG=/run/borrow.log
SOCKET=/run/vamp/broker.sock
SERVICE=qemu-vamp-broker.service

# Until the command succeeds.
soon()
{
    for _ in $(seq 600); do
        "$@" > /dev/null 2>&1 && return 0
        sleep 0.1
    done
    return 1
}

claim()
{
    name=$1
    shift
    if "$@"; then
        echo "ok $name"
    else
        echo "not ok $name"
        systemctl --no-pager --full status $SERVICE qemu-vamp-broker.socket
    fi
}

is() { test "$(systemctl is-active "$1")" = "$2"; }
pid() { systemctl show -P MainPID $SERVICE; }
# said WORD N: the client has said it N times or more
said() { test "$(grep -cx "$1" $LOG)" -ge "$2"; }

waits()
{
    soon is qemu-vamp-broker.socket active && is $SERVICE inactive &&
        test "$(stat -c %a $SOCKET)" = 660 &&
        test "$(stat -c %G $SOCKET)" = kvm
}

first()
{
    systemctl start vm.service && soon said rr 1 && is $SERVICE active
}

in_its_group()
{
    soon sh -c 'qemu-vamp-broker --status --json |
                grep "\"group\": \"/system.slice/vm.service\""'
}

killed()
{
    before=$(pid)
    systemctl kill -s KILL $SERVICE
    soon said gone 1 && soon said other 2 && soon said rr 2 &&
        is $SERVICE active && test "$(pid)" != "$before"
}

# The socket stays: the next QEMU gets a broker.
stopped()
{
    before=$(pid)
    systemctl stop $SERVICE && test -S $SOCKET && soon said gone 2 &&
        soon said rr 3 && is $SERVICE active && test "$(pid)" != "$before"
}

client_gone()
{
    systemctl stop vm.service &&
        soon sh -c 'qemu-vamp-broker --status --json | grep "\"vms\": \[ *$"' &&
        systemctl stop $SERVICE && ! test -e /run/vamp/broker.state
}

claim 'the socket waits, for the group kvm, without a broker' waits
claim 'the first QEMU starts the broker, and gets the class' first
claim 'the group that systemd made for it is found' in_its_group
claim 'a broker that was killed comes again, and undoes what was left' killed
claim 'a broker that was stopped comes again with the next QEMU' stopped
claim 'nothing is left to be undone' client_gone
sed 's/^/# client: /' $LOG
echo '=== done'
sync
echo o > /proc/sysrq-trigger
