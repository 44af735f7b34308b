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

complete -c tb-cat -f
complete -c tb-cat -l snapshot -x -k -a '(__three_backup snapshots \'\')' -d 'out of this snapshot, not out of the newest'
complete -c tb-cat -l at -x -d 'as it was at TIME, or at the newest snapshot before it'
complete -c tb-cat -l lsn -x -d 'as PostgreSQL\'s log had it just before this position'
complete -c tb-cat -l xid -x -d 'as it was when this transaction of PostgreSQL had ended'
complete -c tb-cat -l before-drop -d 'as it was just before it was dropped, or else truncated'
complete -c tb-cat -l exact -d 'fail where just that moment cannot be had'
complete -c tb-cat -l format -x -a 'csv json sql' -d 'csv, json (an object a line), sql, or one of the server [default: csv]'
complete -c tb-cat -l columns -x -d 'only these columns, in this order: id,name'
complete -c tb-cat -l where -x -d 'only the rows that meet it, in the SQL of the server'
complete -c tb-cat -l limit -x -d 'so many rows at most'
complete -c tb-cat -l path -r -F -d 'of a container or volume: this file, or a tar of this folder'
complete -c tb-cat -l list -d 'of a container or volume: all names in it, or those below --path'
complete -c tb-cat -l definition -d 'what makes the object, as SQL or YAML, instead of its content'
complete -c tb-cat -l dir -x -a '(__fish_complete_directories)' -d 'a file for each object in DIR, instead of standard output'
complete -c tb-cat -l unsigned -d 'take what manifest_key did not sign, too'
complete -c tb-cat -l s3-prefix -x -d 'what another host backed up, below its s3_prefix'
complete -c tb-cat -l store -x -d 'read the copies in this further store'
complete -c tb-cat -l as-of -x -d 'read the bucket as it was then, by the versions that it keeps'
complete -c tb-cat -l progress -x -a 'auto always never' -d 'draw a bar: auto, always or never [default: auto]'
complete -c tb-cat -s c -l config -r -F -d 'the configuration'
complete -c tb-cat -l env-file -r -F -d 'variables instead of .env.restore and .env beside it'
complete -c tb-cat -s h -l help -d 'show this'
complete -c tb-cat -l version -d 'show the version'
complete -c tb-cat -x -a '(__three_backup ids (commandline -ct))'
