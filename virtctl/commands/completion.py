"""`virtctl completion`: scripts that ask `virtctl __complete` what may follow."""

from __future__ import annotations

from typing import Annotated

import typer

from virtctl.errors import UsageError

EXAMPLES = """
# bash: for this shell, or for all from now on
source <(virtctl completion bash)
virtctl completion bash > /etc/bash_completion.d/virtctl

# zsh, in a directory of $fpath
virtctl completion zsh > ~/.zfunc/_virtctl

# fish
virtctl completion fish > ~/.config/fish/completions/virtctl.fish

# `kubectl virt <TAB>`: kubectl runs this helper, found in $PATH
virtctl completion kubectl > /usr/local/bin/kubectl_complete-virt
chmod +x /usr/local/bin/kubectl_complete-virt
"""
_BASH = """\
# bash completion of @PROGRAM@
__@NAME@_complete() {
    local IFS=$'\\n' current="${COMP_WORDS[COMP_CWORD]}" words=() answer directive
    # An = splits words in bash; put --flag=value together again.
    local line="${COMP_LINE:0:COMP_POINT}"
    IFS=' ' read -r -a words <<< "${line#* }"
    [[ "$line" == *" " ]] && words+=("")
    [[ "$line" == *" "* ]] || words=("")
    answer=$(@PROGRAM@ __completeNoDesc "${words[@]}" 2>/dev/null) || return
    directive="${answer##*:}"
    answer="${answer%:*}"
    COMPREPLY=($(compgen -W "$answer" -- "$current"))
    if [[ ${#COMPREPLY[@]} -eq 0 && "$directive" == 0 ]]; then
        COMPREPLY=($(compgen -f -- "$current"))
    fi
}
complete -F __@NAME@_complete @PROGRAM@
"""
_ZSH = """\
#compdef @PROGRAM@
# zsh completion of @PROGRAM@
_@NAME@() {
    local -a lines candidates
    local line directive
    lines=("${(@f)$(@PROGRAM@ __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    for line in "${lines[@]}"; do
        if [[ "$line" == :<-> ]]; then
            directive="${line#:}"
        elif [[ -n "$line" ]]; then
            candidates+=("${${line%%$'\\t'*}//:/\\\\:}:${line#*$'\\t'}")
        fi
    done
    if (( ${#candidates} )); then
        _describe '@PROGRAM@' candidates
    elif [[ "$directive" == 0 ]]; then
        _files
    fi
}
if [[ "${funcstack[1]}" == "_@NAME@" ]]; then
    _@NAME@ "$@"
else
    compdef _@NAME@ @PROGRAM@
fi
"""
_FISH = """\
# fish completion of @PROGRAM@
function __@NAME@_complete
    set -l words (commandline -opc) (commandline -ct)
    @PROGRAM@ __complete $words[2..-1] 2>/dev/null | string match -v -r '^:[0-9]+$'
end
complete -c @PROGRAM@ -f -a '(__@NAME@_complete)'
"""
_KUBECTL = """\
#!/bin/sh
# kubectl runs this for `kubectl virt <TAB>`.
exec kubectl-virt __complete "$@"
"""
SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH, "kubectl": _KUBECTL}


def command(
    ctx: typer.Context,
    shell: Annotated[str, typer.Argument(metavar="bash|zsh|fish|kubectl", show_default=False, help="For which shell.")],
) -> None:
    """Print a shell completion script."""
    if shell not in SCRIPTS:
        raise UsageError(f'unsupported shell "{shell}"', hint=f"One of {', '.join(SCRIPTS)}.")
    # As a kubectl plugin it must not touch kubectl's own completion: the script is for the program `kubectl-virt`.
    program = "virtctl" if ctx.find_root().info_name == "virtctl" else "kubectl-virt"
    print(SCRIPTS[shell].replace("@PROGRAM@", program).replace("@NAME@", program.replace("-", "_")), end="")
