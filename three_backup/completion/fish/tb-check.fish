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

complete -c tb-check -f
complete -c tb-check -s s -l select -x -a '(__three_backup ids (commandline -ct))' -d 'only sources that a pattern reaches, s3 or host; may be repeated'
complete -c tb-check -l recovery-sheet -d 'print what a new host needs, keys included; check nothing'
complete -c tb-check -l json -d 'records instead of text'
complete -c tb-check -s c -l config -r -F -d 'the configuration'
complete -c tb-check -l env-file -r -F -d 'PG* and CLICKHOUSE_* variables, instead of .env beside it'
complete -c tb-check -s h -l help -d 'show this'
complete -c tb-check -l version -d 'show the version'
