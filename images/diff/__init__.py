"""What is different between two images: inventories, or what published release notes tell of them."""
