"""The page that compares runs: `collect.collect_comparison` reads the store, `page.write_comparison` writes the page."""
