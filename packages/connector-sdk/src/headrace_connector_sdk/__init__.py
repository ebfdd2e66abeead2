"""What a connector author needs: descriptors, outcomes, authorisation, typed input."""
