"""An answer as a DICOM structured report: what is predicted, how far to rely on it, and what made it of what.

Source: DICOM PS3.16, TID 1500 (Measurement Report), TID 4019 (Algorithm Identification); highdicom.
"""

import hashlib
from collections.abc import Sequence

from highdicom.coding_schemes import CodingSchemeIdentificationItem
from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    DeviceObserverIdentifyingAttributes,
    EnhancedSR,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from serve.clinic.document import MANUFACTURER, Answered, reference, to_bytes
from serve.clinic.uids import derived_uid
from serve.findings import Finding, abstains, findings, notes, sentence

REPORT = "report"
MODEL, ANSWERS, ABSTAINS = "Model", "answers", "abstains"
SERIES_NUMBER = 9701
_SCHEME = "99CONSILIUM"
_MEANING = 64  # characters that a code's meaning may have
_END, _GAP = 24, "..."  # of which the last, and what stands for those left out before them


def report_file(answered: Answered, read: Sequence[Dataset], shown: Sequence[Dataset]) -> bytes:
    """The report as a DICOM file.

    Args:
        answered: what it tells of.
        read: headers of all instances that were read.
        shown: of them, those of the slices that the request held; all of `read` count where it is empty.
    """
    evidence = [reference(header) for header in read]
    document = EnhancedSR(
        evidence=evidence,
        content=_content(answered, [reference(header) for header in shown]),
        series_instance_uid=answered.uid(REPORT, "series"),
        series_number=SERIES_NUMBER,
        sop_instance_uid=answered.uid(REPORT),
        instance_number=1,
        is_complete=True,
        is_final=False,  # a person reads it first
        series_description=f"{answered.response.task} (Consilium)",
        coding_schemes=[CodingSchemeIdentificationItem(designator=_SCHEME, name="Outcomes of Consilium's tasks")],
        **answered.shared,
    )
    return to_bytes(document, read[0], answered, {})


def _content(answered: Answered, shown: Sequence[Dataset]) -> MeasurementReport:
    response = answered.response
    device = DeviceObserverIdentifyingAttributes(
        uid=derived_uid("model", response.model, response.version),
        name=response.model,
        manufacturer_name=MANUFACTURER,
        model_name=response.model,
        serial_number=response.version,
    )
    told = findings(response)
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device)),
        procedure_reported=codes.SCT.ImagingProcedure,
        imaging_measurements=_measured(answered, told, shown),
        title=codes.DCM.ImagingMeasurementReport,
    )
    # One line each, for readers who look at text alone: numbers stand in the coded part, too.
    conclusion = TextContentItem(codes.DCM.Conclusion, sentence(response), RelationshipTypeValues.CONTAINS)
    report[0].ContentSequence.append(conclusion)
    for line in [*notes(response), *_origin(answered)]:
        comment = TextContentItem(codes.DCM.Comment, line, RelationshipTypeValues.CONTAINS)
        report[0].ContentSequence.append(comment)
    return report


def _measured(
    answered: Answered, told: Sequence[Finding], shown: Sequence[Dataset]
) -> list[MeasurementsAndQualitativeEvaluations]:
    """Whether the model answers, probabilities in per cent and groups of risk."""
    response = answered.response
    measurements = [
        Measurement(name=_code(one.outcome), value=one.percent, unit=codes.UCUM.Percent)
        for one in told
        if one.percent is not None
    ]
    says = QualitativeEvaluation(name=_code(MODEL), value=_code(ABSTAINS if abstains(response) else ANSWERS))
    groups = [
        QualitativeEvaluation(name=_code(one.outcome), value=_code(one.group)) for one in told if one.group is not None
    ]
    algorithm = AlgorithmIdentification(
        name=response.model,
        version=response.version,
        parameters=_origin(answered),
        manufacturer=MANUFACTURER,
    )
    return [
        MeasurementsAndQualitativeEvaluations(
            tracking_identifier=TrackingIdentifier(answered.uid(REPORT, "tracking"), response.task),
            algorithm_id=algorithm,
            measurements=measurements or None,
            qualitative_evaluations=[says, *groups],
            source_images=[SourceImageForMeasurementGroup.from_source_image(image) for image in shown] or None,
        )
    ]


def _origin(answered: Answered) -> list[str]:
    response = answered.response
    return [
        f"{response.model} {response.version}, consilium {response.release}",
        f"SHA-256 of the model's files: {response.digests.model}",
        f"SHA-256 of the endpoint's contract: {response.digests.contract}",
        f"SHA-256 of what was asked: {answered.request_digest}",
    ]


def _code(words: str) -> CodedConcept:
    """A concept of the model's own: outcomes of a task are in no public terminology.

    What is too long is left out in the middle, for a measurement's words end with its horizon.
    """
    value = hashlib.sha256(words.encode()).hexdigest()[:16]
    if len(words) > _MEANING:
        words = words[: _MEANING - _END - len(_GAP)] + _GAP + words[-_END:]
    return CodedConcept(value=value, scheme_designator=_SCHEME, meaning=words)
