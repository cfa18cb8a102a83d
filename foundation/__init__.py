"""What the model is: modalities, data, fusion, objectives and the parts every engine shares."""

from foundation import torchvision_cpu as torchvision_cpu
