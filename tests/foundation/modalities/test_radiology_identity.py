"""Identities in scans: none is kept or printed."""

import json
import warnings

import pydicom
from pydicom.dataset import Dataset

from foundation.data.problems import Problems
from foundation.modalities.radiology.dicom import read_series
from foundation.modalities.radiology.dicom_tags import TECHNICAL, identifying_tags
from tests.foundation.modalities.radiology_scans import ALL, REAL
from tests.foundation.scan_files import SECRETS, body, dicom, write_series


def test_technical_tags_alone_are_no_identity():
    dataset = dicom(body()[0], PatientAge="075Y", KVP=120)
    dataset.add_new(0x00091001, "LO", "private Secretia")
    dataset.OtherPatientIDsSequence = [Dataset()]
    dataset.OtherPatientIDsSequence[0].PatientID = "MRN0815"
    dataset.add_new(0x60003000, "OW", b"\0\0")
    found = identifying_tags(dataset)
    assert {*SECRETS, "PatientAge", "SOPInstanceUID", "StudyInstanceUID", "private tags", "OverlayData"} <= set(found)
    assert not set(found) & {*TECHNICAL, "SOPClassUID", "PixelData", "RescaleSlope", "ImagePositionPatient"}
    assert not any(value in " ".join(found) for value in (*SECRETS.values(), "Secretia", "MRN0815"))


def test_the_protected_attributes_of_the_standard_are_all_found():
    # A sample over all kinds of DICOM PS3.15 table E.1-1, filled as a hospital would.
    protected = {
        "AcquisitionDateTime": "20240131120000",
        "AdmittingDiagnosesDescription": "glioma",
        "DeviceSerialNumber": "SN1",
        "EthnicGroup": "x",
        "FrameOfReferenceUID": "1.2.3",
        "ImageComments": "seen with Dr House",
        "InstitutionAddress": "Street 1",
        "OperatorsName": "ROE^RICHARD",
        "OtherPatientNames": "DOE^S",
        "PatientAddress": "Street 2",
        "PatientSex": "F",
        "PatientTelephoneNumbers": "555",
        "PatientWeight": "70",
        "PerformedProcedureStepDescription": "x",
        "PhysiciansOfRecord": "A^B",
        "ProtocolName": "Head Doe",
        "RequestedProcedureID": "1",
        "SeriesDescription": "x",
        "StationName": "CT01",
        "StudyID": "1",
        "StudyTime": "120000",
    }
    dataset = Dataset()
    for name, value in protected.items():
        setattr(dataset, name, value)
    assert identifying_tags(dataset) == sorted(protected)
    assert not {*protected} & {*TECHNICAL}


def test_no_name_reaches_the_console_nor_what_is_kept(tmp_path, capfd):
    tags = {"PatientName": "DOE^SECRETIA" * 9, "PatientID": "MRN4711" * 20, "PatientBirthDate": "Secretia's"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the writing
        write_series(tmp_path / "scan", **tags)
    problems = Problems()
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        read_series(tmp_path / "scan", ALL, problems)
        found = identifying_tags(pydicom.dcmread(tmp_path / "scan" / "001.dcm"))
    said = " ".join([*(str(warning.message) for warning in told), *capfd.readouterr(), *map(str, problems.listed)])
    kept = json.dumps(found)
    assert not any(word in said + kept for word in ("SECRETIA", "Secretia", "MRN4711", "Elsewhere"))


def test_a_secondary_capture_that_says_nothing_may_show_a_name(tmp_path):
    problems = Problems()
    read_series(REAL / "SC_rgb_rle.dcm", ALL, problems)
    assert "SC_rgb_rle.dcm: field BurnedInAnnotation: may show text" in str(problems.warnings[0])
