"""An order, an answer and a policy for tests."""

from foundation.federation.policy import (
    Noise,
    OrderFacts,
    PrivacyFacts,
    ReplyFacts,
    SitePolicy,
    check_order,
)

ORDER = OrderFacts(
    run="r1",
    task="pretrain",
    release="0.1.0",
    config_digest="c" * 64,
    commit="abc",
    objectives=("alignment",),
    modalities=("pathology", "genomics"),
    strategy="FedProx",
    privacy=PrivacyFacts(secure_aggregation=True, site_dp=Noise(1.0, 0.5)),
    rounds=8,
    round=2,
    steps=16,
    seconds=600.0,
)


REPLY = ReplyFacts("update", patients=50, groups=("pathology", "fusion", "objective:alignment"), privacy=ORDER.privacy)


def policy(**rules: object) -> SitePolicy:
    return SitePolicy.model_validate(rules)


def order(rules: SitePolicy, facts: OrderFacts = ORDER, **more: object) -> None:
    check_order(rules, facts, installed="0.1.0", **more)  # type: ignore[arg-type]
