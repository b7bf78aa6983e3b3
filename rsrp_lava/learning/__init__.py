"""Learning from reward: transforms of rewards, plasticity rules, optimizers. Knows nothing of networks or tasks."""
