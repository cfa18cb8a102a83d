"""Parameter groups: the units of a model that are averaged, counted and kept at home as a whole."""


def group_of(parameter: str) -> str:
    """The parameter group of a name in the pretraining module's state.

    A modality's own embedding and norm inside fusion are taught by that modality alone, so they belong to it.
    """
    match parameter.split("."):
        case ["encoder", "modalities", modality, *_]:
            return modality
        case ["encoder", "fusion", "kind" | "norm", modality, *_]:
            return modality
        case ["encoder", "fusion", *_]:
            return "fusion"
        case ["objectives", objective, *_]:
            return f"objective:{objective}"
    raise ValueError(f"{parameter}: belongs to no parameter group")
