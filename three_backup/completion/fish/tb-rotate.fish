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

complete -c tb-rotate -f
complete -c tb-rotate -l dry-run -d 'remove nothing; say of every snapshot what would become of it and why'
complete -c tb-rotate -l orphans -d 'rotate nothing; show the keys in S3 that belong to no snapshot'
complete -c tb-rotate -l remove -d 'with --orphans: remove those older than a week'
complete -c tb-rotate -l s3-prefix -x -d 'what another host stored, which may not delete, below its s3_prefix'
complete -c tb-rotate -l adopt -d 'take over a prefix that another host wrote'
complete -c tb-rotate -l json -d 'records on a terminal, too, in place of a table'
complete -c tb-rotate -s c -l config -r -F -d 'the configuration'
complete -c tb-rotate -l env-file -r -F -d 'PG* and CLICKHOUSE_* variables, instead of .env beside it'
complete -c tb-rotate -s h -l help -d 'show this'
complete -c tb-rotate -l version -d 'show the version'
