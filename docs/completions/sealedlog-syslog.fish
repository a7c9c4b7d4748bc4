complete -c sealedlog-syslog -l keys -d 'Key file or folder; may be repeated' -r -F
complete -c sealedlog-syslog -l state -d 'Where the chain of each log is kept' -r -F
complete -c sealedlog-syslog -l runtime -d 'Where progress is kept; must be in memory (tmpfs)' -r -F
complete -c sealedlog-syslog -l profile -d 'Record format, where the keys leave a choice: rfc9580, rfc4880 or age' -r
complete -c sealedlog-syslog -l framing -d 'How records follow each other: binary, or base64 with one line a record' -r
complete -c sealedlog-syslog -l when-full -d 'When lines cannot be stored: block (stop reading) or drop (count them into a gap record)' -r -f -a "block\t'Stop reading'
drop\t'Count them into a gap record'"
complete -c sealedlog-syslog -l max-line -d 'Longest line in bytes that is sealed in one piece' -r
complete -c sealedlog-syslog -l mark-idle -d 'Seal a mark into a log when nothing came for so many seconds, so that its last lines cannot be cut off unnoticed' -r
complete -c sealedlog-syslog -l window -d 'Show the newest lines in plain text in this file, too, for fail2ban or a live view. It must be in memory (tmpfs); when it is full it becomes FILE.1, in the place of the one before' -r -F
complete -c sealedlog-syslog -l window-size -d 'The most bytes of both' -r
complete -c sealedlog-syslog -l user -d 'Become this user at the start, for good: it must be able to write to the log\'s folder, and to read the keys. Folders of state and progress that are missing are made for it' -r
complete -c sealedlog-syslog -l max-open -d 'Most logs that are open at the same time; the one that was not used for the longest time is closed for another' -r
complete -c sealedlog-syslog -l pipe-size -d 'Have the pipe from the daemon hold so many bytes, where the system allows it: a daemon that hands over without waiting for answers goes on while lines are sealed. If the program is killed they are lost; 64 KiB are usual' -r
complete -c sealedlog-syslog -l group -d 'Seal the lines of one read, up to 64 KiB, into one record: fewer bytes and less work, but damage costs all of them'
complete -c sealedlog-syslog -l no-sandbox -d 'Keep the rights to open other files and connections, and to run programs. For log folders that are links or mount points, and change while the program runs'
complete -c sealedlog-syslog -l until-eof -d 'Go on to the end of input whatever signals come'
complete -c sealedlog-syslog -l until-term -d 'On SIGTERM seal what can be read without waiting, then end'
complete -c sealedlog-syslog -l confirm-messages -d 'Answer each line on standard output, as rsyslog\'s confirmMessages="on" wants it: "OK" after it is in the file, or why it is not; then rsyslog keeps it and sends it again'
complete -c sealedlog-syslog -l use-transactions -d 'Answer as rsyslog\'s useTransactions="on" wants it: lines of a transaction are in the file when they are answered, and on the disk when the transaction ends. Each line must begin with a field or a time, so that none reads as "BEGIN TRANSACTION"'
complete -c sealedlog-syslog -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealedlog-syslog -s V -l version -d 'Print version'
