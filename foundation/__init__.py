"""The model and all that its stages share: modalities, data, fusion, objectives, engine, federation."""

from foundation.timm_alone import spare_on_import
from foundation.torchvision_cpu import mend_on_import

mend_on_import()
spare_on_import()
