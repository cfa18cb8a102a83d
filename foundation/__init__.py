"""The model and all that its stages share: modalities, data, fusion, objectives, engine, federation."""

from foundation.torchvision_cpu import mend_on_import

mend_on_import()
