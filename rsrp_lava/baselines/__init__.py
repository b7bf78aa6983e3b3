"""References that do not learn from reward; they need the extra `baselines` (torch)."""
