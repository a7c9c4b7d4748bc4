# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sealedlog_audit_global_optspecs
    string join \n h/help V/version
end

function __fish_sealedlog_audit_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sealedlog_audit_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sealedlog_audit_using_subcommand
    set -l cmd (__fish_sealedlog_audit_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sealedlog-audit -n "__fish_sealedlog_audit_needs_command" -s h -l help -d 'Print help'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_needs_command" -s V -l version -d 'Print version'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_needs_command" -f -a "keygen" -d 'Make a key pair: a public half to seal to, a secret half to keep'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_needs_command" -f -a "open" -d 'Print the lines of sealed files, and tell what is not as it was sealed'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_needs_command" -f -a "verify" -d 'Say whether sealed files are what was sealed, and what is not'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_needs_command" -f -a "report" -d 'Write what sealed logs say, and whether they are what was sealed, into a file to read'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_needs_command" -f -a "search" -d 'Print the lines of sealed files that match, of all logs in the order of time'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_needs_command" -f -a "export" -d 'Write lines as rows of a table: NDJSON, CSV, Parquet, SQLite'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_needs_command" -f -a "split" -d 'Write each record to a file of its own, for stock tools; needs no key'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand keygen" -l name -d 'Name in the OpenPGP certificate, for people' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand keygen" -l expires -d 'After what time the certificate is no longer sealed to, as in 3y or 18mo; never, by default' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand keygen" -s o -l output -d 'Folder for the files; it is made where it is missing. Without it, and without --secret, all is asked on the terminal' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand keygen" -l secret -d 'File for the secret key' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand keygen" -l public -d 'File for the public key' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand keygen" -l passphrase-fd -d 'Read the passphrase from this file descriptor instead of the terminal' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand keygen" -l shares -d 'Split the secret key for so many holders, a file each; there is no file with the whole key, and no passphrase' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand keygen" -l threshold -d 'So many of the holders open logs together, fewer cannot' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand keygen" -l page -d 'Write a page to print, HTML with the fingerprint, its QR code and what to do' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand keygen" -l age -d 'Make an age identity instead of an OpenPGP key'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand keygen" -l no-passphrase -d 'Do not encrypt the secret key'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand keygen" -l qr -d 'Show the fingerprint as a QR code even where standard output is no terminal'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand keygen" -s h -l help -d 'Print help'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand open" -s k -l key -d 'Secret key that opens them: OpenPGP, age or SSH; may be repeated' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand open" -l share -d 'Share of a secret key that opens them; repeated for as many as are needed' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand open" -l passphrase-fd -d 'Read the passphrases of secret keys from this file descriptor, one a line, instead of asking on the terminal' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand open" -l genesis -d 'Genesis fingerprint from paper: sixteen groups of four hexadecimal digits; may be repeated' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand open" -l genesis-file -d 'File with genesis fingerprints, one a line; what follows # is not read' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand open" -l ledger -d 'File that remembers what was verified before, and who has used sealed logs; it is made where there is none' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand open" -l ledger-head -d 'Head that the last use of the ledger gave, from paper: five groups of four hexadecimal digits' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand open" -l auditor -d 'Who uses the logs, for the ledger; the account\'s name by default' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand open" -l gpg-agent -d 'Use the secret keys that gpg-agent has, on OpenPGP cards too; it asks for passphrase or PIN itself'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand open" -l trust-first -d 'Trust the genesis records that the files bring themselves'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand open" -l all -d 'Print lines too that are not in their place'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand open" -s f -l follow -d 'Go on with what is appended to the files and with new files in the folders, until interrupted'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand open" -s h -l help -d 'Print help'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -s k -l key -d 'Secret key that opens them: OpenPGP, age or SSH; may be repeated' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -l share -d 'Share of a secret key that opens them; repeated for as many as are needed' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -l passphrase-fd -d 'Read the passphrases of secret keys from this file descriptor, one a line, instead of asking on the terminal' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -l genesis -d 'Genesis fingerprint from paper: sixteen groups of four hexadecimal digits; may be repeated' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -l genesis-file -d 'File with genesis fingerprints, one a line; what follows # is not read' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -l ledger -d 'File that remembers what was verified before, and who has used sealed logs; it is made where there is none' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -l ledger-head -d 'Head that the last use of the ledger gave, from paper: five groups of four hexadecimal digits' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -l auditor -d 'Who uses the logs, for the ledger; the account\'s name by default' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -l retention -d 'Files older than this may have been removed on purpose: 200d, 12h' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -l marked-since -d 'Every log must have a mark at or after this time (2026-01-31T12:00:00Z)' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -l expect -d 'List of logs that should be there: a line has host, log and, where it is not 3d, the longest silence; may be repeated' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -l gpg-agent -d 'Use the secret keys that gpg-agent has, on OpenPGP cards too; it asks for passphrase or PIN itself'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -l trust-first -d 'Trust the genesis records that the files bring themselves'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -l json -d 'One JSON object a line'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand verify" -s h -l help -d 'Print help'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -s k -l key -d 'Secret key that opens them: OpenPGP, age or SSH; may be repeated' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l share -d 'Share of a secret key that opens them; repeated for as many as are needed' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l passphrase-fd -d 'Read the passphrases of secret keys from this file descriptor, one a line, instead of asking on the terminal' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l genesis -d 'Genesis fingerprint from paper: sixteen groups of four hexadecimal digits; may be repeated' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l genesis-file -d 'File with genesis fingerprints, one a line; what follows # is not read' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l ledger -d 'File that remembers what was verified before, and who has used sealed logs; it is made where there is none' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l ledger-head -d 'Head that the last use of the ledger gave, from paper: five groups of four hexadecimal digits' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l auditor -d 'Who uses the logs, for the ledger; the account\'s name by default' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -s o -l output -d 'File to write, whole or not at all, for your eyes only; without it the report goes to standard output' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l format -d 'Form of the report' -r -f -a "html\t'One file for a browser, that needs no network'
text\t'80 columns, for a terminal or paper'
json\t'The same for programs'"
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l title -d 'What stands above the report' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l rules -d 'Rules of your own, in Sigma\'s form, in a file or the *.yml of a folder; may be repeated' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l time-zone -d 'Zone of time stamps that name none: UTC, Europe/Vienna' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l retention -d 'Files older than this may have been removed on purpose: 200d, 12h' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l marked-since -d 'Every log must have a mark at or after this time (2026-01-31T12:00:00Z)' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l gpg-agent -d 'Use the secret keys that gpg-agent has, on OpenPGP cards too; it asks for passphrase or PIN itself'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l trust-first -d 'Trust the genesis records that the files bring themselves'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l force -d 'Write over the file of --output'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -s k -l key -d 'Secret key that opens them: OpenPGP, age or SSH; may be repeated' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l share -d 'Share of a secret key that opens them; repeated for as many as are needed' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l passphrase-fd -d 'Read the passphrases of secret keys from this file descriptor, one a line, instead of asking on the terminal' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l genesis -d 'Genesis fingerprint from paper: sixteen groups of four hexadecimal digits; may be repeated' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l genesis-file -d 'File with genesis fingerprints, one a line; what follows # is not read' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l ledger -d 'File that remembers what was verified before, and who has used sealed logs; it is made where there is none' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l ledger-head -d 'Head that the last use of the ledger gave, from paper: five groups of four hexadecimal digits' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l auditor -d 'Who uses the logs, for the ledger; the account\'s name by default' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l since -d 'Lines at or after this time: 2026-01-31T12:00:00Z, \'2026-01-31 12:00\', 2026-01-31, or how long ago, as 2h or 7d' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l until -d 'Lines before this time' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l by -d 'Which time of a line counts: its own time stamp, else its record\'s, or that of its record alone, which nobody could choose' -r -f -a "line\t''
record\t''"
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l zone -d 'Zone of times that name none, in lines and here: Europe/Berlin, +01:00' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l host -d 'Lines of this host, which sealed them or which they name; * and ? stand for any characters; may be repeated' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l log -d 'Lines of this log, by the end of its path: access.log, \'apache2/*\'; may be repeated' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l program -d 'Lines of this program: sshd, \'postfix/*\'; may be repeated' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l severity -d 'Lines that call themselves as grave as this or graver: emerg, alert, crit, err, warning, notice, info, debug' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l field -d 'Lines with such a field: client=192.0.2.0/24, status>=500, user!=root, agent~curl; all that are given must hold' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -s e -l regexp -d 'Regular expression that a line has in it; may be repeated: any will do. Without one every line matches' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -s m -l max-count -d 'No more than this many lines' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -s B -l before-context -d 'So many lines of the same log before each' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -s A -l after-context -d 'So many lines of the same log behind each' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -s C -l context -d 'So many lines of the same log around each' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l color -d 'Whether matches are coloured' -r -f -a "auto\t''
always\t''
never\t''"
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l gpg-agent -d 'Use the secret keys that gpg-agent has, on OpenPGP cards too; it asks for passphrase or PIN itself'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l trust-first -d 'Trust the genesis records that the files bring themselves'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l all -d 'Lines too that are not in their place: copies, forgeries, those of streams that are not trusted'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -s F -l fixed-strings -d 'Patterns are text, not regular expressions'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -s i -l ignore-case -d 'Small and capital letters are the same'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -s v -l invert-match -d 'Lines that have none of the patterns in them'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -s c -l count -d 'The number of lines instead of the lines; with --with-origin of each log'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -s H -l with-origin -d 'Host and log before each line'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -l json -d 'One JSON object a line, with what the line says and where its record stands'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand search" -s h -l help -d 'Print help'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -s k -l key -d 'Secret key that opens them: OpenPGP, age or SSH; may be repeated' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l share -d 'Share of a secret key that opens them; repeated for as many as are needed' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l passphrase-fd -d 'Read the passphrases of secret keys from this file descriptor, one a line, instead of asking on the terminal' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l genesis -d 'Genesis fingerprint from paper: sixteen groups of four hexadecimal digits; may be repeated' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l genesis-file -d 'File with genesis fingerprints, one a line; what follows # is not read' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l ledger -d 'File that remembers what was verified before, and who has used sealed logs; it is made where there is none' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l ledger-head -d 'Head that the last use of the ledger gave, from paper: five groups of four hexadecimal digits' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l auditor -d 'Who uses the logs, for the ledger; the account\'s name by default' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l since -d 'Lines at or after this time: 2026-01-31T12:00:00Z, \'2026-01-31 12:00\', 2026-01-31, or how long ago, as 2h or 7d' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l until -d 'Lines before this time' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l by -d 'Which time of a line counts: its own time stamp, else its record\'s, or that of its record alone, which nobody could choose' -r -f -a "line\t''
record\t''"
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l zone -d 'Zone of times that name none, in lines and here: Europe/Berlin, +01:00' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l host -d 'Lines of this host, which sealed them or which they name; * and ? stand for any characters; may be repeated' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l log -d 'Lines of this log, by the end of its path: access.log, \'apache2/*\'; may be repeated' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l program -d 'Lines of this program: sshd, \'postfix/*\'; may be repeated' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l severity -d 'Lines that call themselves as grave as this or graver: emerg, alert, crit, err, warning, notice, info, debug' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l field -d 'Lines with such a field: client=192.0.2.0/24, status>=500, user!=root, agent~curl; all that are given must hold' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l format -d 'Form of the table' -r -f -a "ndjson\t''
csv\t''
parquet\t''
sqlite\t''"
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -s o -l output -d 'File to make; standard output where it is left out, for ndjson and csv' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l gpg-agent -d 'Use the secret keys that gpg-agent has, on OpenPGP cards too; it asks for passphrase or PIN itself'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l trust-first -d 'Trust the genesis records that the files bring themselves'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l all -d 'Lines too that are not in their place: copies, forgeries, those of streams that are not trusted'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l force -d 'Replace the file if it is there'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -l partition -d 'Make a folder with a Parquet file for each host, log and day (UTC), laid out as Hive has it'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand export" -s h -l help -d 'Print help'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand split" -s o -l output -d 'Folder for the records, numbered in order; it is made where it is missing, files in it are never overwritten' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand split" -s h -l help -d 'Print help'
