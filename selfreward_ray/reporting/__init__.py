"""What a finished or running run shows to people: tables on the terminal, one page, progress."""
