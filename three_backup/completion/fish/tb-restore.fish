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

complete -c tb-restore -f
complete -c tb-restore -l snapshot -x -k -a '(__three_backup snapshots \'\')' -d 'out of this snapshot, not out of the newest'
complete -c tb-restore -l at -x -d 'as it was at TIME, or at the newest snapshot before it'
complete -c tb-restore -l lsn -x -d 'as PostgreSQL\'s log had it just before this position'
complete -c tb-restore -l xid -x -d 'as it was when this transaction of PostgreSQL had ended'
complete -c tb-restore -l before-drop -d 'as it was just before it was dropped, or else truncated'
complete -c tb-restore -l exact -d 'fail where just that moment cannot be brought back'
complete -c tb-restore -l level1 -x -d 'under another level1: LXD pool, database, cluster'
complete -c tb-restore -l level2 -x -d 'under another level2: project, schema, database'
complete -c tb-restore -l level3 -x -d 'under another name'
complete -c tb-restore -l level1-suffix -x -d 'append to level1'
complete -c tb-restore -l level2-suffix -x -d 'append to level2'
complete -c tb-restore -l level3-suffix -x -d 'append to the name'
complete -c tb-restore -l into -x -a 'incus lxd' -d 'what LXD had into Incus, or back: incus or lxd'
complete -c tb-restore -l dry-run -d 'say what would be done, and touch nothing'
complete -c tb-restore -l overwrite -d 'replace what has the target\'s name'
complete -c tb-restore -l no-owner -d 'give all to the role that restores, not to whom it belonged'
complete -c tb-restore -l no-acl -d 'leave out grants'
complete -c tb-restore -l without-devices -d 'leave out profiles and devices that this host lacks'
complete -c tb-restore -l unchecked -d 'do not check tables of ClickHouse once they are restored'
complete -c tb-restore -l sql-before -r -F -d 'run this SQL on what is read, before rows of it leave'
complete -c tb-restore -l pgdata -x -a '(__fish_complete_directories)' -d 'a whole cluster of PostgreSQL, as a data directory'
complete -c tb-restore -l pgdata-owner -x -d 'whose DIR shall be, if root restores it'
complete -c tb-restore -l verify -d 'compare all bytes with PostgreSQL\'s own program before they are used'
complete -c tb-restore -l tablespace-mapping -x -d 'OLD=NEW: a tablespace of it goes to NEW; repeatable'
complete -c tb-restore -l unsigned -d 'take what manifest_key did not sign, too'
complete -c tb-restore -l s3-prefix -x -d 'what another host backed up, below its s3_prefix'
complete -c tb-restore -l store -x -d 'read the copies in this further store'
complete -c tb-restore -l as-of -x -d 'read the bucket as it was then, by the versions it keeps'
complete -c tb-restore -l json -d 'records on a terminal, too, and the summary beside them'
complete -c tb-restore -l progress -x -a 'auto always never' -d 'draw a bar: auto, always or never [default: auto]'
complete -c tb-restore -s c -l config -r -F -d 'the configuration'
complete -c tb-restore -l env-file -r -F -d 'variables instead of .env.restore and .env beside it'
complete -c tb-restore -s h -l help -d 'show this'
complete -c tb-restore -l version -d 'show the version'
complete -c tb-restore -x -a '(__three_backup ids (commandline -ct))'
