# Written by python -m tests.completions

# Print what completes a word. It comes out of files of this host: no server is asked. -P keeps
# Python from importing what lies in the current folder.
function __three_backup
    set -l words (commandline -opc)
    set -l tool (command -s -- $words[1]); or return
    read -l shebang <$tool; or return
    string match -q '#!*' -- $shebang; or return
    set -l interpreter (string split -n ' ' -- (string sub -s 3 -- $shebang))
    command $interpreter -P -m three_backup.completion $argv[1] "$argv[2]" $words[2..] 2>/dev/null
end

complete -c tb-status -f
complete -c tb-status -s s -l select -x -a '(__three_backup ids (commandline -ct))' -d 'only objects whose id matches; may be repeated'
complete -c tb-status -l store -x -d 'look at this further store, as if there were no other'
complete -c tb-status -l every-host -d 'the other hosts of the bucket, too, worst first'
complete -c tb-status -l max-age -x -d 'critical where the newest good snapshot is older, 26h say'
complete -c tb-status -l grace -x -d 'how long what is due may wait for a run [default: 2h]'
complete -c tb-status -l prometheus -r -F -d 'write metrics there, too'
complete -c tb-status -l html -r -F -d 'write a page for a browser there, too'
complete -c tb-status -l nagios -d 'a line with figures for a plugin\'s reader, instead of a table'
complete -c tb-status -l runs -d 'the last twenty runs and what each did, instead'
complete -c tb-status -l json -d 'records instead of a table'
complete -c tb-status -s c -l config -r -F -d 'the configuration'
complete -c tb-status -l env-file -r -F -d 'PG* and CLICKHOUSE_* variables, instead of .env beside it'
complete -c tb-status -s h -l help -d 'show this'
complete -c tb-status -l version -d 'show the version'
