"""What an operator forbids in requests and answers; nothing of it is built without a policy file."""
