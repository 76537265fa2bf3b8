"""`virtctl local`: the one-machine cluster from the command line.

virtctl finds this group through the entry point `virtctl.commands`; errors are VirtErrors, which virtctl prints.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from virt_types.errors import VirtError

if TYPE_CHECKING:
    from datetime import timedelta

    from virt_local.report import Report
    from virt_local.settings import Settings

app = typer.Typer(
    name="local", help="A Kubernetes API and virtual machines on this machine alone.", no_args_is_help=True
)

StateDir = Annotated[
    Path | None,
    typer.Option(
        help="Where disks, objects and certificates are kept.",
        show_default="/var/lib/virtctl for root, else ~/.local/state/virtctl",
    ),
]
RunDir = Annotated[
    Path | None,
    typer.Option(
        help="Where sockets and pids are kept.", show_default="/run/virtctl for root, else /run/user/UID/virtctl"
    ),
]
Components = Annotated[
    str,
    typer.Option(help="Only these, comma separated: api, subresources, controllers, node, proxy, storage, importer."),
]


class UsageError(VirtError):
    reason = "BadUsage"


@app.command()
def up(  # noqa: PLR0917  options: Typer calls it by name
    components: Components = "",
    foreground: Annotated[bool, typer.Option(help="Stay in this terminal until Ctrl+C.")] = False,
    state_dir: StateDir = None,
    run_dir: RunDir = None,
    listen: Annotated[str, typer.Option(help="Where the API listens: HOST:PORT or PORT.")] = "",
    registry_mirror: Annotated[
        list[str] | None,
        typer.Option(help="Take images whose names begin with PREFIX from elsewhere: PREFIX=LOCATION. Repeatable."),
    ] = None,
    http_mirror: Annotated[
        list[str] | None,
        typer.Option(help="Import from URLs that begin with PREFIX from elsewhere: PREFIX=URL. Repeatable."),
    ] = None,
    accelerator: Annotated[str, typer.Option(help="auto (measured), kvm or qemu (emulation).")] = "auto",
    network: Annotated[str, typer.Option(help="The libvirt network guests join; made when missing.")] = "virtctl",
    node_name: Annotated[str, typer.Option(help="This machine's name as a node.", show_default="host name")] = "",
    audit_log: Annotated[
        Path | None, typer.Option(help="Write who did what to this file, a line of JSON for each request.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait until everything is ready.")] = 120,
) -> None:
    """Start the cluster, or what of it does not run yet."""
    from msgspec.structs import replace

    from virt_local.launch import up as start

    host, port = _listen(listen)
    settings = replace(
        _settings(state_dir, run_dir, components),
        host=host,
        port=port,
        node_name=node_name,
        accelerator=_one_of("--accelerator", accelerator, ("auto", "kvm", "qemu")),
        network=network,
        audit_log=audit_log.absolute() if audit_log else None,
        registry_mirrors=dict(_mirror("--registry-mirror", text) for text in registry_mirror or ()),
        http_mirrors=dict(_mirror("--http-mirror", text) for text in http_mirror or ()),
    )
    process = start(settings, say=typer.echo, foreground=foreground, timeout=timeout)
    if foreground:
        return
    typer.echo("The cluster is up already." if process is None else "The cluster is up.")
    typer.echo(_next_steps(settings))


@app.command()
def down(
    guests: Annotated[str, typer.Option(help="leave: they keep running; stop: shut them down first.")] = "leave",
    components: Components = "",
    state_dir: StateDir = None,
    run_dir: RunDir = None,
) -> None:
    """Stop the cluster. Guests keep running unless told otherwise."""
    from virt_local.launch import down as stop

    settings = _settings(state_dir, run_dir, components)
    fate = _one_of("--guests", guests, ("leave", "stop"))
    stop(settings, say=typer.echo)
    if fate == "stop":
        from virt_local.guests import stop_all

        stop_all(settings.places, say=typer.echo)


@app.command()
def status(
    output: Annotated[str, typer.Option("--output", "-o", help="text or json.")] = "text",
    state_dir: StateDir = None,
    run_dir: RunDir = None,
) -> None:
    """Show components, API, node and guests."""
    from virt_local.report import report

    _one_of("--output", output, ("text", "json"))
    found = report(_settings(state_dir, run_dir, "").places)
    if output == "json":
        import msgspec

        typer.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
        return
    for line in _status_lines(found):
        typer.echo(line)


@app.command()
def doctor(state_dir: StateDir = None, run_dir: RunDir = None) -> None:
    """Check what guests need, and say how to install it."""
    from virt_local.doctor import examine, install_command

    findings = examine(_settings(state_dir, run_dir, ""))
    width = max(len(finding.name) for finding in findings)
    for finding in findings:
        typer.echo(f"{finding.verdict:8}{finding.name:{width}}  {finding.text}")
        if finding.fix:
            typer.echo(f"{'':8}{'':{width}}  -> {finding.fix}")
    command = install_command(findings)
    if command:
        typer.echo(f"\nThis installs what is missing:\n  {command}")
    if any(finding.verdict == "missing" for finding in findings):
        raise typer.Exit(1)


@app.command()
def kubeconfig(
    merge: Annotated[
        bool, typer.Option(help="Add the cluster to ~/.kube/config (or $KUBECONFIG's first file).")
    ] = False,
    user: Annotated[
        str, typer.Option(help="For somebody else: viewer sees all but Secrets; others have what you bind to them.")
    ] = "",
    group: Annotated[list[str] | None, typer.Option(help="A group that user is in. Repeatable.")] = None,
    expiry: Annotated[str, typer.Option(help="How long that user's certificate is good: 30m, 24h, 90d.")] = "24h",
    state_dir: StateDir = None,
) -> None:
    """Print the cluster's kubeconfig, or one for another user."""
    from virt_local.kubeconfigs import for_user, merge_into_default, read

    places = _settings(state_dir, None, "").places
    if user or group:
        if merge or not user:
            raise UsageError("--user can't be merged" if merge else "--group needs --user", hint="write it to a file")
        typer.echo(for_user(places, user, group or (), _duration(expiry)), nl=False)
        return
    if not merge:
        typer.echo(read(places.kubeconfig), nl=False)
        return
    target, context = merge_into_default(places.kubeconfig)
    typer.echo(f"Added context {context} to {target}. Use it with: kubectl --context {context} get vms")


@app.command()
def backup(
    file: Annotated[Path, typer.Argument(help="Where the copy is written. Must not exist.", show_default=False)],
    state_dir: StateDir = None,
) -> None:
    """Copy all objects of the cluster to a file. It may run meanwhile. Disks and certificates are not copied."""
    from virt_local.store.backup import backup as copy

    found = copy(_settings(state_dir, None, "").places.state / "store.db", file.absolute())
    typer.echo(f"Copied {found.objects} objects at revision {found.revision} to {found.path}")


@app.command()
def restore(
    file: Annotated[Path, typer.Argument(help="A copy made by backup.", show_default=False)],
    state_dir: StateDir = None,
) -> None:
    """Put a copy in the place of the cluster's objects. The cluster must be down; what was there is kept."""
    from virt_local.store.backup import restore as put_back

    found, kept = put_back(file.absolute(), _settings(state_dir, None, "").places.state / "store.db")
    typer.echo(f"Restored {found.objects} objects at revision {found.revision} to {found.path}")
    if kept is not None:
        typer.echo(f"What was there is kept as {kept}")


@app.command()
def apiserver(  # noqa: PLR0917  options: Typer calls it by name
    data_dir: Annotated[Path, typer.Option(help="Where objects and certificates are kept.", show_default=False)],
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 picks a free one.")] = "127.0.0.1:6443",
    token_auth_file: Annotated[
        Path | None, typer.Option(help='Bearer tokens: lines of token,user,uid,"group1,group2".')
    ] = None,
    audit_log: Annotated[
        Path | None, typer.Option(help="Write who did what to this file, a line of JSON for each request.")
    ] = None,
    no_admission: Annotated[
        bool, typer.Option("--no-admission", help="A bare Kubernetes API: KubeVirt's kinds and rules left out.")
    ] = False,
    no_crds: Annotated[bool, typer.Option("--no-crds", help="Install no CustomResourceDefinitions.")] = False,
) -> None:
    """Run only a Kubernetes API server, in the foreground. It prints its URL and CA when it is ready."""
    from virt_local.apiserver.__main__ import main

    options = {
        "--listen": listen,
        "--data-dir": data_dir,
        "--token-auth-file": token_auth_file,
        "--audit-log": audit_log,
    }
    given = [str(word) for name, value in options.items() if value is not None for word in (name, value)]
    flags = {"--no-admission": no_admission, "--no-crds": no_crds or no_admission}
    raise typer.Exit(main([*given, *(name for name, wanted in flags.items() if wanted)]))


def _settings(state_dir: Path | None, run_dir: Path | None, components: str) -> Settings:
    from virt_kube import places as defaults
    from virt_local.settings import COMPONENTS, Places, Settings

    names = tuple(name.strip() for name in components.split(",") if name.strip()) or COMPONENTS
    for name in names:
        _one_of("--components", name, COMPONENTS)
    places = Places(Path(state_dir or defaults.state_dir()).absolute(), Path(run_dir or defaults.run_dir()).absolute())
    return Settings(places=places, components=names)


def _one_of(option: str, value: str, allowed: tuple[str, ...]) -> str:
    if value not in allowed:
        raise UsageError(f'{option}: "{value}" is none of {", ".join(allowed)}')
    return value


def _listen(text: str) -> tuple[str, int]:
    if not text:
        return "127.0.0.1", 0
    host, _, port = text.rpartition(":")
    if not port.isdigit() or int(port) > 65535:
        raise UsageError(f'--listen: "{text}" is not HOST:PORT', hint="for example --listen 127.0.0.1:6443")
    return host.strip("[]") or "127.0.0.1", int(port)


def _duration(text: str) -> timedelta:
    from datetime import timedelta

    unit = {"m": "minutes", "h": "hours", "d": "days"}.get(text[-1:])
    if unit is None or not text[:-1].isdecimal() or len(text) > 9:
        raise UsageError(f'--expiry: "{text}" is no duration', hint="as in --expiry 24h; units: m, h, d")
    return timedelta(**{unit: int(text[:-1])})


MIRROR_EXAMPLES = {
    "--registry-mirror": "docker.io=http://127.0.0.1:5000",
    "--http-mirror": "https://cloud.example.org/images=http://127.0.0.1:8000",
}


def _mirror(option: str, text: str) -> tuple[str, str]:
    prefix, equals, location = text.partition("=")
    if not (prefix and equals and location):
        raise UsageError(
            f'{option}: "{text}" is not PREFIX=LOCATION', hint=f"for example {option} {MIRROR_EXAMPLES[option]}"
        )
    return prefix, location


def _next_steps(settings: Settings) -> str:
    from virt_kube import places as defaults

    places = settings.places
    export = f"export KUBECONFIG={places.kubeconfig}"
    ours = places.state == Path(defaults.state_dir())
    return "\n".join(
        [
            f"For kubectl:  {export}",
            "For virtctl:  it finds the cluster by itself" if ours else f"For virtctl:  {export}",
            "What next:    virtctl local status, virtctl list -A, virtctl local down",
        ]
    )


def _status_lines(found: Report) -> list[str]:
    lines = [f"API           {found.server or '-'} ({found.health})", f"kubeconfig    {found.kubeconfig}"]
    for process in found.processes:
        for name, state in process.components.items():
            again = f", restarted {state.restarts} times" if state.restarts else ""
            why = f": {state.error}" if state.error and state.state != "running" else ""
            lines.append(f"{name:14}{state.state}{again} (pid {process.pid}){why}")
    lines += [f"node          {node.name} ({'' if node.schedulable else 'not '}schedulable)" for node in found.nodes]
    lines += [
        f"guest         {guest.namespace}/{guest.name} {guest.phase} {guest.address}".rstrip() for guest in found.guests
    ] or ["guest         none"]
    lines.append("versions      " + ", ".join(f"{name} {number}" for name, number in found.versions.items()))
    return lines
