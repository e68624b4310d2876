"""Every metric of the service, by subject: each class registers its families and observes them."""
