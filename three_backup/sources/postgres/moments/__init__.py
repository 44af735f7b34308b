"""What a cluster had at a moment, and when something was dropped."""
