"""The exam of `sandbox demo`: a small synthetic MR study."""

from __future__ import annotations

import array
import hashlib
import sys
from pathlib import Path

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

_SIDE = 32  # pixels
_STUDY = "study"


def write_demo_exam(directory: Path, *, series: int = 3, instances: int = 40) -> dict[str, Path]:
    """Write `series` x `instances` MR images below `directory`, always the same; the files by SOP Instance UID."""
    files = {}
    for number in range(1, series + 1):
        folder = directory / f"series {number}"
        folder.mkdir(parents=True, exist_ok=True)
        for index in range(1, instances + 1):
            image = _image(number, index)
            path = folder / f"MR{index:05d}.dcm"
            image.save_as(path, enforce_file_format=True)
            files[str(image.SOPInstanceUID)] = path
    return files


def _image(series: int, index: int) -> Dataset:
    """One image of the MR Image IOD (PS3.3, A.4)."""
    image = Dataset()
    image.SpecificCharacterSet = "ISO_IR 192"
    image.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    image.SOPClassUID = MRImageStorage
    image.SOPInstanceUID = _uid(f"{series} {index}")
    image.StudyDate, image.StudyTime, image.AccessionNumber = "20240115", "120000", ""
    image.Modality, image.Manufacturer, image.ReferringPhysicianName = "MR", "xnatctl", ""
    image.StudyDescription, image.SeriesDescription = "Synthetic exam", f"Phantom {series}"
    image.PatientName, image.PatientID = "Phantom^Synthetic", "PHANTOM"
    image.PatientBirthDate, image.PatientSex = "", "O"
    image.ScanningSequence, image.SequenceVariant, image.ScanOptions, image.MRAcquisitionType = "GR", "NONE", "", "2D"
    image.EchoTime, image.EchoTrainLength = "", ""
    image.StudyInstanceUID, image.SeriesInstanceUID = _uid(_STUDY), _uid(f"series {series}")
    image.StudyID, image.SeriesNumber, image.InstanceNumber = "1", series, index
    image.FrameOfReferenceUID, image.PositionReferenceIndicator = _uid(f"frame {series}"), ""
    image.ImagePositionPatient, image.ImageOrientationPatient = [0, 0, index], [1, 0, 0, 0, 1, 0]
    image.SliceThickness, image.PixelSpacing = 1, [1, 1]
    image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
    image.Rows = image.Columns = _SIDE
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PixelData = _pixels(series, index)
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return image


def _pixels(series: int, index: int) -> bytes:
    """A disc that grows from slice to slice on a gradient, in 16 bits little endian."""
    radius = 2 + index % (_SIDE // 2)
    values = array.array(
        "H",
        (
            2000 + 100 * series if (x - _SIDE // 2) ** 2 + (y - _SIDE // 2) ** 2 < radius**2 else 10 * (x + y)
            for y in range(_SIDE)
            for x in range(_SIDE)
        ),
    )
    if sys.byteorder == "big":
        values.byteswap()
    return values.tobytes()


def _uid(name: str) -> str:
    """A UID of the root 2.25 (PS3.5, B.2), made from a name so that it repeats."""
    digest = hashlib.sha256(f"xnatctl 0 {name}".encode()).digest()
    return f"2.25.{int.from_bytes(digest[:15])}"
