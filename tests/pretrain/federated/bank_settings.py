"""Settings of a bank that tests change."""

from pretrain.federated.bank.settings import BankSettings


def chosen(**changes) -> BankSettings:
    content = {"modalities": ("pathology", "genomics"), "noise": 1e-9, "share": 1.0, "least": 1}
    if "epsilon" in changes:
        del content["noise"]
    return BankSettings.read(**(content | changes))
