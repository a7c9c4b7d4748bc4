#!/usr/bin/env bash
# A server and its auditor, in a temporary folder: a real Apache on loopback seals its logs, real requests come in, the
# sealed files are copied, opened and verified, then tampered with and verified again. Then a real syslog-ng and a real
# rsyslog do the same.
#
#   scripts/demo.sh [FOLDER OF THE PROGRAMS, target/release by default]
#
# Exit status: 0 everything is as told, 1 something is not, 2 something that it needs is missing.
set -euo pipefail
cd "$(dirname "$0")/.."
repository=$PWD
programs=$(realpath -m -- "${1:-target/release}")
export PATH="$PATH:/usr/sbin:/sbin" LC_ALL=C

for program in "$programs/sealedlog-apache" "$programs/sealedlog-syslog" "$programs/sealedlog-audit" "$programs/sealedlog"; do
    [ -x "$program" ] || { echo "demo: error: $program is missing" >&2; echo "demo: hint: make build" >&2; exit 2; }
done
for program in apache2 curl age age-keygen logger; do
    command -v "$program" >/dev/null || { echo "demo: error: $program is missing" >&2; echo "demo: hint: make setup" >&2; exit 2; }
done

for daemon in syslog-ng/usr/sbin/syslog-ng rsyslog/usr/sbin/rsyslogd; do
    [ -x "target/daemons/$daemon" ] || { echo "demo: error: ${daemon##*/} is missing" >&2; echo "demo: hint: make setup" >&2; exit 2; }
done

work=$(mktemp -d "${TMPDIR:-/tmp}/sealedlog-demo.XXXXXX")
work=$(realpath "$work")
# Beside our programs stand others, named like the tools used here.
mkdir "$work/bin"
ln -s "$programs"/sealedlog{,-apache,-audit,-syslog} "$work/bin"
PATH=$work/bin:$PATH
# What the auditor's desk remembers of ledgers goes with the rest.
export XDG_STATE_HOME=$work/state

# The server's processes: Apache, its workers, syslog daemons, log programs.
processes() { pgrep -f -- "$work" || true; }
clean_up() {
    status=$?
    trap - EXIT
    # Apache ends its workers, and log programs end with their input.
    for daemon in apache2 syslog-ng rsyslog; do
        kill "$(cat "$work/server/$daemon.pid" 2>/dev/null)" 2>/dev/null || true
    done
    for _ in $(seq 100); do [ -n "$(processes)" ] || break; sleep 0.05; done
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 1' INT TERM HUP
trap 'echo "demo: NOT AS TOLD: line $LINENO ended with exit status $?" >&2' ERR
cd "$work"

fail() { printf '\ndemo: NOT AS TOLD: %s\n' "$1" >&2; exit 1; }
heading() { printf '\n== %s\n\n' "$1"; }
tell() { printf '   %s\n' "$@"; }
# shown_as TEXT COMMAND…: TEXT for what is run, and what that says; its exit status in $shown_status.
shown_as() {
    printf '   $ %s\n' "$1"
    shift
    shown_status=0
    "$@" >out 2>&1 3<<<"$passphrase" || shown_status=$?
    sed "s|$work/||g; s/^/     /" out
}
shown() { shown_as "$*" "$@"; }
# wait_until COMMAND…: up to a minute.
wait_until() {
    for _ in $(seq 1200); do
        if "$@"; then return; fi
        sleep 0.05
    done
    fail "this did not come true within a minute: $*"
}
# Whether nothing is written to a folder any more.
settled() { local size; size=$(du -sb "$1"); sleep 0.7; [ "$size" = "$(du -sb "$1")" ]; }

passphrase='correct horse battery staple'
mkdir -p server/{keys.d,keys-age.d,log,state,run,www}
mkdir -m 700 auditor
mkdir auditor/evidence

heading "1. On the auditor's machine: keys"
tell "One OpenPGP key (RFC 9580) for the access log; one age key, made with age's own tool, for the error log." ""
shown_as "sealedlog-audit keygen --name 'Log auditor <auditor@example.org>' -o auditor/keys" \
    sealedlog-audit keygen --name 'Log auditor <auditor@example.org>' -o auditor/keys --passphrase-fd 3
[ "$shown_status" = 0 ] || fail "a key is made"
age-keygen -o auditor/keys/age-secret.txt 2>/dev/null
age-keygen -y auditor/keys/age-secret.txt >auditor/keys/age-public.age
tell "" "Only the public halves go to the server, into its key folders:"
cp auditor/keys/sealedlog-public.asc server/keys.d/
cp auditor/keys/age-public.age server/keys-age.d/
shown sealedlog keys check --keys server/keys.d
[ "$shown_status" = 0 ] || fail "the key is usable"
shown sealedlog keys check --keys server/keys-age.d
[ "$shown_status" = 0 ] || fail "the age key is usable"

heading "2. On the server: a real Apache, its logs through the filter"
options="--state $work/server/state --runtime $work/server/run"
logs="CustomLog \"|$programs/sealedlog-apache --keys $work/server/keys.d $options $work/server/log/access.log\" combined
ErrorLog \"|$programs/sealedlog-apache --until-term --keys $work/server/keys-age.d $options $work/server/log/error.log\""
echo 'hello' >server/www/hello.txt
truncate -s 64M server/www/large.bin
chmod 755 . server server/www
modules=/usr/lib/apache2/modules
started=
for _ in 1 2 3 4 5; do
    port=$((20000 + RANDOM % 20000))
    cat >server/apache2.conf <<CONF
ServerRoot "$work/server"
DefaultRuntimeDir "$work/server/run-apache"
PidFile "$work/server/apache2.pid"
ServerName www.example.org
Listen 127.0.0.1:$port
$([ "$(id -u)" -ne 0 ] || printf 'User www-data\nGroup www-data')
LoadModule mpm_event_module $modules/mod_mpm_event.so
LoadModule authz_core_module $modules/mod_authz_core.so
DocumentRoot "$work/server/www"
<LocationMatch ^/payroll>
Require all denied
</LocationMatch>
LogFormat "%h %l %u %t \"%r\" %>s %O \"%{Referer}i\" \"%{User-Agent}i\"" combined
$logs
CONF
    mkdir -p server/run-apache
    # Its log programs would keep a pipe open that a caller reads to the end.
    if apache2 -f "$work/server/apache2.conf" -k start >server/start 2>&1 </dev/null; then
        started=yes
        break
    fi
done
[ -n "$started" ] || fail "Apache starts: $(cat server/start)"
site=http://127.0.0.1:$port
tell "The two lines in its configuration, in place of file names:" ""
sed -e "s|$programs/||; s|$work/||g; s/^/     /" <<<"$logs"

heading "3. Real requests, a reload in their midst, then a stop"
browser='Confidential-Browser/7.1'
requests=1500
# ask FIRST LAST: requests over eight connections, each with a customer number of its own; the status of each.
ask() {
    curl -sS --no-progress-meter --parallel --parallel-max 8 -A "$browser" -w '%{http_code}\n' -o /dev/null "$site/hello.txt?customer=[$1-$2]"
}
has_lines() { [ -s server/log/access.log.pgp ]; }
ask 1 500 >statuses
wait_until has_lines
curl -sS -A "$browser" --limit-rate 32M -o /dev/null -w '%{http_code}\n' "$site/large.bin?customer=slow" >slow-status &
slow=$!
ask 501 1000 >>statuses &
load=$!
sleep 0.1
kill -USR1 "$(cat server/apache2.pid)"
wait "$load" || fail "requests are answered over a reload"
ask 1001 $requests >>statuses
curl -sS -A "$browser" -o /dev/null "$site/payroll-[1-20]"
wait "$slow" || fail "the download that was under way at the reload is finished"
cat slow-status >>statuses
requests=$((requests + 1))
answered=$(grep -c '^200$' statuses)
[ "$answered" = "$requests" ] || fail "all requests are answered: $answered of $requests"
# It answers before it logs, and a stop cuts what is under way.
wait_until settled server/log
kill -TERM "$(cat server/apache2.pid)"
is_over() { [ -z "$(processes)" ]; }
wait_until is_over
tell "$answered requests, all answered, one of them a download that lasted over a graceful reload; 20 more were refused" \
    "(they are in the error log). Then Apache was stopped, and its log programs ended with it." ""
shown ls -l server/log
access=server/log/access.log.pgp
errors=server/log/error.log.age64

heading "4. What an intruder finds on the server"
tell "The access log, one OpenPGP message a line:" ""
head -c 96 "$access" | od -A d -t x1z | sed 's/^/     /'
tell "" "The error log, one age file a line, in base64:" ""
head -n 2 "$errors" | cut -c 1-76 | sed 's/^/     /; s/$/…/'
# Everything that was written, the base64 taken off too.
base64 -d "$errors" >server/error.decoded
tell "" "Search of log, state and runtime folder for what was asked, and by whom:" ""
for needle in customer= "$browser" large.bin payroll HTTP/1.1 '127.0.0.1 - -' 'resuming normal operations'; do
    if grep -rqaF -- "$needle" server/log server/state server/run server/error.decoded; then
        fail "'$needle' is nowhere in plain text"
    fi
    tell "  $(printf '%-28s' "$needle") not found"
done
rm server/error.decoded

heading "5. On paper, and to the auditor"
tell "The fingerprints of the streams' genesis records, that the administrator wrote down at installation:" ""
fingerprint() { sha256sum "$@" | cut -c 1-64 | tr a-f A-F | sed 's/..../& /g; s/ $//'; }
paper=()
for genesis in server/state/*/genesis; do
    paper+=(--genesis "$(fingerprint "$genesis")")
    tell "  ${paper[-1]}   $(basename "$(dirname "$genesis")" | sed 's/-.*//')"
done
[ "${#paper[@]}" = 4 ] || fail "there are two streams"
cp "$access" "$errors" auditor/evidence/
tell "" "The sealed files are copied; from here on the server is not needed."

heading "6. The auditor opens"
cd auditor
keys=(--key keys/sealedlog-secret.asc --key keys/age-secret.txt --passphrase-fd 3)
open_log() { sealedlog-audit open "$@" "${keys[@]}" "${paper[@]}" 3<<<"$passphrase"; }
open_log evidence/access.log.pgp >access.log || fail "the access log opens without alarms"
open_log evidence/error.log.age64 >error.log || fail "the error log opens without alarms"
tell "\$ sealedlog-audit open evidence/access.log.pgp --key keys/sealedlog-secret.asc --genesis '…' >access.log"
head -n 3 access.log | sed 's/^/     /'
tell "\$ sealedlog-audit open evidence/error.log.age64 --key keys/age-secret.txt --genesis '…' >error.log"
grep -m 2 payroll error.log | sed "s|$work/||g; s/^/     /"
{ seq $((requests - 1)); echo slow; } | sort >asked
grep -oE 'customer=[0-9a-z]+' access.log | cut -d= -f 2 | sort >logged
cmp -s asked logged || fail "each request is in the log once: $(diff asked logged | head -n 5)"
[ "$(grep -c 'denied.*payroll' error.log)" = 20 ] || fail "each refusal is in the error log once"
grep -q 'resuming normal operations' error.log || fail "what Apache says of itself is in the error log"
tell "" "$requests requests were made; $(wc -l <logged) are in the log, each once. 20 refusals are in the error log, each once."

heading "7. The auditor verifies"
shown_as "sealedlog-audit verify evidence --key … --key … --genesis '…' --genesis '…' --ledger ledger.json" \
    sealedlog-audit verify evidence "${keys[@]}" "${paper[@]}" --ledger ledger.json
[ "$shown_status" = 0 ] || fail "what nobody touched verifies, with exit status 0"
tell "" "Exit status 0. The ledger remembers what was verified, for the next audit."

heading "8. Somebody tampers"
sealedlog-audit split evidence/access.log.pgp -o records >/dev/null
records=(records/*)
[ "${#records[@]}" -ge "$requests" ] || fail "the log splits into its records"
sizes=($(stat -c %s "${records[@]}"))
# offset N: where record N begins, counted from 0.
offset() {
    local sum=0 size
    for size in "${sizes[@]:0:$1}"; do sum=$((sum + size)); done
    echo "$sum"
}
# line_from N: the first record from N on that holds a line of the load, by the size that most have.
usual=$(printf '%s\n' "${sizes[@]}" | sort | uniq -c | sort -rn | awk 'NR == 1 { print $2 }')
line_from() {
    local number=$1
    while [ "${sizes[number]}" != "$usual" ]; do number=$((number + 1)); done
    echo "$number"
}
log=evidence/access.log.pgp
original=original.pgp
cp "$log" "$original"
# expect KIND LINES: verify tells this alarm and no other; so many lines still open in their place.
expect() {
    shown_as 'sealedlog-audit verify evidence --key … --key … --ledger ledger.json' \
        sealedlog-audit verify evidence "${keys[@]}" --ledger ledger.json > told
    grep -E '^ +([$]|ALARM|warning|[0-9]+ lines)' told
    [ "$shown_status" = 1 ] || fail "verify ends with exit status 1, not $shown_status"
    [ "$(grep -c '^ALARM: ' out)" -ge 1 ] || fail "there is an alarm"
    ! grep '^ALARM: ' out | grep -qv "^ALARM: $1: " || fail "the alarm is $1"
    open_log "$log" >opened 2>/dev/null || true
    [ "$(wc -l <opened)" = "$2" ] || fail "$2 lines still open, not $(wc -l <opened)"
    tell "Exit status 1. The $2 lines that are left still open." ""
    cp "$original" "$log"
}
total=$(wc -l <access.log)

number=$(line_from 300)
at=$(($(offset "$number") + usual - 40))
tell "One byte of a record is changed:" ""
old=$(od -An -v -t u1 -j "$at" -N 1 "$log")
printf "\\x$(printf %02x $((old ^ 1)))" | dd of="$log" bs=1 seek="$at" conv=notrunc status=none
expect altered $((total - 1))

number=$(line_from 600)
tell "A record is cut out:" ""
{ head -c "$(offset "$number")" "$original"; tail -c +"$(($(offset "$number") + usual + 1))" "$original"; } >"$log"
expect missing $((total - 1))

tell "A line that never was is sealed with the public key and appended:" ""
forged='192.0.2.1 - - [01/Jan/2026:00:00:00 +0000] "GET /hello.txt?customer=forged HTTP/1.1" 200 6'
sealedlog seal --keys keys/sealedlog-public.asc <<<"$forged" >forged.pgp
sealedlog-audit split forged.pgp -o forged >/dev/null
line=
for record in forged/*; do
    # The one with the line in it, between the control records of the forger's own stream.
    body=$(sealedlog-audit open "$record" "${keys[@]}" --all 2>/dev/null 3<<<"$passphrase") || true
    [ "$body" != "$forged" ] || line=$record
done
[ -n "$line" ] || fail "the forged line is sealed"
cat "$line" >>"$log"
expect foreign "$total"

tell "The last 40 records are cut off, as if Apache had ended earlier; the ledger knows better:" ""
head -c "$(offset $((${#records[@]} - 40)))" "$original" >"$log"
tail -c +"$(($(offset $((${#records[@]} - 40))) + 1))" "$original" >tail.pgp
# Control records are among them, so the lines are counted.
sealedlog-audit open tail.pgp "${keys[@]}" --all >tail.log 2>/dev/null 3<<<"$passphrase" || true
expect truncated $((total - $(grep -c '^127.0.0.1' tail.log)))

heading "9. Without any of these programs"
tell "A line of the error log is a whole age file in base64. Stock tools open it:" ""
opened=
while read -r record; do
    if body=$(base64 -d <<<"$record" | age -d -i keys/age-secret.txt 2>/dev/null) && [[ $body == *payroll* ]]; then
        opened=$body
        break
    fi
done <evidence/error.log.age64
tell "\$ sed -n LINEp evidence/error.log.age64 | base64 -d | age -d -i keys/age-secret.txt"
tell "  ${opened//$work\//}"
[ "$opened" = "$(grep -m 1 payroll error.log)" ] || fail "age opens what the auditor's program opened"

heading "10. The same with syslog"
cd "$work"
mkdir server/{sealed,spool}
tell "A real syslog-ng and a real rsyslog, each with its snippet; only the folders are others:" ""
# Debian's configurations, with other paths and without the plain-text files.
cat >server/syslog-ng.conf <<CONF
@version: 3.38
options { use_dns(no); use_fqdn(no); stats_freq(0); };
source s_src { unix-dgram("$work/server/syslog-ng.socket"); };
@include "$work/server/syslog-ng.sealedlog.conf"
CONF
cat >server/rsyslog.conf <<CONF
global(workDirectory="$work/server/spool")
module(load="imuxsock" SysSock.Use="off")
input(type="imuxsock" Socket="$work/server/rsyslog.socket")
include(file="$work/server/rsyslog.sealedlog.conf")
CONF
for daemon in syslog-ng rsyslog; do
    sed -e "s|/usr/bin/sealedlog-syslog |$programs/sealedlog-syslog --keys $work/server/keys.d $options |" \
        -e "s|/var/log/sealed/|$work/server/sealed/$daemon/|; s|/var/log/sealedlog-|$work/server/sealedlog-|" \
        "$repository/$daemon/sealedlog.conf" >"server/$daemon.sealedlog.conf"
    mkdir "server/sealed/$daemon"
done
grep sealedlog-syslog server/*.sealedlog.conf | grep -v '#' | sed -e 's/^[^:]*: */     /' -e "s|$programs/||; s|$work/||g"
# libraries DAEMON FOLDER…: what setup unpacked, in the form of LD_LIBRARY_PATH.
libraries() { (shopt -s nullglob; cd "$repository/target/daemons/$1"; IFS=:; libs=("$PWD"/{usr/,}lib/*-linux-* "${@:2}"); echo "${libs[*]}"); }
ng=$repository/target/daemons/syslog-ng rs=$repository/target/daemons/rsyslog
LD_LIBRARY_PATH=$(libraries syslog-ng "$ng/usr/lib/syslog-ng") "$ng/usr/sbin/syslog-ng" -F --no-caps -f "$work/server/syslog-ng.conf" \
    -R "$work/server/syslog-ng.persist" -p "$work/server/syslog-ng.pid" -c "$work/server/syslog-ng.control" \
    --module-path "$(echo "$ng"/usr/lib/syslog-ng/*.*/)" >server/syslog-ng.told 2>&1 &
LD_LIBRARY_PATH=$(libraries rsyslog) "$rs/usr/sbin/rsyslogd" -n -f "$work/server/rsyslog.conf" -i "$work/server/rsyslog.pid" \
    -M "$(echo "$rs"/usr/lib/*-linux-*/rsyslog)" >server/rsyslog.told 2>&1 &
messages=500
for daemon in syslog-ng rsyslog; do
    wait_until [ -S "server/$daemon.socket" ]
    wait_until [ -s "server/$daemon.pid" ]
    seq -f 'session opened for customer %g' "$messages" | logger -u "server/$daemon.socket" -d -t sshd -p auth.info
    printf '%s\n' 'to=<patient@example.org>, status=sent' | logger -u "server/$daemon.socket" -d -t postfix/smtp -p mail.info
    kill -HUP "$(cat "server/$daemon.pid")"
    seq -f 'session closed for customer %g' "$messages" | logger -u "server/$daemon.socket" -d -t sshd -p auth.info
    sealed() { [ "$(find "server/sealed/$daemon" -name '*.pgp' | grep -cE '/(auth|mail)[.]')" -ge 2 ]; }
    wait_until sealed
    # What still lies in the socket would be lost with it.
    wait_until settled "server/sealed/$daemon"
    kill "$(cat "server/$daemon.pid")"
done
wait_until is_over
tell "" "$((2 * messages)) messages of facility auth and one of mail to each, with a reload in their midst. A file for each facility:" ""
find server/sealed -name '*.pgp' | sort | sed 's/^/     /'
for needle in customer patient sshd; do
    ! grep -rqaF -- "$needle" server/sealed server/state server/run || fail "'$needle' is nowhere in plain text"
done
tell "" "None of it holds 'customer', 'patient' or 'sshd' in plain text. The auditor again:" ""
cp -r server/sealed auditor/evidence-syslog
cd auditor
paper=()
for genesis in ../server/state/*/genesis; do
    paper+=(--genesis "$(fingerprint "$genesis")")
done
for daemon in syslog-ng rsyslog; do
    shown_as "sealedlog-audit verify evidence-syslog/$daemon --key … --genesis '…'" \
        sealedlog-audit verify "evidence-syslog/$daemon" "${keys[@]}" "${paper[@]}"
    [ "$shown_status" = 0 ] || fail "what $daemon sealed verifies, with exit status 0"
    open_log "evidence-syslog/$daemon" >"$daemon.log" || fail "what $daemon sealed opens without alarms"
    for event in opened closed; do
        seq "$messages" >asked
        grep -oE "session $event for customer [0-9]+" "$daemon.log" | grep -oE '[0-9]+$' >logged
        cmp -s asked logged || fail "each message is there once and in order: $(diff asked logged | head -n 5)"
    done
    grep -m 1 patient "$daemon.log" | sed 's/^/     /'
    tell "All $((2 * messages + 1)) are there, each once and in order." ""
done

printf '\nAll as told.\n'
