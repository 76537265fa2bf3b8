"""`virtctl validate -f`: what an API server would answer to manifests, without one."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from virt_types.manifest import ManifestError
from virtctl import manifests
from virtctl.errors import InputError
from virtctl.output import check_format, document, yaml_text

if TYPE_CHECKING:
    from virt_types.check import Verdict
    from virt_types.errors import Cause
    from virt_types.manifest import Document

EXAMPLES = """
# Every mistake, with its line; exit code 1 if there is one
virtctl validate -f vm.yaml

# For programs
virtctl validate -f manifests/ -o json

# The object as an API server would store it, with every default
virtctl validate --defaulted -f vm.yaml

# With the instancetype and the preference it refers to filled in
virtctl validate --expanded -f sizes.yaml -f vm.yaml
"""


class Finding(NamedTuple):
    """One object of a file, or a file that can't be read (`document` is None, `broken` says why)."""

    file: str
    document: Document | None
    verdict: Verdict | None
    broken: ManifestError | None = None

    @property
    def valid(self) -> bool:
        return self.broken is None and (self.verdict is None or self.verdict.accepted)

    @property
    def line(self) -> int:
        return self.document.line if self.document is not None else self.broken.line if self.broken is not None else 0

    @property
    def title(self) -> str:
        obj = self.document.obj if self.document is not None else {}
        metadata = obj.get("metadata")
        name = metadata.get("name") or metadata.get("generateName") if isinstance(metadata, dict) else None
        return f'{obj.get("kind")} "{name}"'


def command(
    file: Annotated[
        list[str],
        typer.Option("--filename", "-f", metavar="FILE", show_default=False, help="File, directory or -; repeatable."),
    ],
    output: Annotated[str, typer.Option("--output", "-o", metavar="json|yaml", help="A machine-readable form.")] = "",
    defaulted: Annotated[
        bool, typer.Option("--defaulted", help="Print the objects as they would be stored (YAML, or -o json).")
    ] = False,
    expanded: Annotated[
        bool,
        typer.Option(
            "--expanded", help="The same, with the instancetypes and preferences of these files filled into machines."
        ),
    ] = False,
) -> None:
    """Check manifests without a server: fields, types, defaults and rules."""
    check_format(output, ("json", "yaml"))
    defaulted = defaulted or expanded
    findings = _findings(file, expanded=expanded)
    bad = [finding for finding in findings if not finding.valid]
    if defaulted and not bad:
        _print_stored(findings, output or "yaml")
    elif output and not defaulted:
        document({"valid": not bad, "objects": [_record(finding) for finding in findings]}, output)
    else:
        for finding in findings:
            _print(finding, sys.stderr if defaulted else sys.stdout)
    if not findings:
        raise InputError(f"no objects in {', '.join(file)}")
    if bad:
        noun, verb = "object" if len(findings) == 1 else "objects", "is" if len(bad) == 1 else "are"
        raise InputError(f"{len(bad)} of {len(findings)} {noun} {verb} invalid")


def _findings(sources: list[str], *, expanded: bool) -> list[Finding]:
    """Machines are judged with the instancetypes and preferences of all the files."""
    from virt_types import check
    from virt_types.expansion.offline import Neighbours

    found = [each for source in sources for each in manifests.documents(source)]
    beside = Neighbours(read.obj for _, read in found if not isinstance(read, ManifestError))
    findings = []
    for title, read in found:
        if isinstance(read, ManifestError):
            findings.append(Finding(title, None, None, read))
            continue
        judged = check.judge(read.obj, beside=beside, expanded=expanded) if check.ours(read.obj) else None
        findings.append(Finding(title, read, judged))
    return findings


def _complaints(finding: Finding) -> list[tuple[int, Cause]]:
    if finding.document is None or finding.verdict is None:
        return []
    lines = [(finding.document.line_of(cause.field), cause) for cause in finding.verdict.causes]
    return sorted(lines, key=lambda complaint: complaint[0])


def _print(finding: Finding, to: Any) -> None:
    if finding.broken is not None:
        print(finding.broken.message, file=to)
        return
    for note in finding.verdict.notes if finding.verdict is not None else ():
        print(f"{finding.file}:{finding.line}: note: {note}", file=to)
    for line, cause in _complaints(finding):
        print(f"{finding.file}:{line}: {manifests.worded(cause)}", file=to)
    if finding.valid:
        said = "valid" if finding.verdict is not None else "not checked, it is of another API"
        print(f"{finding.file}:{finding.line}: {finding.title}: {said}", file=to)


def _record(finding: Finding) -> dict[str, Any]:
    record: dict[str, Any] = {"file": finding.file, "line": finding.line, "valid": finding.valid}
    if finding.broken is not None:
        return record | {"causes": [{"line": finding.line, "message": finding.broken.message}]}
    obj = finding.document.obj if finding.document is not None else {}
    metadata = obj.get("metadata")
    record |= {"apiVersion": obj.get("apiVersion"), "kind": obj.get("kind")}
    record |= {"name": metadata.get("name") if isinstance(metadata, dict) else None}
    record |= {"checked": finding.verdict is not None}
    record["causes"] = [
        {"line": line, "field": cause.field, "reason": cause.reason, "message": cause.message}
        for line, cause in _complaints(finding)
    ]
    record["notes"] = finding.verdict.notes if finding.verdict is not None else []
    return record


def _print_stored(findings: list[Finding], form: str) -> None:
    stored = [_stored(finding) for finding in findings]
    if form == "yaml":
        print("---\n".join(yaml_text(obj) for obj in stored), end="")
    elif len(stored) == 1:
        document(stored[0], form)
    else:
        document({"apiVersion": "v1", "kind": "List", "items": stored}, form)


def _stored(finding: Finding) -> dict[str, Any]:
    kept = finding.verdict.stored if finding.verdict is not None else None
    return kept or (finding.document.obj if finding.document is not None else {})
