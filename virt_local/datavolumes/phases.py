"""The words of a DataVolume's life: phases and events by what kind of filling it is (spec 7.1). Data."""

from __future__ import annotations

from typing import Literal, NamedTuple

from virt_local.datavolumes.origin import Origin
from virt_types.cdi.objects import DataVolume
from virt_types.cdi.v1beta1 import DataVolumeSourcePVC, DataVolumeSourceUpload

PENDING, WAITING, SUCCEEDED, FAILED = "Pending", "WaitForFirstConsumer", "Succeeded", "Failed"
FINAL = frozenset({SUCCEEDED, FAILED})

Kind = Literal["import", "clone", "upload"]
Step = Literal["", "scheduled", "progress", "succeeded", "failed"]


class Words(NamedTuple):
    """`scheduled` and `progress` are phases; `noun` begins the events' reasons; the rest are their messages."""

    noun: str
    scheduled: str
    progress: str
    messages: dict[str, str]
    reasons: dict[str, str]

    def step_of(self, phase: str) -> Step:
        steps: dict[str, Step] = {
            self.scheduled: "scheduled",
            self.progress: "progress",
            SUCCEEDED: "succeeded",
            FAILED: "failed",
        }
        return steps.get(phase, "")

    def reason(self, step: str) -> str:
        return self.reasons[step]

    def text(self, step: str, dv: DataVolume, origin: Origin) -> str:
        source = origin.source
        place = f"{source.namespace}/{source.name}" if isinstance(source, DataVolumeSourcePVC) else ""
        return self.messages[step].format(name=dv.metadata.name, namespace=dv.metadata.namespace, source=place)


WORDS: dict[Kind, Words] = {
    "import": Words(
        "Import",
        "ImportScheduled",
        "ImportInProgress",
        {
            "scheduled": "Import into {name} scheduled",
            "progress": "Import into {name} in progress",
            "succeeded": "Successfully imported into PVC {name}",
            "failed": "Failed to import into PVC {name}",
        },
        {
            "scheduled": "ImportScheduled",
            "progress": "ImportInProgress",
            "succeeded": "ImportSucceeded",
            "failed": "ImportFailed",
        },
    ),
    "clone": Words(
        "Clone",
        "CloneScheduled",
        "CloneInProgress",
        {
            "scheduled": "Cloning from {source} into {namespace}/{name} scheduled",
            "progress": "Cloning from {source} into {namespace}/{name} in progress",
            "succeeded": "Successfully cloned from {source} into {namespace}/{name}",
            "failed": "Cloning from {source} into {namespace}/{name} failed",
        },
        {
            "scheduled": "CloneScheduled",
            "progress": "CloneInProgress",
            "succeeded": "CloneSucceeded",
            "failed": "CloneFailed",
        },
    ),
    "upload": Words(
        "Upload",
        "UploadScheduled",
        "UploadReady",
        {
            "scheduled": "Upload into {name} scheduled",
            "progress": "Upload into {name} ready",
            "succeeded": "Successfully uploaded into {name}",
            "failed": "Upload into {name} failed",
        },
        {
            "scheduled": "UploadScheduled",
            "progress": "UploadReady",
            "succeeded": "UploadSucceeded",
            "failed": "UploadFailed",
        },
    ),
}


def kind_of(origin: Origin) -> Kind:
    if isinstance(origin.source, DataVolumeSourcePVC):
        return "clone"
    return "upload" if isinstance(origin.source, DataVolumeSourceUpload) else "import"
