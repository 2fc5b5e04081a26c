"""The premium tier elsewhere: a gateway on a CPU and an engine on a GPU, deployed to Modal."""
