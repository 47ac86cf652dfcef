"""The command `a2bgan`. Heavy imports wait inside the commands: `--help` is to be quick."""
