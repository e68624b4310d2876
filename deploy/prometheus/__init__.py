"""What Prometheus records and alerts on, made from the service's objectives."""
