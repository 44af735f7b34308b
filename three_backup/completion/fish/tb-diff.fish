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

complete -c tb-diff -f
complete -c tb-diff -l from -x -a 'auto always never' -d 'the earlier moment: a snapshot or a time; default: the newest snapshot'
complete -c tb-diff -l to -x -a 'auto always never' -d 'the later one: a snapshot, a time, or live [default: live]'
complete -c tb-diff -l exact -d 'fail where just these moments cannot be had'
complete -c tb-diff -l rows -d 'print the rows in which they differ, each with a sign, - for --from'
complete -c tb-diff -l definition -d 'print how what makes the objects differs'
complete -c tb-diff -l sql -d 'print SQL that turns the later state into the earlier one'
complete -c tb-diff -l json -d 'records on a terminal, too, in place of a table'
complete -c tb-diff -l unsigned -d 'take what manifest_key did not sign, too'
complete -c tb-diff -l s3-prefix -x -d 'what another host backed up, below its s3_prefix'
complete -c tb-diff -l store -x -d 'read the copies in this further store'
complete -c tb-diff -l as-of -x -d 'read the bucket as it was then, by the versions that it keeps'
complete -c tb-diff -l progress -x -a 'auto always never' -d 'draw a bar: auto, always or never [default: auto]'
complete -c tb-diff -s c -l config -r -F -d 'the configuration'
complete -c tb-diff -l env-file -r -F -d 'variables instead of .env.restore and .env beside it'
complete -c tb-diff -s h -l help -d 'show this'
complete -c tb-diff -l version -d 'show the version'
complete -c tb-diff -x -a '(__three_backup ids (commandline -ct))'
