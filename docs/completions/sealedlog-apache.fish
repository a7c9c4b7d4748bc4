complete -c sealedlog-apache -l keys -d 'Key file or folder; may be repeated' -r -F
complete -c sealedlog-apache -l state -d 'Where the chain of each log is kept' -r -F
complete -c sealedlog-apache -l runtime -d 'Where progress is kept; must be in memory (tmpfs)' -r -F
complete -c sealedlog-apache -l profile -d 'Record format, where the keys leave a choice: rfc9580, rfc4880 or age' -r
complete -c sealedlog-apache -l framing -d 'How records follow each other: binary, or base64 with one line a record' -r
complete -c sealedlog-apache -l when-full -d 'When lines cannot be stored: block (stop reading) or drop (count them into a gap record)' -r -f -a "block\t'Stop reading'
drop\t'Count them into a gap record'"
complete -c sealedlog-apache -l max-line -d 'Longest line in bytes that is sealed in one piece' -r
complete -c sealedlog-apache -l mark-idle -d 'Seal a mark into a log when nothing came for so many seconds, so that its last lines cannot be cut off unnoticed' -r
complete -c sealedlog-apache -l window -d 'Show the newest lines in plain text in this file, too, for fail2ban or a live view. It must be in memory (tmpfs); when it is full it becomes FILE.1, in the place of the one before' -r -F
complete -c sealedlog-apache -l window-size -d 'The most bytes of both' -r
complete -c sealedlog-apache -l user -d 'Become this user at the start, for good: it must be able to write to the log\'s folder, and to read the keys. Folders of state and progress that are missing are made for it' -r
complete -c sealedlog-apache -s L -d 'Keep a hard link of this name to the current file' -r -F
complete -c sealedlog-apache -s p -d 'Run this program after a file was opened: its arguments are the new file and, after a rotation, the old one' -r -F
complete -c sealedlog-apache -s n -d 'Use FILE, FILE.1 … up to N files in turn, and empty each when its turn comes again' -r
complete -c sealedlog-apache -l group -d 'Seal the lines of one read, up to 64 KiB, into one record: fewer bytes and less work, but damage costs all of them'
complete -c sealedlog-apache -l no-sandbox -d 'Keep the rights to open other files and connections, and to run programs. For log folders that are links or mount points, and change while the program runs'
complete -c sealedlog-apache -l until-eof -d 'Go on to the end of input whatever signals come'
complete -c sealedlog-apache -l until-term -d 'On SIGTERM seal what can be read without waiting, then end'
complete -c sealedlog-apache -s v -d 'Tell on standard error how the command line was understood, and each file that is opened or closed'
complete -c sealedlog-apache -s l -d 'Take local time instead of UTC for intervals and names'
complete -c sealedlog-apache -s f -d 'Open the file at start, not when the first line comes'
complete -c sealedlog-apache -s D -d 'Make the parent directories of the file'
complete -c sealedlog-apache -s t -d 'Empty the file instead of starting another one; its name gets no suffix'
complete -c sealedlog-apache -s T -d 'Empty a file that a rotation opens, but not the first one'
complete -c sealedlog-apache -s e -d 'Copy the lines to standard output'
complete -c sealedlog-apache -s c -d 'Make a file for each interval even if no line comes (needs TIME, else it does nothing)'
complete -c sealedlog-apache -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealedlog-apache -s V -l version -d 'Print version'
