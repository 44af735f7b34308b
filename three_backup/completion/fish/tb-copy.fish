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

complete -c tb-copy -f
complete -c tb-copy -l to -x -d 'into this store of the configuration, not into that of copy_to'
complete -c tb-copy -l as-of -x -d 'what the bucket held then, by the versions that it keeps'
complete -c tb-copy -l rotate -d 'then remove the copies there that the store\'s retention no longer keeps'
complete -c tb-copy -l adopt -d 'take over a prefix that another host wrote'
complete -c tb-copy -l json -d 'records on a terminal, too, in place of a table'
complete -c tb-copy -l progress -x -a 'auto always never' -d 'draw a bar: auto, always or never [default: auto]'
complete -c tb-copy -s c -l config -r -F -d 'the configuration'
complete -c tb-copy -l env-file -r -F -d 'PG* and CLICKHOUSE_* variables, instead of .env beside it'
complete -c tb-copy -s h -l help -d 'show this'
complete -c tb-copy -l version -d 'show the version'
complete -c tb-copy -x -a '(__three_backup ids (commandline -ct))'
