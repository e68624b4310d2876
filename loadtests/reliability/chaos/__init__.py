"""`make chaos`: a service under good traffic while everything around it fails, and the checker of its history."""
