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

complete -c tb-discover -f
complete -c tb-discover -s s -l select -x -a '(__three_backup ids (commandline -ct))' -d 'only objects whose id matches; may be repeated'
complete -c tb-discover -l stored -d 'what the snapshots hold instead of what the sources hold'
complete -c tb-discover -l s3-prefix -x -d 'with --stored: of another host, below its s3_prefix'
complete -c tb-discover -l store -x -d 'with --stored: the copies in this further store'
complete -c tb-discover -l as-of -x -d 'with --stored: the bucket as it was then, by its versions'
complete -c tb-discover -l json -d 'records on a terminal, too, in place of a table'
complete -c tb-discover -s c -l config -r -F -d 'the configuration'
complete -c tb-discover -l env-file -r -F -d 'PG* and CLICKHOUSE_* variables, instead of .env beside it'
complete -c tb-discover -s h -l help -d 'show this'
complete -c tb-discover -l version -d 'show the version'
