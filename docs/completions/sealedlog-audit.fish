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
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l ledger -d 'File that remembers what was verified before; it is made by the first verification that trusts a stream' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -s o -l output -d 'File to write, whole or not at all, for your eyes only; without it the report goes to standard output' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l format -d 'Form of the report' -r -f -a "html\t'One file for a browser, that needs no network'
text\t'80 columns, for a terminal or paper'
json\t'The same for programs'"
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l auditor -d 'Who audits, for the report\'s head; without it, who is logged in' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l title -d 'What stands above the report' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l rules -d 'Rules of your own, in Sigma\'s form, in a file or the *.yml of a folder; may be repeated' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l time-zone -d 'Zone of time stamps that name none: UTC, Europe/Vienna' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l retention -d 'Files older than this may have been removed on purpose: 200d, 12h' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l marked-since -d 'Every log must have a mark at or after this time (2026-01-31T12:00:00Z)' -r
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l gpg-agent -d 'Use the secret keys that gpg-agent has, on OpenPGP cards too; it asks for passphrase or PIN itself'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l trust-first -d 'Trust the genesis records that the files bring themselves'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -l force -d 'Write over the file of --output'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand report" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand split" -s o -l output -d 'Folder for the records, numbered in order; it is made where it is missing, files in it are never overwritten' -r -F
complete -c sealedlog-audit -n "__fish_sealedlog_audit_using_subcommand split" -s h -l help -d 'Print help'
