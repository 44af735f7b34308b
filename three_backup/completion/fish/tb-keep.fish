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

complete -c tb-keep -f
complete -c tb-keep -l until -x -d 'until then, or for so long: 2026-12-24, 30d; without it, for ever'
complete -c tb-keep -l reason -x -d 'why, for whoever asks later'
complete -c tb-keep -l release -d 'let retention decide again'
complete -c tb-keep -l store -x -d 'hold and release the copies in this further store'
complete -c tb-keep -l json -d 'records instead of a table'
complete -c tb-keep -s c -l config -r -F -d 'the configuration'
complete -c tb-keep -l env-file -r -F -d 'PG* and CLICKHOUSE_* variables, instead of .env beside it'
complete -c tb-keep -s h -l help -d 'show this'
complete -c tb-keep -l version -d 'show the version'
complete -c tb-keep -n "not string match -q -- '*/*' (commandline -opc)" -x -a '(__three_backup ids (commandline -ct))'
complete -c tb-keep -n "string match -q -- '*/*' (commandline -opc)" -x -k -a '(__three_backup snapshots \'\')'
