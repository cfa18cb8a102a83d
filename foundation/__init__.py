"""What the model is: modalities, data, fusion, objectives and the parts every engine shares."""

from foundation.torchvision_cpu import mend_on_import

mend_on_import()
