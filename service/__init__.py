"""What a program sees: HTTP routes over the same tiers as the page. Knows no page."""
