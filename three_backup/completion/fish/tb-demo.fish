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

complete -c tb-demo -f
complete -c tb-demo -l keep -d 'leave the servers running, and say how to play with them and how to end them'
complete -c tb-demo -s h -l help -d 'show this'
complete -c tb-demo -l version -d 'show the version'
