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

complete -c tb-list -f
complete -c tb-list -s s -l select -x -a '(__three_backup ids (commandline -ct))' -d 'only objects whose id matches; may be repeated'
complete -c tb-list -l stages -d 'with stage and max_stage'
complete -c tb-list -l snapshots -d 'with every snapshot and the moments between them'
complete -c tb-list -l drills -d 'with when each was last proved by tb-verify'
complete -c tb-list -l history -x -a '(__three_backup ids (commandline -ct))' -d 'in which snapshots an object is, and how it changed'
complete -c tb-list -l find -x -d 'where a bare name or a glob is, in all snapshots'
complete -c tb-list -l every-host -d 'what every host of the bucket stored, a line for each carrier'
complete -c tb-list -l stored -d 'what the snapshots hold instead of what the sources hold'
complete -c tb-list -l s3-prefix -x -d 'with one of these three: of another host, below its s3_prefix'
complete -c tb-list -l store -x -d 'with one of these three: the copies in this further store'
complete -c tb-list -l as-of -x -d 'with one of these three: the bucket as it was then'
complete -c tb-list -l json -d 'records instead of a table'
complete -c tb-list -s c -l config -r -F -d 'the configuration'
complete -c tb-list -l env-file -r -F -d 'PG* and CLICKHOUSE_* variables, instead of .env beside it'
complete -c tb-list -s h -l help -d 'show this'
complete -c tb-list -l version -d 'show the version'
