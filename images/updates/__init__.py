"""Windows updates as data: what a feed says of them, Microsoft's calendar, and which of them a build needs."""
