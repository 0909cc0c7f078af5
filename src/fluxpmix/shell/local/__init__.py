"""The carrier for one machine: a launcher, one job shell for each (emulated) node, and their tasks."""
