# Print an optspec for argparse to handle cmd's options that are independent of any subcommand.
function __fish_sealedlog_global_optspecs
    string join \n h/help V/version
end

function __fish_sealedlog_needs_command
    # Figure out if the current invocation already has a command.
    set -l cmd (commandline -opc)
    set -e cmd[1]
    argparse -s (__fish_sealedlog_global_optspecs) -- $cmd 2>/dev/null
    or return
    if set -q argv[1]
        # Also print the command, so this can be used to figure out what it is.
        echo $argv[1]
        return 1
    end
    return 0
end

function __fish_sealedlog_using_subcommand
    set -l cmd (__fish_sealedlog_needs_command)
    test -z "$cmd"
    and return 1
    contains -- $cmd[1] $argv
end

complete -c sealedlog -n "__fish_sealedlog_needs_command" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealedlog -n "__fish_sealedlog_needs_command" -s V -l version -d 'Print version'
complete -c sealedlog -n "__fish_sealedlog_needs_command" -f -a "seal" -d 'Seal standard input, line by line, and append it to a file or write it to standard output'
complete -c sealedlog -n "__fish_sealedlog_needs_command" -f -a "keys" -d 'Show what would be sealed to'
complete -c sealedlog -n "__fish_sealedlog_needs_command" -f -a "enable" -d 'Have the logs of services sealed from now on'
complete -c sealedlog -n "__fish_sealedlog_needs_command" -f -a "disable" -d 'Have services write plain text again'
complete -c sealedlog -n "__fish_sealedlog_needs_command" -f -a "mark" -d 'Seal into each log how far it has come, before its files are copied for an audit'
complete -c sealedlog -n "__fish_sealedlog_needs_command" -f -a "status" -d 'Show each sealed log: its keys, its newest file, and what is wrong'
complete -c sealedlog -n "__fish_sealedlog_needs_command" -f -a "doctor" -d 'Find the logs that are still written in plain text, who writes them, and what to do'
complete -c sealedlog -n "__fish_sealedlog_needs_command" -f -a "seal-existing" -d 'Seal plain files that are left over from before, and remove them'
complete -c sealedlog -n "__fish_sealedlog_needs_command" -f -a "restart" -d 'Begin each log anew, in a stream that follows the old one, after an intrusion'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -s o -l output -d 'File to append to, with strftime conversions of the local time: with %Y-%m-%d each day has a file. The suffix of the record format is added unless it is there. Without it: standard output' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l keys -d 'Key file or folder; may be repeated' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l state -d 'Where the chain of each log is kept' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l runtime -d 'Where progress is kept; must be in memory (tmpfs)' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l profile -d 'Record format, where the keys leave a choice: rfc9580, rfc4880 or age' -r
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l framing -d 'How records follow each other: binary, or base64 with one line a record' -r
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l when-full -d 'When lines cannot be stored: block (stop reading) or drop (count them into a gap record)' -r -f -a "block\t'Stop reading'
drop\t'Count them into a gap record'"
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l max-line -d 'Longest line in bytes that is sealed in one piece' -r
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l mark-idle -d 'Seal a mark into a log when nothing came for so many seconds, so that its last lines cannot be cut off unnoticed' -r
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l window -d 'Show the newest lines in plain text in this file, too, for fail2ban or a live view. It must be in memory (tmpfs); when it is full it becomes FILE.1, in the place of the one before' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l window-size -d 'The most bytes of both' -r
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l user -d 'Become this user at the start, for good: it must be able to write to the log\'s folder, and to read the keys. Folders of state and progress that are missing are made for it' -r
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l make-parents -d 'Make the file\'s folder where it is missing'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l group -d 'Seal the lines of one read, up to 64 KiB, into one record: fewer bytes and less work, but damage costs all of them'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l no-sandbox -d 'Keep the rights to open other files and connections, and to run programs. For log folders that are links or mount points, and change while the program runs'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l until-eof -d 'Go on to the end of input whatever signals come'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -l until-term -d 'On SIGTERM seal what can be read without waiting, then end'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal" -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand keys; and not __fish_seen_subcommand_from check list" -l keys -d 'Key file or folder; may be repeated' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand keys; and not __fish_seen_subcommand_from check list" -l profile -d 'Record format, where the keys leave a choice: rfc9580, rfc4880 or age' -r
complete -c sealedlog -n "__fish_sealedlog_using_subcommand keys; and not __fish_seen_subcommand_from check list" -s h -l help -d 'Print help'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand keys; and not __fish_seen_subcommand_from check list" -f -a "check" -d 'Tell whether the keys can be used together, and what the choice costs (the default)'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand keys; and not __fish_seen_subcommand_from check list" -f -a "list" -d 'List the keys, one a line: file, kind, fingerprint, expiry, label, separated by tabs'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand keys; and __fish_seen_subcommand_from check" -l keys -d 'Key file or folder; may be repeated' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand keys; and __fish_seen_subcommand_from check" -l profile -d 'Record format, where the keys leave a choice: rfc9580, rfc4880 or age' -r
complete -c sealedlog -n "__fish_sealedlog_using_subcommand keys; and __fish_seen_subcommand_from check" -s h -l help -d 'Print help'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand keys; and __fish_seen_subcommand_from list" -l keys -d 'Key file or folder; may be repeated' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand keys; and __fish_seen_subcommand_from list" -l profile -d 'Record format, where the keys leave a choice: rfc9580, rfc4880 or age' -r
complete -c sealedlog -n "__fish_sealedlog_using_subcommand keys; and __fish_seen_subcommand_from list" -s h -l help -d 'Print help'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand enable" -l dry-run -d 'Show each change, and make none'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand enable" -l unattended -d 'As the unit does that watches the keys: without a usable key say what is awaited and end well, and leave out what was disabled by name'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand enable" -s h -l help -d 'Print help'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand disable" -l dry-run -d 'Show each change, and make none'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand disable" -l unattended -d 'As the package does that is removed: a key that comes later turns everything on again'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand disable" -s h -l help -d 'Print help'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand mark" -l state -d 'Where the chain of each log is kept' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand mark" -l runtime -d 'Where progress is kept' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand mark" -s h -l help -d 'Print help'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand status" -l state -d 'Where the chain of each log is kept' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand status" -l runtime -d 'Where progress is kept' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand status" -l keys -d 'Key file or folder that the first log awaits, where none is sealed yet; may be repeated' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand status" -l warnings -d 'Only the logs with something wrong'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand status" -l json -d 'One JSON object a line: each log, then a summary'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand status" -s h -l help -d 'Print help'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand doctor" -l logs -d 'Folder of the logs' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand doctor" -l within -d 'A file that nobody has open counts as still written where it was written within so many hours' -r
complete -c sealedlog -n "__fish_sealedlog_using_subcommand doctor" -l json -d 'One JSON object a line: each file, then a summary'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand doctor" -s h -l help -d 'Print help'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal-existing" -l keys -d 'Key file or folder; may be repeated' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal-existing" -l profile -d 'Record format, where the keys leave a choice: rfc9580, rfc4880 or age' -r
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal-existing" -l keep -d 'Leave the plain files where they are'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand seal-existing" -s h -l help -d 'Print help'
complete -c sealedlog -n "__fish_sealedlog_using_subcommand restart" -l state -d 'Where the chain of each log is kept' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand restart" -l runtime -d 'Where progress is kept' -r -F
complete -c sealedlog -n "__fish_sealedlog_using_subcommand restart" -s h -l help -d 'Print help'
