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

complete -c tb-open -f
complete -c tb-open -l snapshot -x -k -a '(__three_backup snapshots \'\')' -d 'open this snapshot, not the newest'
complete -c tb-open -l at -x -d 'as it was at TIME, or at the newest snapshot before it'
complete -c tb-open -l lsn -x -d 'as PostgreSQL\'s log had it just before this position'
complete -c tb-open -l xid -x -d 'as it was when this transaction of PostgreSQL had ended'
complete -c tb-open -l before-drop -d 'as it was just before it was dropped, or else truncated'
complete -c tb-open -l exact -d 'fail where just that moment cannot be had'
complete -c tb-open -l for -x -d 'close it after so long: 30m, 2h, 1d; without it, when told to end'
complete -c tb-open -l unsigned -d 'take what manifest_key did not sign, too'
complete -c tb-open -l s3-prefix -x -d 'what another host backed up, below its s3_prefix'
complete -c tb-open -l store -x -d 'read the copies in this further store'
complete -c tb-open -l as-of -x -d 'read the bucket as it was then, by the versions that it keeps'
complete -c tb-open -l json -d 'records on a terminal, too'
complete -c tb-open -l progress -x -a 'auto always never' -d 'draw a bar: auto, always or never [default: auto]'
complete -c tb-open -s c -l config -r -F -d 'the configuration'
complete -c tb-open -l env-file -r -F -d 'variables instead of .env.restore and .env beside it'
complete -c tb-open -s h -l help -d 'show this'
complete -c tb-open -l version -d 'show the version'
complete -c tb-open -x -a '(__three_backup ids (commandline -ct))'
