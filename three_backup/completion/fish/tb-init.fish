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

complete -c tb-init -f
complete -c tb-init -l endpoint -x -d 'the S3 server, such as s3.example.com'
complete -c tb-init -l bucket -x -d 'the bucket'
complete -c tb-init -l prefix -x -d 'the folder of this host in it; by default the name of the host'
complete -c tb-init -l region -x -d 'the region, if the server insists on one'
complete -c tb-init -l keys-from -r -F -d 'access key and secret key, on two lines; - for standard input'
complete -c tb-init -l create-bucket -d 'make the bucket if there is none'
complete -c tb-init -l local-dir -x -a '(__fish_complete_directories)' -d 'the folder of snapshots on this host'
complete -c tb-init -s s -l source -x -a 'clickhouse incus lxd postgres' -d 'back up this source only; may be repeated'
complete -c tb-init -l prepare -d 'run the SQL that is shown without asking, where root may'
complete -c tb-init -l sign -d 'sign what is stored, with a new key that the bucket never sees'
complete -c tb-init -l enable -d 'start the timer of systemd without asking'
complete -c tb-init -l run -d 'take the first backup without asking'
complete -c tb-init -l progress -x -a 'auto always never' -d 'draw a bar: auto, always or never [default: auto]'
complete -c tb-init -s c -l config -r -F -d 'the configuration to write'
complete -c tb-init -s h -l help -d 'show this'
complete -c tb-init -l version -d 'show the version'
