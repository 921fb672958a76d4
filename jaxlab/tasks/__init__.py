"""What belongs to one job and is neither model nor data: a folder for every task."""
