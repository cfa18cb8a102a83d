"""What the sections of a card say."""
