"""What tests compare statistics by."""

CLOSE = {"rtol": 1e-9, "atol": 1e-9}


def flat(content, path=""):
    """Every number and text of a nested value, by path."""
    if isinstance(content, dict | list):
        items = content.items() if isinstance(content, dict) else enumerate(content)
        return {key: value for name, part in items for key, value in flat(part, f"{path}/{name}").items()}
    return {path: content}
