"""The memory plan of a training, made without its device."""
