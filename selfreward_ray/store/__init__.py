"""What is on storage: folders by URI, tables, and the folders of steps and runs."""
