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

complete -c tb-run -f
complete -c tb-run -s s -l select -x -a '(__three_backup ids (commandline -ct))' -d 'only objects whose id matches; may be repeated'
complete -c tb-run -l base -d 'take a base of every object, whatever is due'
complete -c tb-run -l incremental -d 'take an incremental, whatever is due; a base where none can follow'
complete -c tb-run -l dry-run -d 'show what would be taken and why; take no lock, and change nothing'
complete -c tb-run -l if-running -x -a 'skip wait kill' -d 'where another run holds the lock: skip, wait or kill'
complete -c tb-run -s q -l quiet -d 'speak only when something failed, or is new'
complete -c tb-run -l json -d 'print the records instead of the summary'
complete -c tb-run -l adopt -d 'take over a prefix that another host wrote'
complete -c tb-run -l progress -x -a 'auto always never' -d 'draw a bar: auto, always or never [default: auto]'
complete -c tb-run -s c -l config -r -F -d 'the configuration'
complete -c tb-run -l env-file -r -F -d 'PG* and CLICKHOUSE_* variables, instead of .env beside it'
complete -c tb-run -s h -l help -d 'show this'
complete -c tb-run -l version -d 'show the version'
