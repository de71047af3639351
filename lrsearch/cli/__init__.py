"""The commands: they print what the rooms below find."""
