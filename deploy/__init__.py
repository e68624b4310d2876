"""What runs the service for others: images, monitoring, clusters."""
