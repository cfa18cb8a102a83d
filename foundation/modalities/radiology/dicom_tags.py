"""The tags of a DICOM file that can say who the patient is, by a short list of those that cannot."""

from pathlib import Path

from pydicom.dataset import Dataset

from foundation.data.problems import refuse

# None of them is in the table of attributes to be protected, DICOM PS3.15 Annex E, table E.1-1. Left out with intent:
# SoftwareVersions, ProtocolName, SeriesDescription and the like, which people fill with free text.
TECHNICAL = (
    "Modality",
    "Manufacturer",
    "ManufacturerModelName",
    "BodyPartExamined",
    "PatientPosition",
    "ImageType",
    "PhotometricInterpretation",
    "Rows",
    "Columns",
    "BitsStored",
    "PixelSpacing",
    "ImagerPixelSpacing",
    "SliceThickness",
    "SpacingBetweenSlices",
    "KVP",
    "ConvolutionKernel",
    "MagneticFieldStrength",
    "RepetitionTime",
    "EchoTime",
    "InversionTime",
    "FlipAngle",
    "ScanningSequence",
    "SequenceVariant",
    "MRAcquisitionType",
)
# Text, dates, ages and references: whatever can name a person, a place, a day or the entry of an archive.
_TELLING = {"PN", "LO", "SH", "LT", "ST", "UT", "UC", "UR", "DA", "DT", "TM", "AS", "AE", "UI", "UN"}
_HARMLESS = {
    "CodeMeaning",
    "CodeValue",
    "CodingSchemeDesignator",
    "CodingSchemeUID",
    "CodingSchemeVersion",
    "ContextUID",
    "MappingResource",
    "MappingResourceUID",
    "ReferencedSOPClassUID",
    "SOPClassUID",
}
_PATIENT, _CURVES, _OVERLAYS = 0x0010, 0x5000, 0x6000


def identifying_tags(dataset: Dataset) -> list[str]:
    """Names, never values, of the filled tags that can carry identity; `private tags` stands for all private ones.

    Rather one too many than one too few: all of the patient's group, all text, dates, ages and identifiers that are
    not technical, overlays and curves. None of them passes: only pixels do.
    """
    names = set()
    for element in dataset.iterall():
        if element.VR == "SQ" or element.is_empty:
            continue
        group, name = element.tag.group, element.keyword
        if element.tag.is_private:
            names.add("private tags")
        elif _CURVES <= group < _CURVES + 0x100 or _OVERLAYS <= group < _OVERLAYS + 0x100:
            names.add("OverlayData" if group >= _OVERLAYS else "CurveData")
        elif name in TECHNICAL or name in _HARMLESS:
            continue
        elif group == _PATIENT or element.VR in _TELLING or name == "EncapsulatedDocument":
            names.add(name or f"({group:04X},{element.tag.element:04X})")
    return sorted(names)


def refuse_burned_in(path: Path, dataset: Dataset) -> None:
    """Refuses pixels that are said to show text, which is the patient's name more often than not.

    Raises:
        DataError: if BurnedInAnnotation is YES.
    """
    if str(dataset.get("BurnedInAnnotation", "")).strip().upper() == "YES":
        raise refuse(
            path,
            "text is burned into the pixels",
            "export the image without annotations, or leave it out",
            field="BurnedInAnnotation",
            value="YES",
        )
