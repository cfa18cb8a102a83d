"""Lossless and twelve-bit JPEG and JPEG-LS in DICOM, decoded by imagecodecs: a plug-in of pydicom.

pydicom itself decodes what is uncompressed or RLE, and with Pillow eight-bit JPEG and JPEG 2000. GDCM would decode the
rest too, but a damaged file makes it end the whole process.
"""

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.pixels.decoders.base import (
    DecodeRunner,
    JPEGExtended12BitDecoder,
    JPEGLosslessDecoder,
    JPEGLosslessSV1Decoder,
    JPEGLSLosslessDecoder,
    JPEGLSNearLosslessDecoder,
)

PLUGIN = "imagecodecs"
_DECODERS = (
    JPEGExtended12BitDecoder,
    JPEGLosslessDecoder,
    JPEGLosslessSV1Decoder,
    JPEGLSLosslessDecoder,
    JPEGLSNearLosslessDecoder,
)
_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
DECODER_DEPENDENCIES = {decoder.UID: ("imagecodecs",) for decoder in _DECODERS}


def is_available(_: str) -> bool:
    """As pydicom asks of a plug-in."""
    return True


def decode_frame(source: bytes, runner: DecodeRunner) -> bytearray:
    """One frame, colours as encoded.

    Raises:
        RuntimeError: if the frame is damaged.
    """
    if runner.transfer_syntax in _LS:
        pixels = imagecodecs.jpegls_decode(source)
    else:
        colours = "ycbcr" if runner.samples_per_pixel == 3 else None  # the same in and out: none is changed here
        pixels = imagecodecs.jpeg_decode(source, colorspace=colours, outcolorspace=colours)
    shape = (runner.rows, runner.columns) if runner.samples_per_pixel == 1 else (runner.rows, runner.columns, 3)
    if pixels.shape != shape:
        raise ValueError("the frame's size is not the file's")
    unused = pixels.dtype.itemsize * 8 - runner.bits_stored
    if runner.pixel_representation == 1 and unused > 0:  # the sign stands in the highest bit stored
        signed = np.dtype(f"i{pixels.dtype.itemsize}")
        pixels = (pixels << unused).view(signed) >> unused
    runner.set_option("bits_allocated", pixels.dtype.itemsize * 8)
    runner.set_option("planar_configuration", 0)
    return bytearray(pixels.tobytes())


for _decoder in _DECODERS:
    if PLUGIN not in _decoder.available_plugins:
        _decoder.add_plugin(PLUGIN, (__name__, decode_frame.__name__))
