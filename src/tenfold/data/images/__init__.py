"""Image files: found, checked, decoded, resized and cached."""
