complete -c sealedlog-follow -l list -d 'File with such paths, one a line; without files and --journal: /etc/sealedlog/follow' -r -F
complete -c sealedlog-follow -l journal-folder -d 'Folder of the journal' -r -F
complete -c sealedlog-follow -l cursor -d 'File that keeps how far the journal is sealed' -r -F
complete -c sealedlog-follow -s o -l output -d 'Files to append to; {log} stands for the name of the log' -r -F
complete -c sealedlog-follow -l keys -d 'Key file or folder; may be repeated' -r -F
complete -c sealedlog-follow -l state -d 'Where the chain of each log is kept' -r -F
complete -c sealedlog-follow -l runtime -d 'Where progress is kept; must be in memory (tmpfs)' -r -F
complete -c sealedlog-follow -l user -d 'Seal as this user; what it cannot read is read before' -r
complete -c sealedlog-follow -l journal -d 'Follow the journal of systemd in memory'
complete -c sealedlog-follow -s h -l help -d 'Print help (see more with \'--help\')'
complete -c sealedlog-follow -s V -l version -d 'Print version'
