#!/bin/bash
# Runs in the guest: starts the Bluetooth stack, waits until its adapters are on, then runs the command.
# The emulator and bluetoothd are started again whenever they end, as systemd does; their process ids are in
# /run/bluetooth/{emulator,bluetoothd}.pid for tests that kill them.
set -u
rig=/run/rig
. "$rig/environment"
export PATH="$PATH:/usr/sbin:/sbin:/usr/libexec/bluetooth"
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/dbus/system_bus_socket
export PIGEON_BLE_GUEST=1
mkdir -p /run/dbus /run/bluetooth /var/lib/dbus /var/lib/bluetooth
# Nothing of the host's pairings.
rm -rf /var/lib/bluetooth/*
[ -s /etc/machine-id ] || dbus-uuidgen >/etc/machine-id

keep() { # NAME COMMAND...: runs it again and again
    local name=$1
    shift
    while :; do
        "$@" >>"$rig/log/$name.log" 2>&1 &
        echo $! >"/run/bluetooth/$name.pid"
        wait $!
        # A test that wants it to stay away leaves this file.
        while [ -e "/run/bluetooth/$name.stay-down" ]; do sleep 0.1; done
        sleep 1
    done
}

# Advertising every 250 to 312 ms in place of BlueZ's 1.28 s: long runs meet more often.
[ -z "${BLE_RIG_OFTEN:-}" ] ||
    printf '[LE]\nMinAdvertisementInterval=400\nMaxAdvertisementInterval=500\n' >>/etc/bluetooth/main.conf
dbus-daemon --config-file="$rig/bus.conf" --nofork --nopidfile --nosyslog >"$rig/log/bus.log" 2>&1 &
until [ -S /run/dbus/system_bus_socket ]; do sleep 0.02; done
[ -z "${BLE_RIG_TRACE:-}" ] || btmon -w "$rig/log/btsnoop" >"$rig/log/btmon.log" 2>&1 &
# Who is out of range of whom: pairs of hci numbers, one a line; "*" for all.
export BTVIRT_BLOCKED=/run/bluetooth/blocked
keep emulator pigeon-btvirt -L -l"$BLE_RIG_CONTROLLERS" &
# shellcheck disable=SC2086 # a list of arguments
keep bluetoothd bluetoothd -n ${BLE_RIG_BLUETOOTHD:-} &
on() {
    dbus-send --system --print-reply --dest=org.bluez / org.freedesktop.DBus.ObjectManager.GetManagedObjects 2>/dev/null |
        grep -A1 '"Powered"' | grep -c 'boolean true'
}
tries=0
until [ "$(on)" -ge "$BLE_RIG_CONTROLLERS" ]; do
    tries=$((tries + 1))
    if [ "$tries" -gt 300 ]; then
        echo "rig: only $(on) of $BLE_RIG_CONTROLLERS adapters are on" >&2
        tail -n 5 "$rig"/log/*.log >&2
        exit 124
    fi
    sleep 0.1
done
cd "$BLE_RIG_FOLDER" || exit 125
bash "$rig/command"
status=$?
dmesg >"$rig/log/kernel.log" 2>/dev/null
exit $status
