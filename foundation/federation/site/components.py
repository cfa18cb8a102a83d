"""The replaceable components of a run at a site, made of the typed fields of its plan; nothing names a class."""

from foundation.federation.plan import RunPlan
from foundation.federation.privacy import Privacy, SitePrivacy
from foundation.federation.privacy.clipping import Adaptive, Fixed
from foundation.federation.privacy.mechanism import CLIP, SITES
from foundation.federation.secure import Secure
from foundation.federation.wire.compression import Compressor
from foundation.federation.wire.messages import Order


def privacy_of(plan: RunPlan) -> Privacy:
    """What the run does to updates.

    Raises:
        UserError: if the noise cannot be.
    """
    noise = plan.noise
    if noise is None:
        return Privacy()
    shape = noise.clipping
    clipping = Adaptive(shape.norm, shape.quantile, shape.rate, shape.count_noise) if shape.adaptive else None
    return SitePrivacy(
        noise.noise_multiplier,
        clipping or Fixed(shape.norm),
        noise.place,
        noise.delta,
        noise.contributors,
        noise.attendance,
        noise.training_metrics,
    )


def compressor_of(plan: RunPlan) -> Compressor:
    """How narrow differences travel."""
    how = plan.compression
    return Compressor(how.kind, how.feedback, how.stochastic, how.block)


def secure_of(plan: RunPlan) -> Secure | None:
    """Secure aggregation's settings; None where updates travel in the open.

    Raises:
        UserError: if they cannot be.
    """
    return None if plan.secure is None else Secure(**plan.secure.model_dump())


def privacy_settings(order: Order) -> dict[str, float | str]:
    """The clip of an order's round, and how many sites share its noise; nothing in a run without noise."""
    noise = order.plan.noise
    if noise is None:
        return {}
    clip = noise.clipping.norm if order.clip is None or not noise.clipping.adaptive else order.clip
    return {CLIP: clip, SITES: float(len(order.plan.training))}
