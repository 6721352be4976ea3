"""Self-rewarding language models (Yuan et al., 2024, arXiv 2401.10020) on Ray."""
