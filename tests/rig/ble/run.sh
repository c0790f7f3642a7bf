#!/bin/bash
# run.sh [-t SECONDS] [-n CONTROLLERS] [-k] COMMAND...
# Boots the guest, runs COMMAND in it as if it were here (same paths, folder, environment; what it writes is thrown
# away), passes its output on, and ends with its status. 124: out of time, or the adapters did not come up.
#   -t  seconds for everything (120)    -n  controllers, hci0 and up (2)    -k  keep the logs and say where
# BLE_RIG_TRACE=1 records HCI traffic, BLE_RIG_BLUETOOTHD="-d" gives bluetoothd arguments, BLE_RIG_MEMORY is in MiB (1024),
# BLE_RIG_OFTEN=1 has all adapters advertise every 300 ms or so.
set -u
here=$(cd "$(dirname "$0")" && pwd)
cache=${BLE_RIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pigeon-ble-rig}
limit=120 controllers=2 keep=
while getopts t:n:k option; do
    case $option in
    t) limit=$OPTARG ;;
    n) controllers=$OPTARG ;;
    k) keep=1 ;;
    *) exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -gt 0 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0"; exit 2; }
[ -x "$cache/kernel" ] && [ -x "$cache/init" ] || { echo "ble rig: run tests/rig/ble/build.sh first" >&2; exit 125; }
job=$(mktemp -d "${TMPDIR:-/tmp}/pigeon-ble.XXXXXX")
mkdir "$job/log" "$job/tmp"
export BLE_RIG_CONTROLLERS=$controllers BLE_RIG_FOLDER=$PWD
export -p | grep -v -E '^declare -x (RIG_[A-Z]*|OLDPWD|DBUS_[A-Z_]*|XDG_RUNTIME_DIR|TMPDIR)(=|$)' >"$job/environment"
{ printf '%q ' "$@"; echo; } >"$job/command"
head -c 64 /dev/urandom >"$job/seed"
cp "$here/stage.sh" "$here/bus.conf" "$job/"
# Pipes, because the kernel opens what it is given anew, and would overwrite a file.
exec 3> >(exec cat) && out=$!
exec 4> >(exec cat >&2) && err=$!
memory=/dev/shm
[ -w "$memory" ] || memory=/tmp
TMPDIR=$memory HOME=$job/tmp timeout --kill-after=5 "$limit" "$cache/kernel" "mem=${BLE_RIG_MEMORY:-1024}M" \
    root=none rootfstype=hostfs rootflags=/ ro quiet "init=$cache/init" con=null con0=null,fd:2 con1=null,fd:3 con2=null,fd:4 \
    RIG_SYS="$cache/system" RIG_JOB="$job" RIG_OUT=/dev/tty1 RIG_ERR=/dev/tty2 </dev/null >"$job/log/console.log" 2>&1
ended=$?
exec 3>&- 4>&-
wait "$out" "$err" 2>/dev/null
status=$(cat "$job/status" 2>/dev/null)
if [ -z "$status" ]; then
    status=125
    if [ $ended = 124 ] || [ $ended = 137 ]; then
        echo "ble rig: out of time after $limit s" >&2
        status=124
    else
        echo "ble rig: the guest ended with $ended and no result" >&2
        tail -n 20 "$job/log/console.log" >&2
    fi
fi
if [ -n "$keep" ]; then echo "ble rig: logs in $job/log" >&2; else rm -rf "$job"; fi
exit "$status"
