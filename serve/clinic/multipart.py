"""Bodies of several DICOM files, as DICOMweb carries them: `multipart/related` (RFC 2387)."""

from collections.abc import Sequence
from email.message import Message

_END = b"\r\n"


def joined(files: Sequence[bytes], boundary: str, media_type: str) -> bytes:
    """Files as one body."""
    head = f"--{boundary}\r\nContent-Type: {media_type}\r\n\r\n".encode()
    return b"".join([*(head + content + _END for content in files), f"--{boundary}--\r\n".encode()])


def parts(content_type: str, body: bytes) -> list[bytes] | None:
    """The files of a body; None where it is of another kind, or cut off."""
    header = Message()
    header["Content-Type"] = content_type
    boundary = header.get_boundary()
    if header.get_content_type() != "multipart/related" or not boundary:
        return None
    _, *sections = (_END + body).split(f"\r\n--{boundary}".encode())
    if not sections or not sections[-1].startswith(b"--"):
        return None
    pairs = [section.split(_END + _END, 1) for section in sections[:-1]]
    return [content for _, content in pairs] if all(len(pair) == 2 for pair in pairs) else None
