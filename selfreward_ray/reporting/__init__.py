"""Reports for people: tables on the terminal, one HTML page, and progress bars."""
