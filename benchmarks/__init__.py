"""How fast it is, on the machine at hand; results under `results/` with machine, date and command."""
