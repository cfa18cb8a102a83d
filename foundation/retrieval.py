"""Zero-shot retrieval between modalities: recall of a patient's genes by an image, and the other ways."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


def recall_at(
    queries: Float[Tensor, "pairs width"], gallery: Float[Tensor, "pairs width"], k: int
) -> tuple[float, float]:
    """Share of queries whose partner (same row) is among the k nearest, and what chance would give.

    Args:
        queries: unit-length embeddings of one modality.
        gallery: of the other, same patients in the same order.
        k: how many are looked at.
    """
    similarity = queries @ gallery.T
    partner = similarity.diagonal()[:, None]
    # Ties count against us: an equal stranger ranks before the partner.
    rank = (similarity >= partner).sum(dim=1)
    return (rank <= k).float().mean().item(), min(1.0, k / len(queries))


@torch.no_grad()
def retrieval(
    embeddings: dict[str, Tensor], present: dict[str, Tensor], ks: Sequence[int] = (1, 5, 10)
) -> dict[str, float]:
    """Recall by ordered modality pair, `<from>_to_<to>/r@<k>`, and what chance gives, `.../chance@<k>`.

    A `k` as large as the gallery says nothing and is left out.
    """
    recalls: dict[str, float] = {}
    for source in embeddings:
        for target in embeddings:
            both = present[source] & present[target]
            if source == target:
                continue
            queries, gallery = (embeddings[name][both[present[name]]] for name in (source, target))
            for k in (k for k in ks if k < len(queries)):
                recall, chance = recall_at(queries, gallery, k)
                recalls[f"{source}_to_{target}/r@{k}"] = recall
                recalls[f"{source}_to_{target}/chance@{k}"] = chance
    return recalls
