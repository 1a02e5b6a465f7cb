"""The model that is served when the user names none, and how it is converted."""
