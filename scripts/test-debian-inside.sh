#!/usr/bin/env bash
# What scripts/test-debian.sh does inside the Debian that it has booted: traffic with canaries in it.
set -euo pipefail
cd "$(dirname "$0")"

# The kernel of a container logs to its host only, so its message enters where the nearest reader takes it up. rsyslog reads /proc/kmsg,
# which systemd-nspawn makes a FIFO; where that is refused (Debian 13), it has the facility from a datagram that journald hands on.
# syslog-ng and sealedlog-journal read the journal, where entries of the kernel have this field. logger itself says "user" for "kern".
kernel() { # TEXT
    if ! rsyslogd=$(pidof rsyslogd); then
        printf 'PRIORITY=4\nSYSLOG_FACILITY=0\nSYSLOG_IDENTIFIER=kernel\nMESSAGE=%s\n' "$1" | logger --journald
    elif readlink "/proc/$rsyslogd"/fd/* | grep -q '^/proc/kmsg'; then
        printf '<4>[%12s] %s\n' "$(cut -d ' ' -f 1 /proc/uptime)" "$1" >/proc/kmsg
    else
        perl -MIO::Socket::UNIX -e 'IO::Socket::UNIX->new(Type => SOCK_DGRAM, Peer => "/dev/log")->send("<4>kernel: $ARGV[0]")' "$1"
    fi
}

get() { curl -s -o /dev/null -H "Host: $1" "http://localhost/$2"; } # HOST PATH

login() { # USER
    ssh -n -i id -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null -o LogLevel=ERROR "$1@localhost" true
}

# Something in every log, with this number in it.
ways() { # NUMBER
    curl -s -o /dev/null -A "CANARY-agent-$1" "http://localhost/CANARY-page-$1"
    get localhost "deny-CANARY-refused-$1"
    get shop.example "CANARY-shop-$1"
    get shop.example "deny-CANARY-denied-$1"
    get other.example "CANARY-other-$1"
    logger -i -p auth.info -t probe "CANARY-auth-$1"
    logger -p user.notice -t probe "CANARY-user-$1"
    logger -p cron.info -t probe "CANARY-cron-$1"
    kernel "CANARY-kernel-$1-"
    login "CANARY-guest-$1"
    ! login "CANARY-nobody-$1" 2>/dev/null
    sudo /bin/true "CANARY-sudo-$1"
    printf 'Subject: x\n\nCANARY-body-%s-\n' "$1" | sendmail -f "CANARY-from-$1@target.example" "alice+CANARY-to-$1"
    package "canary-pkg-$1"
}

package() { # NAME
    mkdir -p "$1/DEBIAN"
    printf 'Package: %s\nVersion: 1\nArchitecture: all\nMaintainer: x <x@target.example>\nDescription: x\n' "$1" >"$1/DEBIAN/control"
    dpkg-deb -Znone -b "$1" "$1.deb" >/dev/null
    apt-get install -y -qq "./$1.deb" >/dev/null 2>&1
}

# Something to its log by its daemon's own way; what no rule of the daemon's leads to is written to the FIFO.
to_log() { # LOG TEXT
    case $1 in
    apache2/access.log) get localhost "$2" ;;
    apache2/error.log) get localhost "deny-$2" ;;
    apache2/shop-access.log) get shop.example "$2" ;;
    apache2/shop-error.log) get shop.example "deny-$2" ;;
    apache2/other_vhosts_access.log) get other.example "$2" ;;
    auth.log) logger -p auth.info "$2" ;;
    # Where no daemon takes it there, Postfix does, and no other.
    mail.log) pidof -q rsyslogd syslog-ng && logger -p mail.info "$2" || echo "$2" >"/run/sealedlog-in/$1" ;;
    cron.log | lpr.log | user.log | uucp.log) logger -p "${1%.log}.info" "$2" ;;
    daemon.log | syslog) logger -p daemon.info "$2" ;;
    debug) logger -p user.debug "$2" ;;
    error) logger -p daemon.err "$2" ;;
    kern.log) kernel "$2" ;;
    messages) logger -p user.notice "$2" ;;
    app.log) echo "$2" >>/var/log/app.log ;;
    journal) logger -p user.info "$2" ;;
    *) echo "$2" >"/run/sealedlog-in/$1" ;;
    esac
}

# Each filter is killed between two lines of its log; says which logs those are. The one before is sealed by then: what a filter has
# read and not written may be lost with it. The one after comes while it is dead.
kill_each() {
    local unit log before
    for unit in $(systemctl list-units --plain --no-legend 'sealedlog@*.service' sealedlog-follow.service sealedlog-journal.service | awk '{print $1}'); do
        case $unit in
        sealedlog-follow.service) log=app.log ;;
        sealedlog-journal.service) log=journal ;;
        *) log=${unit#sealedlog@} log=$(systemd-escape -u -- "${log%.service}") ;;
        esac
        before=$(systemctl show -P MainPID "$unit")
        to_log "$log" "CANARY-kill-${log//[^a-z]/-}-before-"
        sleep 0.3
        kill -KILL "$before"
        to_log "$log" "CANARY-kill-${log//[^a-z]/-}-after-"
        echo "$log" "$unit" "$before"
    done
}

# Says who of those was not started anew.
not_again() {
    local log unit before now
    while read -r log unit before; do
        now=$(systemctl show -P MainPID "$unit")
        { [ "$now" != 0 ] && [ "$now" != "$before" ]; } || echo "$unit of $log: it was $before and is $now"
    done
}

# Web, mail and ssh are used again and again, until told to end; who does not serve is told.
serve() {
    rm -f served unserved
    while [ ! -e end ]; do
        curl -sf -m 10 -o /dev/null http://localhost/ || echo "$(date +%T) curl: $?" >>unserved
        timeout 10 bash -c 'read -r said </dev/tcp/localhost/25 && [ "${said%% *}" = 220 ]' || echo "$(date +%T) smtp: $?" >>unserved
        login alice || echo "$(date +%T) ssh: $?" >>unserved
        echo >>served
        sleep 0.5
    done
}

# One request after the other, until told to end; who was answered is noted.
load() { # NAME
    local at
    for at in $(seq 100000); do
        [ ! -e end ] || break
        ! get localhost "CANARY-$1-$at-" || echo "$at" >>"$1.answered"
    done
}

# Lines as long as it lives, the number of the last one in a file.
last() {
    local at
    for at in $(seq 100000); do
        logger -p auth.info "CANARY-last-$at-" && echo "$at" >last.new && mv last.new last
        sleep 0.02
    done
}

# A job of cron at the next minute that it will see; its output is mailed.
job() {
    local at
    at=$(date -d "@$(($(date +%s) + 63))" '+%-M %-H')
    printf 'MAILTO=alice+CANARY-job\n%s * * * alice echo CANARY-job-$((40+2))- CANARY-command-\n' "$at" >/etc/cron.d/job
}

"$@"
