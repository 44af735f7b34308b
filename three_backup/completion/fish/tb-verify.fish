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

complete -c tb-verify -f
complete -c tb-verify -l sample -x -d 'only N of the objects, chosen at random'
complete -c tb-verify -l oldest-first -d 'begin with what was proved longest ago, or never'
complete -c tb-verify -l between -d 'a moment between snapshots, drawn at random, by PostgreSQL\'s log'
complete -c tb-verify -l content -d 'read every row to its end, and compare with the last drill'
complete -c tb-verify -l sign -d 'adopt what manifest_key did not sign, once all of it was read'
complete -c tb-verify -l read-only -d 'read all that is stored and compare hashes, restore nothing'
complete -c tb-verify -l store -x -d 'prove the copies in this further store'
complete -c tb-verify -l as-of -x -d 'prove what the bucket held then, by the versions that it keeps'
complete -c tb-verify -l json -d 'records on a terminal, too, in place of a table'
complete -c tb-verify -l progress -x -a 'auto always never' -d 'draw a bar: auto, always or never [default: auto]'
complete -c tb-verify -s c -l config -r -F -d 'the configuration'
complete -c tb-verify -l env-file -r -F -d 'variables instead of .env.restore and .env beside it'
complete -c tb-verify -s h -l help -d 'show this'
complete -c tb-verify -l version -d 'show the version'
complete -c tb-verify -x -a '(__three_backup ids (commandline -ct))'
