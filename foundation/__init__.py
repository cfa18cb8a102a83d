"""The model and all that its stages share: modalities, data, fusion, objectives, engine, federation."""

import os

# Threads of libgomp spin for milliseconds where they wait, so that two processes on the same cores wait for each other:
# a hospital's evaluation beside another's takes ten times as long. So short a spin costs a process alone nothing that
# can be measured. torch reads it where it is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

from foundation.timm_alone import spare_on_import
from foundation.torchvision_cpu import mend_on_import

mend_on_import()
spare_on_import()
