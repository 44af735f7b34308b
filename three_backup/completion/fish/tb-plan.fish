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

complete -c tb-plan -f
complete -c tb-plan -l base -d 'plan a base for every object, whatever is due'
complete -c tb-plan -l incremental -d 'plan an incremental, whatever is due; a base where none can follow'
complete -c tb-plan -l explain -x -a '(__three_backup ids (commandline -ct))' -d 'plan nothing; show every option of the object and the line it comes from'
complete -c tb-plan -l json -d 'records on a terminal, too, in place of a table'
complete -c tb-plan -s c -l config -r -F -d 'the configuration'
complete -c tb-plan -l env-file -r -F -d 'PG* and CLICKHOUSE_* variables, instead of .env beside it'
complete -c tb-plan -s h -l help -d 'show this'
complete -c tb-plan -l version -d 'show the version'
