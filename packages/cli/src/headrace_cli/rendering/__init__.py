"""Documents of the API as text for a terminal. Pure: documents in, text out."""
