"""A contrastive training step beside open_clip's own, on the same vision and text towers, batch and precision.

`pip install open_clip_torch`, then `python scripts/bench/contrastive.py`. Both sides step AdamW on a timm vision tower
and a BERT text tower of the same sizes; open_clip's is `CustomTextCLIP` with `ClipLoss`, as its `train_one_epoch` does.
"""

import argparse
import statistics
import tempfile
from collections.abc import Callable

import foundation  # noqa: F401  # isort: skip
import numpy as np
import torch
from open_clip.loss import ClipLoss
from open_clip.model import CustomTextCLIP
from patients import patient
from side_by_side import ratio, take_turns

from foundation.encoder import MultimodalEncoder
from foundation.modalities.pathology.encoder import Pathology
from foundation.modalities.report.encoder import Report
from foundation.objectives.alignment import Alignment

WIDTH = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--backbone", default="resnet10t")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--bf16", action="store_true")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    ours = MultimodalEncoder(
        {
            "pathology": Pathology(WIDTH, backbone=arguments.backbone, size=arguments.size, max_images=1),
            "report": Report(WIDTH, layers=2),
        },
        WIDTH,
        fusion_layers=1,
    ).to(device)
    rng = np.random.default_rng(0)
    samples = [patient(rng, arguments.size, 1) for _ in range(arguments.batch)]
    batch = ours.encode_samples(samples).to(device)
    images = ours.modalities["pathology"].pixels(batch.inputs["pathology"]).contiguous()
    precision = torch.autocast(device.type, dtype=torch.bfloat16, enabled=arguments.bf16)

    objective = Alignment(WIDTH, fused=False).to(device)
    optimizer = torch.optim.AdamW([*ours.parameters(), *objective.parameters()], lr=1e-4, fused=True)

    def our_step() -> None:
        optimizer.zero_grad()
        with precision:
            term = objective(ours, ours(batch), batch)
        assert term is not None
        term.loss.backward()
        optimizer.step()

    def clip(settings: dict[str, bool]) -> Callable[[], None]:
        with tempfile.TemporaryDirectory() as folder:
            ours.modalities["report"].text.config.save_pretrained(folder)
            vision = {"timm_model_name": arguments.backbone, "timm_proj": "linear", "image_size": arguments.size}
            text = {"hf_model_name": folder, "hf_model_pretrained": False, "hf_tokenizer_name": folder}
            text |= {"hf_proj_type": "linear", "hf_pooler_type": "mean_pooler"}
            model = CustomTextCLIP(WIDTH, {**vision, "timm_model_pretrained": False}, text).to(device).train()
        loss = ClipLoss()
        theirs = torch.optim.AdamW(model.parameters(), lr=1e-4, **settings)

        def step() -> None:
            theirs.zero_grad()
            with precision:
                image, words, scale = model(images, batch.inputs["report"]["pieces"])[:3]
                total = loss(image, words, scale)
            total.backward()
            theirs.step()
            with torch.no_grad():
                model.logit_scale.clamp_(0, np.log(100))

        return step

    ours.train()
    steps = {"consilium": our_step, "open_clip": clip({}), "open_clip, fused AdamW": clip({"fused": True})}
    seconds = take_turns(steps, arguments.rounds)
    for name, values in seconds.items():
        print(f"{name:24} median {1000 * statistics.median(values):8.1f} ms")
    print(f"against open_clip with fused AdamW: {ratio(seconds['consilium'], seconds['open_clip, fused AdamW'])}")
    print(f"step time: {ratio(seconds['consilium'], seconds['open_clip'])} of open_clip's (bar: at most 0.95×)")


if __name__ == "__main__":
    main()
