"""What people look at: progress on the terminal, pictures of runs."""
