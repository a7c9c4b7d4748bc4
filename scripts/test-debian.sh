#!/usr/bin/env bash
# The packages on a real, booted Debian: installed, a key dropped in, real traffic, every filter killed, reloads under load, a
# reboot, an upgrade, disable and purge. scripts/test-debian.sh [rsyslog] [syslog-ng] [none] does so for these syslog daemons, or a
# machine without one; by itself for all of them, one after the other. PROGRAMS=DIR packages the programs of that folder instead of compiling them.
# Needs root. Exit status: 0 all holds, 1 something does not, 2 it could not be tried.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
packages=$work/packages
failures=0
trap 'stop_target; rm -rf "$work"' EXIT

say() { printf '%s\n' "$*"; }
target() { SYSLOG=$syslog scripts/debian-target.sh "$@"; }
inside() { target sh "$1"; }
stop_target() { [ -z "${syslog:-}" ] || target stop >/dev/null 2>&1 || true; }

# holds WHAT COMMAND...: the command succeeds.
holds() {
    local what=$1
    shift
    if "$@" >"$work/said" 2>&1; then
        say "  ok   $what"
    else
        say "  FAIL $what"
        sed 's/^/         /' "$work/said" | head -n 20
        failures=$((failures + 1))
    fi
}

# soon COMMAND...: it succeeds within ten seconds.
soon() {
    local tries
    for tries in $(seq 100); do
        if "$@"; then return 0; fi
        sleep 0.1
    done
    return 1
}

all_sealed_to() { [ "$(inside "ls /var/log/sealed/$1.*.pgp 2>/dev/null | wc -l")" -gt 0 ]; }

# The lines of a log, in order, and whether all is well with what was sealed.
fetch() {
    rm -rf "$work/evidence"
    inside 'sealedlog mark >/dev/null; tar -C /var/log/sealed -c .' | { mkdir "$work/evidence"; tar -C "$work/evidence" -x; }
}
lines_of() { "$audit" open "$work"/evidence/"$1".2* --key "$work/keys/sealedlog-secret.asc" --trust-first 2>/dev/null; }
verify() { "$audit" verify "$work/evidence" --key "$work/keys/sealedlog-secret.asc" --trust-first; }

# once LOG TEXT...: each stands in the log's lines, in one of them.
once() {
    local log=$1 text count
    shift
    lines_of "$log" >"$work/lines"
    for text in "$@"; do
        count=$(grep -cF -- "$text" "$work/lines" || true)
        [ "$count" = 1 ] || { echo "'$text' stands in $count lines of $log"; return 1; }
    done
}

# Files with this in them, among all that was written to the disk. Not looked into: what the test itself wrote, mail boxes and
# queues, and what packages there are, which are no logs, and records of logins, which "sealedlog doctor" names.
found_on_disk() {
    local upper
    upper=$(target upper)
    grep -rliaF -- "$1" "$upper" 2>/dev/null | sed "s|^$upper||" |
        grep -vE '^/(root|home|etc|srv|tmp)/|^/var/(mail|spool|www)/|^/var/lib/(dpkg|apt)/|^/var/cache/|^/var/log/(btmp|wtmp|lastlog|apt/eipp.log.xz)$|^/usr/share/doc/canary' || true
}
nowhere() {
    local found
    found=$(found_on_disk CANARY)
    [ -z "$found" ] || { echo "$found"; return 1; }
}

ways() { # NUMBER: something in every log, with this number in it
    inside "
        set -eu
        curl -s -o /dev/null -A CANARY-agent-$1 http://localhost/CANARY-page-$1
        curl -s -o /dev/null -H 'Host: shop.example' http://localhost/CANARY-shop-$1
        curl -s -o /dev/null -H 'Host: shop.example' http://localhost/deny-CANARY-denied-$1
        curl -s -o /dev/null -H 'Host: other.example' http://localhost/CANARY-other-$1
        logger -i -p auth.info -t probe CANARY-auth-$1
        logger -p user.notice -t probe CANARY-user-$1
        logger -p cron.info -t probe CANARY-cron-$1
        ssh -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null CANARY-nobody-$1@localhost true 2>/dev/null || true
        sudo /bin/true CANARY-sudo-$1
        printf 'Subject: x\n\nx\n' | sendmail -f CANARY-from-$1@target.example alice
        mkdir -p /root/canary-pkg-$1/DEBIAN
        printf 'Package: canary-pkg-$1\nVersion: 1\nArchitecture: all\nMaintainer: x <x@target.example>\nDescription: x\n' >/root/canary-pkg-$1/DEBIAN/control
        dpkg-deb -b /root/canary-pkg-$1 /root/canary-pkg-$1.deb >/dev/null
        apt-get install -y -qq /root/canary-pkg-$1.deb >/dev/null 2>&1
    "
}

came() { # NUMBER
    holds "$1: each line in its log, once" all_came "$1"
}
all_came() {
    once apache2/access.log "CANARY-page-$1 "
    once apache2/shop-access.log "CANARY-shop-$1 "
    once apache2/shop-error.log "CANARY-denied-$1"
    once apache2/other_vhosts_access.log "CANARY-other-$1 "
    local auth=auth.log user=user.log cron=cron.log mail=mail.log
    [ "$syslog" != none ] || auth=journal user=journal cron=journal mail=journal
    once $auth "]: CANARY-auth-$1" "Invalid user CANARY-nobody-$1 from"
    grep -qF "CANARY-sudo-$1" "$work/lines" || { echo "no CANARY-sudo-$1"; return 1; }
    once $user "CANARY-user-$1"
    once $cron "CANARY-cron-$1"
    lines_of $mail | grep -qF "CANARY-from-$1@" || { echo "no CANARY-from-$1"; return 1; }
    once dpkg.log "status installed canary-pkg-$1:all 1"
    once apt-history.log "Install: canary-pkg-$1:amd64 (1)"
    once apt-term.log "Selecting previously unselected package canary-pkg-$1."
}

sums() { inside 'find /etc /usr /lib -xdev -type f ! -name "*-" ! -path "/etc/sealedlog/*" -exec sha256sum {} + | sort -k 2'; }

try() {
    say "Debian with Apache, Postfix and ${syslog/none/no syslog daemon}"
    target boot
    inside '
        set -eu
        useradd -m alice
        mkdir -p /var/www/other
        printf "<VirtualHost *:80>\nServerName shop.example\nDocumentRoot /var/www/html\nErrorLog \${APACHE_LOG_DIR}/shop-error.log\nCustomLog \${APACHE_LOG_DIR}/shop-access.log combined\n<LocationMatch ^/deny>\nRequire all denied\n</LocationMatch>\n</VirtualHost>\n" >/etc/apache2/sites-available/shop.conf
        printf "<VirtualHost *:80>\nServerName other.example\nDocumentRoot /var/www/other\n</VirtualHost>\n" >/etc/apache2/sites-available/other.conf
        printf "<VirtualHost *:80>\nServerName late.example\nDocumentRoot /var/www/html\nCustomLog \${APACHE_LOG_DIR}/late-access.log combined\nInclude /srv/late.inc\n</VirtualHost>\n" >/etc/apache2/sites-available/late.conf
        echo "CustomLog \${APACHE_LOG_DIR}/included-access.log combined" >/srv/late.inc
        journalctl --rotate
        a2ensite -q shop other
        systemctl reload apache2
        logger -p auth.info UNSEALED; sleep 1
    '
    local package=$packages/sealedlog_*.deb
    sums >"$work/before"
    inside 'ls /var/log/journal/*/*@*' >"$work/journals"
    # shellcheck disable=SC2086
    target put $package /root
    inside 'apt-get install -y /root/sealedlog_*.deb >/root/install.log 2>&1'
    holds "before, a line is found in plain text" bash -c '[ "$1" -ge 2 ]' _ "$(found_on_disk UNSEALED | wc -l)"
    holds "without a key nothing is changed" bash -c '[ -z "$(comm -13 "$1" "$2" | grep -v sealedlog | grep -E " /etc/(apache2|rsyslog|syslog-ng|systemd/journald)")" ]' _ "$work/before" <(sums)
    holds "and status says what is awaited" inside 'sealedlog status | grep -q "a public key is awaited"'
    target put "$work/keys/sealedlog-public.asc" /etc/sealedlog/keys.d
    holds "the key is dropped in: logs are sealed" soon all_sealed_to dpkg.log
    soon all_sealed_to apache2/shop-error.log || true
    soon inside 'journalctl -u sealedlog-enable.service -o cat | grep -q "genesis .* "' || true
    # Those that were there before are left alone, and told.
    inside 'sleep 2'

    ways 1
    sleep 2
    fetch
    came 1
    holds "nothing in plain text on the disk" nowhere

    inside 'pkill -KILL -x sealedlog'
    ways 2
    sleep 3
    fetch
    came 2
    holds "all services serve with every filter killed" inside 'curl -sf -o /dev/null http://localhost/ && systemctl -q is-active apache2 postfix ssh'

    inside '
        set -eu
        (for at in $(seq 400); do curl -s -o /dev/null -w "%{http_code}\n" http://localhost/CANARY-load-$at-; done >/root/codes) &
        for at in 1 2 3; do sleep 0.5; systemctl reload apache2; done
        systemctl restart "sealedlog@*.service"
        '"[ $syslog = none ] || systemctl restart $syslog"'
        wait
        [ "$(sort -u /root/codes)" = 404 ]
    ' || { say "  FAIL requests during reloads"; failures=$((failures + 1)); }
    sleep 2
    fetch
    holds "400 requests during three reloads and a restart of all filters: each logged once" \
        once apache2/access.log $(seq -f 'CANARY-load-%.0f-' 400)

    inside 'a2ensite -q late && systemctl reload apache2 && sleep 1 && curl -s -o /dev/null -H "Host: late.example" http://localhost/CANARY-late-1-'
    holds "a site that comes later is sealed, too" soon all_sealed_to apache2/late-access.log
    sleep 2
    fetch
    holds "with its first line" once apache2/late-access.log CANARY-late-1-
    holds "and a log that only Apache itself knows of" once apache2/included-access.log CANARY-late-1-
    inside 'a2disconf -q 00-sealedlog; systemctl reload apache2; sealedlog enable >/dev/null; curl -s -o /dev/null http://localhost/CANARY-mended-1-; sleep 2'
    fetch
    holds "what was turned off by hand is mended by enable" once apache2/access.log CANARY-mended-1-
    holds "nothing in plain text on the disk" nowhere

    target reboot
    ways 3
    sleep 2
    fetch
    came 3
    holds "nothing in plain text on the disk" nowhere
    holds "verify finds nothing, over kills, restarts and the reboot" verify

    local genesis
    genesis=$(inside 'sealedlog status --json | sed -n "s/.*\"genesis\":\"\([^\"]*\)\".*/\1/p" | sort')
    inside 'apt-get install -y --reinstall /root/sealedlog_*.deb >/root/upgrade.log 2>&1'
    ways 4
    sleep 2
    fetch
    came 4
    holds "over an upgrade the streams go on" bash -c '[ "$1" = "$2" ]' _ "$genesis" \
        "$(inside 'sealedlog status --json | sed -n "s/.*\"genesis\":\"\([^\"]*\)\".*/\1/p" | sort')"

    holds "disable" inside 'sealedlog disable'
    inside 'curl -s -o /dev/null http://localhost/PLAIN-1; logger -p auth.info PLAIN-2; sleep 2'
    local auth=/var/log/auth.log
    [ "$syslog" != none ] || auth="-r -a /var/log/journal"
    holds "plain logging works again" inside 'grep -q PLAIN-1 /var/log/apache2/access.log && grep -q PLAIN-2 '"$auth"' && ! grep -rqa CANARY /var/log/apache2 /var/log/auth.log /var/log/journal'
    holds "the old journal is there as before" bash -c '[ -s "$1" ] && [ -z "$(comm -23 "$1" "$2")" ]' _ "$work/journals" <(inside 'ls /var/log/journal/*/*@*')
    holds "a key that comes then turns nothing on" inside 'touch /etc/sealedlog/keys.d/sealedlog-public.asc; sleep 2; [ ! -e /etc/apache2/conf-available/00-sealedlog.conf ]'
    holds "enable turns it on again" inside 'sealedlog enable'
    holds "purge" inside 'apt-get purge -y sealedlog >/root/purge.log 2>&1'
    sums >"$work/after"
    holds "every file is as before" cmp "$work/before" "$work/after"
    inside 'curl -s -o /dev/null http://localhost/PLAIN-3; logger -p auth.info PLAIN-4; sleep 2'
    holds "plain logging works" inside 'grep -q PLAIN-3 /var/log/apache2/access.log && grep -q PLAIN-4 '"$auth"
    holds "no unit has failed" inside 'systemctl --failed --no-legend --plain; [ "$(systemctl --failed --no-legend | wc -l)" = 0 ]'
    target stop
}

[ "$(id -u)" = 0 ] || { echo "test-debian: error: only root can boot a container" >&2; exit 2; }
if [ -n "${PROGRAMS:-}" ]; then
    scripts/deb.sh --programs "$PROGRAMS" --output "$packages" >/dev/null || { [ $? = 1 ] || exit 2; }
    audit=$PROGRAMS/sealedlog-audit
else
    scripts/deb.sh --output "$packages"
    audit=target/release/sealedlog-audit
fi
"$audit" keygen -o "$work/keys" --no-passphrase >/dev/null
[ $# -gt 0 ] || set -- rsyslog syslog-ng none
for syslog in "$@"; do
    export syslog
    try
done
[ "$failures" = 0 ] || { say "$failures checks failed"; exit 1; }
say "all holds"
