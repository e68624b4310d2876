"""What identifies a person or opens a door is taken out of text before it is written down."""
