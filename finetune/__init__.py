import foundation as foundation
