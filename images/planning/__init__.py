"""What a plan means before it runs: what is reused, what is built and why, and what that takes."""
