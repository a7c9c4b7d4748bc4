#!/usr/bin/env bash
# The packages on a real, booted Debian: installed, a key dropped in, real traffic, every filter killed, reloads under load, a
# reboot, an upgrade, a power cut, runs that are cut off, disable and purge. scripts/test-debian.sh [rsyslog] [syslog-ng] [none] does so
# for these syslog daemons, or a machine without one; by itself for all of them, one after the other. SUITE=trixie takes Debian 13.
# PROGRAMS=DIR packages the programs of that folder instead of compiling them.
# Needs root. Exit status: 0 all holds, 1 something does not, 2 it could not be tried.
set -euo pipefail
cd "$(dirname "$0")/.."

work=$(mktemp -d)
packages=$work/packages
failures=0
settled=0
trap 'stop_target; rm -rf "$work"' EXIT
. scripts/test-debian-checks.sh
stop_target() { [ -z "${syslog:-}" ] || target stop >/dev/null 2>&1 || true; }

# A package of a version before, whose list of files to follow was another one.
older_package() {
    dpkg-deb -R "$packages"/sealedlog_*.deb "$work/older"
    sed -i 's/^Version: .*/&~older/' "$work/older/DEBIAN/control"
    echo '# As it was.' >>"$work/older/etc/sealedlog/follow"
    dpkg-deb -Znone --root-owner-group -b "$work/older" "$work/older.deb" >/dev/null
    rm -rf "$work/older"
}

set_up() {
    inside 'mkdir -p /srv/test'
    target put scripts/test-debian-inside.sh /srv/test
    # Users without useradd, whose words on it would be canaries from before the key.
    inside '
        set -eu
        chmod +x /srv/test/*
        useradd -m alice
        ssh-keygen -q -t ed25519 -N "" -f /srv/test/id
        mkdir -p /home/guest/.ssh /home/alice/.ssh
        cp /srv/test/id.pub /home/guest/.ssh/authorized_keys
        cp /srv/test/id.pub /home/alice/.ssh/authorized_keys
        for at in $(seq 9); do
            echo "CANARY-guest-$at:x:300$at:65534::/home/guest:/bin/sh" >>/etc/passwd
            echo "CANARY-guest-$at:*:19000:0:99999:7:::" >>/etc/shadow
        done
        mkdir -p /var/www/other
        printf "<VirtualHost *:80>\nServerName shop.example\nDocumentRoot /var/www/html\nErrorLog \${APACHE_LOG_DIR}/shop-error.log\nCustomLog \${APACHE_LOG_DIR}/shop-access.log combined\n</VirtualHost>\n" >/etc/apache2/sites-available/shop.conf
        printf "<VirtualHost *:80>\nServerName other.example\nDocumentRoot /var/www/other\n</VirtualHost>\n" >/etc/apache2/sites-available/other.conf
        printf "<VirtualHost *:80>\nServerName late.example\nDocumentRoot /var/www/html\nCustomLog \${APACHE_LOG_DIR}/late-access.log combined\nInclude /srv/late.inc\n</VirtualHost>\n" >/etc/apache2/sites-available/late.conf
        printf "<LocationMatch ^/deny>\nRequire all denied\n</LocationMatch>\n" >/etc/apache2/conf-available/deny.conf
        echo "CustomLog \${APACHE_LOG_DIR}/included-access.log combined" >/srv/late.inc
        journalctl --rotate
        a2enconf -q deny >/dev/null
        a2ensite -q shop other >/dev/null
        systemctl reload apache2
        logger -p auth.info UNSEALED
    '
    # Without a syslog daemon Postfix writes its file by itself.
    [ "$syslog" != none ] || inside '
        postconf -e maillog_file=/var/log/mail.log
        systemctl restart postfix
        printf "Subject: x\n\nx\n" | sendmail -f UNSEALED@target.example alice'
    soon inside "journalctl -q -g UNSEALED | grep -q . && { [ $syslog = none ] || grep -q UNSEALED /var/log/auth.log; }" || true
}

# doctor: what is written is sealed, apart from what it names, and a program that writes plain text is found.
doctor() {
    holds "doctor: no program writes plain text" inside 'sealedlog doctor --json --within 0 >/srv/test/doctor'
    inside 'cat /srv/test/doctor' >"$work/doctor"
    holds "doctor names nothing but what was there before, logins and the journal in memory" \
        bash -c 'grep -q "^{\"summary\"" "$1" && ! grep -vE "\"state\":\"(old|logins|memory)\"|^\{\"summary\"" "$1"' _ "$work/doctor"
    # apt has a compressed list of packages for its planner written anew.
    holds "and nothing of that was written since" bash -c '
        grep "\"state\":\"old\"" "$1" | grep -v "\"file\":\"/var/log/apt/eipp.log.xz\"" | sed "s/.*\"modified\":\"\([^\"]*\)\".*/\1/" | awk -v since="$2" "\$0 > since { print; bad = 1 } END { exit bad }"' \
        _ "$work/doctor" "$sealed_since"
    holds "a program that writes plain text: doctor names it, exit status 1" inside '
        (exec 3>>/var/log/plain.log; while [ ! -e /srv/test/quiet ]; do echo line >&3; sleep 0.1; done) &
        sleep 0.2
        status=0; sealedlog doctor --json --within 0 >/srv/test/doctor || status=$?
        touch /srv/test/quiet; wait
        cat /srv/test/doctor
        [ "$status" = 1 ] && grep "\"file\":\"/var/log/plain.log\"" /srv/test/doctor | grep "\"state\":\"open\"" | grep -q "\"pid\":$!,\"program\":\"bash\""'
    holds "and no more when it has ended" inside 'rm /var/log/plain.log; sealedlog doctor --within 0'
}

boxes() { inside 'grep -c "^From " /var/mail/alice || true'; }

kills() {
    local mails
    inside 'pkill -KILL -x sealedlog'
    traffic ways 2
    came 2
    mails=$(boxes)
    traffic kill_each >"$work/killed"
    inside 'printf "Subject: x\n\nx\n" | sendmail alice'
    holds "each of $(wc -l <"$work/killed") filters is killed by itself, and started anew" soon again
    comes "the line before and the one after are sealed, once" after_kills
    holds "mail is received meanwhile" soon more_mail "$mails"
}
again() { [ -z "$(traffic not_again <"$work/killed" | tee /dev/stderr)" ]; }
more_mail() { [ "$(boxes)" -gt "$1" ]; }
after_kills() {
    local log fail=0
    while read -r log _; do
        once "$log" "CANARY-kill-${log//[^a-z]/-}-before-" "CANARY-kill-${log//[^a-z]/-}-after-" || fail=1
    done <"$work/killed"
    return "$fail"
}

served() {
    holds "$1" end_of serve.service
    holds "web, mail and ssh were served throughout ($(inside 'wc -l </srv/test/served') times)" \
        inside '[ -s /srv/test/served ] && { [ ! -e /srv/test/unserved ] || { cat /srv/test/unserved; false; }; }'
}

reloads() {
    beside load.service load load
    inside '
        set -eu
        for at in 1 2 3; do sleep 0.5; systemctl reload apache2; done
        systemctl restart "sealedlog@*.service"
        '"[ $syslog = none ] || systemctl restart $syslog"
    holds "four hundred requests" soon inside '[ "$(wc -l </srv/test/load.answered)" -ge 400 ]'
    end_load load "requests during three reloads and a restart of all filters"
}
# end_load NAME WHAT: each that was answered is there, once.
end_load() {
    local last
    holds "$2 end" end_of load.service
    last=$(inside "tail -n 1 /srv/test/$1.answered")
    holds "none of them failed" inside "[ \$(wc -l </srv/test/$1.answered) = $last ]"
    comes "$last $2: each logged once" each_once apache2/access.log "$1" 1 "$last"
}

changes() {
    inside 'a2ensite -q late >/dev/null && systemctl reload apache2'
    holds "a site that comes later is sealed, too" soon inside '[ -p /run/sealedlog-in/apache2/late-access.log ]'
    inside 'curl -s -o /dev/null -H "Host: late.example" http://localhost/CANARY-late-1-'
    comes "with its first line" once apache2/late-access.log CANARY-late-1-
    comes "and a log that only Apache itself knows of" once apache2/included-access.log CANARY-late-1-
    inside 'a2disconf -q 00-sealedlog >/dev/null; systemctl reload apache2; sealedlog enable >/dev/null; curl -s -o /dev/null http://localhost/CANARY-mended-1-'
    comes "what was turned off by hand is mended by enable" once apache2/access.log CANARY-mended-1-
}

# systemd knows which process Apache is, though one of its logs is piped.
piped() {
    inside '
        printf "<VirtualHost *:80>\nServerName piped.example\nCustomLog \"|/usr/bin/sealedlog-apache /var/log/sealed/piped.%%Y-%%m-%%d 86400\" combined\n</VirtualHost>\n" >/etc/apache2/sites-available/piped.conf
        a2ensite -q piped >/dev/null; systemctl reload apache2; sealedlog enable >/dev/null'
    holds "with a piped log systemd knows Apache, in each of six starts" inside '
        for at in 1 2 3 4 5 6; do
            # systemd starts nothing more often than five times in ten seconds.
            systemctl reset-failed apache2
            systemctl restart apache2
            [ "$(systemctl show -P MainPID apache2)" = "$(cat /run/apache2/apache2.pid)" ]
        done
        curl -s -o /dev/null -H "Host: piped.example" http://localhost/CANARY-piped-1-'
    comes "a piped log is sealed" once piped CANARY-piped-1-
    inside 'a2dissite -q piped >/dev/null; rm /etc/apache2/sites-available/piped.conf; systemctl reload apache2; sealedlog enable >/dev/null'
    holds "and systemd is told no more when it is not piped" inside '[ ! -e /etc/systemd/system/apache2.service.d ]'
}

# What is logged while the system goes down: until its logging ends nothing is lost, what comes then is.
power_off() {
    local last present
    inside 'systemd-run -q --unit=last -p DefaultDependencies=no /srv/test/test-debian-inside.sh last'
    soon inside '[ "$(cat /srv/test/last)" -ge 50 ]' || true
    target reboot
    last=$(inside 'cat /srv/test/last')
    fetch
    present=$(grep -aoE "CANARY-last-[0-9]+-" "$(lines_of "$auth")" | grep -oE '[0-9]+-$' | sort -n | tail -n 1) || present=0
    present=${present%-}
    say "       logged 20 ms apart until the power went off: $last lines, the last $((last - present)) are lost"
    holds "at power-off nothing is lost before the end of logging" each_once "$auth" last 1 "$present"
    holds "and that is not long before the end of all" [ $((last - present)) -le 250 ]
}

job_came() {
    local cron=cron.log mail=mail.log fail=0
    [ "$syslog" != none ] || cron=journal
    once "$cron" 'CMD (echo CANARY-job-$((40+2))- CANARY-command-)' || fail=1
    once "$mail" 'orig_to=<alice+CANARY-job>, relay=local,' || fail=1
    inside '[ "$(grep -c "^CANARY-job-42- CANARY-command-" /var/mail/alice)" = 1 ]' || { echo "its output is not in the mail box"; fail=1; }
    return "$fail"
}

genesis() { inside 'sealedlog status --json | sed -n "s/.*\"genesis\":\"\([^\"]*\)\".*\"log\":\"\([^\"]*\)\".*/\2 \1/p" | sort'; }

upgrade() {
    local before state
    before=$(genesis)
    state=$(inside 'dpkg-query -W -f \${Version} sealedlog; find /etc/sealedlog -type f -exec sha256sum {} +')
    beside load.service load upgrade
    holds "upgrade" inside 'DEBIAN_FRONTEND=noninteractive apt-get install -y -o Dpkg::Options::=--force-confold /root/new/sealedlog_*.deb >/root/upgrade.log 2>&1 || { cat /root/upgrade.log; exit 1; }'
    end_load upgrade "requests during an upgrade"
    traffic ways 5
    came 5
    holds "the version is another one" bash -c '[ "$1" = "${2%\~older}" ] && [ "$1" != "$2" ]' _ \
        "$(inside 'dpkg-query -W -f \${Version} sealedlog')" "$(head -n 1 <<<"$state" | sed 's/older.*/older/')"
    holds "the streams go on" bash -c '[ -n "$1" ] && [ "$1" = "$2" ]' _ "$before" "$(genesis)"
    holds "the configuration is as it was" inside 'tail -n 1 /etc/sealedlog/follow | grep -qx /var/log/app.log && [ -e /etc/sealedlog/follow.dpkg-dist ] && ls /etc/sealedlog/keys.d/*'
    inside 'echo CANARY-followed-1- >>/var/log/app.log'
    comes "a file that only it names is still followed" once app.log CANARY-followed-1-
}

# All processes end at once, as at a power cut; the page cache stays, so what is lost is what a FIFO or a filter had. Several times:
# where in its work a filter is then is chance.
power_cuts() {
    local at
    for at in 1 2 3; do power_cut "cut$at" $((200 + 60 * at)); done
    sed -n 's/^\(warning: .*\): .* at byte [0-9]*: /\1: /; s/[0-9][-0-9T:]*Z/TIME/; s/[0-9][0-9]*/N/g; /^warning/p' "$work/verified" | sort | uniq -c | sed 's/^/         /'
    traffic ways 6
    came 6
}
power_cut() { # NAME REQUESTS
    local last present
    beside load.service load "$1"
    soon inside "[ -s /srv/test/$1.answered ]" || true
    # Marks, as administrators make them, are sealed in epochs of their own, between those of the filters.
    inside 'for at in 1 2 3 4; do sealedlog mark >/dev/null; done'
    holds "$2 requests" soon inside "[ \"\$(wc -l </srv/test/$1.answered)\" -ge $2 ]"
    target crash
    target boot --keep
    last=$(inside "tail -n 1 /srv/test/$1.answered")
    fetch
    present=$(grep -aoE "CANARY-$1-[0-9]+-" "$(lines_of apache2/access.log)" | tail -n 1 | grep -oE '[0-9]+-$') || present=0
    present=${present%-}
    # What was answered last is on its way; all before it is there.
    holds "a power cut after $last answers: the lines of all but the last $((last > present ? last - present : 0)) are there, at most 5 may not be" \
        [ $((last - present)) -le 5 ]
    holds "none is missing between, and none is there twice" each_once apache2/access.log "$1" 1 "$present"
    verify >"$work/verified" || true
    holds "verify has no alarm" bash -c '! grep "^ALARM: " "$1" && tail -n 1 "$1" | grep -q " 0 alarms, "' _ "$work/verified"
}

# What the timers do each day: marks, warnings, and files that were kept long enough are removed.
daily() {
    local since
    holds "the day's work and the removal of old files are on a timer" inside '
        systemctl is-active -q sealedlog-daily.timer systemd-tmpfiles-clean.timer
        systemctl list-timers --no-legend sealedlog-daily.timer | grep -q sealedlog-daily.service'
    since=$(inside 'date -u +%Y-%m-%dT%H:%M:%SZ')
    holds "the day's work" inside 'systemctl start sealedlog-daily.service'
    comes "each log has a mark of the day, and verify has no alarm" marked "$since"
    "$audit" keygen --name "expires soon" --expires 20d -o "$work/soon-$syslog" --no-passphrase >/dev/null
    target put "$work/soon-$syslog/sealedlog-public.asc" /root
    inside 'mv /root/sealedlog-public.asc /etc/sealedlog/keys.d/soon.asc; systemctl start sealedlog-daily.service'
    holds "a key that expires in 20 days is told in the journal" inside "journalctl -q -u sealedlog-daily --since \"\$(date -d $since '+%F %T')\" -o cat | grep -q 'soon.asc expires'"
    comes "and a change of keys is no alarm" marked "2000-01-01T00:00:00Z"
    inside '
        rm /etc/sealedlog/keys.d/soon.asc
        echo x >/var/log/sealed/kept-201.log.pgp
        cp /var/log/sealed/kept-201.log.pgp /var/log/sealed/kept-199.log.pgp
        touch -d "201 days ago" /var/log/sealed/kept-201.log.pgp
        touch -d "199 days ago" /var/log/sealed/kept-199.log.pgp
        ls /var/log/sealed | grep -v kept- >/root/sealed-before
        systemctl start systemd-tmpfiles-clean.service'
    holds "what was not written to for 200 days is removed, and nothing else" inside '
        [ ! -e /var/log/sealed/kept-201.log.pgp ] && rm /var/log/sealed/kept-199.log.pgp && ls /var/log/sealed | cmp - /root/sealed-before'
}
marked() { # TIME
    verify --marked-since "$1" >"$work/verified" || true
    ! grep "^ALARM: " "$work/verified" && tail -n 1 "$work/verified" | grep -q " 0 alarms, "
}

plain() { # NUMBER: plain logging works, and what comes is not sealed.
    inside "curl -s -o /dev/null http://localhost/PLAIN-$1-; logger -p auth.info PLAIN-$1-"
    soon inside "grep -q PLAIN-$1- /var/log/apache2/access.log && grep -qra PLAIN-$1- $([ "$syslog" = none ] && echo /var/log/journal || echo /var/log/auth.log)"
}
sealed() { # NUMBER
    local number=$1
    inside "curl -s -o /dev/null http://localhost/CANARY-cut-off-$number-; logger -p auth.info CANARY-cut-off-$number-"
    soon fetched cut_off "$number" && soon absent_now && inside '
        for unit in $(systemctl list-unit-files --state=enabled --plain --no-legend "sealedlog@*.socket" | cut -d " " -f 1); do
            systemctl is-active -q "$unit" || { echo "$unit is not active"; exit 1; }
        done
        ! find /run/sealedlog-in -type f ! -name ".*" | grep .'
}
cut_off() { once apache2/access.log "CANARY-cut-off-$1-" && once "$auth" "CANARY-cut-off-$1-"; }
as_installed() { cmp "$work/installed" <(sums); }

# enable and disable, each killed so many milliseconds after its start: by itself, and with the commands that it runs.
cut_offs() {
    local after how
    for after in 10 30 50 100 150 250 400 700; do
        case $after in 10 | 50 | 150 | 400) how= ;; *) how=--foreground ;; esac
        inside "timeout $how -s KILL 0.$(printf %03d "$after") sealedlog enable" >/dev/null 2>&1 || true
        holds "enable, killed after $after ms, then enabled" inside 'sealedlog enable'
        holds "all is sealed" sealed "$after"
        inside "timeout $how -s KILL 0.$(printf %03d "$after") sealedlog disable" >/dev/null 2>&1 || true
        holds "disable, killed after $after ms, then disabled" inside 'sealedlog disable'
        holds "every file is as before, plain logging works" plain_as_before "$after"
    done
    holds "no canary came to the disk in this" absent CANARY-
}
plain_as_before() { as_installed && plain "cut-off-$1"; }

try() {
    local started=$SECONDS sealed_since auth=auth.log
    [ "$syslog" != none ] || auth=journal
    say "Debian ${SUITE:-bookworm} with Apache, Postfix and ${syslog/none/no syslog daemon}"
    target boot
    set_up
    sums >"$work/before"
    inside 'ls /var/log/journal/*/*@*' >"$work/journals"
    inside 'mkdir -p /root/new'
    target put "$work/older.deb" /root
    # shellcheck disable=SC2086
    target put "$packages"/sealedlog_*.deb /root/new
    holds "a version before is installed" inside 'apt-get install -y /root/older.deb >/root/install.log 2>&1 && echo /var/log/app.log >>/etc/sealedlog/follow'
    sums >"$work/installed"
    holds "before, a line is found in plain text" bash -c '[ "$1" -ge 2 ]' _ "$(found_on_disk UNSEALED | wc -l)"
    # Its user is new.
    holds "without a key nothing is changed" bash -c '! comm -13 <(sort "$1") <(sort "$2") | grep -vE "sealedlog| /etc/(passwd|group|g?shadow)$"' _ "$work/before" "$work/installed"
    holds "and status says what is awaited" inside 'sealedlog status | grep -q "a public key is awaited"'
    target put "$work/keys/sealedlog-public.asc" /etc/sealedlog/keys.d
    holds "the key is dropped in: logs are sealed" soon all_sealed_to dpkg.log
    holds "the run that it starts ends" soon inside 'systemctl show -P ActiveState sealedlog-enable.service | grep -qx inactive && sealedlog enable --unattended | grep -q "files: sealed already"'
    sealed_since=$(inside 'date -u +%Y-%m-%dT%H:%M:%S.%NZ')

    traffic job
    beside serve.service serve
    traffic ways 1
    came 1
    nowhere
    doctor
    kills
    reloads
    changes
    served "until here"
    piped
    patience=80 comes "a job of cron: its line, its mail and the mail's lines" job_came
    inside 'rm /etc/cron.d/job'
    nowhere

    # What is sent at the last moment is there, too.
    traffic ways 3
    power_off
    traffic ways 4
    came 3
    came 4
    nowhere
    fetch
    holds "verify finds nothing, over kills, restarts and the reboot" verify
    beside serve.service serve
    upgrade
    served "until here"
    fetch
    holds "verify finds nothing, over the upgrade" verify
    power_cuts
    daily
    comes "the lines of all rounds are still there once" all_rounds_came 1 2 3 4 5 6
    nowhere

    # What ends the sessions of the last users, ten seconds later, would be told in plain text, and rightly so.
    soon inside '! systemctl list-units --plain --no-legend "user@*.service" | grep -q .' || true
    holds "disable" inside 'sealedlog disable; a2dissite -q late >/dev/null; systemctl reload apache2'
    holds "every file is as it was without a key" as_installed
    holds "plain logging works again" plain disabled
    holds "and brings no canary to the disk" absent CANARY-
    [ "$syslog" != none ] || holds "the log that Postfix wrote before is where it was, and is gone on with" inside '
        [ -f /var/log/mail.log ] && [ ! -L /var/log/mail.log ] && ! ls /var/log/mail.log.unsealed-* 2>/dev/null
        grep -q UNSEALED@ /var/log/mail.log && printf "Subject: x\n\nx\n" | sendmail -f PLAIN-mail@target.example alice
        for at in $(seq 50); do ! grep -q PLAIN-mail@ /var/log/mail.log || exit 0; sleep 0.1; done; exit 1'
    holds "the old journal is there as before" bash -c '[ -s "$1" ] && [ -z "$(comm -23 "$1" "$2")" ]' _ "$work/journals" <(inside 'ls /var/log/journal/*/*@*')
    holds "a key that comes then turns nothing on" inside 'touch /etc/sealedlog/keys.d/sealedlog-public.asc; sleep 1; systemctl start sealedlog-enable.service; [ ! -e /etc/apache2/conf-available/00-sealedlog.conf ]'
    cut_offs
    holds "enable turns it on again" inside 'sealedlog enable'
    holds "purge" inside 'apt-get purge -y sealedlog >/root/purge.log 2>&1'
    sums >"$work/after"
    holds "every file is as before" cmp "$work/before" "$work/after"
    holds "plain logging works" plain purged
    holds "no unit has failed" inside 'systemctl --failed --no-legend --plain; [ "$(systemctl --failed --no-legend | wc -l)" = 0 ]'
    target stop
    say "  that took $((SECONDS - started)) seconds"
}

[ "$(id -u)" = 0 ] || { echo "test-debian: error: only root can boot a container" >&2; exit 2; }
if [ -n "${PROGRAMS:-}" ]; then
    scripts/deb.sh --programs "$PROGRAMS" --output "$packages" >/dev/null || { [ $? = 1 ] || exit 2; }
    audit=$PROGRAMS/sealedlog-audit
else
    scripts/deb.sh --output "$packages"
    audit=target/release/sealedlog-audit
fi
older_package
"$audit" keygen -o "$work/keys" --no-passphrase >/dev/null
[ $# -gt 0 ] || set -- rsyslog syslog-ng none
for syslog in "$@"; do
    export syslog
    try
done
[ "$failures" = 0 ] || { say "$failures checks failed"; exit 1; }
say "all holds"
