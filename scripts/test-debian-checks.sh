# What scripts/test-debian.sh checks with: it is read by it, and wants $syslog, $work, $audit and $failures.
# Steps of a check are joined with && or || fail=1: in the condition of an if, "set -e" means nothing, however deep below.

say() { printf '%s\n' "$*"; }
target() { SYSLOG=$syslog scripts/debian-target.sh "$@"; }
inside() { target sh "$1"; }
traffic() { inside "/srv/test/test-debian-inside.sh $*"; }

# Runs beside, as a unit of that name, until the file "end" is there.
beside() { # UNIT ARGUMENTS...
    local unit=$1
    shift
    inside "rm -f /srv/test/end; systemd-run -q --collect --unit=$unit -E HOME=/root -E LANG=C.UTF-8 /srv/test/test-debian-inside.sh $*"
}
end_of() { inside "touch /srv/test/end; for at in \$(seq 300); do systemctl -q is-active $1 || exit 0; sleep 0.1; done; exit 1"; }

# holds WHAT COMMAND...: the command succeeds.
holds() {
    local what=$1
    shift
    if "$@" >"$work/said" 2>&1; then passed "$what"; else failed "$what"; fi
}
passed() { say "  ok   $1"; }
failed() {
    say "  FAIL $1"
    sed 's/^/         /' "$work/said" | head -n 20
    failures=$((failures + 1))
}

# soon COMMAND...: it succeeds within twenty seconds, or as many as $patience says.
soon() {
    local until=$((SECONDS + ${patience:-20}))
    while ! "$@"; do
        [ "$SECONDS" -lt "$until" ] || return 1
        sleep 0.2
    done
}

# comes WHAT COMMAND...: so it does for what has been sealed by then.
comes() {
    local what=$1
    shift
    if soon fetched "$@" >"$work/all-said" 2>&1; then passed "$what"; else failed "$what"; fi
}
fetched() { fetch && "$@" >"$work/said" 2>&1; }

# All that has been sealed until now.
fetch() {
    rm -rf "$work/evidence" "$work/opened"
    mkdir "$work/evidence" "$work/opened"
    inside 'sealedlog mark >/dev/null; tar -C /var/log/sealed -c .' | tar -C "$work/evidence" -x
}
# The lines of a log, in order, in this file.
lines_of() {
    local file=$work/opened/${1//\//-}
    [ -e "$file" ] || "$audit" open "$work"/evidence/"$1".2* --key "$work/keys/sealedlog-secret.asc" --trust-first >"$file" 2>/dev/null
    echo "$file"
}
verify() { "$audit" verify "$work/evidence" --key "$work/keys/sealedlog-secret.asc" --trust-first "$@"; }
all_sealed_to() { [ "$(inside "ls /var/log/sealed/$1.*.pgp 2>/dev/null | wc -l")" -gt 0 ]; }

# once LOG TEXT...: each stands in the log's lines, in one of them.
once() {
    local log=$1 text count lines fail=0
    lines=$(lines_of "$log") || { echo "$log cannot be opened"; return 1; }
    shift
    for text in "$@"; do
        count=$(grep -acF -- "$text" "$lines" || true)
        [ "$count" = 1 ] || { echo "'$text' stands in $count lines of $log"; fail=1; }
    done
    return "$fail"
}

# alone LOG TEXT...: the same, and in no line of any other log.
alone() {
    local log=$1 file text others fail=0
    once "$@" || fail=1
    shift
    for file in $(cd "$work/evidence" && find . -name '*.pgp' | sed 's|^\./||; s|\.2[-0-9]*\.pgp$||' | sort -u); do lines_of "$file" >/dev/null || true; done
    for text in "$@"; do
        others=$(grep -laF -- "$text" "$work"/opened/* | grep -vxF "$(lines_of "$log")" || true)
        [ -z "$others" ] || { echo "'$text' stands in $others, too"; fail=1; }
    done
    return "$fail"
}

# each_once LOG NAME FIRST LAST: so does each of the numbered requests, and none twice.
each_once() {
    local lines
    lines=$(lines_of "$1") || return 1
    grep -aoE "CANARY-$2-[0-9]+-" "$lines" | sort -t - -k 3n | uniq -c | awk -v first="$3" -v last="$4" '
        { split($2, part, "-"); seen[part[3]] = $1 }
        END { for (at = first; at <= last; at++) if (seen[at] != 1) { print "request " at " stands in " seen[at] + 0 " lines"; bad = 1 } exit bad }'
}

# Files with this in them, among all that was written to the disk. Not looked into: what the test itself wrote, the mail box, which
# packages there are, which is no log, and records of logins, which "sealedlog doctor" names.
found_on_disk() {
    local upper logins
    upper=$(target upper)
    logins=$(inside 'command -v sealedlog >/dev/null && sealedlog doctor --json' | sed -n 's/.*"file":"\([^"]*\)".*"state":"logins".*/\1/p')
    LC_ALL=C grep -rliaF -- "$1" "$upper" 2>/dev/null | sed "s|^$upper||" | grep -vxF -- "${logins:-none}" |
        grep -vE '^/srv/test/|^/etc/((passwd|shadow)-?|cron\.d/job)$|^/var/mail/alice$|^/var/lib/(dpkg|apt)/|^/var/cache/apt/' || true
}
absent() {
    local found
    found=$(found_on_disk "$1")
    [ -z "$found" ] || { echo "$found"; return 1; }
}
# nowhere: no canary. What was written before a line that has come by now is where it stays; followed files are emptied a moment later.
nowhere() {
    settled=$((settled + 1))
    inside "curl -s -o /dev/null http://localhost/MARKER-$settled-; logger -p auth.info MARKER-$settled-"
    comes "a line that comes after all others is sealed (marker $settled)" marker "$settled"
    if soon absent_now; then passed "nothing in plain text on the disk"; else failed "nothing in plain text on the disk"; fi
}
absent_now() { absent CANARY- >"$work/said" 2>&1; }
marker() { once apache2/access.log "MARKER-$1-" && once "$auth" "MARKER-$1-"; }

came() { comes "$1: each line in its log, once" all_came "$1"; } # NUMBER
all_came() {
    local fail=0 user=user.log cron=cron.log mail=mail.log kern=kern.log
    [ "$syslog" != none ] || user=journal cron=journal kern=journal
    alone apache2/access.log "CANARY-page-$1 " "CANARY-agent-$1" || fail=1
    alone apache2/shop-access.log "CANARY-shop-$1 " || fail=1
    alone apache2/other_vhosts_access.log "CANARY-other-$1 " || fail=1
    # Requests that are denied stand in both logs of their host.
    once apache2/access.log "CANARY-refused-$1 " || fail=1
    once apache2/error.log "CANARY-refused-$1" || fail=1
    once apache2/shop-access.log "CANARY-denied-$1 " || fail=1
    once apache2/shop-error.log "CANARY-denied-$1" || fail=1
    once "$auth" "]: CANARY-auth-$1" "Invalid user CANARY-nobody-$1 from" "Accepted publickey for CANARY-guest-$1 from" "COMMAND=/bin/true CANARY-sudo-$1" || fail=1
    once "$user" "CANARY-user-$1" || fail=1
    once "$cron" "CANARY-cron-$1" || fail=1
    once "$kern" "CANARY-kernel-$1-" || fail=1
    once "$mail" "from=<CANARY-from-$1@target.example>, size=" "orig_to=<alice+CANARY-to-$1>, relay=local," || fail=1
    grep -aF "orig_to=<alice+CANARY-to-$1>" "$(lines_of "$mail")" | grep -qF 'status=sent (delivered to mailbox)' || { echo "mail $1 was not delivered"; fail=1; }
    inside "[ \"\$(grep -cF CANARY-body-$1- /var/mail/alice)\" = 1 ]" || { echo "mail $1 is not in the mail box once"; fail=1; }
    alone dpkg.log "status installed canary-pkg-$1:all 1" || fail=1
    alone apt-history.log "Install: canary-pkg-$1:amd64 (1)" || fail=1
    alone apt-term.log "Selecting previously unselected package canary-pkg-$1." || fail=1
    return "$fail"
}
all_rounds_came() { # NUMBER...
    local number fail=0
    for number in "$@"; do all_came "$number" || fail=1; done
    return "$fail"
}

# What can be changed and put back. /etc/sealedlog is the package's own.
sums() {
    inside 'find /etc /usr /lib -xdev -type f ! -name "*-" ! -path "/etc/sealedlog/*" -exec sha256sum {} + | sort -k 2
        find /etc -xdev -type l -printf "%p -> %l\n" | sort'
}
