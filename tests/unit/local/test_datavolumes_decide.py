"""The rules of the DataVolume loop: as tables, and under a simulation that crashes between any two effects."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from virt_kube.informer import Key
from virt_local.claims import PROVISIONER, Claim, ClaimSpec, ClaimStatus, ResourceRequests, StorageClass, default_class
from virt_local.datavolumes.decide import (
    Adopt,
    CreateClaim,
    MarkClaim,
    Start,
    Stop,
    Tell,
    WriteStatus,
    decide,
    decide_upload,
)
from virt_local.datavolumes.observed import Observed
from virt_local.datavolumes.origin import AUTHORIZED, Origin, Problem, origin_of
from virt_local.datavolumes.plan import inflated, usable
from virt_local.datavolumes.sources import status_of as source_status
from virt_local.datavolumes.workers import Work
from virt_types import labels
from virt_types.cdi.claims import awaits_filling
from virt_types.cdi.objects import (
    DataSource,
    DataSourceReference,
    DataSourceSource,
    DataSourceSpec,
    DataVolume,
    DataVolumeStatus,
    ImportSource,
    ImportSourceHTTP,
    ImportSpec,
)
from virt_types.cdi.v1beta1 import (
    DataVolumeBlankImage,
    DataVolumeSourcePVC,
    DataVolumeSourceRef,
    DataVolumeSourceUpload,
)
from virt_types.codec import from_builtins
from virt_types.meta import ObjectMeta, OwnerReference

NOW = 1_750_000_000.0
MIB = 1 << 20
LOCAL = StorageClass(metadata=ObjectMeta(name="local"), provisioner=PROVISIONER)
LATE = StorageClass(
    metadata=ObjectMeta(name="late"), provisioner=PROVISIONER, volume_binding_mode="WaitForFirstConsumer"
)
HTTP = ImportSourceHTTP(url="http://x")
COPY = DataVolumeSourcePVC(namespace="images", name="golden")


def volume(phase: str = "", **spec: Any) -> DataVolume:
    plain = {"source": {"blank": {}}, "storage": {"resources": {"requests": {"storage": "8Mi"}}}} | spec
    return DataVolume(
        metadata=ObjectMeta(name="dv", namespace="ns", uid="dv-uid", resource_version="1"),
        spec=from_builtins(plain, ImportSpec),
        status=DataVolumeStatus(phase=phase or None),
    )


def claim(
    phase: str = "Bound", *, owner: str = "dv-uid", made_for: str = "dv-uid", filled: str = "", **more: str
) -> Claim:
    owners = (
        [OwnerReference(api_version="x", kind="DataVolume", name="dv", uid=owner, controller=True)] if owner else []
    )
    annotations = {labels.CLAIM_CREATED_FOR: made_for} if made_for else {}
    if filled:
        annotations[labels.CLAIM_FILL_PHASE] = filled
    return Claim(
        metadata=ObjectMeta(
            name="dv", namespace="ns", uid="claim-uid", annotations=annotations | more, owner_references=owners
        ),
        spec=ClaimSpec(resources=ResourceRequests(requests={"storage": "8Mi"}), storage_class_name="local"),
        status=ClaimStatus(phase=phase),
    )


def written(observed: Observed) -> DataVolumeStatus:
    found = [effect.status for effect in decide(observed, NOW) if isinstance(effect, WriteStatus)]
    return found[0] if found else observed.dv.status


def told(status: DataVolumeStatus, type_: str) -> tuple[str, str, str]:
    found = next(each for each in status.conditions if each.type == type_)
    return found.status, found.reason or "", found.message or ""


IMPORT, CLONE, UPLOAD = Origin(HTTP), Origin(COPY), Origin(DataVolumeSourceUpload())
PHASES: list[tuple[str, Observed, str]] = [
    ("nothing yet", Observed(volume(), None, LOCAL, IMPORT), "Pending"),
    ("unbound", Observed(volume(), claim("Pending"), LOCAL, IMPORT), "Pending"),
    ("unbound, waits", Observed(volume(), claim("Pending"), LATE, IMPORT), "WaitForFirstConsumer"),
    ("unbound, used", Observed(volume(), claim("Pending"), LATE, IMPORT, used=True), "Pending"),
    (
        "unbound, forced",
        Observed(volume(), claim("Pending", **{labels.IMMEDIATE_BINDING: ""}), LATE, IMPORT),
        "Pending",
    ),
    ("bound", Observed(volume(), claim(), LOCAL, IMPORT), "ImportScheduled"),
    ("queued", Observed(volume(), claim(), LOCAL, IMPORT, work=Work("queued")), "ImportScheduled"),
    ("running", Observed(volume(), claim(), LOCAL, IMPORT, work=Work("running")), "ImportInProgress"),
    ("failing", Observed(volume(), claim(), LOCAL, IMPORT, work=Work("waiting", 3)), "ImportInProgress"),
    ("failed", Observed(volume(), claim(), LOCAL, IMPORT, work=Work("failed", 1)), "Failed"),
    ("done, not marked", Observed(volume(), claim(), LOCAL, IMPORT, work=Work("done")), "ImportInProgress"),
    ("marked", Observed(volume(), claim(filled="Succeeded"), LOCAL, IMPORT, work=Work("done")), "Succeeded"),
    ("a new process", Observed(volume("ImportInProgress"), claim(), LOCAL, IMPORT), "ImportInProgress"),
    ("copied", Observed(volume(), claim(), LOCAL, CLONE, work=Work("running")), "CloneInProgress"),
    ("to be copied", Observed(volume(), claim(), LOCAL, CLONE, work=Work("queued")), "CloneScheduled"),
    ("upload begins", Observed(volume(), claim(), LOCAL, UPLOAD, work=Work("queued")), "UploadScheduled"),
    (
        "upload ready",
        Observed(volume(), claim(**{labels.CLAIM_FILL_READY: "true"}), LOCAL, UPLOAD, work=Work("queued")),
        "UploadReady",
    ),
    ("lost", Observed(volume(), claim("Lost"), LOCAL, IMPORT), "Failed"),
    ("taken", Observed(volume(), claim(owner="other"), LOCAL, IMPORT), "Pending"),
    ("no class", Observed(volume(), None, None, IMPORT), "Pending"),
    ("source missing", Observed(volume(), None, LOCAL, Origin(problem=Problem("NotFound", "x"))), "Pending"),
    ("source refused", Observed(volume(), None, LOCAL, Origin(problem=Problem("No", "x", fatal=True))), "Failed"),
    ("over", Observed(volume("Succeeded"), None, LOCAL, IMPORT), "Succeeded"),
    ("over and failed", Observed(volume("Failed"), claim(), LOCAL, IMPORT), "Failed"),
]


@pytest.mark.parametrize(("observed", "phase"), [case[1:] for case in PHASES], ids=[case[0] for case in PHASES])
def test_phases(observed: Observed, phase: str) -> None:
    assert written(observed).phase == phase


def moves(observed: Observed) -> list[type]:
    return [type(each) for each in decide(observed, NOW) if not isinstance(each, Tell | WriteStatus)]


MOVES: list[tuple[str, Observed, list[type]]] = [
    ("makes a claim", Observed(volume(), None, LOCAL, IMPORT), [CreateClaim]),
    ("not without a source", Observed(volume(), None, LOCAL, Origin(problem=Problem("NotFound", "x"))), []),
    ("not of an unknown class", Observed(volume(), None, None, IMPORT), []),
    ("not again when it is over", Observed(volume("Succeeded"), None, LOCAL, IMPORT), []),
    ("waits for the binding", Observed(volume(), claim("Pending"), LOCAL, IMPORT), []),
    ("begins", Observed(volume(), claim(), LOCAL, IMPORT), [Start]),
    ("begins once", Observed(volume(), claim(), LOCAL, IMPORT, work=Work("running")), []),
    ("marks what is whole", Observed(volume(), claim(), LOCAL, IMPORT, work=Work("done")), [MarkClaim]),
    ("marks it once", Observed(volume(), claim(filled="Succeeded"), LOCAL, IMPORT, work=Work("done")), []),
    ("leaves another's claim", Observed(volume(), claim(owner="other"), LOCAL, IMPORT), []),
    ("leaves a claim nobody offers", Observed(volume(), claim(owner="", made_for=""), LOCAL, IMPORT), []),
    (
        "adopts",
        Observed(volume(), claim(owner="", made_for="", **{labels.CLAIM_ADOPTION: "true"}), LOCAL, IMPORT),
        [Adopt],
    ),
    ("an adopted claim is whole", Observed(volume(), claim(made_for=""), LOCAL, IMPORT), []),
    ("a half filled one is filled again", Observed(volume(), claim(made_for="predecessor"), LOCAL, IMPORT), [Start]),
    ("stops nothing", Observed(volume("ImportInProgress"), claim(), LOCAL, IMPORT, work=Work("running")), []),
]


@pytest.mark.parametrize(("observed", "expected"), [case[1:] for case in MOVES], ids=[case[0] for case in MOVES])
def test_moves(observed: Observed, expected: list[type]) -> None:
    assert moves(observed) == expected


def test_a_deleted_one_stops_its_work() -> None:
    dv = volume("ImportInProgress")
    dv.metadata.deletion_timestamp = "2026-01-01T00:00:00Z"
    assert decide(Observed(dv, claim(), LOCAL, IMPORT, work=Work("running")), NOW) == (Stop(),)
    assert decide(Observed(dv, claim(), LOCAL, IMPORT), NOW) == ()


def test_a_failing_import_is_told() -> None:
    work = Work("waiting", 2, reason="SourceFailed", message="x has gone", again_at=NOW + 60)
    observed = Observed(volume("ImportInProgress"), claim(), LOCAL, IMPORT, work=work)
    status = written(observed)
    assert status.restart_count == 2
    assert told(status, "Running") == (
        "False",
        "Error",
        "Unable to process data: x has gone. Tried again at 2025-06-15T15:07:40Z",
    )
    events = [each for each in decide(observed, NOW) if isinstance(each, Tell)]
    assert events == [Tell("Warning", "ImportFailed", "Failed to import into PVC dv: x has gone")]
    observed.dv.status = status
    assert decide(observed, NOW + 1) == (), "once is enough"


def test_to_wait_for_somebody_is_no_failure() -> None:
    work = Work("waiting", reason="CloneSourceInUse", message="the source is in use", patient=True)
    observed = Observed(volume("CloneInProgress"), claim(), LOCAL, CLONE, work=work)
    status = written(observed)
    assert (told(status, "Running"), status.restart_count) == (("False", "Pending", "the source is in use"), None)
    events = [each for each in decide(observed, NOW) if isinstance(each, Tell)]
    assert events == [Tell("Normal", "CloneSourceInUse", "the source is in use")]


def test_the_last_word_on_a_failure_stays() -> None:
    dv = volume()
    dv.status = written(Observed(dv, claim(), LOCAL, IMPORT, work=Work("failed", 1, message="checksum mismatch")))
    assert dv.status.phase == "Failed"
    assert decide(Observed(dv, claim(), LOCAL, IMPORT), NOW + 9) == ()
    assert told(dv.status, "Running")[2] == "Unable to process data: checksum mismatch"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"storage": {"volumeMode": "Block", "resources": {}}}, "spec.storage.volumeMode: Block is not supported"),
        ({"storage": {"dataSourceRef": {"kind": "X", "name": "y"}}}, "spec.storage.dataSourceRef: volume populators"),
    ],
)
def test_claims_that_can_not_be(spec: dict[str, Any], message: str) -> None:
    status = written(Observed(volume(**spec), None, LOCAL, IMPORT))
    assert status.phase == "Failed"
    assert told(status, "Bound")[1:2] == ("ErrClaimNotValid",)
    assert message in told(status, "Bound")[2]


# Sizes.


@pytest.mark.parametrize(
    ("asked", "claimed"),
    [(MIB, 1111491), (8 * MIB, 8891925), (8 * MIB + 1, 10003416), (1 << 30, 1138166334)],
)
def test_a_claim_has_room_for_a_file_system(asked: int, claimed: int) -> None:
    assert inflated(asked) == claimed


@given(st.integers(1, 1 << 50))
def test_what_was_asked_for_fits_what_is_claimed(asked: int) -> None:
    claimed = inflated(asked)
    assert asked <= usable(claimed) <= claimed
    assert usable(claimed) - asked < MIB


def body(dv: DataVolume, origin: Origin, chosen: StorageClass = LOCAL) -> dict[str, Any]:
    made = next(each for each in decide(Observed(dv, None, chosen, origin), NOW) if isinstance(each, CreateClaim))
    return made.body


def test_the_claim() -> None:
    made = body(volume(), IMPORT)
    assert made["spec"] == {
        "accessModes": ["ReadWriteOnce"],
        "volumeMode": "Filesystem",
        "storageClassName": "local",
        "resources": {"requests": {"storage": "8891925"}},
    }
    assert made["metadata"]["annotations"] == {
        labels.CLAIM_CONTENT_TYPE: "kubevirt",
        labels.CLAIM_FILL_RESTARTS: "0",
        labels.CLAIM_PREALLOCATION: "false",
        labels.CLAIM_CREATED_FOR: "dv-uid",
    }
    assert awaits_filling(made["metadata"]["annotations"])
    assert made["metadata"]["ownerReferences"][0]["controller"] is True


def test_a_claim_word_for_word_and_of_a_copy() -> None:
    pvc = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
    assert body(volume(pvc=pvc, storage=None), IMPORT)["spec"] == pvc | {"storageClassName": "local"}
    made = body(volume(storage={}), Origin(COPY, size=12345678))
    assert made["spec"]["resources"]["requests"]["storage"] == "12345678", "as large as its original"
    least = StorageClass(metadata=ObjectMeta(name="l", annotations={"cdi.kubevirt.io/minimumSupportedPvcSize": "1Gi"}))
    assert body(volume(), IMPORT, least)["spec"]["resources"]["requests"]["storage"] == str(1 << 30)


def test_which_class_is_the_default() -> None:
    def named(name: str, created: str, **annotations: str) -> StorageClass:
        return StorageClass(metadata=ObjectMeta(name=name, creation_timestamp=created, annotations=annotations))

    plain, virt = {labels.DEFAULT_CLASS: "true"}, {labels.DEFAULT_VIRT_CLASS: "true"}
    classes = [named("a", "2026-01-01", **plain), named("b", "2026-02-01", **plain), named("c", "2026-01-01", **virt)]
    assert [default_class(classes, machines=each).metadata.name for each in (True, False)] == ["c", "b"]  # type: ignore[union-attr]
    assert default_class(classes[:2], machines=True) is classes[1]
    assert default_class([named("d", "2026-01-01")]) is None


# References.


def source(name: str, namespace: str = "ns", **spec: Any) -> DataSource:
    return DataSource(
        metadata=ObjectMeta(name=name, namespace=namespace), spec=DataSourceSpec(source=DataSourceSource(**spec))
    )


def reference(name: str, namespace: str = "ns") -> DataSourceReference:
    return DataSourceReference(name=name, namespace=namespace)


SOURCES = [
    source("claim", pvc=reference("dv")),
    source("further", data_source=reference("claim")),
    source("deep", data_source=reference("further")),
    source("self", data_source=reference("self")),
    source("cross", data_source=reference("claim", "elsewhere")),
    source("dangling", data_source=reference("nothing")),
    source("empty"),
    source("web", http=HTTP),
    source("snap", snapshot=reference("s")),
]
REFERENCES = [
    ("claim", "", COPY),
    ("further", "", COPY),
    ("deep", "MaxReferenceDepthReached", None),
    ("self", "SelfReference", None),
    ("cross", "CrossNamespaceReference", None),
    ("dangling", "NotFound", None),
    ("missing", "NotFound", None),
    ("empty", "NoSource", None),
    ("web", "", HTTP),
    ("snap", "NotSupported", None),
]


@pytest.mark.parametrize(("name", "reason", "kind"), REFERENCES)
def test_what_a_reference_means(name: str, reason: str, kind: object) -> None:
    known = {Key("ns", each.metadata.name): each for each in SOURCES}
    dv = volume(source=None)
    dv.spec.source_ref = DataVolumeSourceRef(kind="DataSource", name=name)
    found = origin_of(dv, known.get, lambda key: claim(filled="Succeeded") if key == Key("ns", "dv") else None)
    assert (found.problem.reason if found.problem else "") == reason
    assert type(found.source) is type(kind)
    if name in known:
        status = source_status(known[Key("ns", name)], known.get, lambda _key: None, lambda _key: "", NOW)
        expected = {"claim": "NotFound", "further": "NotFound", "web": "Ready"}.get(name, reason)
        assert status.conditions[0].reason == expected


def test_only_an_authorized_copy_crosses_namespaces() -> None:
    dv = volume(source={"pvc": {"namespace": "images", "name": "golden"}})

    def found() -> Origin:
        return origin_of(dv, lambda _key: None, lambda _key: claim(filled="Succeeded"))

    problem = found().problem
    assert problem is not None
    assert (problem.reason, problem.fatal) == ("CloneNotAuthorized", True)
    dv.metadata.annotations[AUTHORIZED] = "images/another"
    assert found().problem is not None
    dv.metadata.annotations[AUTHORIZED] = "images/golden"
    assert found().source == COPY


def test_a_copy_waits_for_its_original() -> None:
    dv = volume(source={"pvc": {"namespace": "ns", "name": "golden"}})
    for original in (None, claim("Pending"), claim()):
        problem = origin_of(dv, lambda _key: None, lambda _key, found=original: found).problem  # type: ignore[misc]
        assert problem is not None
        assert not problem.fatal


# The whole life, with crashes.


class World:
    """An API, storage and a worker, stepped one effect at a time."""

    def __init__(self, origin: Origin, *, adopts: bool) -> None:
        self.dv = volume()
        self.origin = origin
        self.claim: Claim | None = claim("Pending", owner="", made_for="") if adopts else None
        if adopts:
            self.dv.metadata.annotations[labels.CLAIM_ADOPTION] = "true"
        self.work: Work | None = None
        self.disk = adopts
        self.phases: list[str] = []

    def observed(self) -> Observed:
        return Observed(self.dv, self.claim, LOCAL, self.origin, work=self.work)

    def carry_out(self, effect: object) -> None:
        match effect:
            case CreateClaim(made):
                assert self.claim is None, "never two claims"
                self.claim = from_builtins(made, Claim)
                self.claim.metadata.uid, self.claim.status.phase = "claim-uid", "Pending"
            case Adopt() if self.claim is not None:
                self.claim.metadata.owner_references = claim().metadata.owner_references
            case Start():
                assert self.work is None, "never two workers"
                self.work = Work("queued")
            case MarkClaim(annotations) if self.claim is not None:
                self.claim.metadata.annotations |= annotations
                if not awaits_filling(self.claim.metadata.annotations):
                    assert self.disk, "a claim without a whole disk was marked as filled"
            case WriteStatus(status):
                self.dv.status = status
                self.phases.append(status.phase or "")
                assert status.phase != "Succeeded" or self.disk

    def happens(self, what: str) -> None:
        match what:
            case "bind" if self.claim is not None:
                self.claim.status.phase = "Bound"
            case "crash":
                self.work = None
            case "run" if self.work is not None and self.work.stage in {"queued", "waiting"}:
                self.work = self.work._replace(stage="running", message="")
            case "fail" if self.work is not None and self.work.stage == "running":
                self.work = self.work._replace(stage="waiting", restarts=self.work.restarts + 1, message="x")
            case "finish" if self.work is not None and self.work.stage == "running":
                self.disk = True
                self.work = self.work._replace(stage="done", progress=100.0)


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.sampled_from(["bind", "crash", "run", "fail", "finish", "work", "part"]), max_size=40),
    st.sampled_from([IMPORT, CLONE, UPLOAD, Origin(DataVolumeBlankImage())]),
    st.booleans(),
)
def test_whatever_happens_it_ends_well(happenings: list[str], origin: Origin, adopts: bool) -> None:
    world = World(origin, adopts=adopts)
    for what in happenings:
        if what in {"work", "part"}:
            effects = decide(world.observed(), NOW)
            for effect in effects[: 1 if what == "part" else None]:  # a crash between two effects loses the rest
                world.carry_out(effect)
        else:
            world.happens(what)
    for what in ("bind", "run", "finish") * 6:
        for effect in decide(world.observed(), NOW):
            world.carry_out(effect)
        world.happens(what)
    assert world.dv.status.phase == "Succeeded"
    assert decide(world.observed(), NOW) == (), "and then it is quiet"
    assert set(world.phases[world.phases.index("Succeeded") :]) == {"Succeeded"}


def test_a_claim_filled_by_an_upload_alone() -> None:
    target = {labels.UPLOAD_TARGET: ""}
    bound = claim(owner="", made_for="", **target)
    assert [type(each) for each in decide_upload(bound, None)] == [Start]
    ready = {labels.CLAIM_FILL_PHASE: "Running", labels.CLAIM_FILL_READY: "true"}
    assert decide_upload(bound, Work("queued")) == (MarkClaim(ready),)
    assert decide_upload(claim(owner="", made_for="", **target, **ready), Work("queued")) == ()
    assert decide_upload(bound, Work("done")) == (MarkClaim({labels.CLAIM_FILL_PHASE: "Succeeded"}),)
    done = claim(owner="", made_for="", filled="Succeeded", **target)
    assert decide_upload(done, Work("done")) == (Stop(),)
    assert decide_upload(done, None) == ()
    assert decide_upload(claim("Pending", owner="", made_for="", **target), None) == ()
    assert decide_upload(claim(owner="", made_for=""), None) == (), "any other claim"


def test_sources_by_field() -> None:
    for name in ("s3", "gcs", "imageio", "vddk", "snapshot"):
        dv = volume(source={name: {"url": "x", "diskId": "y", "name": "n", "namespace": "m"} if name != "vddk" else {}})
        problem = origin_of(dv, lambda _key: None, lambda _key: None).problem
        assert problem is not None
        assert problem.fatal
        assert problem.message.startswith(f"spec.source.{name}: ")
    assert isinstance(origin_of(volume(), lambda _key: None, lambda _key: None).source, DataVolumeBlankImage)
    assert ImportSource().http is None
