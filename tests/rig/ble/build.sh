#!/bin/bash
# Builds the Bluetooth guest of tests/rig/ble/README.md into its cache: BlueZ and dbus from Debian's packages, an
# emulator of linked controllers from bluez-source, a kernel from linux-source. Needs root, apt and some three minutes of
# two idle cores once; later runs find everything there. BLE_RIG_KERNEL=FILE takes a kernel that was built before.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
cache=${BLE_RIG_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/pigeon-ble-rig}
jobs=${BLE_RIG_JOBS:-$(nproc)}
export DEBIAN_FRONTEND=noninteractive LC_ALL=C

say() { echo "ble rig: $*"; }
digest() { cat "$@" | sha256sum | cut -c1-16; }
is() { [ "$(cat "$cache/$1.built" 2>/dev/null)" = "$2" ]; } # PART DIGEST: already built
lists_fresh=
lists() { # apt's lists, at most once
    [ -n "$lists_fresh" ] || { apt-get update -q >/dev/null; lists_fresh=1; }
}
need() { # packages to build with
    local missing=() package
    for package in "$@"; do dpkg -s "$package" >/dev/null 2>&1 || missing+=("$package"); done
    [ ${#missing[@]} -gt 0 ] || return 0
    lists
    say "installing ${missing[*]}"
    apt-get install -q -y --no-install-recommends "${missing[@]}" >/dev/null
}
fetch() { apt-get download -q -o APT::Sandbox::User=root "$1" >/dev/null; } # into the current folder

# BlueZ, dbus and what they need that this machine lacks, as a folder to lay over its root: nothing is installed.
system() {
    local version work
    version=$(digest "$here/build.sh" "$here/btvirt.patch")
    ! is system "$version" || return 0
    need gcc libc6-dev patch bzip2
    lists
    say "fetching bluez and dbus"
    rm -rf "$cache/system" "$cache/packages" "$cache/system.built"
    mkdir -p "$cache/system" "$cache/packages/partial"
    apt-get install -q -y --no-install-recommends --reinstall --download-only -o APT::Sandbox::User=root \
        -o Dir::Cache::archives="$cache/packages" bluez dbus dbus-daemon dbus-bin dbus-system-bus-common libdbus-1-3 >/dev/null
    for package in "$cache"/packages/*.deb; do dpkg -x "$package" "$cache/system"; done
    # A folder where the host has a link into /usr would hide everything behind that link.
    for folder in bin sbin lib lib64; do
        if [ -d "$cache/system/$folder" ] && [ ! -L "$cache/system/$folder" ]; then
            mkdir -p "$cache/system/usr/$folder"
            cp -a "$cache/system/$folder/." "$cache/system/usr/$folder/"
            rm -rf "${cache:?}/system/$folder"
        fi
    done
    rm -rf "$cache/packages" "$cache/system/usr/share/doc" "$cache/system/usr/share/man"
    say "building the controllers"
    work=$(mktemp -d "$cache/work.XXXXXX")
    (
        cd "$work"
        fetch bluez-source
        dpkg --fsys-tarfile bluez-source_*.deb | tar -xO ./usr/src/bluez.tar.bz2 | tar -xj --strip-components=1 --wildcards \
            'bluez-source/emulator/*.[ch]' 'bluez-source/lib/*.[ch]' 'bluez-source/monitor/*.h' \
            'bluez-source/src/shared/*.[ch]' bluez-source/config.h
        patch -s -p1 <"$here/btvirt.patch"
        mkdir -p lib/bluetooth
        cp -n lib/*.h lib/bluetooth/
        gcc -O2 -w -I. -Ilib -Isrc -DHAVE_CONFIG_H -o "$cache/system/usr/bin/pigeon-btvirt" \
            emulator/{main,serial,server,vhci,btdev,bthost,smp,phy,amp,le}.c lib/{bluetooth,hci}.c \
            src/shared/{mainloop,mainloop-notify,io-mainloop,timeout-mainloop,queue,util,crypto,ecc}.c
    )
    rm -rf "$work"
    mkdir -p "$cache/system/etc/bluetooth"
    printf '[Policy]\nAutoEnable=true\n' >"$cache/system/etc/bluetooth/main.conf"
    echo "$version" >"$cache/system.built"
}

# Debian's 6.1.192 frees a channel when its connection goes and again when the last socket lets go of it, and dies of it
# after some minutes of nodes that come and go. Once is enough: when the last user lets go.
double_free='/^static void hci_conn_cleanup/,/^}/{/^\thci_chan_list_flush(conn);$/d}'
# It keeps 2,696 bytes of registers for a process of the guest; with AMX there are 11,008, which the host takes and gives
# only whole ("ptrace set fp regs failed").
registers='s/\(DEFINE_LONGS(HOST_FP_SIZE,\) 2696);/\1 12288);/'

kernel() {
    local version work
    version=$(echo "$double_free $registers" | digest "$here/kernel.config" -)
    ! is kernel "$version" || return 0
    if [ -n "${BLE_RIG_KERNEL:-}" ]; then
        case $BLE_RIG_KERNEL in
        *.xz) xz -dc "$BLE_RIG_KERNEL" >"$cache/kernel" ;;
        *) cp "$BLE_RIG_KERNEL" "$cache/kernel" ;;
        esac
        chmod +x "$cache/kernel"
        echo "$version" >"$cache/kernel.built"
        return
    fi
    need flex bison bc make gcc libc6-dev xz-utils
    lists
    say "fetching the kernel's source"
    work=$(mktemp -d "$cache/work.XXXXXX")
    (
        cd "$work"
        fetch linux-source-6.1
        dpkg --fsys-tarfile linux-source-6.1_*.deb | tar -xO ./usr/src/linux-source-6.1.tar.xz | tar -xJ --strip-components=1 \
            --exclude='*/drivers/gpu/drm/*/*.[ch]' --exclude='*/drivers/net/ethernet/*.[ch]' --exclude='*/sound/*.[ch]' \
            --exclude='*/drivers/media/*.[ch]' --exclude='*/drivers/staging/*.[ch]' --exclude='*/tools/testing' \
            --exclude='*/Documentation/*.rst' --exclude='*/Documentation/*.yaml'
        rm -f linux-source-6.1_*.deb
        sed -i "$double_free" net/bluetooth/hci_conn.c
        sed -i "$registers" arch/x86/um/user-offsets.c
        say "compiling the kernel, once"
        make -s ARCH=um O="$work/out" allnoconfig KCONFIG_ALLCONFIG="$here/kernel.config" >/dev/null
        for option in BT_LE BT_HCIVHCI HOSTFS OVERLAY_FS; do
            grep -q "^CONFIG_$option=y" out/.config || { echo "ble rig: kernel without CONFIG_$option" >&2; exit 1; }
        done
        make -s ARCH=um O="$work/out" -j"$jobs" linux >log 2>&1 || { tail -n 30 log >&2; exit 1; }
        strip -g -o "$cache/kernel" out/linux
    )
    rm -rf "$work"
    echo "$version" >"$cache/kernel.built"
}

mkdir -p "$cache"
# One at a time: several test programs may want it at once.
exec 9>"$cache/lock"
flock 9
rm -rf "$cache"/work.*
system
kernel
version=$(digest "$here/init.c")
if ! is init "$version"; then
    need gcc libc6-dev
    gcc -O2 -static -o "$cache/init" "$here/init.c"
    echo "$version" >"$cache/init.built"
fi
