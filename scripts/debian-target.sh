#!/usr/bin/env bash
# A Debian that is booted in a container (systemd-nspawn) and thrown away, to install the packages in:
#   scripts/debian-target.sh build              its root file system, cached for the next time
#   scripts/debian-target.sh boot [--keep]      fresh, or with --keep on what the last one left on its disk
#   scripts/debian-target.sh sh 'SCRIPT'        runs a script inside as root; its exit status and standard input
#   scripts/debian-target.sh put FILE FOLDER    a file into a folder of it
#   scripts/debian-target.sh reboot             orderly power-off, then boot --keep
#   scripts/debian-target.sh crash              as if the power was cut; boot --keep goes on
#   scripts/debian-target.sh stop               orderly power-off
#   scripts/debian-target.sh root | upper       its root folder; what was changed since it was built
# SYSLOG=rsyslog (default), syslog-ng or none says which syslog daemon it has, SUITE=bookworm (default) or trixie which Debian; each has
# a target of its own. TARGET_DIR says where all of it lies (target/debian-target). Needs root, Debian and apt sources of bookworm or
# of SUITE; installs mmdebstrap and systemd-container.
set -euo pipefail
cd "$(dirname "$0")/.."

SYSLOG=${SYSLOG:-rsyslog}
DIR=$(realpath -m "${TARGET_DIR:-target/debian-target}")
SUITE=${SUITE:-bookworm}
NAME=$SYSLOG
[ "$SUITE" = bookworm ] || NAME=$SUITE-$SYSLOG
HERE=$DIR/$NAME
# Targets of other folders may be booted at the same time.
MACHINE=sealedlog-$NAME-$(printf %s "$DIR" | sha256sum | cut -c 1-8)
INCLUDE=apache2,apache2-utils,postfix,openssh-server,openssh-client,logrotate,cron,curl,ca-certificates,dbus,libpam-systemd,procps,sudo,systemd-sysv
case $SYSLOG in
rsyslog) INCLUDE=$INCLUDE,rsyslog ;;
syslog-ng) INCLUDE=$INCLUDE,syslog-ng-core ;;
none) ;;
*) echo "debian-target: error: SYSLOG is rsyslog, syslog-ng or none, not '$SYSLOG'" >&2; exit 2 ;;
esac
case $SUITE in
bookworm | trixie) ;;
*) echo "debian-target: error: SUITE is bookworm or trixie, not '$SUITE'" >&2; exit 2 ;;
esac

fail() {
    echo "debian-target: error: $1" >&2
    exit 2
}

# This machine's own sources of a release.
sources() {
    apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' 'Created-By: Packages' |
        awk -v suite="$1" '$3 == "main" && index($2, suite) == 1 && !seen[$1 $2]++ { print "deb", $1, $2, $3 }'
}

build() {
    [ ! -e "$HERE/base/etc/hostname" ] || return 0
    [ "$(id -u)" = 0 ] || fail "only root can do this"
    local missing=()
    command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
    command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
    [ ${#missing[@]} = 0 ] || DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    mkdir -p "$HERE"
    # Another run may be building it. Below what is built, this machine's own /dev/shm, /proc and /sys are mounted meanwhile: what is
    # left of a build that was cut off is removed only where nothing is mounted, and never across file systems.
    exec 9>"$HERE/lock"
    flock 9
    [ ! -e "$HERE/base/etc/hostname" ] || { exec 9>&-; return 0; }
    ! grep -qF " $HERE/base.part/" /proc/self/mounts || fail "$HERE/base.part has mounts below it: a build was cut off; umount them"
    sources "$SUITE" >"$HERE/sources"
    # The same places have the other releases.
    [ -s "$HERE/sources" ] || sources bookworm | sed "s/ bookworm/ $SUITE/" >"$HERE/sources"
    [ -s "$HERE/sources" ] || fail "apt on this machine has no source of $SUITE"
    rm -rf --one-file-system "$HERE/base.part"
    # Daemons are not started while they are installed.
    # shellcheck disable=SC2016
    mmdebstrap --quiet --mode=root --variant=important --dpkgopt=force-unsafe-io --include="$INCLUDE" \
        --aptopt='Acquire::Check-Valid-Until "false"' --aptopt='APT::Install-Recommends "false"' \
        --essential-hook='printf "%s\n" "postfix postfix/main_mailer_type select Local only" "postfix postfix/mailname string target.example" | chroot "$1" debconf-set-selections' \
        --essential-hook='printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d"; chmod 755 "$1/usr/sbin/policy-rc.d"' \
        --essential-hook='echo target >"$1/etc/hostname"; printf "127.0.0.1 localhost\n127.0.1.1 target.example target\n" >"$1/etc/hosts"' \
        "$SUITE" "$HERE/base.part" "$HERE/sources" >"$HERE/build.log" 2>&1 || { tail -n 20 "$HERE/build.log" >&2; fail "mmdebstrap failed"; }
    rm -f "$HERE/base.part/usr/sbin/policy-rc.d"
    : >"$HERE/base.part/etc/machine-id"
    # As of one that was installed a while ago: its journal is on the disk.
    mkdir -p "$HERE/base.part/var/log/journal"
    for unit in apt-daily.timer apt-daily-upgrade.timer e2scrub_all.timer fstrim.timer; do
        ln -sf /dev/null "$HERE/base.part/etc/systemd/system/$unit"
    done
    mv "$HERE/base.part" "$HERE/base"
    exec 9>&-
}

# The pid of its pid 1, as seen here.
leader() {
    local supervisor child
    supervisor=$(cat "$HERE/supervisor" 2>/dev/null) || return 1
    for child in $(cat "/proc/$supervisor/task/$supervisor/children" 2>/dev/null); do
        [ "$(awk '/^NSpid:/ {print $NF}' "/proc/$child/status" 2>/dev/null)" != 1 ] || { echo "$child"; return 0; }
    done
    return 1
}

cgroups() {
    local folder
    for folder in /sys/fs/cgroup/systemd /sys/fs/cgroup/unified; do
        [ ! -w "$folder/cgroup.procs" ] || echo "$folder/$MACHINE"
    done
    [ ! -e /sys/fs/cgroup/cgroup.controllers ] || echo "/sys/fs/cgroup/$MACHINE"
}

release() {
    local folder
    ! mountpoint -q "$HERE/root" || umount -l "$HERE/root"
    for folder in $(cgroups); do
        [ ! -d "$folder" ] || find "$folder" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    done
    rm -f "$HERE/supervisor"
}

boot() {
    build
    stop
    [ "${1:-}" = --keep ] || rm -rf "$HERE/upper" "$HERE/work"
    mkdir -p "$HERE/upper" "$HERE/work" "$HERE/root"
    mount -t overlay overlay -o "lowerdir=$HERE/base,upperdir=$HERE/upper,workdir=$HERE/work" "$HERE/root"
    local folder
    for folder in $(cgroups); do mkdir -p "$folder" 2>/dev/null || true; done
    # In cgroups of its own; with the kernel's newer hierarchy alone, as a Debian of its own has it.
    SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1 setsid bash -c '
        for folder in $1; do echo $$ >"$folder/cgroup.procs" 2>/dev/null; done
        echo $$ >"$2"; shift 2
        exec systemd-nspawn "$@"' _ "$(cgroups | tr '\n' ' ')" "$HERE/supervisor" \
        --directory="$HERE/root" --machine="$MACHINE" --hostname=target --boot --register=no --keep-unit --private-network \
        --resolv-conf=off --link-journal=no --timezone=off --console=read-only --kill-signal=SIGRTMIN+4 \
        </dev/null >"$HERE/console" 2>&1 &
    local waited
    for waited in $(seq 300); do
        sleep 0.1
        ! leader >/dev/null || ! nsenter -t "$(leader)" -a test -S /run/systemd/private 2>/dev/null || break
        [ "$waited" != 300 ] || { tail -n 20 "$HERE/console" >&2; fail "it does not boot"; }
    done
    local state
    state=$(inside 'timeout 90 systemctl is-system-running --wait') || true
    [ "$state" = running ] || { inside 'systemctl --failed --no-legend --plain' >&2 || true; fail "it is $state, not running"; }
}

inside() {
    local pid
    pid=$(leader) || fail "it is not booted"
    local folder
    (
        for folder in $(cgroups); do
            [ ! -d "$folder/payload" ] || { mkdir -p "$folder/payload/run.scope" && echo $BASHPID >"$folder/payload/run.scope/cgroup.procs"; } 2>/dev/null || true
        done
        exec nsenter -t "$pid" --mount --uts --ipc --net --pid --cgroup --root -- env -i -C /root \
            PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root USER=root LANG=C.UTF-8 bash -c "$1"
    )
}

gone() {
    local waited
    for waited in $(seq 600); do
        [ -d "/proc/$(cat "$HERE/supervisor" 2>/dev/null || echo none)" ] || return 0
        sleep 0.1
    done
    fail "it does not end"
}

stop() {
    ! leader >/dev/null || { kill -TERM "$(cat "$HERE/supervisor")"; gone; }
    release
}

command=${1:-}
[ $# = 0 ] || shift
case $command in
build) build ;;
boot) boot "$@" ;;
sh) inside "$1" ;;
put) inside "cat >'$2/$(basename "$1")'" <"$1" ;;
reboot) stop; boot --keep ;;
crash) kill -KILL "$(leader)"; gone; release ;;
stop) stop ;;
root | upper) echo "$HERE/$command" ;;
*) sed -n '2,/^set /p' "$0" | sed '/^set /d; s/^# \{0,1\}//'; exit 2 ;;
esac
